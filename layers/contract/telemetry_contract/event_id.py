"""The event id: the same reading, delivered twice by whomever, is one.

It hashes the device id and the reading's own bytes and nothing else, so any row can be checked
against its id, and no retry of device, rule, stream or consumer makes a second reading.
"""

from hashlib import blake2b
from typing import Final

_DIGEST_BYTES: Final = 16
_LENGTH_BYTES: Final = 4


def event_id_of(device_id: str, payload: bytes, delivery_id: str | None = None) -> str:
    """BLAKE2b-128 as 32 hexadecimal digits.

    Hashed are the device id and then the payload. A reading without a device time is the same bytes
    each time, so there the delivery joins: pass `delivery_id`, the ingest id (else the position)
    with the sub-sequence appended. Lengths go before the texts so that none runs into the next; a
    payload never starts with the zero byte that a length does.
    """
    hashed = hash_prefix(device_id)
    if delivery_id is not None:
        hashed += hash_prefix(delivery_id)
    return hash_of(hashed + payload)


def hash_of(hashed: bytes) -> str:
    """The id of a reading's prefixes and payload, joined."""
    return blake2b(hashed, digest_size=_DIGEST_BYTES).hexdigest()


def hash_prefix(text: str) -> bytes:
    """A text as it enters the hash: four bytes of length (big endian), then UTF-8."""
    encoded = text.encode()
    return len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded
