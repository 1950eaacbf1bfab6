"""Lambda: the built function and its layers, run under AWS's own runtime client."""
