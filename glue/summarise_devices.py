"""The summary job: what each device did hour by hour, and where and how it is now.

find the days that changed -> device_hours of these days -> device_latest -> account

Guarantee: after every run `device_hours` and `device_latest` equal a recomputation from `readings`.
Which snapshot of `readings` a run has seen is told by the snapshots that it commits, so a run that
is killed anywhere is made good by the next one. Like every job it imports nothing of the project,
and runs unchanged on Glue 6.0 and under spark-submit. One run at a time (MaxConcurrentRuns).

What the figures of `device_hours` mean; one row is a device in an hour (UTC) of event time. Where a
reading is compared with earlier ones of its device, these are the ones of its day and of the day
before, no others. So a day follows from two days of readings, and one that changes makes the next
one change. Earlier = by event time, then sequence, then event id.

readings            all readings; late and flagged: those with is_late, with a quality flag
<field>_min, _mean, _max, _last
                    of each double column of `readings`, over its values that are numbers; last =
                    the latest reading's that has one. Of the position and TEXT_FIELDS only the last
distance_metres     sum of the steps that moved. A step leads from the device's previous position to
                    this one, in a straight line, and counts in the hour in which it ends. It is a
                    jump if it took more than MAX_METRES_PER_SECOND; it stood still if it is shorter
                    than STILL_METRES and not faster than STILL_METRES_PER_SECOND; else it moved
moving_seconds      what these steps took; those of more than MAX_STEP_SECONDS are left out, since
                    nobody knows how much of that the device stood
jumps               steps that are jumps: a wrong position makes two, there and back
expected, received  by the device's own sequence numbers. A run expects all from its lowest to its
                    highest: a number outside of what it had so far expects all from there to
                    itself, one inside nothing, the first itself only. received = numbers that came,
                    each once. What fills a gap may come in a later hour: add up several hours
                    before comparing the two
gaps                numbers that left out at least one
restarts            numbers with which the device began anew, a new run: 0 or 1 after a number that
                    is higher by two or more; or one that is more than MAX_REORDERED below, or
                    MAX_GAP above, the previous number. A restart is no gap
reordered, repeated numbers below the highest so far that are new, numbers that the run had already

`device_latest` has a row per device: when it was last heard of, by event time and by arrival, and
of the 24 hours that end with its last one the last position and values and the sums of the figures
above. `silent_since` is the last arrival, where that is longer ago than an argument says.
"""

import argparse
import itertools
import json
import logging
import operator
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as sf

logger = logging.getLogger("summarise_devices")

# Raise it when a definition changes: every day is then computed anew.
DEFINITIONS: Final = 1

EARTH_RADIUS_METRES: Final = 6_371_008.8  # the mean radius
MAX_METRES_PER_SECOND: Final = 100.0  # 360 km/h
STILL_METRES: Final = 25.0
STILL_METRES_PER_SECOND: Final = 0.5
MAX_STEP_SECONDS: Final = 3_600
MAX_REORDERED: Final = 100
MAX_GAP: Final = 100_000
FIRST_NUMBER: Final = 1  # devices begin with 0 or 1

POSITION: Final = ("latitude", "longitude")
TEXT_FIELDS: Final = ("device_name", "status", "device_model", "device_site", "device_owner")
# Added up over the last 24 hours of a device.
SUMS: Final = ("readings", "late", "flagged", "distance_metres", "moving_seconds", "jumps")
SUMS_OF_NUMBERS: Final = ("expected", "received", "gaps", "restarts", "reordered", "repeated")
RECENT_HOURS: Final = 24

MAX_STRETCHES: Final = 150  # of days, as conditions on a scan; more are read as one
SUMMARY: Final = "summary."  # prefix of the job's entries in a snapshot's summary
PARTITION: Final = re.compile(r"partitions\.event_time_day=(\d{4}-\d\d-\d\d|null)")

type Days = Sequence[date] | None  # None = all there are


