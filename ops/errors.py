"""The one exception of the operator's tools."""


class OperationError(Exception):
    """Something that the operator can see to; the message says what, where and what to do."""
