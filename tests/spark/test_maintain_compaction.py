"""Compaction takes what is closed and has something to gain, and changes no row."""

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import maintain_tables as job
from tests.spark.tables_to_maintain import NOW, TODAY, Tables, day

_databases = itertools.count()


@pytest.fixture
def tables(spark: SparkSession, warehouse: Path) -> Tables:
    return Tables(spark, f"compaction_{next(_databases)}", warehouse)


def test_closed_days_become_one_sorted_file_each_and_the_running_day_is_left_alone(
    tables: Tables,
) -> None:
    tables.create()
    for before_midnight in (TODAY - timedelta(hours=1), TODAY, day(2)):
        tables.add(before_midnight, files=5)
    tables.add(day(3), files=4)  # too few to be worth it
    before = tables.content()
    figures = tables.run_well()["readings"]
    assert tables.files_by_day() == {0: 5, 1: 1, 2: 1, 3: 4}
    assert tables.content() == before
    assert (figures["days_compacted"], figures["files_rewritten"]) == (2, 10)
    assert (figures["files"], figures["days"], figures["files_per_day"]) == (11, 4, 2.75)
    compacted = tables.about("data_files").where("record_count = 20").select("file_path").collect()
    for file in compacted:
        rows = tables.spark.read.parquet(file.file_path).select("device_id", "event_time").collect()
        assert rows == sorted(rows)
    assert len(compacted) == 2


def test_a_second_run_does_nothing(tables: Tables) -> None:
    for table in ("readings", "late_readings", "device_hours", "device_latest"):
        tables.create(table)
    for table in ("readings", "late_readings", "device_hours"):
        tables.add(day(2), table, files=5, summary__readings_snapshot_id=1)
    tables.create("curation_ledger")
    for hour in range(7):
        tables.add(day(2) + timedelta(hours=hour), "curation_ledger")
    report = tables.run_well()
    assert [report[table]["files_rewritten"] for table in report] == [5, 5, 5, 0, 6]
    metadata = set(tables.warehouse.rglob(f"{tables.database}/**/v*.metadata.json"))
    again = tables.run_well(now=NOW + timedelta(minutes=5))
    changes = {figure: sum(one[figure] for one in again.values()) for figure in job.SUMMED[:3]}
    assert set(changes.values()) == {0}
    # Not even a version of the metadata.
    assert set(tables.warehouse.rglob(f"{tables.database}/**/v*.metadata.json")) == metadata


@pytest.mark.parametrize(("hours", "files"), [(3.9, 5), (4, 1)])
def test_a_day_is_closed_some_hours_after_its_end(tables: Tables, hours: float, files: int) -> None:
    tables.create()
    tables.add(TODAY - timedelta(hours=1), files=5)
    tables.run_well(now=TODAY + timedelta(hours=hours))
    assert tables.files_by_day() == {1: files}


def test_late_rows_are_taken_in_when_they_have_collected(tables: Tables) -> None:
    tables.create()
    tables.add(day(9), files=5)
    tables.run_well()
    tables.add(day(9), files=3)
    tables.run_well()
    assert tables.files_by_day() == {9: 4}
    tables.add(day(9))
    tables.run_well()
    assert tables.files_by_day() == {9: 1}


def test_a_run_takes_no_more_days_than_it_is_told_those_with_most_files_first(
    tables: Tables,
) -> None:
    tables.create()
    for number, files in ((4, 5), (3, 6), (2, 5)):
        tables.add(day(number), files=files)
    figures = tables.run_well("--max_days_per_run", "1")["readings"]
    assert tables.files_by_day() == {4: 5, 3: 1, 2: 5}
    assert figures["days_left"] == 2
    tables.run_well("--max_days_per_run", "1")
    assert tables.files_by_day() == {4: 1, 3: 1, 2: 5}


def lot(small: int, small_bytes: int) -> job.Lot:
    return job.Lot("", small, small, small_bytes)


@pytest.mark.parametrize(
    ("small", "megabytes", "gains"),
    [
        (5, 1, True),
        (4, 1, False),
        (2, 300, False),  # would become two again
        (6, 1_100, False),  # would become five
        (9, 1_200, True),
    ],
)
def test_files_are_rewritten_if_that_makes_fewer(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, small: int, megabytes: int, gains: bool
) -> None:
    monkeypatch.setattr(job, "closed_lots", lambda *_: [lot(small, megabytes * 2**20)])
    settings = job.parse_arguments(["--database", "unused"])
    assert bool(job.lots_to_rewrite(job.Job(tables.spark, settings), "readings")) is gains


def test_the_plan_of_the_last_curation_run_is_not_rewritten(tables: Tables) -> None:
    # The next run may have to delete it, and a delete whose file was replaced fails.
    tables.create("curation_ledger")
    for hour in range(6):
        tables.add(day(5) + timedelta(hours=hour), "curation_ledger")
    plan = tables.about("data_files", "curation_ledger").orderBy("readable_metrics.v.upper_bound")
    last_plan = plan.collect()[-1].file_path
    tables.run_well()
    left = {row.file_path for row in tables.about("data_files", "curation_ledger").collect()}
    assert last_plan in left
    assert len(left) == 2


