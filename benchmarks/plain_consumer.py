"""A consumer as a careful user would write it with the standard library alone.

`json.loads` per record, checks by hand, one gzipped NDJSON object per batch and one for its
rejects. It does less than the contract in the same ways as `usual_consumer` does.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

from benchmarks.object_store import ObjectStore
from benchmarks.usual_consumer import AHEAD, EARLIEST, GZIP_LEVEL

DEVICE_ID_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.-"
)
TIME_KEYS = ("timestamp", "ts", "event_time", "eventTime", "time")
EARLIEST_SECONDS = EARLIEST.timestamp()
AHEAD_SECONDS = AHEAD.total_seconds()
BOUNDS = {
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 180.0),
    "temperature": (-100.0, 200.0),
    "temp": (-100.0, 200.0),
    "humidity": (0.0, 100.0),
    "battery": (0.0, 100.0),
    "speed": (0.0, float("inf")),
    "pressure": (0.0, float("inf")),
    "co": (0.0, float("inf")),
    "lpg": (0.0, float("inf")),
    "smoke": (0.0, float("inf")),
}


class BadReadingError(ValueError):
    """What makes a payload no reading."""


class PlainConsumer:
    """Takes Lambda events; `accepted` and `rejected` count the last one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.accepted = self.rejected = 0

    def __call__(self, event: dict[str, Any]) -> object:
        lines: list[str] = []
        rejects: list[str] = []
        for record in event["Records"]:
            kinesis = record["kinesis"]
            arrival = kinesis["approximateArrivalTimestamp"]
            row = json.loads(b64decode(kinesis["data"]))
            payload = b64decode(row.pop("payload_b64"))
            del row["trace_id"]
            row["record_id"] = record["eventID"]
            row["arrival_time"] = arrival
            try:
                row["reading"] = checked(json.loads(payload), arrival)
                lines.append(json.dumps(row))
            except ValueError as error:
                row["reason"] = str(error)
                row["payload"] = payload.decode("utf-8", "backslashreplace")
                rejects.append(json.dumps(row))
        self._write("plain/raw", lines)
        self._write("plain/rejected", rejects)
        self.accepted, self.rejected = len(lines), len(rejects)
        return {"batchItemFailures": []}

    def _write(self, key: str, lines: list[str]) -> None:
        if lines:
            body = gzip.compress("\n".join(lines).encode(), compresslevel=GZIP_LEVEL)
            self._store.put_object(Bucket="zone", Key=f"{key}.ndjson.gz", Body=body)


def checked(reading: object, arrival: float) -> dict[str, Any]:
    """The reading with `device_id` and `event_time` (epoch seconds) set; raises BadReadingError."""
    if not isinstance(reading, dict):
        raise BadReadingError("not an object")
    device_id = reading.pop("deviceId", None) or reading.get("device_id")
    if not isinstance(device_id, str) or not 1 <= len(device_id) <= 128:
        raise BadReadingError("device id missing or invalid")
    if not DEVICE_ID_CHARACTERS.issuperset(device_id):
        raise BadReadingError("device id invalid")
    reading["device_id"] = device_id
    for key in TIME_KEYS:
        if key in reading:
            seconds = epoch_seconds(reading.pop(key))
            break
    else:
        raise BadReadingError("timestamp missing")
    if not EARLIEST_SECONDS <= seconds <= arrival + AHEAD_SECONDS:
        raise BadReadingError("timestamp out of range")
    reading["event_time"] = seconds
    _check_bounds(reading)
    if isinstance(reading.get("data"), dict):
        _check_bounds(reading["data"])
    return reading


def epoch_seconds(value: object) -> float:
    """Epoch seconds of an ISO 8601 text (UTC assumed) or of epoch seconds or milliseconds."""
    if isinstance(value, str):
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadReadingError("timestamp invalid")
    return value / 1000 if value > 1e11 else float(value)


def _check_bounds(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if name in BOUNDS and value is not None:
            low, high = BOUNDS[name]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadReadingError(f"{name} is not a number")
            if not low <= value <= high:
                raise BadReadingError(f"{name} out of range")
