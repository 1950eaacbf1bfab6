"""The handler, called as Lambda calls it, with zones in memory; for tests that judge by effects."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from ingest_telemetry.patience import Patience

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
    # Without any, the SDK would go and ask the network for credentials.
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}
NOW = datetime(2026, 11, 23, 10, 0, 30, tzinfo=UTC)

Row = dict[str, Any]


@dataclass(frozen=True)
class InvocationContext:
    """What the handler and Powertools' logger read of Lambda's context."""

    function_name: str = "ingest-telemetry"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:ingest-telemetry"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 300_000


@dataclass
class MemoryZone:
    """A zone whose objects are kept in memory; the same key twice is an error, as in a real one."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put_once(self, key: str, body: bytes, patience: Patience) -> None:
        assert self.objects.setdefault(key, body) == body
        assert patience is not None

    def rows(self) -> list[Row]:
        return [
            {name: dict(value) if name in _MAPS else value for name, value in row.items()}
            for body in self.objects.values()
            for row in pq.read_table(BytesIO(body)).to_pylist()
        ]


_MAPS = ("measurements", "attributes")


@dataclass(frozen=True)
class Ingested:
    """What one call answered and wrote."""

    answer: dict[str, Any]
    accepted: list[Row]
    rejected: list[Row]
    rejected_objects: dict[str, bytes]
    accepted_objects: dict[str, bytes]

    @property
    def rejected_by_reason(self) -> dict[str, int]:
        return dict(Counter(row["reason"] for row in self.rejected))

    @property
    def payloads(self) -> Counter[bytes]:
        """Every payload in either zone, as a multiset."""
        return Counter(row["payload"] for row in self.accepted + self.rejected)


def ingest(event: dict[str, Any], **limits: Any) -> Ingested:
    """Calls the handler with a Lambda event; keyword arguments replace fields of its `Limits`."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # It wires itself from the environment when it is imported.
    from ingest_telemetry import handler

    raw, rejected = MemoryZone(), MemoryZone()
    wired = handler.COLLABORATORS
    vars(handler)["COLLABORATORS"] = replace(
        wired,
        raw_zone=raw,
        rejected_zone=rejected,
        limits=replace(wired.limits, **limits),
        now=lambda: NOW,
    )
    try:
        answer = handler.lambda_handler(
            cast("Any", event), cast("LambdaContext", InvocationContext())
        )
    finally:
        vars(handler)["COLLABORATORS"] = wired
    return Ingested(answer, raw.rows(), rejected.rows(), rejected.objects, raw.objects)


def event_of(datas: Sequence[bytes], arrival: datetime = NOW) -> dict[str, Any]:
    """A Lambda event of one shard whose records hold the given data."""
    first = 49590338271490256608559692538361571095921575989136588898
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "any",
                    "sequenceNumber": str(first + place),
                    "data": base64.b64encode(data).decode(),
                    "approximateArrivalTimestamp": arrival.timestamp(),
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000000:{first + place}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/ingest-telemetry",
                "awsRegion": "us-east-1",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry",
            }
            for place, data in enumerate(datas)
        ]
    }
