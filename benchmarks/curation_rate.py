"""Readings per second of the curation job beside a tutorial's script and beside the floor.

The same readings, in as many objects: the consumer's typed Parquet for the job and the floor,
gzipped lines of JSON for the tutorial. All run in one session, which has the settings of Glue;
starting it is in no figure. Beside the seconds stands the CPU time of Spark's process, which other
work on the machine changes least: the ratios are of both. They take turns, each into a table or
folder of its own that is new for each round, and the first round warms up. Every contender must
have stored the number of rows that is right for it, or the run fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

import curate_telemetry as job
from benchmarks.consumer import machine
from benchmarks.raw_readings import NOON, FolderClient, Folders, FolderZone, Written, write_readings
from benchmarks.spark_cost import timed
from benchmarks.spark_session import CATALOG, cpu_seconds, java, spark_in
from benchmarks.table_lines import aligned

EXAMPLE = """\
example:
  python -m benchmarks.curation_rate                     # the figures of docs/performance.md
  python -m benchmarks.curation_rate --readings 20000 --objects 4 --rounds 1 --json
"""
HOURS = 3  # what a run of the default schedule takes
OURS = "this job: one row per event, enriched, accounted for"
STEPS = (
    *("create_tables", "settle_predecessors", "find_input", "read_footers", "prepare_batch"),
    *("write_plan", "commit_readings", "account_of", "write_account"),
)


class RowsDifferError(Exception):
    """A contender has not stored what it should, so the times can't be compared."""


@dataclass(frozen=True)
class Lake:
    """What the contenders work on; `output` is new for each."""

    spark: SparkSession
    folders: Folders
    keys: Sequence[str]
    output: Path

    @property
    def name(self) -> str:
        return self.output.name


def curate(lake: Lake) -> None:
    """The job, as it is."""
    client = FolderClient(list(lake.keys), lake.folders.raw)
    zone = FolderZone(client=client, folder=lake.folders.raw)
    now = NOON + timedelta(hours=HOURS, minutes=20)
    arguments = ["--raw_zone_bucket", zone.bucket, "--catalog", CATALOG]
    arguments += ["--database", lake.name, "--now", now.isoformat()]
    job.curate(job.Job(lake.spark, zone, job.parse_arguments(arguments)))


def scan_and_write(lake: Lake) -> None:
    """The floor: no work on the rows at all."""
    uris = [f"file://{lake.folders.raw / key}" for key in lake.keys]
    schema = lake.spark.read.parquet(uris[0]).schema
    rows = lake.spark.read.schema(schema).parquet(*uris)
    rows.withColumn("event_date", sf.to_date("event_time")).write.partitionBy("event_date").parquet(
        str(lake.output)
    )


def scan_and_write_by_day(lake: Lake) -> None:
    """The floor, into the table that the job keeps: gathered by day and sorted by device."""
    uris = [f"file://{lake.folders.raw / key}" for key in lake.keys]
    schema = lake.spark.read.parquet(uris[0]).schema
    rows = lake.spark.read.schema(schema).parquet(*uris)
    table = f"{CATALOG}.{lake.name}.readings"
    columns = ", ".join(f"{name} {kind}" for name, kind in rows.dtypes)
    lake.spark.sql(
        f"CREATE TABLE {table} ({columns}) USING iceberg PARTITIONED BY (days(event_time)) "
        "TBLPROPERTIES ('format-version'='2')"
    )
    lake.spark.sql(
        f"ALTER TABLE {table} WRITE DISTRIBUTED BY PARTITION "
        "LOCALLY ORDERED BY device_id, event_time"
    )
    rows.writeTo(table).append()


def tutorial(lake: Lake) -> None:
    """What tutorials show: the schema is what Spark finds in the data."""
    rows = lake.spark.read.option("recursiveFileLookup", "true").json(str(lake.folders.plain))
    rows = rows.dropna(subset=["device_id", "timestamp"])
    rows = rows.withColumn("timestamp", sf.to_timestamp("timestamp"))
    _write_by_day(lake, rows.withColumn("event_date", sf.to_date("timestamp")))


def careful_tutorial(lake: Lake) -> None:
    """The same with a schema that is written down, and without copies inside the input."""
    schema = (
        "device_id string, timestamp timestamp, latitude double, longitude double, "
        "temperature double, humidity double, battery double, status string"
    )
    reader = lake.spark.read.schema(schema).option("recursiveFileLookup", "true")
    rows = reader.json(str(lake.folders.plain)).dropna(subset=["device_id", "timestamp"])
    rows = rows.dropDuplicates(["device_id", "timestamp"])
    _write_by_day(lake, rows.withColumn("event_date", sf.to_date("timestamp")))


def whole_tutorial(lake: Lake) -> None:
    """A tutorial's script that keeps what the job keeps: payload, ids, times and origin."""
    rows = lake.spark.read.option("recursiveFileLookup", "true").json(str(lake.folders.whole))
    rows = rows.dropna(subset=["device_id", "event_time"])
    times = ("event_time", "arrival_time", "broker_time")
    rows = rows.withColumns({name: sf.to_timestamp(name) for name in times})
    rows = rows.withColumn("payload", sf.unbase64("payload")).dropDuplicates(["event_id"])
    _write_by_day(lake, rows.withColumn("event_date", sf.to_date("event_time")))


def _write_by_day(lake: Lake, rows: DataFrame) -> None:
    rows.write.mode("append").partitionBy("event_date").parquet(str(lake.output))


@dataclass(frozen=True)
class Contender:
    """Something that takes readings, and whether it stores each of them once."""

    name: str
    work: Callable[[Lake], None]
    is_distinct: bool = False


