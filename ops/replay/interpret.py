"""Interpret raw objects again: their payloads as they were stored, by the contract as it is now.

The contract's code is the consumer's, its limits are those of the deployed function. An object of
which anything reads differently is written anew: what is accepted now goes into an object in its
place, what is rejected into the rejected zone, with its reason. An object that reads as it did is
left alone, so that a second time there is nothing to do. Nothing is deleted; the job makes the
exchange (`ops.exchange`) and the readings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ops.exchange import Exchange, object_in_place_of, put_once, rejected_object_of
from ops.stack import Stack
from telemetry_contract.columns import (
    raw_table,
    readings_part,
    rejected_table,
    rejections_part,
)
from telemetry_contract.event_time import microseconds_of
from telemetry_contract.limits import Limits
from telemetry_contract.raw_schema import RAW_SCHEMA
from telemetry_contract.reading import Reading, interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection
from telemetry_contract.zone_paths import RAW_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What a mended contract may say of a row without reading it differently.
_NOT_COMPARED: Final = frozenset({"contract_version"})


@dataclass(frozen=True)
class Choice:
    """Which objects: those named, or those with rows of the device and of the days of event time,
    as they were read before; whatever is None or empty chooses all."""

    days: tuple[date, date] | None = None
    device: str | None = None
    objects: frozenset[str] = frozenset()

    def takes(self, key: str, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether an object is chosen: as a whole, since it is exchanged as a whole."""
        return (not self.objects or key in self.objects) and any(map(self._is_chosen, rows))

    def _is_chosen(self, row: Mapping[str, Any]) -> bool:
        day = row["event_time"].astimezone(UTC).date()
        return (self.days is None or self.days[0] <= day <= self.days[1]) and (
            self.device is None or row["device_id"] == self.device
        )


@dataclass
class Reread:
    """What interpreting again comes to: objects looked at, their rows, and of these how many read
    differently, and how many are rejected now, by reason; which object takes the place of which."""

    objects: int = 0
    rows: int = 0
    changed: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)


@dataclass(frozen=True)
class Interpretation:
    """Interprets the raw zone of a stack again. `superseded`: objects in whose place others are."""

    s3: S3Client
    stack: Stack
    limits: Limits
    superseded: frozenset[str]
    progress: Callable[[str], None]

    def run(self, choice: Choice, *, apply: bool) -> Reread:
        """Count what reads differently, object by object; with `apply` write what it reads as."""
        reread = Reread()
        for key in self._keys(choice):
            body = self.s3.get_object(Bucket=self.stack.raw_zone_bucket, Key=key)["Body"].read()
            rows = _rows_in(body)
            if rows is None:
                reread.unread.append(key)
            elif choice.takes(key, rows):
                reread.objects += 1
                reread.rows += len(rows)
                self._interpret(key, rows, reread, apply=apply)
                self.progress(f"raw zone: {reread.objects:,} objects, {reread.changed:,} changes")
        return reread

    def _keys(self, choice: Choice) -> Iterator[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.stack.raw_zone_bucket, Prefix=RAW_PREFIX
        )
        for page in pages:
            for one in page.get("Contents", []):
                key = one["Key"]
                is_named = not choice.objects or key in choice.objects
                if is_named and key.endswith(".parquet") and key not in self.superseded:
                    yield key

    def _interpret(
        self, key: str, rows: Sequence[Mapping[str, Any]], reread: Reread, *, apply: bool
    ) -> None:
        readings, rejections = interpreted(rows, self.limits)
        accepted = raw_table([readings_part(readings)]) if readings else None
        then = _by_record(rows)
        now = {} if accepted is None else _by_record(accepted.to_pylist(maps_as_pydicts="lossy"))
        changed = sum(now[place] != then.get(place) for place in now)
        if not (changed or rejections):
            return
        reread.changed += changed
        reread.rejected.update(one.reason.value for one in rejections)
        new = None if accepted is None else object_in_place_of(key, accepted)
        exchange = Exchange(key, new[0], len(new[1]), len(readings)) if new else Exchange(key)
        reread.exchanges.append(exchange)
        if not apply:
            return
        # The rejects first: a row is then in one zone more, never in one less.
        if rejections:
            rejected = rejected_object_of(key, rejected_table([rejections_part(rejections)]))
            put_once(self.s3, self.stack.rejected_zone_bucket, *rejected)
        if new:
            put_once(self.s3, self.stack.raw_zone_bucket, *new)


def interpreted(
    rows: Sequence[Mapping[str, Any]], limits: Limits
) -> tuple[list[Reading], list[Rejection]]:
    """What the contract makes of the payloads of raw rows."""
    readings: list[Reading] = []
    rejections: list[Rejection] = []
    for row in rows:
        accepted, rejected = interpret(record_of(row), limits)
        readings += accepted
        rejections += rejected
    return readings, rejections


def record_of(row: Mapping[str, Any]) -> Record:
    """The record of a raw row. Its payload is one reading's own bytes, and keeps its place."""
    position, _, place = row["record_id"].rpartition(":")
    return Record(
        position,
        microseconds_of(row["arrival_time"]),
        row["payload"],
        row["ingest_id"],
        _microseconds(row["broker_time"]),
        row["client_id"],
        row["principal"],
        row["topic"],
        int(place),
    )


def _rows_in(body: bytes) -> list[dict[str, Any]] | None:
    """The rows of a raw object; None if it is none."""
    try:
        table = pq.read_table(BytesIO(body))
        told = table.select([field.name for field in RAW_SCHEMA if not field.nullable])
        told.cast(pa.schema([RAW_SCHEMA.field(name) for name in told.column_names]))
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="lossy")
    return rows


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds_of(moment)


def _by_record(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows by their record ids, without what is empty: columns come and go with contracts."""
    return {
        row["record_id"]: {
            name: value
            for name, value in row.items()
            if name not in _NOT_COMPARED and value is not None and value not in ([], {})
        }
        for row in rows
    }
