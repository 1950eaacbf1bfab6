"""What a caller of the devices' commands can mend: the base of these errors, and no others."""


class DeviceError(Exception):
    """Says what is wrong, where, and what to do; a command prints it as one line."""
