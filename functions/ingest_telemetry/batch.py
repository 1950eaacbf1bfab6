"""What a batch becomes: records decoded, payloads interpreted, objects laid out.

Everything here depends on the event alone, except the hour in an object's key.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import pybase64

from ingest_telemetry.raw_zone import digest_of
from telemetry_contract.columns import raw_table, rejected_table
from telemetry_contract.decoding import decode_record
from telemetry_contract.limits import MICROSECONDS_PER_SECOND, Limits
from telemetry_contract.parquet import parquet_of
from telemetry_contract.reading import Reading, interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX, object_key


class KinesisData(TypedDict):
    """The part of a Kinesis record that is read here."""

    data: str
    approximateArrivalTimestamp: float


class KinesisRecord(TypedDict):
    """One entry of `Records`. `eventID` is `<shard>:<sequence>`."""

    eventID: str
    kinesis: KinesisData


class KinesisEvent(TypedDict):
    """What the event source mapping sends."""

    Records: list[KinesisRecord]


@dataclass(frozen=True, slots=True)
class ObjectToWrite:
    """One object, complete, and where it belongs."""

    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Interpreted:
    """Readings and rejections of a batch; together they hold every element of every record once."""

    readings: list[Reading]
    rejections: list[Rejection]

    @property
    def flagged(self) -> int:
        return sum(1 for reading in self.readings if reading.quality_flags)

    @property
    def rejected_by_reason(self) -> Counter[str]:
        return Counter(rejection.reason.value for rejection in self.rejections)


def decode_records(event: KinesisEvent, limits: Limits) -> list[Record | Rejection]:
    """Every record of the event, its envelope taken off; in the event's order."""
    return [
        decode_record(
            record["eventID"],
            arrival_time_of(record),
            pybase64.b64decode(record["kinesis"]["data"]),
            limits,
        )
        for record in event["Records"]
    ]


def interpret_payloads(records: Sequence[Record | Rejection], limits: Limits) -> Interpreted:
    """Split what the records hold into accepted and rejected."""
    readings: list[Reading] = []
    rejections: list[Rejection] = []
    for record in records:
        if isinstance(record, Rejection):
            rejections.append(record)
            continue
        accepted, rejected = interpret(record, limits)
        readings += accepted
        rejections += rejected
    return Interpreted(readings, rejections)


def raw_object(
    interpreted: Interpreted, event: KinesisEvent, written_at: datetime
) -> ObjectToWrite | None:
    """The object for the raw zone, or None if nothing was accepted."""
    if not interpreted.readings:
        return None
    body = parquet_of(raw_table(interpreted.readings))
    return ObjectToWrite(_key(RAW_PREFIX, event, written_at, body), body)


def rejected_object(
    interpreted: Interpreted, event: KinesisEvent, written_at: datetime
) -> ObjectToWrite | None:
    """The object for the rejected zone, or None if nothing was rejected."""
    if not interpreted.rejections:
        return None
    body = parquet_of(rejected_table(interpreted.rejections))
    return ObjectToWrite(_key(REJECTED_PREFIX, event, written_at, body), body)


def arrival_time_of(record: KinesisRecord) -> int:
    """Microseconds since 1970 at which the stream took the record."""
    return round(record["kinesis"]["approximateArrivalTimestamp"] * MICROSECONDS_PER_SECOND)


def _key(prefix: str, event: KinesisEvent, written_at: datetime, body: bytes) -> str:
    records = event["Records"]
    first, last = records[0]["eventID"], records[-1]["eventID"]
    return object_key(prefix, written_at, first, last, digest_of(body))
