"""What is known of erasures, for whoever must not bring the erased back or miss it.

Small objects in the curated zone, under `curated/erasures/<database>/`. A tombstone says which
device was erased and until which arrival, and names it by a digest: the id itself would be one more
place that holds it. Beside them lie the places in the stream of the records that an erasure took
out of the zones, so that an audit does not take them for lost; they tell of no device.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Where the job looks for it, from its catalogue's warehouse.
PREFIX: Final = "curated/erasures/"

type Tombstones = Mapping[str, datetime]


def digest_of(device: str) -> str:
    """How a tombstone names a device; the job reckons the same in Spark."""
    return sha256(device.encode()).hexdigest()


def is_erased(tombstones: Tombstones, device: str, arrived: datetime) -> bool:
    """Whether what a device sent, and arrived then, is erased."""
    until = tombstones.get(digest_of(device)) if tombstones else None
    return until is not None and arrived < until


@dataclass(frozen=True)
class Erasures:
    """The erasures of one stack. A bucket may belong to several; a database belongs to one."""

    s3: S3Client
    bucket: str
    database: str

    def tombstones(self) -> Tombstones:
        """The devices that are erased, by digest, each with the arrival until which it is."""
        found: dict[str, datetime] = {}
        for key in self._keys(".json"):
            told = json.loads(self._read(key))
            until = datetime.fromisoformat(told["until"])
            found[told["device_digest"]] = max(until, found.get(told["device_digest"], until))
        return found

    def bury(self, device: str, until: datetime) -> None:
        """Write a device's tombstone; the same one again changes nothing."""
        digest = digest_of(device)
        told = {"device_digest": digest, "until": until.astimezone(UTC).isoformat()}
        name = f"{digest[:16]}-{until.astimezone(UTC):%Y%m%dT%H%M%S%fZ}.json"
        self.s3.put_object(
            Bucket=self.bucket, Key=self._folder + name, Body=json.dumps(told).encode()
        )

    def positions(self) -> Iterator[str]:
        """The places, `<shard>:<sequence>`, of records that erasures took out of the zones."""
        for key in self._keys(".parquet"):
            yield from pq.read_table(BytesIO(self._read(key))).column("position").to_pylist()

    def note_positions(self, positions: Iterable[str]) -> None:
        """Note that the records at these places are no longer in the zones."""
        places = sorted(set(positions))
        if places:
            body = BytesIO()
            pq.write_table(pa.table({"position": places}), body, compression="zstd")
            key = f"{self._folder}positions/{uuid.uuid4().hex}.parquet"
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body.getvalue())

    @property
    def _folder(self) -> str:
        return f"{PREFIX}{self.database}/"

    def _keys(self, suffix: str) -> Iterator[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._folder
        )
        for page in pages:
            yield from (
                one["Key"] for one in page.get("Contents", []) if one["Key"].endswith(suffix)
            )

    def _read(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body
