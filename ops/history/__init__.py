"""The import: messages that were kept before this lake go in, through the contract."""
