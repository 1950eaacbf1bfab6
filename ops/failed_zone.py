"""The failed zone's two kinds of object, read back as what they once were.

`aws/lambda/...` is written by the event source mapping when it gives up on a batch: the whole
Lambda event is in it, so that invoking the function with it decides as the first attempt would
have. `iot/...` is written by the rule's error action when the rule could not reach the stream:
the payload is in it, and goes onto the stream in the rule's own envelope. What the document lacks
of that envelope is taken from the object, so that however often it is put, it is one event.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ops.errors import OperationError
from ops.kinesis_event import EVENT_ROOM, MAX_EVENT_RECORDS, event_around
from telemetry_contract.event_time import microseconds_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAPPING_PREFIX = "aws/lambda/"
RULE_PREFIX = "iot/"
# What an error action says where a message came from no MQTT client.
NO_CLIENT_ID = "N/A"
# An event as the mapping sent it may take all of this.
_MAX_CALL_BYTES = 6 * 1024 * 1024


@dataclass(frozen=True)
class FailedRecord:
    """A record of a failed batch: its place in the stream, its data, and all that Lambda said.
    `mark` tells it apart: an erasure leaves several parts of a record at its place."""

    position: str
    data: bytes
    record: dict[str, Any]
    mark: str

    @property
    def arrived(self) -> datetime:
        """When the stream took it."""
        return datetime.fromtimestamp(self.record["kinesis"]["approximateArrivalTimestamp"], UTC)

    def holding(self, data: bytes) -> FailedRecord:
        """The record with less in it; its partition key may name a device that is no longer."""
        told = {"partitionKey": "others", "data": base64.b64encode(data).decode()}
        kinesis = self.record["kinesis"] | told
        return replace(self, data=data, record=self.record | {"kinesis": kinesis})


@dataclass(frozen=True)
class FailedBatch:
    """A batch that the mapping gave up on: the event's JSON text, as Lambda sent it, and its
    records."""

    key: str
    event: bytes
    records: tuple[FailedRecord, ...]

    def events_of(self, records: Sequence[FailedRecord]) -> Iterator[tuple[bytes, int]]:
        """Events with these records, each with how many, as one call takes them. All that the batch
        has are the event as it was; what is left of records takes more room than they did."""
        if tuple(records) == self.records and len(self.event) <= _MAX_CALL_BYTES:
            yield self.event, len(records)
            return
        gathered: list[bytes] = []
        size = 0
        for record in records:
            encoded = json.dumps(record.record, separators=(",", ":")).encode()
            is_full = size + len(encoded) >= EVENT_ROOM or len(gathered) == MAX_EVENT_RECORDS
            if gathered and is_full:
                yield event_around(gathered), len(gathered)
                gathered, size = [], 0
            gathered.append(encoded)
            size += len(encoded) + 1
        if gathered:
            yield event_around(gathered), len(gathered)


@dataclass(frozen=True)
class UndeliveredMessage:
    """A message that the rule could not put on the stream, in the rule's envelope."""

    key: str
    partition_key: str
    envelope: bytes


def list_objects(
    s3: S3Client, bucket: str, prefix: str, since: datetime | None, until: datetime | None
) -> Iterator[tuple[str, datetime]]:
    """Keys under the prefix that were written in [since, until), each with when it was."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            written = entry["LastModified"]
            if (since is None or written >= since) and (until is None or written < until):
                yield entry["Key"], written


def list_keys(
    s3: S3Client, bucket: str, prefix: str, since: datetime | None, until: datetime | None
) -> Iterator[str]:
    """Keys under the prefix that were written in [since, until)."""
    return (key for key, _ in list_objects(s3, bucket, prefix, since, until))


def read_failed_batch(s3: S3Client, bucket: str, key: str) -> FailedBatch:
    """The batch in an object of the mapping; raises OperationError if there is none in it."""
    document, _ = _read_document(s3, bucket, key)
    payload = document.get("payload")
    if not isinstance(payload, str):
        where = document.get("KinesisBatchInfo", {})
        raise OperationError(
            f"s3://{bucket}/{key} holds no payload. Read the records from the stream while it "
            f"keeps them: shard {where.get('shardId')}, {where.get('startSequenceNumber')} to "
            f"{where.get('endSequenceNumber')}."
        )
    try:
        told = json.loads(payload)["Records"]
        at_place = Counter(record["eventID"] for record in told)
        records = tuple(_failed_record(record, at_place[record["eventID"]]) for record in told)
    except (ValueError, KeyError, TypeError) as error:
        raise OperationError(
            f"the payload of s3://{bucket}/{key} is no Kinesis event ({error!r}); "
            "look at the object and redrive its records by hand."
        ) from error
    return FailedBatch(key, payload.encode(), records)


def _failed_record(record: dict[str, Any], at_its_place: int) -> FailedRecord:
    position, data = record["eventID"], base64.b64decode(record["kinesis"]["data"])
    digest = "" if at_its_place == 1 else f" {sha256(data).hexdigest()[:16]}"
    return FailedRecord(position, data, record, position + digest)


def read_undelivered_message(s3: S3Client, bucket: str, key: str) -> UndeliveredMessage:
    """The message in an object of the rule's error action; raises OperationError if it has none."""
    document, written = _read_document(s3, bucket, key)
    try:
        topic = str(document["topic"])
        payload = document["base64OriginalPayload"]
        base64.b64decode(payload, validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise OperationError(
            f"s3://{bucket}/{key} is not what a rule's error action writes ({error!r}); "
            "look at the object and publish its message by hand."
        ) from error
    client_id = document.get("clientId")
    if client_id == NO_CLIENT_ID:
        client_id = None
    envelope: dict[str, Any] = {
        "payload_b64": payload,
        "topic": topic,
        "client_id": client_id,
        # The object's own time and name: the error action's document has neither the rule's
        # timestamp nor its ingest id, and a second redrive must make the same event of it.
        "broker_time": microseconds_of(written) // 1_000,
        "ingest_id": PurePosixPath(key).stem,
        "trace_id": document.get("cloudwatchTraceId"),
    }
    levels = topic.split("/")
    partition_key = levels[2] if len(levels) > 2 else str(client_id or topic)
    present = {name: value for name, value in envelope.items() if value is not None}
    return UndeliveredMessage(
        key, partition_key[:256] or "-", json.dumps(present, separators=(",", ":")).encode()
    )


def _read_document(s3: S3Client, bucket: str, key: str) -> tuple[dict[str, Any], datetime]:
    """The JSON object in an object of the zone, and when it was written."""
    stored = s3.get_object(Bucket=bucket, Key=key)
    try:
        document = json.loads(stored["Body"].read())
    except ValueError as error:
        raise OperationError(
            f"s3://{bucket}/{key} is not JSON ({error}); it cannot be redriven by this tool."
        ) from error
    if not isinstance(document, dict):
        raise OperationError(f"s3://{bucket}/{key} holds no JSON object; it cannot be redriven.")
    return document, stored["LastModified"]
