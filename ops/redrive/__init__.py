"""The redrive: what was rejected or failed goes in again, once its cause is mended."""
