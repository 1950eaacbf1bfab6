"""Stopping parts of a stack without loss, and going on: `ops pause`, `ops resume`."""
