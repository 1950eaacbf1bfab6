"""The records that every consumer of the comparison is given: one Lambda event, drawn from a seed.

A fleet speaks the contract's three dialects through the IoT rule's envelope, about 200 bytes a
payload. One in a hundred is bad, in five ways that each consumer has to notice; one in twenty
carries fields that no contract names; in one of two hundred a value is out of its bounds, to be
nulled and flagged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

ARRIVAL = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry"
SHARD = "shardId-000000000000"
FIRST_SEQUENCE_NUMBER = 49590338271490256608559692538361571095921575989136588898

Payload = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """A Lambda event and what is in it."""

    event: dict[str, Any]
    good: int
    bad: int
    payload_bytes: int


def make_batch(records: int, seed: int = 20261123) -> Batch:
    """`records` Kinesis records, one in a hundred of them bad (at least one), as one event."""
    draw = random.Random(seed)
    bad = max(1, records // 100)
    bad_places = set(draw.sample(range(records), bad))
    rows, size = [], 0
    for place in range(records):
        device, reading = _reading(draw, ARRIVAL - timedelta(seconds=draw.uniform(1, 60)))
        body = (
            _spoil(draw, reading)
            if place in bad_places
            else json.dumps(reading, separators=(",", ":"))
        ).encode()
        size += len(body)
        rows.append(_record(draw, place, device, body))
    return Batch({"Records": rows}, records - bad, bad, size)


def _reading(draw: random.Random, at: datetime) -> tuple[str, Payload]:
    dialect = draw.choices((_station, _vehicle, _sensor_box), (40, 35, 25))[0]
    device, reading = dialect(draw, at)
    if draw.random() < 0.05:
        reading |= {"firmware": "4.2.1", "rssi": -draw.randint(40, 90), "tags": ["north", "roof"]}
    if draw.random() < 0.005:
        reading |= {"humidity": 146.2}
    return device, reading


def _station(draw: random.Random, at: datetime) -> tuple[str, Payload]:
    device = f"device{draw.randint(1, 500):03}"
    return device, {
        "device_id": device,
        "timestamp": at.isoformat(),
        "latitude": round(draw.uniform(37, 38), 6),
        "longitude": round(draw.uniform(-123, -122), 6),
        "temperature": round(draw.uniform(-10, 35), 2),
        "humidity": round(draw.uniform(10, 90), 2),
        "battery": round(draw.uniform(20, 100), 1),
        "status": "active",
    }


def _vehicle(draw: random.Random, at: datetime) -> tuple[str, Payload]:
    device = f"asset-{draw.randint(1, 500):03}"
    return device, {
        "deviceId": device,
        "timestamp": int(at.timestamp() * 1000),
        "latitude": round(draw.uniform(12, 13), 6),
        "longitude": round(draw.uniform(77, 78), 6),
        "speed": round(draw.uniform(0, 90), 1),
        "battery": round(draw.uniform(20, 100), 1),
        "sequence": draw.randint(1, 1_000_000),
        "status": draw.choice(("moving", "idle")),
    }


def _sensor_box(draw: random.Random, at: datetime) -> tuple[str, Payload]:
    device = f"5e:44:3b:f3:79:{draw.randint(0, 255):02x}"
    return device, {
        "data": {
            "co": draw.uniform(0.002, 0.01),
            "humidity": round(draw.uniform(40, 80), 1),
            "light": draw.random() < 0.5,
            "lpg": draw.uniform(0.004, 0.01),
            "motion": draw.random() < 0.1,
            "smoke": draw.uniform(0.01, 0.03),
            "temp": round(draw.uniform(15, 30), 1),
        },
        "device_id": device,
        "ts": at.timestamp(),
        "device": "iot-device-02",
    }


def _spoil(draw: random.Random, reading: Payload) -> str:
    ways: tuple[Callable[[Payload], str], ...] = (
        lambda good: json.dumps(good)[:-7],
        lambda good: json.dumps(_without(good, "device_id", "deviceId")),
        lambda good: json.dumps(_without(good, "timestamp", "ts")),
        lambda good: json.dumps(_without(good, "timestamp", "ts") | {"timestamp": "soon"}),
        lambda good: json.dumps(
            _without(good, "timestamp", "ts") | {"timestamp": "2031-01-01T00:00:00+00:00"}
        ),
    )
    return draw.choice(ways)(reading)


def _without(reading: Payload, *keys: str) -> Payload:
    return {key: value for key, value in reading.items() if key not in keys}


def _record(draw: random.Random, place: int, device: str, payload: bytes) -> dict[str, Any]:
    arrival = ARRIVAL.timestamp() + place / 1000
    envelope = {
        "payload_b64": base64.b64encode(payload).decode(),
        "topic": f"dt/fleet/{device}/telemetry",
        "client_id": device,
        "principal": hashlib.sha256(device.encode()).hexdigest(),
        "broker_time": int(arrival * 1000) - 40,
        "ingest_id": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        "trace_id": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
    }
    sequence = str(FIRST_SEQUENCE_NUMBER + place)
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": device,
            "sequenceNumber": sequence,
            "data": base64.b64encode(json.dumps(envelope, separators=(",", ":")).encode()).decode(),
            "approximateArrivalTimestamp": arrival,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{SHARD}:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/ingest-telemetry",
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM_ARN,
    }