@dataclass(frozen=True)
class Settings:
    """The job's arguments."""

    database: str
    catalog: str
    silent_after_seconds: int
    now: datetime


@dataclass(frozen=True)
class Snapshot:
    """A state of a table and what its commit told."""

    snapshot_id: int
    operation: str
    summary: Mapping[str, str]


@dataclass(frozen=True)
class Account:
    """What a run did: days computed anew, rows written for them, devices known in all; of these
    the silent ones, and the others."""

    started_at: datetime
    readings_snapshot_id: int | None
    days: int = 0
    hours: int = 0
    devices: int = 0
    silent: int = 0
    active: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """What the steps work with; the tables by their full names."""

    spark: SparkSession
    settings: Settings

    readings = property(lambda job: job.table("readings"))
    hours = property(lambda job: job.table("device_hours"))
    latest = property(lambda job: job.table("device_latest"))

    def table(self, name: str) -> str:
        return f"`{self.settings.catalog}`.`{self.settings.database}`.`{name}`"


def main(arguments: Sequence[str]) -> None:
    """Run the job. Its account is the last line printed, as JSON under the key `summary`."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    settings = parse_arguments(arguments)
    spark = SparkSession.builder.appName("summarise_devices").getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")  # hours and days are UTC's
    account = asdict(summarise(Job(spark, settings)))
    print(json.dumps({"summary": account}, default=datetime.isoformat), flush=True)


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Glue adds arguments of its own, so unknown ones pass, and none may be abbreviated."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--database", required=True)
    parser.add_argument("--catalog", default="glue_catalog")
    parser.add_argument("--silent_after_seconds", type=int, default=86_400)
    parser.add_argument("--now", type=datetime.fromisoformat, default=datetime.now(UTC))
    given, _ = parser.parse_known_args(arguments)
    given.now = given.now.astimezone(UTC)
    return Settings(**vars(given))


def summarise(job: Job) -> Account:
    """One run, step by step. Each table is replaced in one commit of its own."""
    begin = time.monotonic()
    history = lineage(job, job.readings)
    make_tables(job)
    if not history:
        logger.info("nothing to summarise: there are no readings yet")
        return Account(job.settings.now, None, seconds=time.monotonic() - begin)
    source = history[0].snapshot_id
    # What is committed meanwhile is the next run's.
    readings = job.spark.read.option("versionAsOf", source).table(job.readings)
    written = summarise_hours(job, readings, history)
    devices = summarise_latest(job, history)
    silent = job.spark.table(job.latest).where("silent_since IS NOT NULL").count()
    return Account(
        started_at=job.settings.now,
        readings_snapshot_id=source,
        days=int(written.get("changed-partition-count", 0)),
        hours=int(written.get("added-records", 0)),
        devices=devices,
        silent=silent,
        active=devices - silent,
        seconds=time.monotonic() - begin,
    )


# ---- which days --------------------------------------------------------------------------------
def lineage(job: Job, table: str) -> list[Snapshot]:
    """The table's snapshots from the current one back to the oldest that is kept; none if there is
    no such table. What was rolled back is not among them."""
    if not job.spark.catalog.tableExists(table):
        return []
    job.spark.catalog.refreshTable(table)
    current = job.spark.table(f"{table}.refs").where("name = 'main'")
    current = current.select(sf.col("snapshot_id").alias("current_id"))
    snapshots = job.spark.table(f"{table}.snapshots").crossJoin(sf.broadcast(current))
    kept = {row.snapshot_id: row for row in snapshots.collect()}
    found = []
    next_id = next((row.current_id for row in kept.values()), None)
    while row := kept.get(next_id):
        found.append(Snapshot(row.snapshot_id, row.operation, row.summary))
        next_id = row.parent_id
    return found


def changed_days(job: Job, since: int | None, history: Sequence[Snapshot]) -> Days:
    """The days of `device_hours` that may differ from what was made of the readings at `since`:
    those whose readings changed, and the day after each."""
    if since not in {snapshot.snapshot_id for snapshot in history}:
        return None
    new = itertools.takewhile(lambda snapshot: snapshot.snapshot_id != since, history)
    # A replaced file holds the same rows.
    changes = [snapshot for snapshot in new if snapshot.operation != "replace"]
    told = [days_told(snapshot.summary) for snapshot in changes]
    touched = set().union(*(days for days in told if days is not None))
    untold = [one.snapshot_id for one, days in zip(changes, told, strict=True) if days is None]
    if untold:
        touched |= days_of_files(job, untold)
    return sorted(touched | {day + timedelta(days=1) for day in touched})


def last_seen(history: Iterable[Snapshot]) -> int | None:
    """The snapshot of `readings` of which a summary was made, if by today's definitions."""
    for snapshot in history:
        if seen := snapshot.summary.get(f"{SUMMARY}readings_snapshot_id"):
            of_today = snapshot.summary.get(f"{SUMMARY}definitions") == str(DEFINITIONS)
            return int(seen) if of_today else None
    return None


