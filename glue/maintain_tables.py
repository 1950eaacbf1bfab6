"""The maintenance job: keeps the curated tables quick to read and cheap to keep.

for each table: compact closed days -> rewrite manifests -> expire snapshots -> remove orphans

It changes no row, and nothing that anyone may still need goes:

- A snapshot stays that a reader could have begun on within the retention, and every one that
  another job has yet to read: what `summarise_devices` has not summarised, what `curate_telemetry`
  may have to account for. Where that can't be told, all stay.
- A file that no snapshot knows stays until it is older than any run can be: it may be another
  writer's, about to be committed.
- A rewrite that meets another writer's commit is planned anew, then left to the next run. It never
  makes the other fail: `curate_telemetry` appends, and of the ledger, from which it deletes, only
  what is older than its last plan is rewritten.

Killed anywhere, it is simply run again: each rewrite is a commit of its own, and what a killed one
wrote is orphaned. A second run right after the first finds nothing to do. Runs on Glue 6.0 and
under spark-submit, and imports nothing of the project.
"""

import argparse
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as sf

logger = logging.getLogger("maintain_tables")

# The tables, and the column that tells what is closed. Where a table is partitioned by that
# column's day, each day is rewritten by itself; where there is none, nothing is rewritten.
TABLES: Final[Mapping[str, str | None]] = {
    "readings": "event_time",
    "late_readings": "event_time",
    "device_hours": "hour",
    "device_latest": None,
    "device_registry": None,
    "curation_runs": "started_at",
    "curation_ledger": "recorded_at",
}
# The ledger is searched by the bounds of its files, so these stay small.
TARGET_BYTES: Final = 256 * 2**20
TARGET_BYTES_OF: Final = {"curation_ledger": 32 * 2**20}
SMALL: Final = 0.75  # of the target: Iceberg's own bound, below which it rewrites a file
MANY_MANIFESTS: Final = 30
MANIFEST_BYTES: Final = 8 * 2**20  # Iceberg's target

SUMMED: Final = (
    *("days_compacted", "days_left", "files_rewritten", "bytes_rewritten"),
    *("snapshots_expired", "orphan_files_removed"),
)

LEAST_ORPHAN_AGE_HOURS: Final = 72
LEAST_SNAPSHOT_AGE_HOURS: Final = 24
ORPHANS_REMOVED_AT: Final = "maintenance.orphans-removed-at"
# Each commit writes the metadata anew; without the first of these every version would stay.
METADATA_PROPERTIES: Final = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
}

# In the summaries of snapshots: the run of a commit to `readings`, and in the tables made of it the
# last snapshot of `readings` that they sum up.
CURATED_BY: Final = "curation.run_id"
SUMMARISED: Final = "summary.readings_snapshot_id"
SUMMARIES: Final = ("device_hours", "device_latest")

SPARK_ERRORS: Final = (Py4JJavaError, PySparkException)
CONFLICT: Final = re.compile(
    r"CommitFailedException|has conflicted with another concurrent|Missing required files to delete"
    r"|could not be found in the latest snapshot"
)
ATTEMPTS: Final = 2


class MaintenanceError(Exception):
    """Some step failed; the message has all that did."""


class ConflictError(Exception):
    """Another writer's commit came in between, at every attempt."""


@dataclass(frozen=True)
class Settings:
    """The job's arguments."""

    database: str
    catalog: str
    closed_after_hours: float
    min_small_files: int
    max_days_per_run: int
    snapshot_age_hours: float
    min_snapshots: int
    orphan_age_hours: float
    orphan_interval_days: float
    now: datetime


@dataclass(frozen=True)
class Job:
    """What the steps work with."""

    spark: SparkSession
    settings: Settings

    def table(self, name: str) -> str:
        return f"`{self.settings.catalog}`.`{self.settings.database}`.`{name}`"


@dataclass(frozen=True)
class Lot:
    """Files that are rewritten together: a day's, or all old ones of a table without days. `small`
    and `small_bytes` are those below the size at which a file is left alone."""

    condition: str
    files: int
    small: int
    small_bytes: int


@dataclass
class Report:
    """What a run has done so far, as far as its steps came."""

    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def total(self, figure: str) -> int:
        return sum(figures.get(figure, 0) for figures in self.tables.values())


