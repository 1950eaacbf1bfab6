"""The device in the raw, rejected and failed zone: where it is, and what takes its place.

Nothing is changed by looking. `Holding` says of each object version whether it goes as it is, or
what comes for it first.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ops import failed_zone
from ops.erase.device import (
    is_rejected_row_of,
    payload_without_device,
    without_device,
)
from ops.erase.versions import Version, each_read, list_versions, read_version
from ops.exchange import object_in_place_of
from ops.rejected_zone import RejectedRow
from ops.stack import Stack
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ZONES: Final = ("raw", "rejected", "failed")
# No stream keeps a record for longer, so no audit asks for its place.
STREAM_KEEPS: Final = timedelta(days=366)
_REJECTED_COLUMNS: Final = list(RejectedRow.__dataclass_fields__)


@dataclass(frozen=True)
class Target:
    """Which device, and until which arrival."""

    device: str
    until: datetime


@dataclass(frozen=True)
class Holding:
    """An object version that holds the device: how many rows or records of it, at which places in
    the stream, and what takes its place (None: nothing is left, or something else is there). Its
    `body` is there while it is written."""

    zone: str
    version: Version
    rows: int
    positions: tuple[str, ...] = ()
    new_key: str | None = None
    body: bytes | None = field(default=None, repr=False)
    size: int | None = None
    rows_left: int | None = None


@dataclass(frozen=True)
class Unread:
    """An object version that can't be read, so that nobody can tell whether it holds the device."""

    zone: str
    version: Version


@dataclass(frozen=True)
class Passing:
    """Rows of other devices, in an object, that the device sent; they stay."""

    rows: int


type Found = Holding | Unread | Passing