def test_manifests_are_rewritten_when_there_are_many(tables: Tables) -> None:
    tables.create(properties=", 'commit.manifest-merge.enabled'='false'")
    tables.add(TODAY, files=job.MANY_MANIFESTS - 1)
    assert tables.run_well()["readings"]["manifests"] == job.MANY_MANIFESTS - 1
    tables.add(TODAY)
    before = tables.content()
    assert tables.run_well()["readings"]["manifests"] == 1
    assert tables.content() == before


class Session:
    """A Spark session that does something else first when it is told certain statements."""

    def __init__(self, spark: SparkSession, word: str, first: Callable[[], object]) -> None:
        self._spark, self._word, self._first = spark, word, first

    def sql(self, statement: str) -> Any:
        if self._word in statement:
            self._first()
        return self._spark.sql(statement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spark, name)


def failing(times: int, message: str) -> Callable[[], None]:
    left = iter(range(times))

    def fail() -> None:
        if next(left, None) is not None:
            raise PySparkException(message)

    return fail


CONFLICT = (
    "Cannot commit rewrite because of a ValidationException or CommitFailedException. This usually "
    "means that this rewrite has conflicted with another concurrent Iceberg operation."
)


def test_a_rewrite_that_conflicts_is_planned_anew(tables: Tables) -> None:
    tables.create()
    tables.add(day(2), files=5)
    report = tables.run(spark=Session(tables.spark, "rewrite_data_files", failing(1, CONFLICT)))
    assert (report.conflicts, report.troubles) == ([], [])
    assert tables.files_by_day() == {2: 1}


def test_a_rewrite_that_goes_on_conflicting_is_left_to_the_next_run_with_a_word(
    tables: Tables,
) -> None:
    tables.create()
    for number in (2, 3):
        tables.add(day(number), files=5)
    report = tables.run(spark=Session(tables.spark, "rewrite_data_files", failing(2, CONFLICT)))
    assert report.troubles == []
    (told,) = report.conflicts
    assert told.startswith("readings: compact: 1 days, the last: ")
    assert sorted(tables.files_by_day().values()) == [1, 5]  # the other day was done


def test_a_merge_while_days_are_rewritten_loses_no_row_and_does_not_fail(tables: Tables) -> None:
    tables.create()
    for number in (2, 3):
        tables.add(day(number), files=5)
    before = tables.content()
    writer = tables.spark.newSession()
    writer.conf.set("spark.sql.session.timeZone", "UTC")
    merged = iter(range(100, 200))

    def merge() -> None:
        for time in (day(2), day(3), TODAY):
            writer.sql(
                f"MERGE INTO {tables.name('readings')} t USING (SELECT 'late' device_id, "
                f"timestamp_seconds({int(time.timestamp())}) event_time, {next(merged)} v) s "
                "ON t.v = s.v WHEN NOT MATCHED THEN INSERT *"
            )

    in_between = Session(tables.spark, "rewrite_data_files", merge)
    report = tables.run(spark=in_between)
    assert report.troubles == []
    late = [row for row in tables.content() if "late" in row]
    assert len(late) == 6
    assert sorted({*tables.content()} - {*late}) == before


def test_a_failing_step_keeps_neither_the_other_steps_nor_the_other_tables_from_being_done(
    tables: Tables, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in ("readings", "late_readings", "device_hours"):
        tables.create(table)
        tables.add(day(2), table, files=5, summary__readings_snapshot_id=1)
    broken = tables.about("data_files", "late_readings").first()
    assert broken is not None
    Path(broken.file_path.removeprefix("file:")).write_bytes(b"no Parquet at all")
    given = ("--database", tables.database, "--catalog", "lake", "--now", NOW.isoformat())
    with pytest.raises(job.MaintenanceError, match=r"^late_readings: compact: .*"):
        job.main(given)
    assert tables.files_by_day("readings") == tables.files_by_day("device_hours") == {2: 1}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert '"troubles": 1' in line
    assert '"orphan_files_removed": 0' in line
    properties = job.properties_of(job_of(tables), "late_readings")
    assert job.ORPHANS_REMOVED_AT in properties  # the last step was reached


def job_of(tables: Tables) -> job.Job:
    given = ["--database", tables.database, "--catalog", "lake"]
    return job.Job(tables.spark, job.parse_arguments(given))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--orphan_age_hours", "71"),
        ("--snapshot_age_hours", "23"),
        ("--min_small_files", "1"),
        ("--min_snapshots", "0"),
    ],
)
def test_ages_below_what_is_safe_are_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        job.parse_arguments(["--database", "unused", *arguments])


def test_arguments_of_glue_pass_and_none_may_be_abbreviated() -> None:
    given = ["--database", "d", "--JOB_NAME", "j", "--now", "2026-11-25T05:00:00+01:00"]
    settings = job.parse_arguments([*given, "--orphan_age", "1"])
    assert settings.orphan_age_hours == job.LEAST_ORPHAN_AGE_HOURS
    assert settings.now == datetime.fromisoformat("2026-11-25T04:00:00Z")