def main(arguments: Sequence[str]) -> None:
    """Run the job. Its figures are one printed line, JSON under the key `maintenance`; a run in
    which any step failed then ends as failed."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    settings = parse_arguments(arguments)
    spark = SparkSession.builder.appName("maintain_tables").getOrCreate()
    begin = time.monotonic()
    report = maintain(Job(spark, settings))
    told = told_of(report, settings, time.monotonic() - begin)
    print(json.dumps({"maintenance": told}), flush=True)
    if report.troubles:
        raise MaintenanceError("; ".join(report.troubles))


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Glue adds arguments of its own, so unknown ones pass, and none may be abbreviated."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--database", required=True)
    parser.add_argument("--catalog", default="glue_catalog")
    parser.add_argument("--closed_after_hours", type=float, default=4)
    parser.add_argument("--min_small_files", type=int, default=5)
    parser.add_argument("--max_days_per_run", type=int, default=100)
    parser.add_argument("--snapshot_age_hours", type=float, default=120)
    parser.add_argument("--min_snapshots", type=int, default=10)
    parser.add_argument("--orphan_age_hours", type=float, default=LEAST_ORPHAN_AGE_HOURS)
    parser.add_argument("--orphan_interval_days", type=float, default=7)
    parser.add_argument("--now", type=datetime.fromisoformat, default=datetime.now(UTC))
    given, _ = parser.parse_known_args(arguments)
    given.now = given.now.astimezone(UTC)
    for name, least in {
        "closed_after_hours": 0,
        "min_small_files": 2,
        "max_days_per_run": 0,
        "snapshot_age_hours": LEAST_SNAPSHOT_AGE_HOURS,
        "min_snapshots": 1,
        "orphan_age_hours": LEAST_ORPHAN_AGE_HOURS,
        "orphan_interval_days": 0,
    }.items():
        if getattr(given, name) < least:
            parser.error(f"--{name}: {least} is the least")
    return Settings(**vars(given))


def maintain(job: Job) -> Report:
    """One run. No step's failure keeps the others from being done."""
    # In any other zone the days of conditions shift against those of the partitions.
    job.spark.conf.set("spark.sql.session.timeZone", "UTC")
    report = Report()
    steps = (keep_metadata_short, compact, rewrite_manifests, expire_snapshots, remove_orphans)
    for name in TABLES:
        if not job.spark.catalog.tableExists(job.table(name)):
            continue
        figures = report.tables.setdefault(name, {})
        for step in (*steps, measure):
            attempt(job, report, name, step, figures)
    return report


type Figures = dict[str, int]
type Step = Callable[[Job, str, Figures], None]


def attempt(job: Job, report: Report, name: str, step: Step, figures: Figures) -> None:
    """Do a step. What goes wrong is told and kept; an error that is neither Spark's nor Iceberg's
    is a bug and ends the run."""
    told = f"{name}: {step.__name__}"
    try:
        # Iceberg's catalogue remembers tables for half a minute, others' commits or not.
        job.spark.catalog.refreshTable(job.table(name))
        step(job, name, figures)
    except ConflictError as conflict:
        logger.warning("%s: left to the next run: %s", told, conflict)
        report.conflicts.append(f"{told}: {conflict}")
    except SPARK_ERRORS as error:
        logger.error("%s: %s", told, brief(error))  # noqa: TRY400 - the stack is Java's
        report.troubles.append(f"{told}: {brief(error)}")


def brief(error: Exception) -> str:
    """An error without Java's frames, but with its last cause."""
    first, *_ = str(error).partition("\n\tat ")
    causes = re.findall(r"^Caused by: (.+)$", str(error), re.MULTILINE)
    return " ".join(" - ".join([first, *causes[-1:]]).split())[:500]


