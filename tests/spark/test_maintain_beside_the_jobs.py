"""Maintenance between the runs of the other jobs: none of them notices."""

import itertools
from datetime import timedelta
from pathlib import Path

from pyspark.sql import SparkSession

import maintain_tables
import summarise_devices
from tests.spark.lake import NOON, Lake, raw_row

_databases = itertools.count()


def maintain(lake: Lake) -> maintain_tables.Report:
    """A run a month later, when all snapshots are old; Iceberg compares files with the real time,
    so none is old enough to be an orphan."""
    arguments = ["--database", lake.database, "--catalog", "lake", "--min_snapshots", "1"]
    arguments += [
        "--min_small_files",
        "2",
        "--now",
        "2027-12-31T00:00:00+00:00",
        "--orphan_age_hours",
        "100000",
    ]
    settings = maintain_tables.parse_arguments(arguments)
    return maintain_tables.maintain(maintain_tables.Job(lake.spark, settings))


def summarise(lake: Lake) -> summarise_devices.Account:
    lake.now += timedelta(minutes=1)
    arguments = ["--database", lake.database, "--catalog", "lake", "--now", lake.now.isoformat()]
    settings = summarise_devices.parse_arguments(arguments)
    return summarise_devices.summarise(summarise_devices.Job(lake.spark, settings))


def test_the_other_jobs_go_on_where_they_were(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path / "raw", f"beside_{next(_databases)}")
    rows = [raw_row(sequence=n, temperature=20.0) for n in range(3)]
    early = raw_row(event_time=NOON - timedelta(days=9), temperature=7.0)
    lake.put(early)
    for row in rows[:2]:
        lake.put(row)
        lake.run()
    summarise(lake)
    lake.put(rows[2])
    lake.run()  # not summarised yet
    before = lake.readings("event_id", "run_id")
    accounts = lake.accounts()

    report = maintain(lake)
    assert report.troubles == report.conflicts == []
    assert report.tables["readings"]["files_rewritten"] == 3
    assert report.tables["readings"]["snapshots_expired"] > 0
    assert report.tables["curation_ledger"]["files_rewritten"] == 2
    assert lake.readings("event_id", "run_id") == before
    assert lake.accounts() == accounts

    # The summary finds the day that changed; anew it would be both.
    assert summarise(lake).days == 1
    assert summarise(lake).days == 0
    # What comes again is known, in the ledger and by its id.
    assert lake.run().objects == 0
    lake.put(*rows, early)
    again = lake.run()
    assert (again.curated, again.duplicates) == (0, 4)
    assert lake.readings("event_id", "run_id") == before
