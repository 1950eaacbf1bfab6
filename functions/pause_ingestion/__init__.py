"""Disables the stream's mapping, once, when too many readings are rejected."""