def call(job: Job, name: str, procedure: str, **arguments: str) -> list[Row]:
    """Call a procedure on a table; what it met in another writer's way is planned anew, once."""
    given = {"table": f"'{job.settings.database}.{name}'", **arguments}
    listed = ", ".join(f"{key} => {value}" for key, value in given.items())
    statement = f"CALL `{job.settings.catalog}`.system.{procedure}({listed})"
    for number in range(1, ATTEMPTS + 1):
        try:
            return job.spark.sql(statement).collect()
        except SPARK_ERRORS as error:
            if not CONFLICT.search(str(error)):
                raise
            if number == ATTEMPTS:
                raise ConflictError(brief(error)) from error
            logger.warning("%s: %s met another commit, again", name, procedure)
            job.spark.catalog.refreshTable(job.table(name))
    raise AssertionError("the loop returns or raises")


def properties_of(job: Job, name: str) -> dict[str, str]:
    rows = job.spark.sql(f"SHOW TBLPROPERTIES {job.table(name)}").collect()
    return {row.key: row.value for row in rows}


def set_properties(job: Job, name: str, properties: Mapping[str, str]) -> None:
    listed = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
    job.spark.sql(f"ALTER TABLE {job.table(name)} SET TBLPROPERTIES ({listed})")


def keep_metadata_short(job: Job, name: str, figures: Figures) -> None:
    """Have Iceberg delete old versions of the table's metadata, unless told otherwise."""
    present = properties_of(job, name)
    missing = {key: value for key, value in METADATA_PROPERTIES.items() if key not in present}
    if missing:
        set_properties(job, name, missing)


# ---- compaction --------------------------------------------------------------------------------
def compact(job: Job, name: str, figures: Figures) -> None:
    """Rewrite the small files of what is closed, sorted as the table is, a commit for each day. The
    running day is left alone: its many small files spare an insertion from reading it all."""
    lots = lots_to_rewrite(job, name)
    figures |= {"days_compacted": 0, "files_rewritten": 0, "bytes_rewritten": 0}
    figures["days_left"] = max(0, len(lots) - job.settings.max_days_per_run)
    strategy = "sort" if "sort-order" in properties_of(job, name) else "binpack"
    conflicts = []
    for lot in lots[: job.settings.max_days_per_run]:
        try:
            (result,) = call(
                job,
                name,
                "rewrite_data_files",
                strategy=f"'{strategy}'",
                where=f"'{lot.condition}'",
                options=f"map('min-input-files', '2', 'target-file-size-bytes', '{target(name)}')",
            )
        except ConflictError as conflict:
            conflicts.append(conflict)
            continue
        figures["days_compacted"] += 1
        figures["files_rewritten"] += result.rewritten_data_files_count
        figures["bytes_rewritten"] += result.rewritten_bytes_count
    if conflicts:
        raise ConflictError(f"{len(conflicts)} days, the last: {conflicts[-1]}")


