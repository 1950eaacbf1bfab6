"""The fleet: devices that register, connect over mutual TLS and publish."""