def days_told(summary: Mapping[str, str]) -> set[date] | None:
    """The days in which a snapshot of `readings` added or removed files, as its summary tells them
    up to the table's `write.summary.partition-limit`; None if it does not."""
    names = [name for name in summary if name.startswith("partitions.")]
    matches = [match for name in names if (match := PARTITION.fullmatch(name))]
    if len(matches) != int(summary.get("changed-partition-count", -1)):
        return None
    return {date.fromisoformat(match[1]) for match in matches if match[1] != "null"}


def days_of_files(job: Job, snapshot_ids: Sequence[int]) -> set[date]:
    """The same from the manifests, where the summaries do not tell it."""
    entries = job.spark.table(f"{job.readings}.all_entries")
    is_change = sf.col("snapshot_id").isin(*snapshot_ids) & sf.col("status").isin(1, 2)
    days = entries.where(is_change).select("data_file.partition.event_time_day").distinct()
    return {row[0] for row in days.collect() if row[0] is not None}


def stretches(days: Sequence[date]) -> list[tuple[date, date]]:
    """The sorted days as first and last days of stretches without a hole; if these are too many,
    holes too."""
    numbered = ((day.toordinal() - n, day) for n, day in enumerate(days))
    groups = itertools.groupby(numbered, key=operator.itemgetter(0))
    grouped = [[day for _, day in group] for _, group in groups]
    found = [(group[0], group[-1]) for group in grouped]
    return found if len(found) <= MAX_STRETCHES else [(days[0], days[-1])]


def within(time_column: str, days: Days, *, before: int = 0, after: int = 0) -> Column:
    """Whether a time falls in one of the days, or so many days before and after one; literals, so
    that no other day's files are read or replaced."""
    if days is None:
        return sf.lit(True)
    if not days:
        return sf.lit(False)

    def midnight(day: date, shift: int) -> str:
        return f"TIMESTAMP '{day + timedelta(days=shift)} 00:00:00 UTC'"

    return sf.expr(
        " OR ".join(
            f"({time_column} >= {midnight(first, -before)} "
            f"AND {time_column} < {midnight(last, 1 + after)})"
            for first, last in stretches(days)
        )
    )


# ---- device_hours ------------------------------------------------------------------------------
def summarise_hours(
    job: Job, readings: DataFrame, history: Sequence[Snapshot]
) -> Mapping[str, str]:
    """Bring `device_hours` up to date; gives what its commit told, nothing if there was none."""
    since = last_seen(lineage(job, job.hours))
    days = changed_days(job, since, history)
    if days is not None:
        # A middle of stretches would be computed but not replaced: replace what is computed.
        days = [day for first, last in stretches(days) for day in every_day(first, last)]
    hours = hours_of(readings, days)
    if since == history[0].snapshot_id:
        logger.info("nothing new to summarise")
        return {}
    told = "all" if days is None else len(days)
    logger.info("summarising snapshot %s after %s: %s days", history[0].snapshot_id, since, told)
    return replace_rows(job, job.hours, hours, within("hour", days), history[0])


