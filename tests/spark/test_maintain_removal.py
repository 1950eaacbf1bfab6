"""Nothing goes that a reader, another job or another writer may still need."""

import itertools
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable
from pyspark.sql import SparkSession

import maintain_tables as job
from tests.spark.tables_to_maintain import NOW, Tables, day

LATER = NOW + timedelta(days=30)  # when all that a test makes is old
_databases = itertools.count()


@pytest.fixture
def tables(spark: SparkSession, warehouse: Path) -> Tables:
    tables = Tables(spark, f"removal_{next(_databases)}", warehouse)
    tables.create()
    return tables


# At LATER nothing is old enough to be an orphan: Iceberg compares with the real time, too.
BY_AGE = ("--min_snapshots", "1", "--orphan_age_hours", "2400")


def newest_metadata(tables: Tables) -> str:
    versions = tables.folder().glob("metadata/v*.metadata.json")
    return str(max(versions, key=lambda path: int(path.name.split(".")[0][1:])))


# ---- snapshots ---------------------------------------------------------------------------------
def test_snapshots_expire_by_age_and_their_files_with_them(tables: Tables) -> None:
    tables.add(day(2), files=5)
    before = tables.content()
    tables.run_well(*BY_AGE)
    assert len(tables.snapshot_ids()) == 6
    figures = tables.run_well(*BY_AGE, now=LATER)["readings"]
    assert (figures["snapshots_expired"], figures["snapshots"]) == (5, 1)
    assert len(list(tables.folder().rglob("data/**/*.parquet"))) == 1
    assert tables.content() == before


def test_a_least_number_of_snapshots_is_kept_whatever_their_age(tables: Tables) -> None:
    tables.add(day(2), files=4)
    newest = tables.snapshot_ids()[-3:]
    tables.run_well(*BY_AGE, "--min_snapshots", "3", now=LATER)
    assert tables.snapshot_ids() == newest


def test_the_state_that_readers_began_on_stays_for_the_retention(tables: Tables) -> None:
    # A table at rest: its current snapshot is older than the retention, and has readers until now.
    tables.add(day(4), files=5)
    current = tables.snapshot_ids()[-1]
    tables.run_well(*BY_AGE, now=datetime.now(UTC), snapshot_age_hours=0)
    assert len(tables.snapshot_ids()) == 2  # the rewritten state, and what was current until now
    assert tables.snapshot_ids()[0] == current


@pytest.mark.parametrize("age", [120, 0])
def test_a_reader_that_planned_before_the_run_reads_on_after_it(tables: Tables, age: float) -> None:
    tables.add(day(4), files=5)
    before = tables.content()
    scan = StaticTable.from_metadata(newest_metadata(tables)).scan()
    planned = [Path(task.file.file_path.removeprefix("file:")) for task in scan.plan_files()]
    travel = tables.spark.read.option("versionAsOf", tables.snapshot_ids()[-1])
    rows = travel.table(tables.name("readings"))
    figures = tables.run_well(*BY_AGE, now=datetime.now(UTC), snapshot_age_hours=age)["readings"]
    assert figures["files"] == 1
    assert sum(pq.read_metadata(path).num_rows for path in planned) == len(before)
    assert scan.to_arrow().num_rows == len(before)
    assert sorted(map(str, rows.collect())) == before


@pytest.mark.parametrize("summary", ["device_hours", "device_latest"])
def test_snapshots_that_are_not_summarised_yet_stay(tables: Tables, summary: str) -> None:
    tables.add(day(2), files=5)
    tables.create(summary)
    old = tables.snapshot_ids()
    tables.add(day(2), summary, summary__readings_snapshot_id=old[2])
    tables.add(day(2), summary, files=2)  # a commit that tells nothing, as a rewrite's
    marked = tables.snapshot_ids(summary)
    figures = tables.run_well(*BY_AGE, now=LATER)
    assert tables.snapshot_ids()[:-1] == old[2:]  # the last is the rewrite
    assert figures["readings"]["snapshots_expired"] == 2
    assert tables.snapshot_ids(summary)[:3] == marked


@pytest.mark.parametrize("told", [{}, {"summary__readings_snapshot_id": 1}])
def test_all_snapshots_stay_while_it_is_not_known_what_is_summarised(
    tables: Tables, told: dict[str, int]
) -> None:
    tables.add(day(2), files=4)
    tables.create("device_hours")
    tables.add(day(2), "device_hours", **told)
    old = tables.snapshot_ids()
    tables.run_well(*BY_AGE, now=LATER)
    assert tables.snapshot_ids() == old


