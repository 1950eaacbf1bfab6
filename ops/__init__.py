"""What an operator runs against a deployed stack, on AWS or in the local cloud alike."""