def rows_stored(lake: Lake) -> int:
    """What a contender has left: a table, or files."""
    if lake.output.exists():
        return lake.spark.read.parquet(str(lake.output)).count()
    return lake.spark.table(f"{CATALOG}.{lake.name}.readings").count()


CONTENDERS = (
    Contender(OURS, curate, is_distinct=True),
    Contender("tutorial, plain: schema inferred, no nulls, Parquet by day", tutorial),
    Contender("tutorial, plain: schema given, no copies", careful_tutorial, is_distinct=True),
    Contender("tutorial, whole: schema inferred, no copies", whole_tutorial, is_distinct=True),
    Contender("floor: typed raw, Parquet by day", scan_and_write),
    Contender("floor: typed raw, Iceberg by day, sorted", scan_and_write_by_day),
)


@dataclass(frozen=True)
class Measured:
    """One contender's figures, each of its best round."""

    contender: str
    seconds: float
    cpu_seconds: float
    readings_per_second: float
    times_ours: float
    cpu_times_ours: float
    rows_stored: int


@dataclass(frozen=True)
class Comparison:
    """What one run found, and on what."""

    input: Written
    rounds: int
    machine: str
    contenders: list[Measured]
    seconds_by_step: Mapping[str, float]


def compare(folder: Path, readings: int, objects: int, rounds: int) -> Comparison:
    """Runs every contender `rounds` times and once before, in turns; raises RowsDifferError."""
    hours = [NOON + timedelta(hours=n) for n in range(HOURS)]
    folders = Folders(folder / "raw", folder / "plain", folder / "whole")
    written, keys = write_readings(folders, hours, readings // HOURS, objects // HOURS)
    seconds: dict[str, list[float]] = {each.name: [] for each in CONTENDERS}
    cpu: dict[str, list[float]] = {each.name: [] for each in CONTENDERS}
    rows: dict[str, int] = {}
    steps: list[dict[str, float]] = []
    with spark_in(folder / "spark") as spark:
        for number in range(rounds + 1):
            for place, contender in enumerate(CONTENDERS):
                output = folder / "output" / f"round_{number}_{place}"
                lake = Lake(spark, folders, keys, output)
                spent, begin = cpu_seconds(spark), time.perf_counter()
                with timed(job, STEPS) as taken:
                    contender.work(lake)
                seconds[contender.name].append(time.perf_counter() - begin)
                cpu[contender.name].append(cpu_seconds(spark) - spent)
                if contender.work is curate:
                    steps.append(dict(taken))
                rows[contender.name] = rows_stored(lake)
                require_rows(contender, written, rows[contender.name])
                # As a new process would find it.
                spark.catalog.clearCache()
                java(spark).System.gc()
    best = {name: min(figures[1:]) for name, figures in seconds.items()}
    least = {name: min(figures[1:]) for name, figures in cpu.items()}
    return Comparison(
        input=written,
        rounds=rounds,
        machine=machine(),
        contenders=[
            Measured(
                contender=name,
                seconds=best[name],
                cpu_seconds=least[name],
                readings_per_second=written.readings / best[name],
                times_ours=best[name] / best[OURS],
                cpu_times_ours=least[name] / least[OURS],
                rows_stored=rows[name],
            )
            for name in seconds
        ],
        seconds_by_step=steps[seconds[OURS].index(best[OURS])],
    )


def require_rows(contender: Contender, written: Written, rows: int) -> None:
    """Raises RowsDifferError if a contender has lost or invented readings."""
    wanted = written.distinct if contender.is_distinct else written.readings
    if rows != wanted:
        raise RowsDifferError(f"{contender.name}: stored {rows:,} rows, not {wanted:,}")


def lines_of(found: Comparison) -> list[str]:
    """The comparison as aligned tables."""
    given = found.input
    head = ("contender", "readings/s", "seconds", "x ours", "CPU s", "x ours", "rows stored")
    rows = [
        (
            each.contender,
            f"{each.readings_per_second:,.0f}",
            f"{each.seconds:.1f}",
            f"{each.times_ours:.2f}",
            f"{each.cpu_seconds:.1f}",
            f"{each.cpu_times_ours:.2f}",
            f"{each.rows_stored:,}",
        )
        for each in found.contenders
    ]
    steps = [(step, f"{seconds:.2f}") for step, seconds in found.seconds_by_step.items()]
    return [
        f"{given.readings:,} readings, {given.distinct:,} distinct, in {given.objects} objects: "
        f"{given.raw_bytes / 1e6:.0f} MB of Parquet, {given.plain_bytes / 1e6:.0f} "
        f"(plain) and {given.whole_bytes / 1e6:.0f} (whole) MB of gzipped JSON",
        f"the fastest of {found.rounds} rounds in turns, after one to warm up; "
        f"{found.machine}, Spark local[2]",
        "",
        *aligned(head, rows),
        "",
        *aligned(("the job's steps", "seconds"), steps),
    ]


def run(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.curation_rate",
        description="Readings per second of the curation job, a tutorial's script and the floor.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--readings", type=int, default=1_000_000, help="of the input (1000000)")
    parser.add_argument("--objects", type=int, default=120, help="that hold them (120)")
    parser.add_argument("--rounds", type=int, default=2, help="times each is measured (2)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or not HOURS <= given.objects <= given.readings:
        parser.error(f"at least one round, {HOURS} objects and a reading in each")
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = compare(Path(folder), given.readings, given.objects, given.rounds)
        except RowsDifferError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(json.dumps(asdict(found), indent=2) if given.json else "\n".join(lines_of(found)))
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
