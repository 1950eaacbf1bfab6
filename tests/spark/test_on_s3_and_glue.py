"""The script as it is deployed: spark-submit, S3 through S3A, the Glue catalogue; killed once."""

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog, load_catalog

import curate_telemetry as job
from local.glue.spark import REGION, submit
from telemetry_contract.raw_schema import RAW_SCHEMA
from telemetry_contract.zone_paths import RAW_PREFIX, hour_folder
from tests.loopback import client_of, empty_moto, served
from tests.spark.lake import NOON, FolderRawZone, raw_row

SCRIPT = Path(job.__file__)
DEADLINE_SECONDS = 300

# As the template gives it: the first pair bare, the rest chained.
CONF = (
    "spark.sql.extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions "
    "--conf spark.sql.catalog.glue_catalog=org.apache.iceberg.spark.SparkCatalog "
    "--conf spark.sql.catalog.glue_catalog.catalog-impl=org.apache.iceberg.aws.glue.GlueCatalog "
    "--conf spark.sql.catalog.glue_catalog.io-impl=org.apache.iceberg.aws.s3.S3FileIO "
    "--conf spark.sql.catalog.glue_catalog.warehouse=s3://spark-curated/curated/"
)
ARGUMENTS = {
    "--raw_zone_bucket": "spark-raw",
    "--raw_prefix": RAW_PREFIX,
    "--database": "spark_iot",
    "--catalog": "glue_catalog",
    "--datalake-formats": "iceberg",
    "--conf": CONF,
    "--enable-metrics": "",
    "--JOB_NAME": "curate-telemetry",
}


@pytest.fixture
def endpoint() -> Iterator[str]:
    with served(empty_moto()) as running:
        yield running


def catalogue(endpoint: str) -> Catalog:
    keys = {"access-key-id": "testing", "secret-access-key": "testing", "region": REGION}
    return load_catalog(
        "lake",
        type="glue",
        **{
            f"{service}.{name}": value
            for service in ("glue", "s3")
            for name, value in (keys | {"endpoint": endpoint}).items()
        },
    )


def put(s3: Any, name: str, rows: list[dict[str, Any]] | bytes) -> None:
    if isinstance(rows, bytes):
        content = rows
    else:
        columns = {column: [row.get(column) for row in rows] for column in RAW_SCHEMA.names}
        sink = io.BytesIO()
        pq.write_table(pa.table(columns, schema=RAW_SCHEMA), sink, compression="zstd")
        content = sink.getvalue()
    key = f"{hour_folder(RAW_PREFIX, NOON)}shardId-000000000000-{name}.parquet"
    s3.put_object(Bucket="spark-raw", Key=key, Body=content)


