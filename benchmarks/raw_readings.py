"""The readings of the job's benchmarks, drawn from a seed: the consumer's objects, and plain JSON.

One fleet in one dialect, every reading complete, so that the plain script of a tutorial is at its
best: it need not tell dialects apart, and drops nothing. The raw objects are the consumer's own
work: envelope, validation, columns, Parquet. The JSON is gzipped lines, one object for each of
ours, and there are two of it: `plain` is what a delivery stream makes of the readings, as the
devices sent them; `whole` is every column of the raw objects, as a consumer writes them that does
without Parquet.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
from base64 import b64encode
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

import curate_telemetry as job
from benchmarks.records import FIRST_SEQUENCE_NUMBER, SHARD
from ingest_telemetry.batch import (
    KinesisEvent,
    KinesisRecord,
    ObjectToWrite,
    decode_records,
    interpret_payloads,
    raw_object,
)
from telemetry_contract.limits import Limits
from telemetry_contract.zone_paths import RAW_PREFIX

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEVICES = 1_000
# Of a hundred readings one comes twice and one a day late.
COPIES = 0.01
LATE = 0.01


@dataclass(frozen=True)
class Written:
    """What was written: how often which reading was sent, and in how many bytes."""

    readings: int
    distinct: int
    objects: int
    raw_bytes: int
    plain_bytes: int
    whole_bytes: int


@dataclass
class FolderClient:
    """S3's listing over known keys: pages of a thousand, begun where it is told to. Sizes are those
    of the files in `folder`; of an object that is not there, 1 byte."""

    keys: list[str]
    folder: Path = Path()
    listed: int = 0
    requests: int = 0

    def get_paginator(self, _operation: str) -> FolderClient:
        return self

    # boto3 spells its arguments so.
    def paginate(self, *, Bucket: str, Prefix: str, StartAfter: str) -> Iterator[dict[str, Any]]:
        assert Bucket
        place = bisect_right(self.keys, StartAfter)
        while True:
            page = self.keys[place : place + 1_000]
            self.requests += 1
            self.listed += len(page)
            place += len(page)
            yield {
                "Contents": [
                    {"Key": key, "Size": self.size_of(key), "LastModified": NOON}
                    for key in page
                    if key.startswith(Prefix)
                ]
            }
            if place >= len(self.keys):
                return

    def size_of(self, key: str) -> int:
        path = self.folder / key
        return path.stat().st_size if path.exists() else 1


@dataclass(frozen=True)
class FolderZone(job.RawZone):
    """The raw zone in a folder; only keys that are read need be there."""

    client: FolderClient = field(default_factory=lambda: FolderClient([]))
    bucket: str = "folder"
    prefix: str = RAW_PREFIX
    folder: Path = Path()

    def uri(self, key: str) -> str:
        return f"file://{self.folder / key}"  # as_uri() would encode the = of the folders


@dataclass(frozen=True)
class Folders:
    """Where the readings are written: as raw objects, and where it is given as JSON too."""

    raw: Path
    plain: Path | None = None
    whole: Path | None = None


def write_readings(
    folders: Folders, hours: Sequence[datetime], readings: int, objects: int
) -> tuple[Written, list[str]]:
    """Write so many readings, in so many objects, for each hour; gives also the keys, sorted."""
    keys: list[str] = []
    sent, sizes, distinct = 0, Counter[str](), set[bytes]()
    for hour in hours:
        draw = random.Random(f"{hour:%Y%m%d%H}")
        lines = _lines(draw, hour, readings)
        distinct.update(line.body for line in lines)
        size = -(-len(lines) // objects)
        for part in itertools.batched(lines, size, strict=False):
            written = _raw_object(draw, sent, part, hour)
            _write(folders.raw / written.key, written.body)
            keys.append(written.key)
            sent += len(part)
            sizes["raw"] += len(written.body)
            # The folders and names of a delivery stream.
            name = hashlib.sha256(written.key.encode()).hexdigest()[:32]
            name = f"{hour:%Y/%m/%d/%H}/{name}.gz"
            if folders.plain:
                plain = gzip.compress(b"".join(line.body + b"\n" for line in part), 6)
                _write(folders.plain / name, plain)
                sizes["plain"] += len(plain)
            if folders.whole:
                whole = gzip.compress(_as_json(written.body), 6)
                _write(folders.whole / name, whole)
                sizes["whole"] += len(whole)
    written_in_all = Written(
        sent, len(distinct), len(keys), sizes["raw"], sizes["plain"], sizes["whole"]
    )
    return written_in_all, sorted(keys)


@dataclass(frozen=True)
class _Line:
    """A reading as a device sends it."""

    device: str
    body: bytes
    arrival: datetime


def _lines(draw: random.Random, hour: datetime, readings: int) -> list[_Line]:
    """An hour's readings, some of them twice."""
    lines = []
    for place in range(readings):
        arrival = hour + timedelta(seconds=3_600 * place / readings)
        lines.append(_Line(*_reading(draw, arrival), arrival))
    copies = draw.sample(lines, round(readings * COPIES))
    first = lines[: readings - len(copies)]
    return first + copies


