"""A world in which the consumer's effects can be read off: zones, a clock, events."""

import base64
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pyarrow.parquet as pq

from ingest_telemetry.batch import KinesisEvent
from ingest_telemetry.patience import Patience
from telemetry_contract.limits import Limits
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX

ENVIRONMENT = {
    "RAW_ZONE_BUCKET": "raw-zone",
    "REJECTED_ZONE_BUCKET": "rejected-zone",
    "EARLIEST_EVENT_TIME": "2000-01-01T00:00:00Z",
    "MAX_EVENT_TIME_AHEAD_SECONDS": "86400",
    "CLOCK_SKEW_FLAG_SECONDS": "3600",
    "IDENTITY_MISMATCH_POLICY": "reject",
    "MISSING_TIMESTAMP_POLICY": "reject",
    "POWERTOOLS_SERVICE_NAME": "ingest_telemetry",
    "POWERTOOLS_METRICS_NAMESPACE": "TelemetryLake",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_ENDPOINT_URL": "",
    "AWS_DEFAULT_REGION": "us-east-1",
}
for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)

# It wires itself from the environment when it is imported.
from ingest_telemetry.handler import Collaborators  # noqa: E402

NOW = datetime(2026, 11, 23, 10, 0, 30, tzinfo=UTC)
SHARD = "shardId-000000000000"
FIRST_SEQUENCE = 49590338271490256608559692538361571095921575989136588898
GOOD = b'{"device_id":"device-1","timestamp":"2026-11-23T10:00:00Z","temperature":21.5}'


@dataclass
class Clock:
    """Time that passes only when someone sleeps."""

    now: datetime = NOW
    deadline: datetime = NOW + timedelta(seconds=300)
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += timedelta(seconds=seconds)

    def remaining_seconds(self) -> float:
        return (self.deadline - self.now).total_seconds()

    @property
    def patience(self) -> Patience:
        return Patience(self.remaining_seconds, self.sleep)


@dataclass
class World:
    """Both zones at once, every effect in the order in which it happened."""

    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)
    effects: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    broken_prefixes: tuple[str, ...] = ()

    def put_once(self, key: str, body: bytes, patience: Patience) -> None:
        assert patience.remaining_seconds() == self.clock.remaining_seconds()
        if key.startswith(self.broken_prefixes):
            self.effects.append(f"failed {key.partition('/')[0]}")
            raise ConnectionError(key)
        self.effects.append(f"wrote {key.partition('/')[0]}")
        self.objects[key] = body

    def use(self) -> Collaborators:
        return Collaborators(self, self, self.limits, lambda: self.clock.now, self.clock.sleep)

    @property
    def accepted(self) -> list[dict[str, Any]]:
        return self._rows(RAW_PREFIX)

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return self._rows(REJECTED_PREFIX)

    def _rows(self, prefix: str) -> list[dict[str, Any]]:
        return [
            row
            for key, body in self.objects.items()
            if key.startswith(prefix)
            for row in pq.read_table(BytesIO(body)).to_pylist()
        ]


def event_of(datas: Sequence[bytes], arrival: datetime = NOW) -> KinesisEvent:
    """A Lambda event with one Kinesis record per entry."""
    return {
        "Records": [
            {
                "eventID": f"{SHARD}:{FIRST_SEQUENCE + at}",
                "kinesis": {
                    "data": base64.b64encode(data).decode(),
                    "approximateArrivalTimestamp": arrival.timestamp(),
                },
            }
            for at, data in enumerate(datas)
        ]
    }


def enveloped(payload: bytes, **envelope: object) -> bytes:
    """A payload as the rule wraps it."""
    return json.dumps(
        {
            "payload_b64": base64.b64encode(payload).decode(),
            "topic": "dt/fleet/device-1/telemetry",
            "client_id": "device-1",
            "principal": "0" * 64,
            "broker_time": 1_795_428_001_000,
            "ingest_id": "6c84fb90-12c4-11e1-840d-7b25c5ee775a",
            "trace_id": "d6a1c8e0",
            **envelope,
        }
    ).encode()


@dataclass(frozen=True)
class InvocationContext:
    """What the handler and Powertools read of Lambda's context."""

    function_name: str = "ingest-telemetry"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:ingest-telemetry"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"
    get_remaining_time_in_millis: Callable[[], int] = lambda: 300_000
