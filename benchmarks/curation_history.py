"""What one hour of new data costs the curation job after 1, 30 and 365 days of history.

Each history is a lake of its own: closed days as compaction leaves them (one file each), the hours
of the running day as runs left them, and a ledger and accounts as old as the readings, compacted up
to the run before. The listing is S3's, over every key of that history. Each hour of new data is the
same for all, some of it copies, some of it a day late; the lakes take turns, round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf

import curate_telemetry as job
from benchmarks.consumer import machine
from benchmarks.raw_readings import NOON, FolderClient, Folders, FolderZone, write_readings
from benchmarks.records import FIRST_SEQUENCE_NUMBER, SHARD
from benchmarks.spark_cost import Cost, measured, timed
from benchmarks.spark_session import CATALOG, LOG_FOLDER, spark_in
from benchmarks.table_lines import aligned
from telemetry_contract.zone_paths import RAW_PREFIX

EXAMPLE = """\
example:
  python -m benchmarks.curation_history                  # the figures of docs/performance.md
  python -m benchmarks.curation_history --days 1 7 --rows-per-day 2400 --rounds 1 --json
"""
HOURS = 24
HOUR = timedelta(hours=1)
STEPS = (
    *("create_tables", "settle_predecessors", "find_input", "read_footers", "prepare_batch"),
    *("write_plan", "commit_readings", "account_of", "write_account"),
)


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    days: Sequence[int]
    rows_per_day: int
    objects_per_hour: int
    rounds: int

    @property
    def rows_per_hour(self) -> int:
        return self.rows_per_day // HOURS


@dataclass(frozen=True)
class Run:
    """One run's cost, the seconds of its steps, and the keys that were listed for it."""

    cost: Cost
    steps: Mapping[str, float]
    listed: int


@dataclass(frozen=True)
class Measured:
    """One history's figures: medians over the rounds. `ledger_bytes_at_most` is the first run's,
    for which the look-back reaches into what was compacted."""

    days: int
    history_rows: int
    history_files: int
    target_files: int
    target_bytes: int
    ledger_files: int
    ledger_bytes: int
    ledger_bytes_at_most: int
    bytes_in_all: int
    keys_listed: int
    seconds: float
    cpu_seconds: float
    seconds_by_step: Mapping[str, float]


def compare(folder: Path, sizes: Sizes) -> list[Measured]:
    """Builds the histories in the folder, gives each the same new hours, and tells what it cost."""
    hours = [NOON + timedelta(hours=n) for n in range(-1, sizes.rounds + 1)]
    raw = folder / "raw"
    folders = Folders(raw)
    keys = {
        hour: write_readings(folders, [hour], sizes.rows_per_hour, sizes.objects_per_hour)[1]
        for hour in hours
    }
    with spark_in(folder / "spark") as spark:
        template = [f"file://{raw / key}" for key in keys.pop(hours[0])]
        lakes = {}
        for days in sizes.days:
            zone = FolderZone(client=FolderClient([]), folder=raw)
            _make_history(_job(spark, zone, NOON, days), template, sizes)
            lakes[days] = zone, _state(spark, days)
        runs: dict[int, list[Run]] = {days: [] for days in sizes.days}
        for hour, new in keys.items():
            for days, (zone, _) in lakes.items():
                zone.client.keys += new
                listed = zone.client.listed
                setting = _job(spark, zone, hour + timedelta(hours=1, minutes=20), days)
                with (
                    timed(job, STEPS) as steps,
                    measured(spark, folder / "spark" / LOG_FOLDER) as cost,
                ):
                    account = job.curate(setting)
                assert account.rows_in == sizes.rows_per_hour, account
                assert account.curated, account
                runs[days].append(Run(cost, dict(steps), zone.client.listed - listed))
        return [_figures_of(days, *lakes[days][1], found) for days, found in runs.items()]


def _job(spark: SparkSession, zone: FolderZone, now: datetime, days: int) -> job.Job:
    arguments = ["--raw_zone_bucket", zone.bucket, "--catalog", CATALOG]
    arguments += ["--database", f"after_{days}", "--now", now.isoformat()]
    return job.Job(spark, zone, job.parse_arguments(arguments))