@dataclass(frozen=True)
class Search:
    """Looks through the zones. `superseded`: the raw objects in whose place others are."""

    s3: S3Client
    stack: Stack
    target: Target
    superseded: frozenset[str]
    progress: Callable[[str], None]

    def run(self) -> Iterator[Found]:
        """All that is found, object by object."""
        for zone, bucket, prefix, read in (
            ("raw", self.stack.raw_zone_bucket, RAW_PREFIX, self._raw),
            ("rejected", self.stack.rejected_zone_bucket, REJECTED_PREFIX, self._rejected),
            ("failed", self.stack.failed_zone_bucket, failed_zone.MAPPING_PREFIX, self._batch),
            ("failed", self.stack.failed_zone_bucket, failed_zone.RULE_PREFIX, self._message),
        ):
            versions = self._counted(zone, list_versions(self.s3, bucket, prefix))
            for found in each_read(versions, read):
                # What is to be written is made again then: no memory holds a lake.
                yield from (
                    replace(one, body=None) if isinstance(one, Holding) else one for one in found
                )

    def body_for(self, held: Holding) -> bytes | None:
        """What takes the place of a version: the same bytes as when it was found."""
        is_batch = held.version.key.startswith(failed_zone.MAPPING_PREFIX)
        reads = {
            "raw": self._raw,
            "rejected": self._rejected,
            "failed": self._batch if is_batch else self._message,
        }
        again = reads[held.zone](held.version)
        return next((one.body for one in again if isinstance(one, Holding)), None)

    def bucket_of(self, zone: str) -> str:
        """Where a zone is."""
        buckets = (
            self.stack.raw_zone_bucket,
            self.stack.rejected_zone_bucket,
            self.stack.failed_zone_bucket,
        )
        return dict(zip(ZONES, buckets, strict=True))[zone]

    def _counted(self, zone: str, versions: Iterator[Version]) -> Iterator[Version]:
        for number, version in enumerate(versions, start=1):
            self.progress(f"{zone} zone: {number:,} object versions")
            if not version.key.endswith("/"):
                yield version

    def _raw(self, version: Version) -> list[Found]:
        body = read_version(self.s3, self.stack.raw_zone_bucket, version)
        if body is None:
            return []
        try:
            rows = pq.read_table(BytesIO(body))
            told = rows.select(["device_id", "arrival_time", "record_id", "client_id", "topic"])
        except (pa.ArrowException, OSError, KeyError):
            return [Unread("raw", version)]
        is_device = pc.fill_null(pc.equal(told.column("device_id"), self.target.device), False)
        arrived = told.column("arrival_time").cast(pa.timestamp("us", tz="UTC"))
        is_before = pc.fill_null(pc.less(arrived, pa.scalar(self.target.until)), True)
        mask = pc.and_(is_device, is_before)
        found: list[Found] = []
        if passing := self._passed(told.filter(pc.invert(is_device))):
            found.append(Passing(passing))
        if gone := pc.sum(mask).as_py():
            left = rows.filter(pc.invert(mask))
            is_recent = pc.greater(arrived, pa.scalar(self.target.until - STREAM_KEEPS))
            recent = told.filter(pc.and_(mask, pc.fill_null(is_recent, False)))
            positions = tuple(_positions_of(recent.column("record_id")))
            found.append(self._in_place("raw", version, positions, gone, left))
        return found

    def _passed(self, others: pa.Table) -> int:
        """How many rows of other devices the device sent."""
        is_sender = pc.equal(others.column("client_id"), self.target.device)
        return int(pc.sum(pc.fill_null(is_sender, False)).as_py() or 0)

    def _rejected(self, version: Version) -> list[Found]:
        body = read_version(self.s3, self.stack.rejected_zone_bucket, version)
        if body is None:
            return []
        try:
            rows = pq.read_table(BytesIO(body))
            told = [RejectedRow(**row) for row in rows.select(_REJECTED_COLUMNS).to_pylist()]
        except (pa.ArrowException, OSError, KeyError, TypeError):
            return [Unread("rejected", version)]
        is_gone = [
            row.arrival_time < self.target.until and is_rejected_row_of(row, self.target.device)
            for row in told
        ]
        if not any(is_gone):
            return []
        left = rows.filter(pa.array([not gone for gone in is_gone]))
        positions = tuple(row.position for row, gone in zip(told, is_gone, strict=True) if gone)
        return [self._in_place("rejected", version, positions, sum(is_gone), left)]

    def _in_place(
        self, zone: str, version: Version, positions: tuple[str, ...], gone: int, left: pa.Table
    ) -> Holding:
        if not (len(left) and version.is_current) or version.key in self.superseded:
            return Holding(zone, version, gone, positions)
        key, body = object_in_place_of(version.key, left)
        return Holding(zone, version, gone, positions, key, body, len(body), len(left))

    def _batch(self, version: Version) -> list[Found]:
        """A batch that the mapping gave up on."""
        document = self._document(version)
        if document is None:
            return [Unread("failed", version)]
        if not isinstance(document.get("payload"), str):
            return []  # it tells of places in the stream only
        try:
            event = json.loads(document["payload"])
            parts = [(record, self._left_of(record)) for record in event["Records"]]
        except (ValueError, KeyError, TypeError):
            return [Unread("failed", version)]
        positions = tuple(record["eventID"] for record, left in parts if left is not None)
        if not positions:
            return []
        kept = [one for record, left in parts for one in ([record] if left is None else left)]
        if not (kept and version.is_current):
            return [Holding("failed", version, len(positions), positions)]
        payload = json.dumps({**event, "Records": kept}, separators=(",", ":"))
        body = json.dumps({**document, "payload": payload}, separators=(",", ":")).encode()
        return [Holding("failed", version, len(positions), positions, version.key, body)]

    def _left_of(self, record: dict[str, Any]) -> list[dict[str, Any]] | None:
        """The records that are left of one of a batch; None if the device is not in it."""
        kinesis = record["kinesis"]
        arrived = datetime.fromtimestamp(kinesis["approximateArrivalTimestamp"], UTC)
        left = without_device(base64.b64decode(kinesis["data"]), self.target.device)
        if left is None or arrived >= self.target.until:
            return None
        others = {**kinesis, "partitionKey": "others"}  # it may be the device's id
        return [
            {**record, "kinesis": {**others, "data": base64.b64encode(data).decode()}}
            for data in left
        ]

    def _message(self, version: Version) -> list[Found]:
        """A message that the rule could not deliver."""
        document = self._document(version) or {}
        try:
            payload = base64.b64decode(document["base64OriginalPayload"])
            topic, client = str(document["topic"]), str(document.get("clientId"))
        except (KeyError, TypeError, ValueError):
            return [Unread("failed", version)]
        left = payload_without_device(payload, self.target.device, topic, client)
        if left == payload:
            return []
        if left is None or not version.is_current:
            return [Holding("failed", version, 1)]
        told = {"base64OriginalPayload": base64.b64encode(left).decode()}
        body = json.dumps({**document, **told}, separators=(",", ":")).encode()
        return [Holding("failed", version, 1, (), version.key, body)]

    def _document(self, version: Version) -> dict[str, Any] | None:
        body = read_version(self.s3, self.stack.failed_zone_bucket, version)
        try:
            document = json.loads(body or b"")
        except ValueError:
            return None
        return document if isinstance(document, dict) else None


def _positions_of(record_ids: pa.ChunkedArray) -> Iterator[str]:
    return (one.rpartition(":")[0] for one in record_ids.to_pylist())