def test_the_last_curation_run_can_still_be_accounted_for(tables: Tables) -> None:
    tables.add(day(2), files=2)
    tables.add(day(2), curation__run_id="killed-before-its-account")
    tables.add(day(2), files=3)
    old = tables.snapshot_ids()
    tables.run_well(*BY_AGE, now=LATER)
    assert tables.snapshot_ids()[:-1] == old[1:]  # the account is made from it and its parent


def test_a_tagged_snapshot_stays(tables: Tables) -> None:
    tables.add(day(2), files=2)
    tagged = tables.snapshot_ids()[0]
    tables.spark.sql(
        f"ALTER TABLE {tables.name('readings')} CREATE TAG audit AS OF VERSION {tagged}"
    )
    tables.add(day(2), files=4)
    tables.run_well(*BY_AGE, now=LATER)
    tables.run_well(*BY_AGE, now=LATER)
    assert tagged in tables.snapshot_ids()


# ---- files -------------------------------------------------------------------------------------
def test_only_old_files_that_no_snapshot_knows_are_removed(tables: Tables) -> None:
    tables.add(day(2), files=5)
    tables.run_well()  # what it replaces is still known to snapshots
    before, scans = tables.content(), tables.about("all_data_files").count()
    tables.make_all_old()
    old = tables.put_file("data/event_time_day=2026-11-20/killed.parquet", timedelta(hours=73))
    young = tables.put_file("data/event_time_day=2026-11-20/writing.parquet", timedelta(hours=71))
    manifest = tables.put_file("metadata/killed-m0.avro", timedelta(days=9))
    sibling = tables.put_file("data/of-another-table.parquet", timedelta(days=9), "readings_copy")
    figures = tables.run_well("--orphan_interval_days", "0")["readings"]
    assert figures["orphan_files_removed"] == 2
    assert [file.exists() for file in (old, manifest, young, sibling)] == [False, False, True, True]
    assert tables.content() == before
    assert tables.about("all_data_files").count() == scans
    for snapshot in tables.snapshot_ids():
        frame = tables.spark.read.option("versionAsOf", snapshot).table(tables.name("readings"))
        frame.collect()


def test_another_writer_commits_after_the_run_what_it_wrote_before(tables: Tables) -> None:
    tables.add(day(2), files=5)
    tables.make_all_old()
    # As PyIceberg and others do: the data first, under a name of their own, the commit at its end.
    written = tables.folder() / f"data/00000-0-{uuid.uuid4()}.parquet"
    loaded = iceberg_table(tables)
    (committed, *_) = loaded.currentSnapshot().addedDataFiles(loaded.io())
    shutil.copyfile(committed.location().removeprefix("file:"), written)
    figures = tables.run_well()["readings"]
    assert (figures["orphan_files_removed"], figures["files_rewritten"]) == (0, 5)
    rows = len(tables.content())
    data_files = iceberg(tables).DataFiles
    own = data_files.builder(loaded.spec()).copy(committed).withPath(str(written)).build()
    loaded.newAppend().appendFile(own).commit()
    assert len(tables.content()) == rows + committed.recordCount()


def iceberg(tables: Tables) -> Any:
    """Iceberg's own classes, in the tests' Java."""
    java = tables.spark._jvm
    assert java is not None
    return java.org.apache.iceberg


def iceberg_table(tables: Tables) -> Any:
    return iceberg(tables).spark.Spark3Util.loadIcebergTable(
        tables.spark._jsparkSession, tables.name("readings")
    )


def test_the_folder_is_listed_only_once_in_a_while(tables: Tables) -> None:
    age = ("--orphan_age_hours", "240")
    tables.add(day(2))
    tables.run_well(*age)
    orphan = tables.put_file("data/killed.parquet", timedelta(days=20))
    tables.run_well(*age, now=NOW + timedelta(days=6, hours=23))
    assert orphan.exists()
    tables.run_well(*age, now=NOW + timedelta(days=7))
    assert not orphan.exists()


def test_old_versions_of_the_metadata_are_left_to_iceberg(tables: Tables) -> None:
    tables.run_well()
    properties = job.properties_of(job_of(tables), "readings")
    assert properties.items() >= job.METADATA_PROPERTIES.items()
    # What the table's owner has set stays.
    job.set_properties(job_of(tables), "readings", {"write.metadata.previous-versions-max": "7"})
    tables.run_well()
    properties = job.properties_of(job_of(tables), "readings")
    assert properties["write.metadata.previous-versions-max"] == "7"


def job_of(tables: Tables) -> job.Job:
    given = ["--database", tables.database, "--catalog", "lake"]
    return job.Job(tables.spark, job.parse_arguments(given))
