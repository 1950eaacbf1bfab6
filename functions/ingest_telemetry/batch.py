"""What a batch becomes: records decoded, payloads interpreted, objects laid out.

Everything here depends on the event alone, except the hour in an object's key.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from pybase64 import b64decode

from ingest_telemetry.raw_zone import digest_of
from telemetry_contract.aggregation import MAGIC, de_aggregate
from telemetry_contract.columns import raw_table, readings_part, rejected_table, rejections_part
from telemetry_contract.decoding import decode_record
from telemetry_contract.fast_path import Proven, prove
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
    """A batch, split: each element of each of its records is in exactly one of the three."""

    proven: Proven
    readings: list[Reading]
    rejections: list[Rejection]

    @property
    def accepted(self) -> int:
        return self.proven.readings + len(self.readings)

    @property
    def flagged(self) -> int:
        return self.proven.flagged + sum(bool(reading.quality_flags) for reading in self.readings)

    @property
    def rejected_by_reason(self) -> Counter[str]:
        return Counter(rejection.reason.value for rejection in self.rejections)


def decode_records(event: KinesisEvent, limits: Limits) -> Iterator[Record | Rejection]:
    """Every record of the event, and of its aggregates; one at a time, as it is asked for."""
    for record in event["Records"]:
        kinesis = record["kinesis"]
        arrival_time = round(kinesis["approximateArrivalTimestamp"] * MICROSECONDS_PER_SECOND)
        # Strictly, and by position: naming `validate` costs as much again as the decoding.
        data = b64decode(kinesis["data"], None, True)
        # As `records_in`, without its call for each record.
        if data.startswith(MAGIC):
            yield from de_aggregate(record["eventID"], arrival_time, data, limits)
        else:
            yield decode_record(record["eventID"], arrival_time, data, limits)


def interpret_payloads(records: Iterable[Record | Rejection], limits: Limits) -> Interpreted:
    """Split what the records hold into accepted and rejected."""
    proven = prove(records, limits)
    readings: list[Reading] = []
    rejections: list[Rejection] = []
    for record in proven.left:
        if isinstance(record, Rejection):
            rejections.append(record)
            continue
        accepted, rejected = interpret(record, limits)
        readings += accepted
        rejections += rejected
    return Interpreted(proven, readings, rejections)


def raw_object(
    interpreted: Interpreted, event: KinesisEvent, written_at: datetime
) -> ObjectToWrite | None:
    """The object for the raw zone, or None if nothing was accepted."""
    if not interpreted.accepted:
        return None
    parts = list(interpreted.proven.parts)
    if interpreted.readings:
        parts.append(readings_part(interpreted.readings))
    body = parquet_of(raw_table(parts))
    return ObjectToWrite(_key(RAW_PREFIX, event, written_at, body), body)


def rejected_object(
    interpreted: Interpreted, event: KinesisEvent, written_at: datetime
) -> ObjectToWrite | None:
    """The object for the rejected zone, or None if nothing was rejected."""
    if not interpreted.rejections:
        return None
    body = parquet_of(rejected_table([rejections_part(interpreted.rejections)]))
    return ObjectToWrite(_key(REJECTED_PREFIX, event, written_at, body), body)


def ages_milliseconds(event: KinesisEvent, now: datetime) -> tuple[float, float]:
    """How long ago the stream took the oldest record, and the records on average."""
    arrivals = [record["kinesis"]["approximateArrivalTimestamp"] for record in event["Records"]]
    if not arrivals:
        return 0.0, 0.0
    seconds = now.timestamp()
    return (seconds - min(arrivals)) * 1_000, (seconds - sum(arrivals) / len(arrivals)) * 1_000


def _key(prefix: str, event: KinesisEvent, written_at: datetime, body: bytes) -> str:
    records = event["Records"]
    first, last = records[0]["eventID"], records[-1]["eventID"]
    return object_key(prefix, written_at, first, last, digest_of(body))