def every_day(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def hours_of(readings: DataFrame, days: Days) -> DataFrame:
    """`device_hours` of these days, from the readings of them and of the days before."""
    rows = readings.where(within("event_time", days, before=1))
    rows = rows.where("device_id IS NOT NULL AND event_time IS NOT NULL")
    fields = number_fields(readings)
    texts = [name for name in TEXT_FIELDS if name in readings.columns]
    rows = rows.select(
        *("device_id", "event_time", "event_id", "arrival_time", "is_late"),
        (sf.size("quality_flags") > 0).alias("is_flagged"),
        sf.when(sf.col("sequence") >= 0, sf.col("sequence")).alias("number"),
        *(a_number(name).alias(name) for name in (*POSITION, *fields)),
        *(sf.col(name) for name in texts),
    )
    # Each reading is there for its own day, and for the next one to look back upon: so a day comes
    # out the same however many others are computed with it.
    own_day = sf.to_date("event_time")
    rows = rows.withColumn("own_day", own_day).withColumn(
        "day", sf.explode(sf.array(own_day, sf.date_add(own_day, 1)))
    )
    rows = rows.where(within("day", days))
    rows = with_steps(with_numbers(with_order(rows)))
    return by_hour(rows.where("day = own_day"), fields, texts)


def number_fields(readings: DataFrame) -> list[str]:
    """The columns of `readings` to be summarised: a field that the contract gets is one of them."""
    return [
        name
        for name, kind in readings.dtypes
        if kind in ("double", "float") and name not in POSITION
    ]


def a_number(name: str) -> Column:
    """The value, unless it is infinite or no number (which Spark sorts above all that are)."""
    value = sf.col(quoted(name)).cast("double")
    return sf.when(sf.abs(value) < float("inf"), value)


def with_order(rows: DataFrame) -> DataFrame:
    """Number a device's readings of two days in their order: `n`."""
    order = ("event_time", sf.col("number").asc_nulls_first(), "event_id")
    two_days = Window.partitionBy("device_id", "day")
    return rows.withColumn("n", sf.row_number().over(two_days.orderBy(*order)))


EARLIER: Final = (Window.unboundedPreceding, -1)


def with_numbers(rows: DataFrame) -> DataFrame:
    """What each reading's sequence number says: see `expected` and following at the top."""
    ordered = Window.partitionBy("device_id", "day").orderBy("n")
    previous = sf.last("number", ignorenulls=True).over(ordered.rowsBetween(*EARLIER))
    change = sf.col("number") - previous
    is_restart = (
        (change < -MAX_REORDERED)
        | (change > MAX_GAP)
        | ((sf.col("number") <= FIRST_NUMBER) & (change < -1))
    )
    rows = rows.withColumn("restarted", sf.coalesce(is_restart, sf.lit(False)).cast("int"))
    until_now = ordered.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    rows = rows.withColumn("run", sf.sum("restarted").over(until_now))
    in_run = Window.partitionBy("device_id", "day", "run").orderBy("n")
    same = Window.partitionBy("device_id", "day", "run", "number").orderBy("n")
    has_number = sf.col("number").isNotNull()
    rows = rows.withColumns(
        {
            "ahead": sf.col("number") - sf.max("number").over(in_run.rowsBetween(*EARLIER)),
            "behind": sf.min("number").over(in_run.rowsBetween(*EARLIER)) - sf.col("number"),
            "is_repeated": has_number & (sf.row_number().over(same) > 1),
        }
    )
    outside = sf.greatest("ahead", "behind", sf.lit(0))
    is_first = has_number & sf.col("ahead").isNull()
    return rows.withColumns(
        {
            "expects": sf.when(is_first, 1).when(has_number, outside),
            "is_received": has_number & ~sf.col("is_repeated"),
            "is_gap": outside > 1,
            "is_reordered": (sf.col("ahead") < 0) & ~sf.col("is_repeated"),
        }
    )


def with_steps(rows: DataFrame) -> DataFrame:
    """Each reading's step from the previous position: see `distance_metres` at the top."""
    ordered = Window.partitionBy("device_id", "day").orderBy("n")
    has_position = sf.col("latitude").isNotNull() & sf.col("longitude").isNotNull()
    position = sf.when(has_position, sf.struct(*POSITION, "event_time"))
    previous = sf.last("position", ignorenulls=True).over(ordered.rowsBetween(*EARLIER))
    rows = rows.withColumn("position", position).withColumn("previous", previous)
    took = sf.unix_micros("event_time") - sf.unix_micros("previous.event_time")
    rows = rows.withColumns(
        {
            "metres": sf.when(has_position, distance("previous", "position")),
            "seconds": took / sf.lit(1e6),
        }
    )
    metres, seconds = sf.col("metres"), sf.col("seconds")
    is_jump = metres > MAX_METRES_PER_SECOND * seconds
    is_still = (metres < STILL_METRES) & (metres <= STILL_METRES_PER_SECOND * seconds)
    return rows.withColumns({"is_jump": is_jump, "has_moved": ~is_jump & ~is_still})


def distance(start: str, end: str) -> Column:
    """Metres between two positions on a sphere (haversine)."""

    def radians(place: str, name: str) -> Column:
        return sf.radians(f"{place}.{name}")

    north = sf.sin((radians(end, "latitude") - radians(start, "latitude")) / 2)
    east = sf.sin((radians(end, "longitude") - radians(start, "longitude")) / 2)
    shrink = sf.cos(radians(start, "latitude")) * sf.cos(radians(end, "latitude"))
    half_chord = sf.sqrt(sf.least(north * north + shrink * east * east, sf.lit(1.0)))
    return 2 * EARTH_RADIUS_METRES * sf.asin(half_chord)


def by_hour(rows: DataFrame, fields: Sequence[str], texts: Sequence[str]) -> DataFrame:
    """One row per device and hour."""

    def last(value: Column) -> Column:
        return sf.max_by(value, sf.when(value.isNotNull(), sf.col("n")))

    def total(name: str, of: Column | None = None) -> Column:
        counted = sf.col(name).cast("bigint") if of is None else sf.when(sf.col(name), of)
        return sf.coalesce(sf.sum(counted), sf.lit(0).cast("bigint" if of is None else "double"))

    short = sf.when(sf.col("seconds") <= MAX_STEP_SECONDS, sf.col("seconds"))
    figures = {
        "readings": sf.count("*"),
        "last_event_time": sf.max("event_time"),
        "last_arrival_time": sf.max("arrival_time"),
        "late": total("is_late"),
        "flagged": total("is_flagged"),
        "expected": total("expects"),
        "received": total("is_received"),
        "gaps": total("is_gap"),
        "restarts": total("restarted"),
        "reordered": total("is_reordered"),
        "repeated": total("is_repeated"),
        "distance_metres": total("has_moved", sf.col("metres")),
        "moving_seconds": total("has_moved", short),
        "jumps": total("is_jump"),
        "position_time": last(sf.col("position.event_time")),
    }
    figures |= {f"{name}_last": last(sf.col(f"position.{name}")) for name in POSITION}
    figures |= {f"{name}_last": last(sf.col(name)) for name in texts}
    for name in fields:
        value = sf.col(quoted(name))
        figures |= {
            f"{name}_min": sf.min(value),
            f"{name}_mean": sf.avg(value),
            f"{name}_max": sf.max(value),
            f"{name}_last": last(value),
        }
    hour = sf.date_trunc("hour", "event_time").alias("hour")
    return rows.groupBy("device_id", hour).agg(
        *(figure.alias(name) for name, figure in figures.items())
    )


# ---- device_latest -----------------------------------------------------------------------------
def summarise_latest(job: Job, history: Sequence[Snapshot]) -> int:
    """Bring `device_latest` up to date, silence too; gives the number of devices. Only the days
    that changed are read, and their neighbours, as long as no device lost its last reading."""
    days = changed_days(job, last_seen(lineage(job, job.latest)), history)
    hours = job.spark.table(job.hours)
    near = latest_of(hours.where(within("hour", days, before=1, after=1)))
    stored = job.spark.table(job.latest).drop("silent_since")
    devices = near if days is None else merged(stored, near, hours, days)
    told = replace_rows(
        job, job.latest, with_silence(devices, job.settings), sf.lit(True), history[0]
    )
    return int(told.get("total-records", 0))


def latest_of(hours: DataFrame) -> DataFrame:
    """`device_latest` without silence, from rows of `device_hours`."""
    last_hour = sf.max("hour").over(Window.partitionBy("device_id"))
    hours = hours.withColumn("last_hour", last_hour).withColumn(
        "is_recent", sf.expr(f"hour > last_hour - INTERVAL '{RECENT_HOURS}' HOUR")
    )

    def last(name: str) -> Column:
        value = sf.col(quoted(name))
        return sf.max_by(value, sf.when(value.isNotNull() & sf.col("is_recent"), sf.col("hour")))

    figures = {
        "last_event_time": sf.max("last_event_time"),
        "last_hour": sf.max("hour"),
        "last_arrival": sf.max(sf.struct("last_arrival_time", "hour")),
    }
    figures |= {
        f"{name}_{RECENT_HOURS}h": sf.sum(sf.when(sf.col("is_recent"), sf.col(name)))
        for name in (*SUMS, *SUMS_OF_NUMBERS)
    }
    figures["position_time"] = last("position_time")
    figures |= {
        name.removesuffix("_last"): last(name) for name in hours.columns if name.endswith("_last")
    }
    devices = hours.groupBy("device_id").agg(
        *(figure.alias(name) for name, figure in figures.items())
    )
    # The hour of event time in which the reading lies that arrived last.
    return devices.withColumns(
        {
            "last_arrival_time": sf.col("last_arrival.last_arrival_time"),
            "last_arrival_hour": sf.col("last_arrival.hour"),
        }
    ).drop("last_arrival")


def merged(stored: DataFrame, near: DataFrame, hours: DataFrame, days: Sequence[date]) -> DataFrame:
    """The rows of all devices, from the stored ones and those of the days that changed and their
    neighbours. What was last there and no longer is (a replay may remove it) has to be looked for
    in all hours, for these devices only."""
    names = [name for name in near.columns if name != "device_id"]

    def arrival(row: str) -> Column:
        return sf.struct(f"{row}.last_arrival_time", f"{row}.last_arrival_hour")

    old, new = (sf.struct(*map(quoted, rows.columns)) for rows in (stored, near))
    both = stored.select("device_id", old.alias("old")).join(
        near.select("device_id", new.alias("new")), "device_id", "full"
    )
    old_day, new_day = sf.to_date("old.last_hour"), sf.to_date("new.last_hour")
    is_newer = sf.coalesce(new_day >= old_day, sf.col("old").isNull())
    has_later_arrival = sf.coalesce(arrival("new") >= arrival("old"), sf.col("old").isNull())
    is_lost = (~is_newer & within("old.last_hour", days, before=1, after=1)) | (
        ~has_later_arrival & within("old.last_arrival_hour", days, before=1, after=1)
    )
    both = both.withColumns(
        {
            "is_newer": is_newer,
            "has_later_arrival": has_later_arrival,
            "is_lost": sf.coalesce(is_lost, sf.lit(False)),
        }
    )

    def chosen(name: str) -> Column:
        by = "has_later_arrival" if name.startswith("last_arrival_") else "is_newer"
        new, old = (sf.col(f"{row}.{quoted(name)}") for row in ("new", "old"))
        return sf.when(sf.col(by), new).otherwise(old).alias(name)

    rows = both.where(~sf.col("is_lost")).select("device_id", *map(chosen, names))
    lost = both.where("is_lost").select("device_id")
    if lost.isEmpty():
        return rows
    logger.info("devices whose last readings are gone: looking through all hours")
    return rows.unionByName(latest_of(hours.join(sf.broadcast(lost), "device_id", "left_semi")))


def with_silence(devices: DataFrame, settings: Settings) -> DataFrame:
    """`silent_since`: the last arrival, where it is longer ago than the setting says."""
    now = sf.timestamp_micros(sf.lit(round(settings.now.timestamp() * 1e6)))
    heard = sf.col("last_arrival_time")
    is_silent = heard < now - sf.make_dt_interval(secs=sf.lit(settings.silent_after_seconds))
    return devices.withColumn("silent_since", sf.when(is_silent, heard))


# ---- tables ------------------------------------------------------------------------------------
def make_tables(job: Job) -> None:
    """Create both tables, or give them the columns that they lack, as soon as there is a table of
    readings, even an empty one: whoever asks them is then answered."""
    if job.spark.catalog.tableExists(job.readings):
        hours = hours_of(job.spark.table(job.readings), [])
        make_table(job, job.hours, hours, "PARTITIONED BY (days(hour))", "device_id, hour")
        make_table(job, job.latest, with_silence(latest_of(hours), job.settings))


def make_table(
    job: Job, table: str, rows: DataFrame, partitioning: str = "", order: str = "device_id"
) -> None:
    """The job owns its tables: CloudFormation breaks Iceberg tables when it updates them."""
    if not job.spark.catalog.tableExists(table):
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in rows.dtypes)
        # Athena can't read version 3.
        properties = "'format-version'='2', 'write.metadata.delete-after-commit.enabled'='true'"
        job.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}) USING iceberg {partitioning} "
            f"{location_of(job, table)} TBLPROPERTIES ({properties})"
        )
    if not job.spark.sql(f"SHOW TBLPROPERTIES {table}").where("key = 'sort-order'").count():
        job.spark.sql(
            f"ALTER TABLE {table} WRITE DISTRIBUTED BY PARTITION LOCALLY ORDERED BY {order}"
            if partitioning
            else f"ALTER TABLE {table} WRITE LOCALLY ORDERED BY {order}"
        )
    present = job.spark.table(table).columns
    for name, kind in rows.dtypes:
        if name not in present:
            logger.info("%s: ADD COLUMN %s %s", table, name, kind)
            job.spark.sql(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {kind}")


def location_of(job: Job, table: str) -> str:
    """Where a new table shall lie, as a clause: in the catalogue's warehouse, where Glue's puts it
    of itself unless the database has a location of its own, which it would take first."""
    catalog = f"spark.sql.catalog.{job.settings.catalog}"
    warehouse = job.spark.conf.get(f"{catalog}.warehouse", None)
    if not warehouse or job.spark.conf.get(f"{catalog}.type", None) == "hadoop":
        return ""  # a Hadoop catalogue has no other place, and refuses to be told
    name = table.rpartition(".")[2].strip("`")
    return f"LOCATION '{warehouse.rstrip('/')}/{job.settings.database}.db/{name}'"


def replace_rows(
    job: Job, table: str, rows: DataFrame, where: Column, source: Snapshot
) -> Mapping[str, str]:
    """Put these rows in the place of those that are there `where`, in one snapshot that tells of
    which readings they were made. Done twice it changes nothing, so a commit whose answer was lost
    may be repeated. Gives the snapshot's summary."""
    given = set(rows.columns)
    columns = [
        (sf.col(quoted(name)) if name in given else sf.lit(None).cast(kind)).alias(name)
        for name, kind in job.spark.table(table).dtypes
    ]
    writer = rows.select(*columns).writeTo(table)
    told = {"readings_snapshot_id": source.snapshot_id, "definitions": DEFINITIONS}
    for name, value in told.items():
        writer = writer.option(f"snapshot-property.{SUMMARY}{name}", str(value))
    writer.overwrite(where)
    return lineage(job, table)[0].summary


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


if __name__ == "__main__":
    main(sys.argv[1:])