def test_a_run_stopped_before_its_commit_is_made_good_by_the_next(
    endpoint: str, tmp_path: Path
) -> None:
    s3, glue = client_of(endpoint, "s3"), client_of(endpoint, "glue")
    s3.create_bucket(Bucket="spark-raw")
    s3.create_bucket(Bucket="spark-curated")
    # A location that the catalogue would take before its warehouse.
    elsewhere = {"Name": "spark_iot", "LocationUri": "s3://spark-elsewhere/database"}
    s3.create_bucket(Bucket="spark-elsewhere")
    glue.create_database(DatabaseInput=elsewhere)
    many = [raw_row(f"device-{n % 50}", temperature=20.0, sequence=n) for n in range(1_000)]
    put(s3, "1-2", many)
    put(s3, "2-3", [*many[500:], raw_row("late", NOON, temperature=1.0), raw_row("nothing")])
    put(s3, "3-4", b"no Parquet at all")

    stopping = threading.Event()
    stopper = threading.Thread(target=stop_after_plan, args=(glue, stopping))
    stopper.start()
    log = tmp_path / "stopped.log"
    assert submit(SCRIPT, ARGUMENTS, log, stopping, endpoint=endpoint) != 0
    stopper.join()
    assert stopping.is_set()

    log = tmp_path / "whole.log"
    exit_code = submit(SCRIPT, ARGUMENTS, log, threading.Event(), endpoint=endpoint)
    text = log.read_text()
    assert exit_code == 0, text
    account = json.loads(text.splitlines()[-1])["account"]
    own = ("INFO run ", "INFO readings", "WARNING run ", "ERROR set aside ", '{"account"')
    assert [line for line in text.splitlines() if not line.startswith(own)] == []

    entries = glue.get_tables(DatabaseName="spark_iot")["TableList"]
    assert {entry["StorageDescriptor"]["Location"] for entry in entries} == {
        f"s3://spark-curated/curated/spark_iot.db/{name}"
        for name in ("readings", "curation_runs", "curation_ledger", "device_registry")
    }
    assert s3.list_objects_v2(Bucket="spark-elsewhere")["KeyCount"] == 0
    tables = catalogue(endpoint)
    readings = tables.load_table("spark_iot.readings").scan().to_arrow()
    assert readings.num_rows == len(set(readings["event_id"].to_pylist())) == 1_001
    runs = tables.load_table("spark_iot.curation_runs").scan().to_arrow().to_pylist()
    assert account["run_id"] in {run["run_id"] for run in runs}
    total = {
        name: sum(run[name] for run in runs)
        for name in ("rows_in", "curated", "duplicates", "dropped", "objects", "objects_set_aside")
    }
    assert total == {
        "rows_in": 1_502,
        "curated": 1_001,
        "duplicates": 500,
        "dropped": 1,
        "objects": 3,
        "objects_set_aside": 1,
    }
    ledger = tables.load_table("spark_iot.curation_ledger").scan().to_arrow()
    assert sorted(ledger["status"].to_pylist()) == ["curated", "curated", "set_aside"]
    assert len(set(ledger["object_key"].to_pylist())) == 3

    # A replay of the day finds it as it is: tried, it says so and writes nothing.
    tried = ARGUMENTS | {"--replay_days": f"{NOON:%Y-%m-%d}", "--dry_run": "true"}
    log = tmp_path / "tried.log"
    exit_code = submit(SCRIPT, tried, log, threading.Event(), endpoint=endpoint)
    text = log.read_text()
    assert exit_code == 0, text
    counts = json.loads(text.splitlines()[-1])["replay"]
    assert (counts["objects"], counts["rows_in"]) == (2, 1_502)
    unchanged = {"rows_now": 1_001, "rows_after": 1_001, "added": 0, "removed": 0, "changed": 0}
    assert counts["days"] == [{"day": f"{NOON:%Y-%m-%d}", **unchanged}]


def stop_after_plan(glue: Any, stopping: threading.Event) -> None:
    """Stop the run once its plan is committed: the ledger's metadata then has a second version."""
    deadline = threading.Event()
    for _ in range(DEADLINE_SECONDS * 10):
        deadline.wait(0.1)
        tables = glue.get_tables(DatabaseName="spark_iot")["TableList"]
        versions = {
            table["Name"]: table["Parameters"]["metadata_location"].rpartition("/")[2][:5]
            for table in tables
        }
        if versions.get("curation_ledger", "00000") > "00000":
            stopping.set()
            return


def test_the_zone_on_s3_and_the_folder_of_the_tests_behave_alike(
    endpoint: str, tmp_path: Path
) -> None:
    s3 = client_of(endpoint, "s3")
    s3.create_bucket(Bucket="spark-zone")
    folder = FolderRawZone(tmp_path)
    on_s3 = job.RawZone(s3, "spark-zone", RAW_PREFIX)
    keys = [
        f"{RAW_PREFIX}ingest_date=2026-11-24/ingest_hour={hour}/x.parquet"
        for hour in ("09", "10", "11")
    ]
    for key in keys:
        s3.put_object(Bucket="spark-zone", Key=key, Body=key.encode())
        (tmp_path / key).parent.mkdir(parents=True)
        (tmp_path / key).write_bytes(key.encode())
    for zone in (folder, on_s3):
        after_nine = f"{RAW_PREFIX}ingest_date=2026-11-24/ingest_hour=10"
        assert [raw.key for raw in zone.list_after(RAW_PREFIX)] == keys
        assert [raw.key for raw in zone.list_after(after_nine)] == keys[1:]
        (first, *_) = zone.list_after(RAW_PREFIX)
        assert first.size == len(keys[0])
        assert first.last_modified.tzinfo is not None
        assert zone.read(keys[0]) == keys[0].encode()
        assert zone.read("raw_data/gone") is None
    with pytest.raises(s3.exceptions.ClientError):
        job.RawZone(s3, "no-such-bucket", RAW_PREFIX).read(keys[0])
