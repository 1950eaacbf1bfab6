"""A consumer as a careful user would write it with the standard library alone.

`json.loads` per record, checks by hand, one gzipped NDJSON object per batch and one for its
rejects. It validates and keeps what `usual_consumer` does.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from benchmarks.object_store import ObjectStore
from benchmarks.usual_consumer import AHEAD, EARLIEST, FAR, GZIP_LEVEL

DEVICE_ID_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.@+-"
)
TIME_KEYS = ("timestamp", "ts", "event_time", "eventTime", "time")
EARLIEST_SECONDS = EARLIEST.timestamp()
AHEAD_SECONDS = AHEAD.total_seconds()
FAR_SECONDS = FAR.total_seconds()
BOUNDS = {
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 180.0),
    "temperature": (-100.0, 200.0),
    "temp": (-100.0, 200.0),
    "humidity": (0.0, 100.0),
    "battery": (0.0, 100.0),
    "speed": (0.0, 2_000.0),
    "pressure": (0.0, 2_000.0),
    "co": (0.0, 1e6),
    "lpg": (0.0, 1e6),
    "smoke": (0.0, 1e6),
}


class BadReadingError(ValueError):
    """What makes a payload no reading."""


class PlainConsumer:
    """Takes Lambda events; `accepted`, `rejected` and `flagged` count the last one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.accepted = self.rejected = self.flagged = 0

    def __call__(self, event: dict[str, Any]) -> object:
        lines: list[str] = []
        rejects: list[str] = []
        self.flagged = 0
        for record in event["Records"]:
            kinesis = record["kinesis"]
            arrival = kinesis["approximateArrivalTimestamp"]
            row = json.loads(b64decode(kinesis["data"]))
            payload = b64decode(row.pop("payload_b64"))
            del row["trace_id"]
            row["record_id"] = record["eventID"]
            row["arrival_time"] = arrival
            row["payload"] = payload.decode("utf-8", "backslashreplace")
            try:
                row["reading"], flags = checked(json.loads(payload), arrival)
                row["identity"] = identity_of(row["reading"]["device_id"], row["topic"])
            except ValueError as error:
                row["reason"] = str(error)
                rejects.append(json.dumps(row))
                continue
            hashed = blake2b(row["reading"]["device_id"].encode() + b"\0", digest_size=16)
            hashed.update(payload)
            row["event_id"] = hashed.hexdigest()
            row["quality_flags"] = flags
            self.flagged += bool(flags)
            lines.append(json.dumps(row))
        self._write("plain/raw", lines)
        self._write("plain/rejected", rejects)
        self.accepted, self.rejected = len(lines), len(rejects)
        return {"batchItemFailures": []}

    def _write(self, key: str, lines: list[str]) -> None:
        if lines:
            body = gzip.compress("\n".join(lines).encode(), compresslevel=GZIP_LEVEL)
            self._store.put_object(Bucket="zone", Key=f"{key}.ndjson.gz", Body=body)


def identity_of(device_id: str, topic: str) -> str:
    """How far the device id can be trusted; raises BadReadingError."""
    levels = topic.split("/")
    if len(levels) != 4 or levels[0] != "dt" or levels[3] != "telemetry":
        return "claimed"
    if levels[2] != device_id:
        raise BadReadingError("identity mismatch")
    return "verified"


def checked(reading: object, arrival: float) -> tuple[dict[str, Any], list[str]]:
    """The reading with `device_id` and `event_time` (epoch seconds) set, and its quality flags.

    Raises BadReadingError.
    """
    if not isinstance(reading, dict):
        raise BadReadingError("not an object")
    device_id = reading.pop("deviceId", None) or reading.get("device_id")
    if not isinstance(device_id, str) or not 1 <= len(device_id) <= 128:
        raise BadReadingError("device id missing or invalid")
    if not DEVICE_ID_CHARACTERS.issuperset(device_id):
        raise BadReadingError("device id invalid")
    reading["device_id"] = device_id
    flags: list[str] = []
    for key in TIME_KEYS:
        if key in reading:
            seconds = epoch_seconds(reading.pop(key), flags)
            break
    else:
        raise BadReadingError("timestamp missing")
    if not EARLIEST_SECONDS <= seconds <= arrival + AHEAD_SECONDS:
        raise BadReadingError("timestamp out of range")
    if abs(seconds - arrival) > FAR_SECONDS:
        flags.append("event_time_far_from_arrival")
    reading["event_time"] = seconds
    _check_bounds(reading, flags)
    if isinstance(reading.get("data"), dict):
        _check_bounds(reading["data"], flags)
    return reading, flags


def epoch_seconds(value: object, flags: list[str]) -> float:
    """Epoch seconds of an ISO 8601 text (UTC assumed) or of a number whose size says its unit."""
    if isinstance(value, str):
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            flags.append("event_time_offset_assumed")
            at = at.replace(tzinfo=UTC)
        return at.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadReadingError("timestamp invalid")
    if value < 10**11:
        return float(value)
    return value / 1_000 if value < 10**14 else value / 1_000_000


def _check_bounds(values: dict[str, Any], flags: list[str]) -> None:
    for name, value in values.items():
        if name in BOUNDS and value is not None:
            low, high = BOUNDS[name]
            if isinstance(value, bool) or not isinstance(value, int | float):
                flags.append(f"{name}_wrong_type")
                values[name] = None
            elif not low <= value <= high:
                flags.append(f"{name}_out_of_range")
                values[name] = None