def _make_history(setting: job.Job, template: Sequence[str], sizes: Sizes) -> None:
    """Closed days up to midnight and the hours of the running day up to noon, each hour the
    template's readings as of then, and what the runs that wrote them would have recorded."""
    spark = setting.spark
    job.create_tables(setting)
    days = int(setting.settings.database.removeprefix("after_"))
    today = NOON.hour
    hour = spark.read.parquet(*template).where(
        sf.col("event_time") >= sf.timestamp_seconds(sf.lit((NOON - HOUR).timestamp()))
    )
    ago = spark.range(today, today + days * HOURS).withColumnRenamed("id", "ago")
    _append_readings(setting, hour.crossJoin(ago))
    for hours in range(today):
        _append_readings(setting, hour.withColumn("ago", sf.lit(hours)))

    first = NOON.replace(hour=0) - timedelta(days=days)
    runs = spark.range(days * HOURS + today).withColumn(
        "hour", sf.timestamp_seconds(sf.lit(first.timestamp()) + sf.col("id") * 3_600)
    )
    runs = runs.withColumns(
        {
            "run_id": sf.format_string("history-%06d", "id"),
            "started_at": sf.col("hour") + sf.expr("INTERVAL 80 MINUTES"),
            "complete_through": sf.col("hour") + sf.expr("INTERVAL 1 HOUR"),
            "kind": sf.lit("schedule"),
        }
    )
    numbers = sf.sequence(sf.lit(0), sf.lit(sizes.objects_per_hour - 1))
    entries = runs.withColumn("number", sf.explode(numbers)).select(
        "*",
        _object_key(sizes).alias("object_key"),
        sf.lit(100_000).cast("bigint").alias("size"),
        sf.col("started_at").alias("last_modified"),
        sf.lit("curated").alias("status"),
        sf.lit(sizes.rows_per_hour // sizes.objects_per_hour).cast("bigint").alias("rows"),
        sf.col("started_at").alias("recorded_at"),
    )
    # As maintenance leaves them right after a run, which is when the job reads most of the ledger.
    last = sf.col("id") == days * HOURS + today - 1
    for part in (~last, last):
        _append(setting, setting.ledger, entries.where(part))
        _append(setting, setting.runs, runs.where(part))
    keys = spark.table(setting.ledger).select("object_key").orderBy("object_key").collect()
    setting.zone.client.keys = [row.object_key for row in keys]


def _append_readings(setting: job.Job, rows: DataFrame) -> None:
    back = sf.make_interval(hours=-sf.col("ago"))
    moved = {name: sf.col(name) + back for name in ("event_time", "arrival_time", "broker_time")}
    derived = {
        "event_id": sf.md5(sf.concat("event_id", sf.col("ago").cast("string"))),
        "event_date": sf.to_date(sf.col("event_time") + back),
        "ingest_delay_seconds": sf.lit(2.0),
        "is_late": sf.lit(False),
        "is_ahead": sf.lit(False),
        "run_id": sf.lit("history"),
    }
    _append(setting, setting.readings, rows.withColumns(moved | derived))


def _append(setting: job.Job, table: str, rows: DataFrame) -> None:
    kinds = dict(setting.spark.table(table).dtypes)
    columns = [
        sf.col(name) if name in rows.columns else sf.lit(None).cast(kind).alias(name)
        for name, kind in kinds.items()
    ]
    writer = rows.select(*columns)
    if table != setting.readings:
        writer = writer.coalesce(1)
    # The size to which maintenance compacts the ledger.
    writer.writeTo(table).option("target-file-size-bytes", str(32 * 2**20)).append()


def _object_key(sizes: Sizes) -> Column:
    place = sf.col("id") * sizes.objects_per_hour + sf.col("number")
    sequence = sf.concat(
        sf.lit(str(FIRST_SEQUENCE_NUMBER)[:46]), sf.lpad(place.cast("string"), 10, "0")
    )
    digest = sf.substring(sf.md5(place.cast("string")), 1, 16)
    return sf.concat(
        sf.lit(f"{RAW_PREFIX}ingest_date="),
        sf.date_format("hour", "yyyy-MM-dd"),
        sf.lit("/ingest_hour="),
        sf.date_format("hour", "HH"),
        sf.lit(f"/{SHARD}-"),
        sequence,
        sf.lit("-"),
        sequence,
        sf.lit("-"),
        digest,
        sf.lit(".parquet"),
    )


def _state(spark: SparkSession, days: int) -> tuple[int, int]:
    """Rows and data files of `readings`."""
    files = spark.table(f"{CATALOG}.after_{days}.readings.files")
    row = files.agg(sf.sum("record_count"), sf.count("*")).collect()[0]
    return row[0], row[1]


def _figures_of(days: int, rows: int, files: int, all_runs: Sequence[Run]) -> Measured:
    # The first hour warms Java up, and is no round.
    first, *runs = all_runs

    def median(figure: Callable[[Run], float]) -> float:
        return statistics.median(map(figure, runs))

    return Measured(
        days=days,
        history_rows=rows,
        history_files=files,
        target_files=round(median(lambda run: run.cost.of("readings").files)),
        target_bytes=round(median(lambda run: run.cost.of("readings").bytes)),
        ledger_files=round(median(lambda run: run.cost.of("curation_ledger").files)),
        ledger_bytes=round(median(lambda run: run.cost.of("curation_ledger").bytes)),
        ledger_bytes_at_most=first.cost.of("curation_ledger").bytes,
        bytes_in_all=round(median(lambda run: run.cost.bytes)),
        keys_listed=round(median(lambda run: run.listed)),
        seconds=median(lambda run: run.cost.seconds),
        cpu_seconds=median(lambda run: run.cost.cpu_seconds),
        seconds_by_step={
            step: statistics.median(run.steps[step] for run in runs) for step in STEPS
        },
    )


def lines_of(found: Sequence[Measured], sizes: Sizes) -> list[str]:
    """The comparison as aligned tables."""
    first = found[0]
    head = (
        *("history", "rows", "files", "target files", "x", "target MB", "x", "ledger files"),
        *("ledger MB", "(at most)", "keys listed", "MB in all", "x", "seconds", "x", "CPU s", "x"),
    )
    rows = [
        (
            f"{each.days} days",
            f"{each.history_rows:,}",
            f"{each.history_files}",
            f"{each.target_files}",
            f"{each.target_files / first.target_files:.2f}",
            f"{each.target_bytes / 1e6:.2f}",
            f"{each.target_bytes / first.target_bytes:.2f}",
            f"{each.ledger_files}",
            f"{each.ledger_bytes / 1e6:.2f}",
            f"({each.ledger_bytes_at_most / 1e6:.2f})",
            f"{each.keys_listed}",
            f"{each.bytes_in_all / 1e6:.2f}",
            f"{each.bytes_in_all / first.bytes_in_all:.2f}",
            f"{each.seconds:.1f}",
            f"{each.seconds / first.seconds:.2f}",
            f"{each.cpu_seconds:.1f}",
            f"{each.cpu_seconds / first.cpu_seconds:.2f}",
        )
        for each in found
    ]
    steps = [(step, *(f"{each.seconds_by_step[step]:.2f}" for each in found)) for step in STEPS]
    return [
        f"One hour of {sizes.rows_per_hour:,} readings in {sizes.objects_per_hour} objects after "
        f"so many days of {sizes.rows_per_day:,}; medians of {sizes.rounds} hours, in turns",
        f"{machine()}, Spark local[2]",
        "",
        *aligned(head, rows),
        "",
        *aligned(("seconds in", *(f"{each.days} days" for each in found)), steps),
    ]


def run(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.curation_history",
        description="What an hour of new data costs the curation job, by length of the history.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--days", type=int, nargs="+", default=[1, 30, 365], help="(1 30 365)")
    parser.add_argument("--rows-per-day", type=int, default=12_000, help="of the history (12000)")
    parser.add_argument("--objects-per-hour", type=int, default=12, help="of the raw zone (12)")
    parser.add_argument("--rounds", type=int, default=3, help="hours that are measured (3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    sizes = Sizes(given.days, given.rows_per_day, given.objects_per_hour, given.rounds)
    if min(*given.days, given.rounds) < 1 or sizes.rows_per_hour < sizes.objects_per_hour:
        parser.error("days and rounds are at least one, and an object has at least one reading")
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), sizes)
    print(
        json.dumps([asdict(each) for each in found], indent=2)
        if given.json
        else "\n".join(lines_of(found, sizes))
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