def lots_to_rewrite(job: Job, name: str) -> list[Lot]:
    """What is closed and has something to gain, most files first, then the oldest. By its own rule
    Iceberg would rewrite two files of 150 MB into two of 150 MB, each time."""
    least = job.settings.min_small_files
    lots = [
        lot
        for lot in closed_lots(job, name)
        if lot.small >= least and lot.small - -(-lot.small_bytes // target(name)) >= least - 1
    ]
    return sorted(lots, key=lambda lot: (-lot.files, lot.condition))


def target(name: str) -> int:
    return TARGET_BYTES_OF.get(name, TARGET_BYTES)


def closed_lots(job: Job, name: str) -> list[Lot]:
    """The days of a table that are closed, or, of one without days, its files that are."""
    column = TABLES[name]
    if column is None:
        return []
    closed = job.settings.now - timedelta(hours=job.settings.closed_after_hours)
    files = job.spark.table(f"{job.table(name)}.data_files")
    if is_by_day(job, name):
        first = sf.col(f"partition.{column}_day")
        last_closed = closed.date() - timedelta(days=1)
        files = files.where(first <= sf.lit(last_closed.isoformat()).cast("date"))
        day = sf.unix_date(first)
    else:
        if name == "curation_ledger":
            closed = min(closed, last_plan_at(job, name))
        last = sf.col(f"readable_metrics.{column}.upper_bound")
        files = files.where(sf.unix_micros(last) < int(closed.timestamp() * 1_000_000))
        day = sf.lit(None).cast("int")
    size = sf.col("file_size_in_bytes")
    small = size < int(SMALL * target(name))
    rows = files.groupBy(day.alias("day")).agg(
        sf.count("*").alias("files"),
        sf.count_if(small).alias("small"),
        sf.coalesce(sf.sum(sf.when(small, size)), sf.lit(0)).alias("small_bytes"),
    )
    return [
        Lot(condition(column, row.day, closed), row.files, row.small, row.small_bytes)
        for row in rows.collect()
    ]


def is_by_day(job: Job, name: str) -> bool:
    return TABLES[name] is not None and f"{TABLES[name]}_day" in str(
        job.spark.table(f"{job.table(name)}.data_files").schema.simpleString()
    )


def last_plan_at(job: Job, name: str) -> datetime:
    """When the curation job last wrote its input down; it may still take that back."""
    last = job.spark.table(job.table(name)).agg(sf.unix_micros(sf.max("recorded_at")))
    (row,) = last.collect()
    return datetime.fromtimestamp((row[0] or 0) / 1e6, UTC)


def condition(column: str, day: int | None, closed: datetime) -> str:
    """A condition on the rows of a lot. Times are numbers, which no time zone shifts, and which
    need no quotes within the quotes of an argument."""
    if day is None:
        return f"{column} < timestamp_micros({int(closed.timestamp() * 1_000_000)})"
    start = day * 86_400
    end = start + 86_400
    return f"{column} >= timestamp_seconds({start}) AND {column} < timestamp_seconds({end})"


def rewrite_manifests(job: Job, name: str, figures: Figures) -> None:
    """Have few manifests, each about few days, so that planning a query opens few. Iceberg itself
    merges them only from 100 on, and in the order of the commits."""
    manifests = job.spark.table(f"{job.table(name)}.manifests").where("content = 0")
    (row,) = manifests.agg(sf.count("*").alias("count"), sf.sum("length").alias("bytes")).collect()
    enough = -(-(row.bytes or 0) // MANIFEST_BYTES)
    if row["count"] >= max(MANY_MANIFESTS, 2 * enough):
        call(job, name, "rewrite_manifests")


# ---- expiry ------------------------------------------------------------------------------------
def expire_snapshots(job: Job, name: str, figures: Figures) -> None:
    """Forget old snapshots, and delete the files that only they know."""
    figures["snapshots_expired"] = 0
    bound = oldest_needed(job, name)
    snapshots = job.spark.table(f"{job.table(name)}.snapshots")
    committed_at = sf.unix_millis("committed_at")
    (before,) = snapshots.agg(
        sf.count("*").alias("all"), sf.count_if(committed_at < (bound or 0)).alias("old")
    ).collect()
    if not before.old or before["all"] <= job.settings.min_snapshots:
        return
    call(
        job,
        name,
        "expire_snapshots",
        older_than=f"timestamp_millis({bound})",
        retain_last=str(job.settings.min_snapshots),
        stream_results="true",  # else the driver holds the list of all files
    )
    job.spark.catalog.refreshTable(job.table(name))
    after = job.spark.table(f"{job.table(name)}.snapshots").count()
    figures["snapshots_expired"] = before["all"] - after


def oldest_needed(job: Job, name: str) -> int | None:
    """The time, in milliseconds, of the oldest snapshot that must stay with all that follow it;
    None if that can't be told, so that all must.

    The retention counts from when a snapshot was replaced, not made: in a table at rest the current
    one may be weeks old, with readers on it when this run's own commit replaces it.
    """
    retention = timedelta(hours=job.settings.snapshot_age_hours)
    cut = int((job.settings.now - retention).timestamp() * 1000)
    history = job.spark.table(f"{job.table(name)}.history").select("snapshot_id", "made_current_at")
    began = history.where(sf.unix_millis("made_current_at") <= cut)
    current = began.orderBy(sf.desc("made_current_at")).first()
    needed = [cut]
    if current is not None:
        needed.append(committed_at_of(job, name, current.snapshot_id) or 0)
    if name == "readings":
        # Had its run been killed, the next one makes the account from it and from its parent.
        last_run = newest_with(job, name, CURATED_BY)
        if last_run is not None:
            needed += [last_run.at, committed_at_of(job, name, last_run.parent_id) or last_run.at]
        for summary in SUMMARIES:
            if job.spark.catalog.tableExists(job.table(summary)):
                needed.append(last_summarised_at(job, summary))
    if name in SUMMARIES:
        marked = newest_with(job, name, SUMMARISED)
        needed.append(0 if marked is None else marked.at)
    return min(needed) or None


def last_summarised_at(job: Job, summary: str) -> int:
    """The time of the last snapshot of `readings` that is summed up; 0 if that is not known."""
    marked = newest_with(job, summary, SUMMARISED)
    time = committed_at_of(job, "readings", int(marked.value)) if marked else None
    if time is None:
        logger.warning("readings: all snapshots stay: what %s sums up is not known", summary)
    return time or 0


def newest_with(job: Job, name: str, key: str) -> Row | None:
    """The newest snapshot of a table whose summary has the key, unless it was rolled back."""
    history = job.spark.table(f"{job.table(name)}.history").where("is_current_ancestor")
    return (
        job.spark.table(f"{job.table(name)}.snapshots")
        .join(sf.broadcast(history.select("snapshot_id")), "snapshot_id")
        .select(
            "parent_id",
            sf.col("summary")[key].alias("value"),
            sf.unix_millis("committed_at").alias("at"),
        )
        .where("value IS NOT NULL")
        .orderBy(sf.desc("at"))
        .first()
    )


def committed_at_of(job: Job, name: str, snapshot_id: int | None) -> int | None:
    if snapshot_id is None:
        return None
    snapshots = job.spark.table(f"{job.table(name)}.snapshots").where(
        f"snapshot_id = {snapshot_id}"
    )
    row = snapshots.selectExpr("unix_millis(committed_at) at").first()
    return row.at if row else None


# ---- orphaned files ----------------------------------------------------------------------------
def remove_orphans(job: Job, name: str, figures: Figures) -> None:
    """Delete files in the table's folder that no snapshot knows, if they are old enough. It lists
    the whole folder, which is the dear part: so it is done once in a while, and when it was is kept
    with the table."""
    figures["orphan_files_removed"] = 0
    last = properties_of(job, name).get(ORPHANS_REMOVED_AT, "")
    with suppress(ValueError):
        due = datetime.fromisoformat(last) + timedelta(days=job.settings.orphan_interval_days)
        if job.settings.now < due:
            return
    older_than = job.settings.now - timedelta(hours=job.settings.orphan_age_hours)
    removed = call(
        job,
        name,
        "remove_orphan_files",
        older_than=f"timestamp_millis({int(older_than.timestamp()) * 1000})",
        prefix_listing="true",  # with Iceberg's own S3: fewer requests, and no other file system
    )
    figures["orphan_files_removed"] = len(removed)
    for row in removed:
        logger.info("%s: removed %s", name, row.orphan_file_location)
    set_properties(job, name, {ORPHANS_REMOVED_AT: job.settings.now.isoformat()})


# ---- figures -----------------------------------------------------------------------------------
def measure(job: Job, name: str, figures: Figures) -> None:
    """What the table is like now."""
    files = job.spark.table(f"{job.table(name)}.data_files")
    by_day = is_by_day(job, name)
    day = sf.col(f"partition.{TABLES[name]}_day") if by_day else sf.lit(None)
    (row,) = files.agg(
        sf.count("*").alias("files"),
        sf.coalesce(sf.sum("file_size_in_bytes"), sf.lit(0)).alias("bytes"),
        sf.count_distinct(day).alias("days"),
    ).collect()
    figures |= {"files": row.files, "bytes_per_file": row.bytes // max(1, row.files)}
    if by_day:
        figures |= {"days": row.days, "files_per_day": round(row.files / max(1, row.days), 2)}
    for kind in ("snapshots", "manifests"):
        figures[kind] = job.spark.table(f"{job.table(name)}.{kind}").count()


def told_of(report: Report, settings: Settings, seconds: float) -> dict[str, Any]:
    """The line that a run prints; the template makes metrics of its figures."""
    return {
        "started_at": settings.now.isoformat(),
        "seconds": round(seconds, 1),
        **{figure: report.total(figure) for figure in SUMMED},
        "conflicts": len(report.conflicts),
        "troubles": len(report.troubles),
        "told": [*report.troubles, *report.conflicts],
        "tables": report.tables,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