def _raw_object(
    draw: random.Random, place: int, lines: Sequence[_Line], hour: datetime
) -> ObjectToWrite:
    event: KinesisEvent = {
        "Records": [_record(draw, place + number, line) for number, line in enumerate(lines)]
    }
    limits = Limits()
    interpreted = interpret_payloads(decode_records(event, limits), limits)
    assert not interpreted.rejections
    written = raw_object(interpreted, event, hour)
    assert written
    return written


def _as_json(body: bytes) -> bytes:
    """A raw object as lines: bytes as base64, times as ISO 8601, nothing for a null."""
    rows = pq.read_table(pa.BufferReader(body)).to_pylist(maps_as_pydicts="strict")
    return b"".join(
        msgspec.json.encode({name: value for name, value in row.items() if value is not None})
        + b"\n"
        for row in rows
    )


def _write(file: Path, body: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body)


def _reading(draw: random.Random, arrival: datetime) -> tuple[str, bytes]:
    device = f"device{draw.randrange(DEVICES):04}"
    delay = draw.uniform(3_600, 86_400) if draw.random() < LATE else draw.uniform(0.1, 5)
    at = arrival - timedelta(seconds=delay)
    # Written out: json.dumps would be most of the time.
    return device, (
        f'{{"device_id":"{device}","timestamp":"{at:%Y-%m-%dT%H:%M:%S.%f}",'
        f'"latitude":{37 + draw.random():.6f},"longitude":{-123 + draw.random():.6f},'
        f'"temperature":{draw.uniform(-10, 35):.2f},"humidity":{draw.uniform(10, 90):.2f},'
        f'"battery":{draw.uniform(20, 100):.1f},"status":"active"}}'
    ).encode()


def _record(draw: random.Random, place: int, line: _Line) -> KinesisRecord:
    device, body, arrival = line.device, line.body, line.arrival
    unique = f"{draw.getrandbits(128):032x}"
    ingest_id = f"{unique[:8]}-{unique[8:12]}-4{unique[13:16]}-8{unique[17:20]}-{unique[20:]}"
    envelope = (
        f'{{"payload_b64":"{b64encode(body).decode()}","topic":"dt/fleet/{device}/telemetry",'
        f'"client_id":"{device}","principal":"{hashlib.sha256(device.encode()).hexdigest()}",'
        f'"broker_time":{int(arrival.timestamp() * 1000) - 40},"ingest_id":"{ingest_id}"}}'
    ).encode()
    return {
        "eventID": f"{SHARD}:{FIRST_SEQUENCE_NUMBER + place}",
        "kinesis": {
            "data": b64encode(envelope).decode(),
            "approximateArrivalTimestamp": arrival.timestamp(),
        },
    }
