"""Rows of the rejected zone, rebuilt as the Kinesis records that they came from.

A row keeps the payload, what the broker said about it, its arrival time and its record id; so the
rebuilt record is decided by the function as the first one would be today, and what it becomes has
the same event id however often it is redriven.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ops.errors import OperationError
from ops.kinesis_event import EVENT_ROOM, MAX_EVENT_RECORDS, event_around, kinesis_record
from telemetry_contract.aggregation import MAGIC
from telemetry_contract.decoding import PAYLOAD_KEY
from telemetry_contract.event_time import microseconds_of
from telemetry_contract.rejection import Reason
from telemetry_contract.zone_paths import hour_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class RejectedRow:
    """One row of the rejected zone; times are aware, `payload` is what the device sent."""

    record_id: str
    ingest_id: str | None
    arrival_time: datetime
    broker_time: datetime | None
    client_id: str | None
    principal: str | None
    topic: str | None
    reason: str
    payload: bytes

    @property
    def mark(self) -> str:
        """What tells the row apart once it is redriven: its record id and a digest of its payload.

        A copy of the row has the same. The first element of an array that was rejected whole has
        the array's record id, and another payload.
        """
        return f"{self.record_id} {sha256(self.payload).hexdigest()[:16]}"

    @property
    def position(self) -> str:
        """`<shard>:<sequence>` of the Kinesis record."""
        return self.record_id.rpartition(":")[0]

    @property
    def shard(self) -> str:
        """The shard that the record was read from."""
        return self.position.rpartition(":")[0]

    @property
    def sub_sequence(self) -> int:
        """Which element of the record's array or aggregate it is; 0 also where there was none."""
        return int(self.record_id.rpartition(":")[2])

    @property
    def is_element(self) -> bool:
        """Whether the payload is known to be an element, never to be taken apart."""
        # An array inside an array is no object; an array by itself is never rejected for that.
        is_inner_array = self.reason == Reason.NOT_AN_OBJECT and self.payload[:1] == b"["
        return self.sub_sequence > 0 or is_inner_array


# Reasons found before an envelope is taken off: the payload of such a row is the record's data.
_OF_THE_WHOLE_RECORD: Final = (
    Reason.MALFORMED_ENVELOPE,
    Reason.MALFORMED_AGGREGATE,
    Reason.TOO_LARGE,
)

_COLUMNS: Final = list(RejectedRow.__dataclass_fields__)


def list_keys(s3: S3Client, bucket: str, prefix: str, since: datetime | None) -> Iterator[str]:
    """Keys of rejected objects whose rows may have arrived at `since` or later, oldest first.

    Only whole hours are left out, by the time of writing in the key, which is never before the
    arrival of a row.
    """
    start_after = "" if since is None else hour_folder(prefix, since)
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, StartAfter=start_after
    )
    for page in pages:
        for entry in page.get("Contents", []):
            if entry["Key"].endswith(".parquet"):
                yield entry["Key"]


def read_rows(s3: S3Client, bucket: str, key: str) -> list[RejectedRow]:
    """The rows of one rejected object; raises OperationError if it is not one."""
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        rows = pq.read_table(BytesIO(body), columns=_COLUMNS).to_pylist()
        return [RejectedRow(**row) for row in rows]
    except (pa.ArrowException, TypeError) as error:
        raise OperationError(
            f"s3://{bucket}/{key} cannot be read as rejected readings ({error}); "
            "look at the object, it was left out."
        ) from error


def record_data(row: RejectedRow) -> bytes:
    """The record's data as it stood on the stream, as far as the function decides by it.

    That is the payload itself where it came without the rule's envelope (or where the record was
    rejected with its envelope, broken or too large), else an envelope. An element of an array goes
    alone, with its place in the envelope, so that it keeps its record id and never becomes another
    reading than it was. So does a user record of an aggregate.
    """
    broker = {
        "topic": row.topic,
        "client_id": row.client_id,
        "principal": row.principal,
        "broker_time": _milliseconds(row.broker_time),
        "ingest_id": row.ingest_id,
        "sub_sequence": row.sub_sequence if row.is_element else None,
    }
    said = {name: value for name, value in broker.items() if value is not None}
    is_plain = PAYLOAD_KEY.encode() not in row.payload and not row.payload.startswith(MAGIC)
    if not said and (row.reason in _OF_THE_WHOLE_RECORD or is_plain):
        return row.payload
    said[PAYLOAD_KEY] = base64.b64encode(row.payload).decode()
    return json.dumps(said, separators=(",", ":")).encode()


def encoded_record(row: RejectedRow, stream_arn: str) -> bytes:
    """The row's record as JSON; raises OperationError if no call of the function could hold it."""
    arrival_seconds = microseconds_of(row.arrival_time) / 1_000_000
    partition_key = row.client_id or "redriven"
    data = record_data(row)
    record = json.dumps(
        kinesis_record(row.position, data, arrival_seconds, partition_key, stream_arn),
        separators=(",", ":"),
    ).encode()
    if len(record) > EVENT_ROOM:
        raise OperationError(
            f"row {row.record_id} is {len(record):,} bytes as a record and can't be sent to "
            "the function, which takes 6 MB; put its payload on the stream by hand."
        )
    return record


def events_of(
    records: Mapping[RejectedRow, bytes], most: int = MAX_EVENT_RECORDS
) -> Iterator[tuple[bytes, list[RejectedRow]]]:
    """Lambda events of at most `most` records, as JSON, each with the rows that it holds.

    As from a mapping, an event holds records of one shard, in order, within Lambda's bounds.
    """
    rows: list[RejectedRow] = []
    size = 0
    for row in sorted(records, key=_order):
        added = len(records[row]) + 1
        is_full = size + added > EVENT_ROOM or len(rows) == min(most, MAX_EVENT_RECORDS)
        if rows and (is_full or row.shard != rows[0].shard):
            yield event_around(records[row] for row in rows), rows
            rows, size = [], 0
        rows.append(row)
        size += added
    if rows:
        yield event_around(records[row] for row in rows), rows


def _order(row: RejectedRow) -> tuple[str, int, int]:
    return row.shard, int(row.position.rpartition(":")[2]), row.sub_sequence


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds_of(moment) // 1_000
