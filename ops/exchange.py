"""One raw object in the place of another: written by a tool, exchanged in the ledger by the job.

The new object lies in the old one's folder, under the old one's name with a digest of its own; so
a closed hour keeps all that was written in it, and whoever writes the same object again writes
nothing new. Its footer names the object that it replaces, so that no object comes back under a key
that was superseded, though its rows are those of an earlier one.

It is written before the job is told, and the old one counts until the job has committed the
exchange. Killed anywhere, at least one of the two counts, and it may be both: a scheduled run takes
a new object that lies within its look-back. A reading that has the same event id in both stands
once all the same; one that has another id by a mended contract stands twice until the command is
run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from botocore.exceptions import ClientError
from pyiceberg.exceptions import NoSuchTableError

from telemetry_contract.parquet import parquet_of
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pyiceberg.catalog import Catalog

# Under it the job's role may read, and no table lies there.
PREFIX: Final = "curated/exchanges/"
_DIGEST_CHARACTERS: Final = 16
_PRECONDITION_FAILED: Final = 412
# Of Parquet's key-value metadata, which no reader of rows looks at.
_REPLACES: Final = "in_the_place_of"


@dataclass(frozen=True)
class Exchange:
    """Which raw object goes, and which comes for it: None where no row is left."""

    old: str
    new: str | None = None
    size: int | None = None
    rows: int | None = None


def object_in_place_of(key: str, rows: pa.Table) -> tuple[str, bytes]:
    """The key and the bytes of what takes the place of an object."""
    body = parquet_of(rows, {_REPLACES: key})
    return _key_beside(key, body), body


def rejected_object_of(key: str, rows: pa.Table) -> tuple[str, bytes]:
    """The key and the bytes of what a raw object's records leave in the rejected zone."""
    body = parquet_of(rows)
    return _key_beside(REJECTED_PREFIX + key.removeprefix(RAW_PREFIX), body), body


def _key_beside(key: str, body: bytes) -> str:
    return f"{key.rpartition('-')[0]}-{sha256(body).hexdigest()[:_DIGEST_CHARACTERS]}.parquet"


def put_once(s3: S3Client, bucket: str, key: str, body: bytes) -> None:
    """Store an object whose key has the digest of its bytes, unless it is there."""
    try:
        s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=body,
            Metadata={"sha256": sha256(body).hexdigest()},
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != _PRECONDITION_FAILED:
            raise


def write_list(s3: S3Client, bucket: str, exchanges: Iterable[Exchange], now: datetime) -> str:
    """Write the list that the job reads; gives its URI."""
    lines = [
        json.dumps({**vars(each), "last_modified": now.isoformat() if each.new else None}) + "\n"
        for each in exchanges
    ]
    key = f"{PREFIX}{now:%Y%m%dT%H%M%S%fZ}.json"
    s3.put_object(Bucket=bucket, Key=key, Body="".join(lines).encode())
    return f"s3://{bucket}/{key}"


def superseded_keys(catalogue: Catalog, database: str) -> frozenset[str]:
    """The raw objects that no longer count, since others are in their place."""
    try:
        ledger = catalogue.load_table((database, "curation_ledger"))
    except NoSuchTableError:
        return frozenset()
    scan = ledger.scan(row_filter="status = 'superseded'", selected_fields=("object_key",))
    return frozenset(scan.to_arrow_batch_reader().read_all().column("object_key").to_pylist())
