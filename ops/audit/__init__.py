"""The audit: what is missing, extra or altered, from the stream to the curated rows."""
