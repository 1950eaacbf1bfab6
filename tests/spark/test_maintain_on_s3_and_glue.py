"""The script as it is deployed: spark-submit, S3, the Glue catalogue; killed in mid-rewrite."""

import itertools
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.glue.models import GlueBackend
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from pyiceberg.types import NestedField, StringType, TimestamptzType

import maintain_tables as job
from local.glue.spark import submit
from tests.loopback import client_of
from tests.spark.test_on_s3_and_glue import CONF, catalogue

SCRIPT = Path(job.__file__)
BUCKET, DATABASE = "spark-curated", "spark_maintained"
DAY = datetime.now(UTC).replace(hour=12) - timedelta(days=5)
SCHEMA = pa.schema({"device_id": pa.string(), "event_time": pa.timestamp("us", "UTC")})
ARGUMENTS = {
    "--database": DATABASE,
    "--orphan_interval_days": "0",
    "--datalake-formats": "iceberg",
    "--conf": CONF,
    "--JOB_NAME": "maintain-tables",
}


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def table_with_small_files(endpoint: str) -> Table:
    """Two days with six files each, written by another writer than Spark."""
    tables = catalogue(endpoint)
    tables.create_namespace(DATABASE)
    columns = (
        NestedField(1, "device_id", StringType(), required=False),
        NestedField(2, "event_time", TimestamptzType(), required=False),
    )
    by_day = PartitionField(2, 1000, DayTransform(), "event_time_day")
    table = tables.create_table(
        f"{DATABASE}.readings",
        Schema(*columns),
        location=f"s3://{BUCKET}/curated/{DATABASE}.db/readings",
        partition_spec=PartitionSpec(by_day),
        properties={"format-version": "2", **job.METADATA_PROPERTIES},
    )
    for number, start in itertools.product(range(6), (DAY, DAY + timedelta(days=1))):
        times = [start + timedelta(minutes=minute) for minute in range(0, 200, 10)]
        rows = {"device_id": [f"device-{number}"] * len(times), "event_time": times}
        path = f"{table.location()}/data/{start:%F}-{number}.parquet"
        with table.io.new_output(path).create() as output:
            pq.write_table(pa.table(rows, schema=SCHEMA), output)
        table.add_files([path])
    return table


def run(endpoint: str, log: Path, stopping: threading.Event | None = None) -> dict[str, Any]:
    """What a run tells; one that is killed tells nothing."""
    exit_code = submit(SCRIPT, ARGUMENTS, log, stopping or threading.Event(), endpoint=endpoint)
    text = log.read_text()
    if stopping:
        assert exit_code != 0, text
        return {}
    assert exit_code == 0, text
    told: dict[str, Any] = json.loads(text.splitlines()[-1])["maintenance"]
    return told


def content(table: Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.refresh().scan().to_arrow().to_pylist()
    return sorted(rows, key=str)


def data_files(endpoint: str) -> set[str]:
    prefix = f"curated/{DATABASE}.db/readings/data/"
    listed = client_of(endpoint, "s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return {entry["Key"] for entry in listed["Contents"]}


def make_everything_old() -> None:
    for key in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys.values():
        key.last_modified -= timedelta(days=4)


def test_a_run_killed_in_the_middle_of_a_rewrite_leaves_the_rows_and_the_next_completes_it(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_of(endpoint, "s3").create_bucket(Bucket=BUCKET)
    table = table_with_small_files(endpoint)
    before, files = content(table), data_files(endpoint)
    scan = table.refresh().scan()
    list(scan.plan_files())
    assert len(files) == 12

    stopping, killed = threading.Event(), threading.Event()

    def kill_instead(*_: Any, **__: Any) -> None:
        stopping.set()  # the files of the rewrite are there, its commit is not
        killed.wait()
        raise RuntimeError("nobody listens any more")

    with monkeypatch.context() as patch:
        patch.setattr(GlueBackend, "update_table", kill_instead)
        run(endpoint, tmp_path / "killed.log", stopping)
        killed.set()
    assert stopping.is_set()
    left = data_files(endpoint) - files
    assert left
    assert content(table) == before

    told = run(endpoint, tmp_path / "whole.log")
    assert content(table) == before
    assert (
        told["tables"]["readings"].items()
        >= {
            "days_compacted": 2,
            "files_rewritten": 12,
            "files": 2,
            "files_per_day": 1.0,
            "snapshots_expired": 0,
            "orphan_files_removed": 0,
        }.items()
    )
    assert {"seconds", "conflicts", "days_left", "troubles"} <= told.keys()
    assert {"bytes_per_file", "snapshots"} <= told["tables"]["readings"].keys()
    assert left < data_files(endpoint)  # young: they could be another writer's
    assert sorted(scan.to_arrow().to_pylist(), key=str) == before  # planned before all that

    make_everything_old()
    told = run(endpoint, tmp_path / "again.log")
    readings = told["tables"]["readings"]
    assert (readings["days_compacted"], readings["files"]) == (0, 2)
    assert readings["orphan_files_removed"] >= len(left)
    assert not left & data_files(endpoint)
    assert content(table) == before
    assert sorted(scan.to_arrow().to_pylist(), key=str) == before
