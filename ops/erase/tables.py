"""The device in the curated tables: how many rows of it, and the files that outlive a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import NoSuchTableError

from ops.erase.versions import (
    Version,
    delete_versions,
    each_read,
    list_versions,
    read_version,
)
from ops.erase.zones import Target
from ops.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

# Which tables tell of devices, and by which time their rows came before an erasure; the job has the
# same list (a test compares them).
ERASED_FROM: Final = {
    "readings": "arrival_time",
    "late_readings": "arrival_time",
    "device_registry": "valid_from",
    "device_hours": None,
    "device_latest": None,
}


@dataclass(frozen=True)
class Tables:
    """A stack's curated tables."""

    s3: S3Client
    stack: Stack
    catalogue: Catalog
    progress: Callable[[str], None]

    def rows_of(self, target: Target) -> dict[str, int]:
        """How many rows each table has of the device, as far as they are to go."""
        return {name: self._rows(name, table, target) for name, table in self._tables()}

    def purge(self, target: Target) -> int:
        """Delete for good what the tables no longer need: every file that was deleted or replaced
        and is kept as an older version, and every file with rows of the device that no snapshot
        knows, as a killed run leaves it. One that was written since the erasure began may be a
        running job's, of what the device sends now, and stays. Gives how many."""
        deleted = 0
        for name, table in self._tables():
            self.progress(f"files of {name}")
            bucket, _, prefix = table.location().removeprefix("s3://").partition("/")
            versions = list(list_versions(self.s3, bucket, f"{prefix}/"))
            # After the listing: what was committed meanwhile is known.
            known = set(_files_of(table.refresh()))
            gone = [one for one in versions if not one.is_current]
            left = (
                one
                for one in versions
                if one.is_current
                and one.key.endswith(".parquet")
                and one.written < target.until
                and f"s3://{bucket}/{one.key}" not in known
            )

            def holding(one: Version, bucket: str = bucket) -> Version | None:
                body = read_version(self.s3, bucket, one)
                return one if body is not None and _holds(body, target.device) else None

            gone += each_read(left, holding)
            deleted += delete_versions(self.s3, bucket, gone)
        return deleted

    def _tables(self) -> Iterator[tuple[str, Table]]:
        for name in ERASED_FROM:
            try:
                yield name, self.catalogue.load_table((self.stack.database_name, name))
            except NoSuchTableError:
                continue

    def _rows(self, name: str, table: Table, target: Target) -> int:
        self.progress(f"table {name}")
        condition = f"device_id = '{target.device}'"
        column = ERASED_FROM[name]
        scan = table.scan(
            row_filter=condition, selected_fields=("device_id", *([column] if column else ()))
        )
        rows = 0
        for batch in scan.to_arrow_batch_reader():
            times = batch.column(column).to_pylist() if column else [None] * len(batch)
            rows += sum(time is None or time < target.until for time in times)
        return rows


def _files_of(table: Table) -> Iterator[str]:
    """The data files of all of a table's snapshots."""
    for snapshot in table.metadata.snapshots:
        for manifest in snapshot.manifests(table.io):
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file.file_path


def _holds(body: bytes, device: str) -> bool:
    try:
        column = pq.read_table(BytesIO(body), columns=["device_id"]).column("device_id")
    except (pa.ArrowException, OSError, KeyError):
        return False
    return device in set(column.to_pylist())
