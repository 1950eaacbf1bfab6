"""The event id: the same reading, delivered twice by whomever, is one.

It hashes the device id and the reading's own bytes and nothing else, so any row can be checked
against its id, and no retry of device, rule, stream or consumer makes a second reading.
"""

from hashlib import blake2b
from typing import Final, Protocol, Self

_DIGEST_BYTES: Final = 16
_LENGTH_BYTES: Final = 4


class Hash(Protocol):
    """A hash object of `hashlib`."""

    def copy(self) -> Self: ...

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


def event_id_of(device_id: str, payload: bytes, delivery_id: str | None = None) -> str:
    """BLAKE2b-128 as 32 hexadecimal digits.

    Hashed are the device id and then the payload. A reading without a device time is the same bytes
    each time, so there the delivery joins: pass `delivery_id`, the ingest id (else the position)
    with `:` and the sub-sequence appended. Each text goes after its length, so that none runs into
    the next; a payload, being JSON, never starts with the zero byte that a length does.
    """
    hashed = hash_of_device(device_id)
    if delivery_id is not None:
        hashed.update(_with_length(delivery_id))
    hashed.update(payload)
    return hashed.hexdigest()


def hash_of_device(device_id: str) -> Hash:
    """The hash as far as it depends on the device alone."""
    return blake2b(_with_length(device_id), digest_size=_DIGEST_BYTES)


def _with_length(text: str) -> bytes:
    """Four bytes of length (big endian), then UTF-8."""
    encoded = text.encode()
    return len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded
