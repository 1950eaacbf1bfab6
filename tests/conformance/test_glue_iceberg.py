"""Several writers on one Iceberg table, through the local catalogue and S3: none loses anything."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from moto.glue.models import glue_backends
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from local.api import ACCESS_KEY, ACCOUNT_ID, REGION, Api, ApiError, Operation
from local.glue.glue import Glue
from tests.conformance import glue_pages as pages
from tests.loopback import client_of, empty_moto, served

WRITERS: Final = 4
APPENDS: Final = 2
TABLE: Final = ("iot_data_db", "readings")
WAIT_SECONDS: Final = 60.0


@dataclass
class Crossroads:
    """UpdateTable, where the first commit of each writer waits until all have come so far.

    So each of them has read the same version, and only one may win.
    """

    update: Operation
    refusals: list[str] = field(default_factory=list)
    _barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(WRITERS))
    _expected: int = WRITERS
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: dict[str, Any]) -> Any:
        with self._lock:
            waits, self._expected = self._expected > 0, self._expected - 1
        if waits:
            self._barrier.wait(WAIT_SECONDS)
        try:
            return self.update(request)
        except ApiError as error:
            self.refusals.append(error.code)
            raise


@dataclass(frozen=True)
class Lake:
    """A catalogue with one table, as each writer sees it over HTTP."""

    endpoint: str
    crossroads: Crossroads

    def catalogue(self) -> Catalog:
        return load_catalog(
            "glue",
            type="glue",
            **{
                "glue.endpoint": self.endpoint,
                "s3.endpoint": self.endpoint,
                "client.region": REGION,
                "client.access-key-id": ACCESS_KEY,
                "client.secret-access-key": ACCESS_KEY,
            },
        )


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    moto = empty_moto()
    tables = glue_backends[ACCOUNT_ID][REGION]
    with served(moto) as parts:
        s3, glue = client_of(parts, "s3"), client_of(parts, "glue")
        operations = Glue(s3, glue, tables, _no_script, tmp_path).operations()
        crossroads = Crossroads(operations["AWSGlue.UpdateTable"])
        operations["AWSGlue.UpdateTable"] = crossroads
        with served(Api(operations, [], {}, moto)) as endpoint:
            s3.create_bucket(Bucket="curated")
            glue.create_database(
                DatabaseInput={"Name": TABLE[0], "LocationUri": "s3://curated/iot_data_db.db"}
            )
            yield Lake(endpoint, crossroads)


def _no_script(
    script: Path, arguments: Mapping[str, str], log: Path, stopping: threading.Event
) -> int:
    raise AssertionError("no job runs here")


def append_until_acknowledged(table: Table, event_id: str) -> None:
    """Append one row as a user would: after a conflict, refresh and try again."""
    rows = pa.table({"event_id": [event_id]})
    while True:
        try:
            return table.append(rows)
        except CommitFailedException:
            table.refresh()


def snapshots_from_the_newest(table: Table) -> list[int]:
    """The snapshots that the table's present state is built on, its own first."""
    found, snapshot = [], table.current_snapshot()
    while snapshot is not None:
        found.append(snapshot.snapshot_id)
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
    return found


@pytest.mark.documented(pages.ICEBERG_CONCURRENCY)
@pytest.mark.parametrize("retries", ["0", "4"], ids=["by the writer", "by the library"])
def test_every_acknowledged_append_of_writers_at_once_is_in_the_table_exactly_once(
    lake: Lake, retries: str
) -> None:
    lake.catalogue().create_table(
        TABLE,
        pa.schema([("event_id", pa.string())]),
        properties={"commit.retry.num-retries": retries, "commit.retry.min-wait-ms": "10"},
    )

    def write(writer: int) -> None:
        table = lake.catalogue().load_table(TABLE)
        for number in range(APPENDS):
            append_until_acknowledged(table, f"{writer}-{number}")

    run_at_once(write)
    table = lake.catalogue().load_table(TABLE)
    appended = [f"{writer}-{number}" for writer in range(WRITERS) for number in range(APPENDS)]
    assert Counter(table.scan().to_arrow()["event_id"].to_pylist()) == Counter(appended)
    assert len(snapshots_from_the_newest(table)) == len(table.snapshots()) == len(appended)
    # All but one of those who met at the crossroads were sent back.
    assert lake.crossroads.refusals.count("ConcurrentModificationException") >= WRITERS - 1


def run_at_once(write: Callable[[int], None]) -> None:
    """Run all writers side by side; what one of them raises fails the test."""
    with ThreadPoolExecutor(WRITERS) as writers:
        for outcome in [writers.submit(write, writer) for writer in range(WRITERS)]:
            outcome.result()
