"""Messages that the contract rejects: for each reason that a device can cause, one way to do so.

Guarantee: what is made of a reading is rejected for exactly that reason, and two readings make two
different messages. `tests/unit/devices/test_messages.py` asks the contract itself.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

# Deeper than the contract goes (64), far from what a broker would mind.
_TOO_DEEP: Final = 100
_DEVICE_NAMES: Final = ("device_id", "deviceId")
_TIME_NAMES: Final = ("timestamp", "ts")


def encode(reading: Mapping[str, Any]) -> bytes:
    """A reading as a device sends it."""
    return json.dumps(reading, separators=(",", ":")).encode()


def spoil(reading: Mapping[str, Any], reason: str) -> bytes:
    """A message made of `reading` (with a `sequence`) that is rejected for `reason`."""
    return _WAYS[reason](reading)


def _without(reading: Mapping[str, Any], names: tuple[str, ...]) -> bytes:
    return encode({name: value for name, value in reading.items() if name not in names})


def _with(reading: Mapping[str, Any], names: tuple[str, ...], value: Any) -> bytes:
    name = next(name for name in names if name in reading)
    return encode({**reading, name: value})


def _nested(reading: Mapping[str, Any]) -> bytes:
    brackets = b"[" * _TOO_DEEP + b"]" * _TOO_DEEP
    return encode({**reading, "data": 0}).replace(b'"data":0', b'"data":' + brackets)


_WAYS: Final[Mapping[str, Callable[[Mapping[str, Any]], bytes]]] = {
    "not_json": lambda reading: encode(reading)[:-7],
    "not_utf8": lambda reading: encode(reading).replace(b"device", b"dev\xff\xfeice", 1),
    # Encoded twice, as happens to gateways.
    "not_an_object": lambda reading: json.dumps(encode(reading).decode()).encode(),
    "empty_array": lambda reading: b"[" + b" " * reading["sequence"] + b"]",
    "too_deep": _nested,
    "device_id_missing": lambda reading: _without(reading, _DEVICE_NAMES),
    "device_id_invalid": lambda reading: _with(reading, _DEVICE_NAMES, 17),
    "identity_mismatch": lambda reading: _with(reading, _DEVICE_NAMES, "somebody-else"),
    "timestamp_missing": lambda reading: _without(reading, _TIME_NAMES),
    "timestamp_invalid": lambda reading: _with(reading, _TIME_NAMES, "yesterday"),
    "timestamp_out_of_range": lambda reading: _with(reading, _TIME_NAMES, "1999-12-31T23:59:59Z"),
}
REASONS: Final = tuple(_WAYS)
