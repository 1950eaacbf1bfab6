"""Records and readings to judge, with everything about them given."""

import json
from typing import Any

from telemetry_contract.limits import Limits
from telemetry_contract.reading import Reading, interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection

ARRIVAL = 1_795_428_000_000_000  # 2026-11-23T10:00:00Z, in microseconds
LIMITS = Limits()


def record_of(payload: bytes | dict[str, Any] | list[Any], **record: Any) -> Record:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Record("shard-0:1", ARRIVAL, body, **record)


def reading_of(payload: bytes | dict[str, Any], limits: Limits = LIMITS, **record: Any) -> Reading:
    """The one reading in a payload that has to be accepted."""
    readings, rejections = interpret(record_of(payload, **record), limits)
    assert rejections == []
    (reading,) = readings
    return reading


def rejection_of(
    payload: bytes | dict[str, Any] | list[Any], limits: Limits = LIMITS, **record: Any
) -> Rejection:
    """The one rejection of a payload that has to be rejected as a whole."""
    readings, rejections = interpret(record_of(payload, **record), limits)
    assert readings == []
    (rejection,) = rejections
    return rejection


def good(**members: Any) -> dict[str, Any]:
    """A payload that is accepted, with further members."""
    return {"device_id": "device-1", "timestamp": "2026-11-23T10:00:00Z", **members}
