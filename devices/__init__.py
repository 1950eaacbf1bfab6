"""The fleet: devices that register, connect over mutual TLS and publish, on AWS as on the local cloud."""
