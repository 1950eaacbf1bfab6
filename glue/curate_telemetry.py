"""The curation job: raw objects in, exactly one row per reading in `readings` out.

find input -> read -> adjust -> clean -> de-duplicate -> enrich -> commit -> account -> announce

Runs unchanged on Glue 6.0 and under spark-submit, and imports nothing of the project: the raw
zone's Parquet columns are the contract, JSON is never interpreted here. Whatever kills a run, the
next one leaves the same table: the input is written down before the commit, the commit is one
Iceberg snapshot that carries the run's id and figures, and the account is made from that snapshot.
What goes into `late_readings` before bears the run's id, so that it is taken back with the plan.
With a selection the same job is a replay: it rebuilds the selected rows by the same steps and swaps
them in, day by day. Told to erase, it takes the devices that have a tombstone out of every table
and forgets what the tables were before; every other run leaves their rows out. One run at a time
may write (the job's MaxConcurrentRuns): what only inserts sees no conflicts,
https://github.com/apache/iceberg/issues/12653.
"""

import argparse
import functools
import hashlib
import itertools
import json
import logging
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as sf
from pyspark.sql import types as st

logger = logging.getLogger("curate_telemetry")

# What the contract has carried from the start. A column that raw gets later needs no line here: it
# is added to `readings` when the first object that has it is read.
RAW_COLUMNS: Final = """
    event_id string, device_id string, event_time timestamp, sequence bigint, device_name string,
    status string, latitude double, longitude double, speed double, temperature double,
    humidity double, pressure double, battery double, co double, lpg double, smoke double,
    light boolean, motion boolean, measurements map<string,double>, attributes map<string,string>,
    quality_flags array<string>, payload binary, identity string, client_id string,
    principal string, topic string, record_id string, ingest_id string, broker_time timestamp,
    arrival_time timestamp, contract_version int"""
DERIVED_COLUMNS: Final = {
    "event_date": "date",
    "ingest_delay_seconds": "double",
    "is_late": "boolean",
    "device_model": "string",
    "device_site": "string",
    "run_id": "string",
    "device_owner": "string",
    "device_attributes": "map<string,string>",
    "is_ahead": "boolean",
    "recovered_values": "map<string,string>",
}
# What becomes of a row; how many nulls it has; and where in raw it lies: a hash of the object's URI
# (that two of 20,000 have the same one has a chance of 1e-11) and the number of its row there. Raw
# columns of these names are not taken.
FATE: Final = "_fate"
OTHER_FATE: Final = "_other_fate"
NULLS: Final = "_nulls"
PLACE: Final = ("_object", "_row")
OWN_COLUMNS: Final = {FATE, OTHER_FATE, NULLS, *PLACE}
# rows_in = curated + duplicates + dropped + too_old + erased; `objects` includes those set aside,
# `curated` the late, the ahead and the recovered. `kind` is "schedule", "replay" or "erase": then
# `erased` are the rows that left the tables of readings.
ACCOUNT_COLUMNS: Final = """
    run_id string, started_at timestamp, finished_at timestamp, seconds double, objects bigint,
    objects_set_aside bigint, rows_in bigint, curated bigint, duplicates bigint, dropped bigint,
    late bigint, snapshot_id bigint, too_old bigint, ahead bigint, recovered bigint,
    recovered_fields string, complete_through timestamp, kind string, erased bigint"""
LEDGER_COLUMNS: Final = """
    object_key string, size bigint, last_modified timestamp, status string, rows bigint,
    detail string, run_id string, recorded_at timestamp"""
# What the operator's tools write down before the job is told: which devices are erased, as far as
# they arrived before `until`, by the SHA-256 of their ids; and which raw object takes the place of
# which, where one is left.
TOMBSTONE_COLUMNS: Final = "device_digest string, until timestamp"
EXCHANGE_COLUMNS: Final = """
    old string, new string, size bigint, last_modified timestamp, rows bigint"""
# Appended to, never changed: a row holds from `valid_from` until the device's next one, its first
# row also for all that came before.
REGISTRY_COLUMNS: Final = """
    device_id string, valid_from timestamp, model string, site string, owner string,
    attributes map<string,string>"""

# Without these a row can be neither identified nor placed in time: an object that lacks one, or has
# it as another type, is not raw telemetry.
REQUIRED_COLUMNS: Final = {
    "event_id": "string",
    "device_id": "string",
    "event_time": "timestamp",
    "arrival_time": "timestamp",
}
# They tell how a row came here; every other column is a value of the reading.
ENVELOPE_COLUMNS: Final = {
    *REQUIRED_COLUMNS,
    *("record_id", "ingest_id", "broker_time", "client_id", "principal", "topic", "identity"),
    *("quality_flags", "payload", "contract_version"),
}
ICEBERG_WIDENINGS: Final = {("int", "bigint"), ("float", "double")}
WIDENINGS: Final = ICEBERG_WIDENINGS | {("int", "float"), ("int", "double"), ("bigint", "double")}
NUMBER: Final = re.compile(r"(tiny|small|big)?int|float|double|decimal.*")
TIME: Final = re.compile(r"date|timestamp.*")

OBJECT_NAME: Final = re.compile(r"\d\d/[A-Za-z0-9][\w=.-]*", re.ASCII)  # others Spark can't name
READER_THREADS: Final = 32
RAW_BYTES_OF_A_FILE: Final = 32 << 20  # small enough to keep the workers busy with one day
MAX_FILES: Final = 200  # of a run; beyond, rows are gathered by day before they are written
# On average. To open one takes some 100 ms on S3, as long as to store so many bytes' rows (15 us
# each, measured).
SMALL_OBJECT: Final = 512 << 10
MAX_BROADCAST_ROWS: Final = 200_000  # some 50 MB
MAX_TIME_RANGES: Final = 200  # 180 or-ed ranges cost nothing to speak of (measured)
SUMMARY: Final = "curation."  # prefix of the job's entries in a snapshot's summary
# Which tables tell of devices, and by which time their rows came before an erasure; without one all
# rows of a device go, and the summary job makes those that it should have anew.
ERASED_FROM: Final = {
    "readings": "arrival_time",
    "late_readings": "arrival_time",
    "device_registry": "valid_from",
    "device_hours": None,
    "device_latest": None,
}
SUMMARIES: Final = ("device_hours", "device_latest")
SUMMARISED: Final = "summary.readings_snapshot_id"  # the summary job's mark
# An hour's folder gets nothing more once the hour is over for so long: the function writes into the
# hour that it has when it starts, for its 5 minutes at most, by a clock that may be a little off.
HOUR_CLOSES_AFTER: Final = timedelta(minutes=15)

SPARK_ERRORS: Final = (Py4JJavaError, PySparkException)
# Parquet and Spark wrap whatever happens while they read, so the last cause of an error tells
# whether the object is at fault. These are what damaged objects raised (some 150 of them, of four
# compressions): an error that is not listed fails the run, which loses nothing.
DAMAGE: Final = re.compile(
    r"not a Parquet file|RuntimeException: (corrupted file|footer )"
    r"|org\.apache\.parquet\.[\w.]+Exception|parquet\.org\.apache\.thrift\.[\w.]+Exception"
    r"|IOException: can not read class org\.apache\.parquet|values in column chunk"
    r"|java\.io\.EOFException|ZstdIOException|FAILED_TO_UNCOMPRESS|DataFormatException"
    r"|IOException: .*(gzip|CRC|invalid (distance|block|stored|code|bit|literal|window)"
    r"|incorrect (header|data|length) check|unknown (compression|header)|too many length)"
    r"|java\.lang\.(\w*IndexOutOfBounds|NegativeArraySize|NullPointer|ClassCast|Arithmetic)Exception"
    r"|IllegalArgumentException: (new\w+ [<>]|[Nn]egative|Illegal Capacity|No enum constant)"
    r"|java\.nio\.Buffer\w+Exception|[Uu]nsupported encoding|SchemaColumnConvertNotSupported"
    r"|\[(FAILED_READ_FILE\.)?PARQUET_\w+|\[(COLUMN_ALREADY_EXISTS|UNABLE_TO_INFER_SCHEMA)"
    r"|Illegal Parquet type|INCONSISTENT_BEHAVIOR_CROSS_VERSION"
)
# Named by any of the causes, it is no fault of the object, whatever the last one is.
INFRASTRUCTURE: Final = re.compile(
    r"AccessDenied|awssdk|amazonaws|fs\.s3a\.\w+Exception|javax?\.net\.|org\.apache\.http|Interrupted"
    r"|OutOfMemory|No space left|ExecutorLost"
)

type Kinds = Mapping[str, str]  # columns and their types, as SQL writes them


@dataclass(frozen=True)
class Selection:
    """What a replay is for; a part that is None selects all. `objects` is the URI of a list of
    keys; `late` takes the rows of `late_readings` instead of raw ones; `exchange` is the URI of a
    list of objects that take the place of others, whose readings are built anew from them."""

    days: tuple[date, date] | None
    device: str | None
    objects: str | None
    late: bool
    exchange: str | None = None


@dataclass(frozen=True)
class Settings:
    """The job's arguments."""

    raw_zone_bucket: str
    raw_prefix: str
    database: str
    catalog: str
    look_back_minutes: int
    max_objects_per_run: int
    late_after_seconds: int
    ahead_after_seconds: int
    maximum_reading_age_days: int
    event_bus: str
    run_id: str
    now: datetime
    selection: Selection | None = None
    dry_run: bool = False
    exchange: str = ""
    erase: bool = False


@dataclass(frozen=True)
class RawObject:
    """An object of the raw zone; its footer tells `rows` and `schema`. One with a `problem` is set
    aside: recorded, never read again, and no failure of the run."""

    key: str
    size: int
    last_modified: datetime
    rows: int | None = None
    schema: st.StructType | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Batch:
    """What a run is about: `rows`, each with its fate, which large objects are read again for
    whenever they are used; how many have which, and in which hours since 1970 their event times
    fall. `replaced`: events of the objects whose place the objects take."""

    objects: Sequence[RawObject]
    rows: DataFrame | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    hours: Mapping[str, Sequence[int]] = field(default_factory=dict)
    replaced: DataFrame | None = None

    def of(self, fate: str) -> DataFrame | None:
        """The rows of a fate; None if there are none."""
        if self.rows is None or not self.counts.get(fate):
            return None
        return self.rows.where(sf.col(FATE) == fate).drop(FATE)


@dataclass(frozen=True)
class RawZone:
    """Where raw objects are; `client` is a boto3 S3 client."""

    client: Any
    bucket: str
    prefix: str

    def list_after(self, key: str) -> Iterator[RawObject]:
        """The objects whose keys follow `key`, in the order of their keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix, StartAfter=key
        )
        for page in pages:
            for entry in page.get("Contents", []):
                yield RawObject(entry["Key"], entry["Size"], entry["LastModified"])

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None if it is gone. Any other trouble raises."""
        try:
            body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None
        return body

    def uri(self, key: str) -> str:
        """Where Spark reads the object."""
        return f"s3://{self.bucket}/{key}"


@dataclass(frozen=True)
class Job:
    """What the steps work with; the tables by their full names."""

    spark: SparkSession
    zone: RawZone
    settings: Settings
    events: Any = None  # a boto3 client, where an event bus is told

    readings = property(lambda job: job.table("readings"))
    late = property(lambda job: job.table("late_readings"))
    ledger = property(lambda job: job.table("curation_ledger"))
    runs = property(lambda job: job.table("curation_runs"))
    registry = property(lambda job: job.table("device_registry"))

    def table(self, name: str) -> str:
        return f"`{self.settings.catalog}`.`{self.settings.database}`.`{name}`"


def main(arguments: Sequence[str]) -> None:
    """Run the job. Its account is the last line printed, as JSON under the key `account`."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    settings = parse_arguments(arguments)
    spark = SparkSession.builder.appName("curate_telemetry").getOrCreate()
    # In any other zone the bounds of days shift, and what is there is inserted again (measured).
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    zone = RawZone(boto3.client("s3"), settings.raw_zone_bucket, settings.raw_prefix)
    events = boto3.client("events") if settings.event_bus else None
    job = Job(spark, zone, settings, events)
    if settings.erase:
        account: Row | None = erase(job)
    else:
        account = replay(job, settings.selection) if settings.selection else curate(job)
    if account:
        print(json.dumps({"account": printed(account)}, default=datetime.isoformat), flush=True)


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Glue adds arguments of its own, so unknown ones pass, and none may be abbreviated."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--raw_zone_bucket", required=True)
    parser.add_argument("--raw_prefix", default="raw_data/")
    parser.add_argument("--database", required=True)
    parser.add_argument("--catalog", default="glue_catalog")
    parser.add_argument("--look_back_minutes", type=int, default=120)
    parser.add_argument("--max_objects_per_run", type=int, default=20_000)
    parser.add_argument("--late_after_seconds", type=int, default=3_600)
    parser.add_argument("--ahead_after_seconds", type=int, default=3_600)
    parser.add_argument("--maximum_reading_age_days", type=int, default=0, help="0 = no limit")
    parser.add_argument("--event_bus", default="", help="told of runs that ended; empty = none")
    parser.add_argument("--run_id", help="never used before; made up if not given")
    parser.add_argument("--now", type=datetime.fromisoformat, default=datetime.now(UTC))
    parser.add_argument("--replay_days", type=days_of, help="2026-11-01:2026-11-03, inclusive")
    parser.add_argument("--replay_device")
    parser.add_argument("--replay_objects", help="URI of a list of keys, one a line")
    parser.add_argument("--replay_late", choices=("true", "false"))
    parser.add_argument("--dry_run", choices=("true", "false"))
    parser.add_argument("--exchange", default="", help="URI of a list: which object for which")
    parser.add_argument("--erase", choices=("true", "false"))
    given, _ = parser.parse_known_args(arguments)
    given.now = given.now.astimezone(UTC)
    given.run_id = given.run_id or f"{given.now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    if not re.fullmatch(r"[\w.:-]+", given.run_id, re.ASCII):
        parser.error(f"--run_id {given.run_id!r}: letters, digits and _ . : - only")
    others = vars(given)
    parts = {name: others.pop(f"replay_{name}") or None for name in ("days", "device", "objects")}
    given.erase = given.erase == "true"
    selection = Selection(
        **parts,
        late=others.pop("replay_late") == "true",
        exchange=None if given.erase else given.exchange or None,
    )
    given.selection = selection if any(vars(selection).values()) else None
    given.dry_run = given.dry_run == "true"
    if given.dry_run and not given.selection:
        parser.error("--dry_run: only a replay can be tried")
    if selection.late and selection.objects:
        parser.error("--replay_late: what came late is selected by days and device")
    if (selection.exchange or given.erase) and (any(parts.values()) or selection.late):
        parser.error("--exchange and --erase are about all that is in the objects or the tables")
    return Settings(**others)


def days_of(text: str) -> tuple[date, date]:
    first, _, last = text.partition(":")
    days = date.fromisoformat(first), date.fromisoformat(last or first)
    if days[0] > days[1]:
        raise ValueError(text)
    return days


def curate(job: Job) -> Row:
    """One run, step by step. Killed anywhere, the next run completes or repeats it."""
    begin = time.monotonic()
    create_tables(job)
    settle_predecessors(job)
    found, complete_through = find_input(job)
    batch = prepare_batch(job, read_footers(job, found))
    write_plan(job, batch)
    too_old = commit_late(job, batch)
    summary = summary_of(job.settings, batch, too_old, complete_through)
    commit = commit_readings(job, batch, summary)
    leave_late(job, added_by(job, commit) if commit else None)
    finished_at = job.settings.now + timedelta(seconds=time.monotonic() - begin)
    account = account_of(job, summary, commit, finished_at)
    write_account(job, account)
    announce(job, account)
    return account


# ---- tables ------------------------------------------------------------------------------------
def create_tables(job: Job) -> None:
    """Create what is missing. The job owns its tables: CloudFormation breaks Iceberg tables when it
    updates them (cloudformation-coverage-roadmap #1919)."""
    derived = ", ".join(f"{name} {kind}" for name, kind in DERIVED_COLUMNS.items())
    by_day = "PARTITIONED BY (days(event_time))"
    create_table(job, job.readings, f"{RAW_COLUMNS}, {derived}", by_day)
    create_table(job, job.runs, ACCOUNT_COLUMNS)
    create_table(job, job.ledger, LEDGER_COLUMNS)
    create_table(job, job.registry, REGISTRY_COLUMNS)
    if job.settings.maximum_reading_age_days:
        present = job.spark.table(job.readings).dtypes
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in present)
        create_table(job, job.late, f"{columns}, reason string", by_day)
    for table in tables_of_readings(job):
        # As it is read; CREATE TABLE has no words for it.
        if not job.spark.sql(f"SHOW TBLPROPERTIES {table}").where("key = 'sort-order'").count():
            job.spark.sql(
                f"ALTER TABLE {table} WRITE DISTRIBUTED BY PARTITION "
                "LOCALLY ORDERED BY device_id, event_time"
            )


def tables_of_readings(job: Job) -> list[str]:
    """`readings`, and `late_readings` if it was ever asked for."""
    has_late = job.spark.catalog.tableExists(job.late)
    return [job.readings, job.late] if has_late else [job.readings]


def create_table(job: Job, table: str, columns: str, partitioning: str = "") -> None:
    """Create a table, or add the columns that one which is there lacks."""
    # Athena can't read version 3. Each commit writes the metadata anew; every version would stay.
    properties = "'format-version'='2', 'write.metadata.delete-after-commit.enabled'='true'"
    if table in (job.readings, job.late):
        # Each snapshot tells the days it touched, which is what the summaries are made anew for.
        properties += ", 'write.summary.partition-limit'='1000'"
    if table == job.ledger:
        # It is searched by keys that differ only after the 16 characters of a text's bounds that
        # Iceberg keeps unless told otherwise.
        properties += ", 'write.metadata.metrics.column.object_key'='full'"
    job.spark.sql(
        f"CREATE TABLE IF NOT EXISTS {table} ({columns}) USING iceberg {partitioning} "
        f"{location_of(job, table)} TBLPROPERTIES ({properties})"
    )
    present = job.spark.table(table).columns
    # pyspark has it since 3.5; its annotations say less.
    for column in st.DataType.fromDDL(columns):  # type: ignore[attr-defined]
        if column.name not in present:
            added = f"{quoted(column.name)} {column.dataType.simpleString()}"
            logger.info("%s: ADD COLUMN %s", name_of(table), added)
            job.spark.sql(f"ALTER TABLE {table} ADD COLUMN {added}")


def location_of(job: Job, table: str) -> str:
    """Where a new table shall lie, as a clause: in the catalogue's warehouse, where Glue's puts it
    of itself unless the database has a location of its own, which it would take first."""
    catalog = f"spark.sql.catalog.{job.settings.catalog}"
    warehouse = job.spark.conf.get(f"{catalog}.warehouse", None)
    if not warehouse or job.spark.conf.get(f"{catalog}.type", None) == "hadoop":
        return ""  # a Hadoop catalogue has no other place, and refuses to be told
    return f"LOCATION '{warehouse.rstrip('/')}/{job.settings.database}.db/{name_of(table)}'"


def name_of(table: str) -> str:
    return table.rpartition(".")[2].strip("`")


def append(job: Job, table: str, columns: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a table in one commit. They go over as one JSON literal, which needs no Python
    process on the executors."""
    text = json.dumps(rows, default=datetime.isoformat)
    given = sf.from_json(sf.lit(text), f"array<struct<{columns}>>")
    job.spark.range(1).select(sf.inline(given)).writeTo(table).append()


# ---- settle what a killed run left -------------------------------------------------------------
def settle_predecessors(job: Job) -> None:
    """Write the account of a run that was killed after its commit; take back what one left that was
    killed before it. The ledger's last entries are found by the table's statistics: its history
    costs nothing."""
    ledger, run_id = job.spark.table(job.ledger), job.settings.run_id
    recorded_at: int | None = ledger.agg(sf.unix_micros(sf.max("recorded_at"))).collect()[0][0]
    if recorded_at is None:
        return
    last_run = datetime.fromtimestamp(recorded_at / 1e6, UTC)
    # Only the latest plan is looked at: one that is written behind it would never be settled.
    if job.settings.now < last_run:
        raise SystemExit(f"--now {job.settings.now} is before the ledger's last run, {last_run}")
    # Instants travel as numbers: the naive datetimes that Spark gives Python pass through the time
    # zone of the machine.
    last = sf.timestamp_micros(sf.lit(recorded_at))
    plans = ledger.where(sf.col("recorded_at") == last).select("run_id").distinct()
    run_ids = {plan.run_id for plan in plans.collect()}
    if run_id in run_ids:
        raise SystemExit(f"--run_id {run_id} was used before")
    runs = job.spark.table(job.runs).where(sf.col("started_at") == last).select("run_id")
    for unsettled in run_ids - {row.run_id for row in runs.collect()}:
        if commit := find_commit(job, job.readings, unsettled):
            logger.warning("run %s was killed after its commit: writing its account", unsettled)
            leave_late(job, added_by(job, commit))
            committed_at = datetime.fromtimestamp(commit.committed_at / 1e6, UTC)
            write_account(job, account_of(job, commit.summary, commit, committed_at))
        else:
            logger.warning("run %s was killed before its commit: taking back its plan", unsettled)
            # The plan goes last: it is what makes the next run look here.
            for table in (*tables_of_readings(job)[1:], job.ledger):
                # Safe to put in: parse_arguments lets no quote into a run id.
                job.spark.sql(f"DELETE FROM {table} WHERE run_id = '{unsettled}'")  # noqa: S608


# ---- find input --------------------------------------------------------------------------------
def find_input(job: Job) -> tuple[list[RawObject], datetime]:
    """The objects that no run has taken, oldest first, and the hour up to which everything is taken
    once these are. The listing begins where the runs before were complete, less the look-back.
    Keys outside hour folders are no input."""
    settings, prefix, start_after = job.settings, job.settings.raw_prefix, job.settings.raw_prefix
    if before := completed_before(job):
        if settings.now < before:
            raise SystemExit(f"--now {settings.now} is before what earlier runs took, {before}")
        start_after = hour_folder(prefix, before - timedelta(minutes=settings.look_back_minutes))
    taken = job.spark.table(job.ledger).where(sf.col("object_key") > start_after)
    taken_keys = {row.object_key for row in taken.select("object_key").collect()}
    found = (
        raw
        for raw in job.zone.list_after(start_after)
        if raw.key not in taken_keys and is_input(prefix, raw)
    )
    objects = list(itertools.islice(found, settings.max_objects_per_run))
    logger.info("run %s: %d objects after %s", settings.run_id, len(objects), start_after)
    last_closed = settings.now - HOUR_CLOSES_AFTER
    complete = [last_closed.replace(minute=0, second=0, microsecond=0)]
    complete += [hour for left in itertools.islice(found, 1) if (hour := hour_of(prefix, left.key))]
    return objects, max(min(complete), before or min(complete))  # a copied object takes none back


def completed_before(job: Job) -> datetime | None:
    """The hour up to which earlier runs have taken everything."""
    through = sf.unix_micros(sf.max("complete_through"))
    micros: int | None = job.spark.table(job.runs).agg(through).collect()[0][0]
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


def is_input(prefix: str, raw: RawObject) -> bool:
    return not raw.key.endswith("/") and hour_of(prefix, raw.key) is not None


def hour_folder(prefix: str, hour: datetime) -> str:
    return f"{prefix}ingest_date={hour:%Y-%m-%d}/ingest_hour={hour:%H}"


def hour_of(prefix: str, key: str) -> datetime | None:
    """The hour of the folder in which a key lies; None if it lies in no such folder."""
    match = re.match(r"ingest_date=(\d{4}-\d\d-\d\d)/ingest_hour=(\d\d)/", key.removeprefix(prefix))
    try:
        return match and datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
    except ValueError:
        return None


# ---- read --------------------------------------------------------------------------------------
def prepare_batch(job: Job, objects: Sequence[RawObject]) -> Batch:
    """Read, adjust, clean, de-duplicate and enrich. Most objects that can't be read show it in the
    footer; one with a corrupt page shows it while fates are told, which makes a further round."""
    readable = [raw for raw in objects if not raw.problem]
    if not readable:
        return Batch(objects)
    rows = clean(read_rows(job, readable))
    if sum(raw.size for raw in readable) < SMALL_OBJECT * len(readable):
        rows = rows.persist()
    fates = leave_out_erased(job, rows)
    fates = select(job, fates)
    fates = deduplicate(fates, job.settings)
    fates = set_apart(job, fates)
    fates = fates.select(*PLACE, FATE, "event_time", NULLS).persist()
    try:
        counts, hours = tally(fates)
    except SPARK_ERRORS:
        fates.unpersist()
        rows.unpersist()
        examined = examine(job, objects, functools.partial(read_pages, job))
        if examined == objects:
            raise
        return prepare_batch(job, examined)
    expected = sum(raw.rows or 0 for raw in readable)
    if (read := sum(counts.values())) != expected:
        raise RuntimeError(f"{read} rows were read from objects that hold {expected}")
    rows = enrich(rows, job.spark.table(job.registry), job.settings)
    rows = with_fates(rows, fates, counts)
    # A replay looks at them several times, and once more for each day.
    return Batch(objects, rows.persist() if job.settings.selection else rows, counts, hours)


def read_footers(job: Job, objects: Sequence[RawObject]) -> list[RawObject]:
    """The objects with what their footers tell. Spark is asked once for each layout, the Parquet
    schema as text; usually there is one."""
    jvm: Any = job.spark._jvm
    configuration = job.spark._jsparkSession.sessionState().newHadoopConf()
    new_path = jvm.org.apache.hadoop.fs.Path
    input_file = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath
    open_reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open
    schemas: dict[str, st.StructType] = {}
    lock = threading.Lock()

    def read_footer(raw: RawObject) -> RawObject:
        if not OBJECT_NAME.fullmatch(raw.key.rpartition("/ingest_hour=")[2]):
            return replace(raw, problem="not a name that the consumer gives")
        uri = job.zone.uri(raw.key)
        with closing(open_reader(input_file(new_path(uri), configuration))) as reader:
            rows, layout = reader.getRecordCount(), reader.getFileMetaData().getSchema().toString()
        with lock:
            if layout not in schemas:
                schemas[layout] = job.spark.read.parquet(uri).schema
        kinds = kinds_of(schemas[layout])
        wrong = [
            f"column {name} is {kinds.get(name, 'missing')}, not {kind}"
            for name, kind in REQUIRED_COLUMNS.items()
            if kinds.get(name) != kind
        ]
        return replace(raw, rows=rows, schema=schemas[layout], problem=", ".join(wrong) or None)

    return examine(job, objects, read_footer)


def kinds_of(schema: st.StructType) -> Kinds:
    return {field.name.lower(): field.dataType.simpleString() for field in schema}


def read_pages(job: Job, raw: RawObject) -> RawObject:
    """The object, read to its end."""
    job.spark.read.parquet(job.zone.uri(raw.key)).write.format("noop").mode("overwrite").save()
    return raw


def examine(
    job: Job, objects: Sequence[RawObject], read: Callable[[RawObject], RawObject]
) -> list[RawObject]:
    """What `read` gives of each object, or the object with why it, though S3 hands out its bytes,
    can't be read. Any trouble but damage raises and fails the run, and sets nothing aside."""

    def read_or_set_aside(raw: RawObject) -> RawObject:
        if raw.problem:
            return raw
        with suppress(*SPARK_ERRORS):
            return read(raw)
        if job.zone.read(raw.key) is None:
            return replace(raw, problem="gone between listing and reading")
        try:
            return read(raw)
        except SPARK_ERRORS as error:
            if not is_damage(str(error)):
                raise
            told, _, _ = str(error).partition("\n\tat ")  # the stack trace
            return replace(raw, problem=" ".join(told.split())[:500])

    with ThreadPoolExecutor(READER_THREADS) as pool:
        return list(pool.map(read_or_set_aside, objects))


def is_damage(told: str) -> bool:
    """Whether an error, as Java tells it, is the fault of the object that was read."""
    causes = re.sub(r"^\s+(at |\.\.\. ).*\n?", "", told, flags=re.MULTILINE)  # less the frames
    last_cause = causes.rpartition("Caused by: ")[2]
    return bool(DAMAGE.search(last_cause)) and not INFRASTRUCTURE.search(causes)


def read_rows(job: Job, objects: Sequence[RawObject]) -> DataFrame:
    """All rows of the objects with their places and the columns that `readings` has from raw. Left
    to itself Spark takes one file's schema for all: new columns vanish, an int beside a bigint
    kills the job, and mergeSchema refuses it."""
    schemas = [schema for schema in dict.fromkeys(raw.schema for raw in objects) if schema]
    columns = adjust_readings(job, map(kinds_of, schemas))
    # Whatever the session says: a skipped file would be lost without a word.
    reader = job.spark.read.options(ignoreCorruptFiles=False, ignoreMissingFiles=False)
    frames = []
    for schema in schemas:
        alike = [job.zone.uri(raw.key) for raw in objects if raw.schema == schema]
        rows = reader.schema(schema).parquet(*alike)
        own = [sf.xxhash64("_metadata.file_path"), sf.col("_metadata.row_index"), count_nulls(rows)]
        own = [column.alias(name) for column, name in zip(own, (*PLACE, NULLS), strict=True)]
        frames.append(rows.select(*fitted_columns(kinds_of(schema), columns), *own))
    return functools.reduce(DataFrame.union, frames)


# ---- adjust ------------------------------------------------------------------------------------
def adjust_readings(job: Job, schemas: Iterable[Kinds]) -> Kinds:
    """Give `readings` the columns and the wider types that raw has got; returns all its columns
    that come from raw. Done twice, it changes nothing."""
    wanted = wanted_columns(dict(job.spark.table(job.readings).dtypes), schemas)
    for table in tables_of_readings(job):
        present = dict(job.spark.table(table).dtypes)
        for name, kind in wanted.items():
            if kind != present.get(name) and not job.settings.dry_run:
                change = "ALTER COLUMN {} TYPE {}" if name in present else "ADD COLUMN {} {}"
                change = change.format(quoted(name), kind)
                logger.info("%s: %s", name_of(table), change)
                job.spark.sql(f"ALTER TABLE {table} {change}")
    return wanted


def wanted_columns(present: Kinds, schemas: Iterable[Kinds]) -> Kinds:
    """The columns that `readings` shall have from raw. Types only widen, and that of a column that
    is there only as Iceberg can; of two types without a common wider one the first stays, and
    `fitted` decides value by value. Structs and untyped columns stay in the payload."""
    theirs = present.keys() - DERIVED_COLUMNS.keys() - OWN_COLUMNS
    wanted = {name: kind for name, kind in present.items() if name in theirs}
    for name, given in itertools.chain.from_iterable(schema.items() for schema in schemas):
        kind = re.sub("^(tiny|small)int", "int", given)  # Iceberg's smallest
        if name in DERIVED_COLUMNS or name in OWN_COLUMNS:
            logger.warning("raw column %s is not taken: the name is the job's own", name)
            continue
        if re.search("struct|void|variant|interval", kind):
            continue
        known = wanted.setdefault(name, kind)
        if (known, kind) in (ICEBERG_WIDENINGS if name in present else WIDENINGS):
            wanted[name] = kind
    return wanted


def fitted_columns(raw: Kinds, columns: Kinds) -> list[Column]:
    """The raw columns as those of `readings`. A value that does not fit its column is null there
    and named in `quality_flags`, as the consumer does it; `recovered_values` keeps it as text."""
    result, misfits, recovered = {}, [], []
    for name, kind in columns.items():
        result[name] = sf.lit(None).cast(kind)
        if name in raw:
            value = sf.col(quoted(name))
            result[name] = fitted(value, raw[name], kind)
            if raw[name] != kind:
                is_lost = value.isNotNull() & result[name].isNull()
                misfits.append(sf.when(is_lost, f"{name}_wrong_type"))
                pair = sf.struct(sf.lit(name).alias("key"), as_text(value, raw[name]))
                recovered.append(sf.when(is_lost, pair))
    result["recovered_values"] = sf.lit(None).cast("map<string,string>")
    if misfits:
        flags = sf.coalesce("quality_flags", sf.array().cast("array<string>"))
        result["quality_flags"] = sf.array_union(flags, sf.array_compact(sf.array(*misfits)))
        pairs = sf.array_compact(sf.array(*recovered))
        result["recovered_values"] = sf.when(sf.size(pairs) > 0, sf.map_from_entries(pairs))
    return [value.alias(name) for name, value in result.items()]


def as_text(value: Column, kind: str) -> Column:
    """A value as text: JSON if it has parts, base64 if it is bytes."""
    if "<" in kind:
        return sf.to_json(value)
    return sf.base64(value) if kind == "binary" else value.cast("string")


def fitted(value: Column, kind: str, wanted: str) -> Column:
    """The value as the wanted type, null if that is not the same value."""
    if kind == wanted:
        return value
    cast = value.try_cast(wanted)
    if any(family.fullmatch(kind) and family.fullmatch(wanted) for family in (NUMBER, TIME)):
        return sf.when(cast.try_cast(kind) == value, cast)
    is_text = "string" in (kind, wanted) and "<" not in kind + wanted
    return cast if is_text else sf.lit(None).cast(wanted)


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


# ---- clean, de-duplicate, enrich ---------------------------------------------------------------
# What becomes of a row is told from a few of its columns, in a first pass over raw, and kept by its
# place; whole rows are not sorted for it, and are read a second time when they are inserted: an
# object never changes. Only where objects are small they are read once, into Spark's storage.
def clean(rows: DataFrame) -> DataFrame:
    """Mark rows that carry no value at all or can't be placed, and write statuses in one way. Units
    need nothing: the contract has one for each field."""
    has_value = sf.lit(False)
    for name, kind in rows.dtypes:
        value = sf.col(quoted(name))
        if kind.startswith(("map", "array")):
            value = sf.nullif(sf.size(value), sf.lit(0))  # without entries it is no value
        if name not in (*ENVELOPE_COLUMNS, *OWN_COLUMNS):
            has_value |= value.isNotNull()
    is_placed = sf.col("event_id").isNotNull() & sf.col("event_time").isNotNull()
    words = sf.trim(sf.regexp_replace(sf.lower("status"), r"[\s_-]+", " "))
    is_written_so = sf.col("status").rlike(r"\A[a-z0-9]+(_[a-z0-9]+)*\z")  # most are; it is quicker
    status = sf.nullif(sf.translate(words, " ", "_"), sf.lit(""))
    return rows.withColumns(
        {
            "status": sf.when(is_written_so, sf.col("status")).otherwise(status),
            FATE: sf.when(has_value & is_placed, "curated").otherwise("dropped"),
        }
    )


def deduplicate(rows: DataFrame, settings: Settings) -> DataFrame:
    """Of the copies of a reading the one that arrived first stays; in a replay that which the
    newest contract has read. Copies of what earlier runs inserted are not seen here: `insert`
    leaves them out."""
    order = [sf.asc(name) for name in ("arrival_time", "record_id", *PLACE)]
    if settings.selection:
        order.insert(0, sf.desc_nulls_last("contract_version"))
    copies = Window.partitionBy("event_id", FATE).orderBy(*order)
    is_copy = (sf.col(FATE) == "curated") & (sf.row_number().over(copies) > 1)
    return rows.withColumn(FATE, sf.when(is_copy, "duplicate").otherwise(sf.col(FATE)))


def enrich(rows: DataFrame, registry: DataFrame, settings: Settings) -> DataFrame:
    """Add what the registry says of the device as of the event's time, so that one that was moved
    keeps its past, and how late the reading came. An unknown device has nulls."""
    devices = validity_of(registry)
    at = sf.col("event_time")
    is_valid = (
        (rows["device_id"] == devices["known_id"])
        & (sf.col("holds_from").isNull() | (at >= sf.col("holds_from")))
        & (sf.col("holds_until").isNull() | (at < sf.col("holds_until")))
    )
    delay = delay_seconds()
    joined = rows.join(sf.broadcast(devices), is_valid, "left")
    return joined.drop("known_id", "holds_from", "holds_until").withColumns(
        {
            "event_date": sf.to_date("event_time"),
            "ingest_delay_seconds": delay,
            "is_late": delay > settings.late_after_seconds,
            "is_ahead": delay < -settings.ahead_after_seconds,
            "run_id": sf.lit(settings.run_id),
        }
    )


def delay_seconds() -> Column:
    """How long after its event time a reading arrived; less than 0 if its clock is ahead."""
    return (sf.unix_micros("arrival_time") - sf.unix_micros("event_time")) / sf.lit(1e6)


def validity_of(registry: DataFrame) -> DataFrame:
    """The registry's rows with the time for which each holds, null = without end. No two of one
    device overlap, or a reading would be doubled: of rows from the same instant one counts, and
    which one depends on their content alone."""
    attributes = sf.to_json(sf.array_sort(sf.map_entries("attributes")))
    instant = Window.partitionBy("device_id", "valid_from").orderBy(
        *(sf.desc_nulls_last(each) for each in ("model", "site", "owner")), attributes.desc()
    )
    device = Window.partitionBy("device_id").orderBy(sf.asc_nulls_first("valid_from"))
    only = registry.withColumn("_rank", sf.row_number().over(instant)).where("_rank = 1")
    return only.select(
        sf.col("device_id").alias("known_id"),
        sf.when(sf.row_number().over(device) > 1, sf.col("valid_from")).alias("holds_from"),
        sf.lead("valid_from").over(device).alias("holds_until"),
        sf.col("model").alias("device_model"),
        sf.col("site").alias("device_site"),
        sf.col("owner").alias("device_owner"),
        sf.col("attributes").alias("device_attributes"),
    )


def set_apart(job: Job, rows: DataFrame) -> DataFrame:
    """Mark readings that had at their arrival more than the greatest age, if there is one. That the
    row alone decides, never the time of the run. A replay puts nothing apart that is curated."""
    if not job.settings.maximum_reading_age_days:
        return rows
    limit = timedelta(days=job.settings.maximum_reading_age_days).total_seconds()
    is_too_old = (sf.col(FATE) == "curated") & (delay_seconds() > limit)
    if job.settings.selection:
        rows = flagged(rows, readings_now(job), "_is_known")
        is_too_old &= ~sf.col("_is_known")
    fate = sf.when(is_too_old, "too_old").otherwise(sf.col(FATE))
    return rows.withColumn(FATE, fate).drop("_is_known")


def count_nulls(rows: DataFrame) -> Column:
    """How many nulls a raw row has. Nobody asks: it makes Spark read every column, so that a
    damaged page shows before anything is written. What is computed of a column may never be null:
    Spark knows it, and reads nothing."""
    nulls = [sf.col(quoted(name)).isNull().cast("int") for name in rows.columns]
    return functools.reduce(Column.__add__, nulls)


def with_fates(rows: DataFrame, fates: DataFrame, counts: Mapping[str, int]) -> DataFrame:
    """The rows, with what becomes of each. Those that are not to be inserted are few, as a rule:
    known to every worker, they spare the others a shuffle."""
    others = fates.where(sf.col(FATE) != "curated")
    others = others.select(*PLACE, sf.col(FATE).alias(OTHER_FATE))
    if sum(counts.values()) - counts.get("curated", 0) <= MAX_BROADCAST_ROWS:
        others = sf.broadcast(others)
    fate = sf.coalesce(OTHER_FATE, sf.lit("curated"))
    joined = rows.join(others, list(PLACE), "left").withColumn(FATE, fate)
    return joined.drop(OTHER_FATE, NULLS, *PLACE)


def tally(fates: DataFrame) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Read the fates, once, into Spark's storage. How many rows have which, and in which hours."""
    by_hour = fates.groupBy(FATE, hour_since_1970().alias("hour")).agg(sf.count("*").alias("rows"))
    counts: dict[str, int] = {}
    hours: dict[str, list[int]] = {}
    for row in by_hour.orderBy("hour").collect():
        counts[row[FATE]] = counts.get(row[FATE], 0) + row.rows
        hours.setdefault(row[FATE], []).append(row.hour)
    return counts, hours


def hour_since_1970() -> Column:
    return sf.floor(sf.unix_micros("event_time") / sf.lit(3_600_000_000))


# ---- commit ------------------------------------------------------------------------------------
def summary_of(
    settings: Settings, batch: Batch, too_old: int, complete_through: datetime | None
) -> dict[str, str]:
    """What a run says of itself in its snapshot, and its account is made from."""
    told = {
        "run_id": settings.run_id,
        "started_at": settings.now.isoformat(),
        "input_digest": digest_of(raw.key for raw in batch.objects if not raw.problem),
        "objects": len(batch.objects),
        "objects_set_aside": sum(raw.problem is not None for raw in batch.objects),
        "rows_in": sum(batch.counts.values()) - batch.counts.get("unselected", 0),
        "dropped": batch.counts.get("dropped", 0),
        "too_old": too_old,
        "erased": batch.counts.get("erased", 0),
        "complete_through": complete_through.isoformat() if complete_through else "",
        "kind": "erase" if settings.erase else "replay" if settings.selection else "schedule",
    }
    return {SUMMARY + name: str(value) for name, value in told.items()}


def write_plan(job: Job, batch: Batch) -> None:
    """Record the input in the ledger, in one commit, before any reading is committed. If the run is
    killed after that the ledger is complete; if before, the next run takes the entries back."""
    for raw in batch.objects:
        if raw.problem:
            logger.error("set aside %s: %s", raw.key, raw.problem)
    if batch.objects:
        append(job, job.ledger, LEDGER_COLUMNS, ledger_entries(job.settings, batch.objects))


def ledger_entries(settings: Settings, objects: Sequence[RawObject]) -> list[dict[str, Any]]:
    return [
        {
            "object_key": raw.key,
            "size": raw.size,
            "last_modified": raw.last_modified,
            "status": "set_aside" if raw.problem else "curated",
            "rows": raw.rows,
            "detail": raw.problem,
            "run_id": settings.run_id,
            "recorded_at": settings.now,
        }
        for raw in objects
    ]


def commit_late(job: Job, batch: Batch) -> int:
    """Put the readings that came too late into `late_readings`, unless they are there or, since a
    copy came in time, in `readings`; tells how many. They go before the run's commit, whose summary
    tells them: a run that is killed in between takes them back with its plan."""
    rows = batch.of("too_old")
    if rows is None:
        return 0
    hours = batch.hours["too_old"]
    there = job.spark.table(job.readings).alias("t").where(time_ranges(hours)).select("event_id")
    reason = f"older_than_{job.settings.maximum_reading_age_days}_days"
    rows = rows.join(there, "event_id", "left_anti").withColumn("reason", sf.lit(reason))
    summary = {f"{SUMMARY}run_id": job.settings.run_id}
    return rows_added(insert(job, job.late, rows, hours, summary, files_of_a_day(batch)))


def commit_readings(job: Job, batch: Batch, summary: Mapping[str, str]) -> Row | None:
    """Insert the readings that are not there yet, in one snapshot that carries the run's summary;
    gives that snapshot."""
    rows = batch.of("curated")
    if rows is None:
        return None
    hours = batch.hours["curated"]
    return insert(job, job.readings, rows, hours, summary, files_of_a_day(batch))


def files_of_a_day(batch: Batch) -> int:
    return 1 + sum(raw.size for raw in batch.objects) // RAW_BYTES_OF_A_FILE


def leave_late(job: Job, curated: DataFrame | None) -> None:
    """Take out of `late_readings` what is in `readings`: a copy that came in time counts, and so
    does a promotion."""
    if curated is None or job.late not in tables_of_readings(job):
        return
    hours = curated.select(hour_since_1970().alias("hour")).distinct().orderBy("hour").collect()
    if not hours:
        return
    within = time_ranges([row.hour for row in hours])
    curated.select("event_id").createOrReplaceTempView("curated_ids")
    late = job.spark.table(job.late).alias("t").where(within)
    if not late.join(curated, "event_id", "left_semi").isEmpty():
        ids = "SELECT event_id FROM curated_ids"
        job.spark.sql(
            # Hours as numbers, and a view of the job's own.
            f"DELETE FROM {job.late} t WHERE ({within}) AND t.event_id IN ({ids})"  # noqa: S608
        )


def insert(
    job: Job,
    table: str,
    rows: DataFrame,
    hours: Sequence[int],
    summary: Mapping[str, str],
    files: int,
) -> Row | None:
    """Insert the rows whose event ids the table does not have, in one snapshot; gives that. It is
    what Spark makes of a MERGE that only inserts. The ranges of `event_time` are literals since
    only these keep Iceberg from reading every day it has; equality of the event times does not
    (measured over a year: 1.9 against 22 s)."""
    there = job.spark.table(table)
    known = there.alias("t").where(time_ranges(hours)).select("event_id")
    new = rows.join(known, "event_id", "left_anti").select(*map(quoted, there.columns))
    if files * len({hour // 24 for hour in hours}) > MAX_FILES:
        return commit_once(job, table, summary, new.writeTo(table).append)
    # In the order that the table has, each task a file of each day. Left to do it, Iceberg gathers
    # whole rows by day first, and computes the day anew whenever it compares two: together half of
    # the time (measured).
    ordered = new.coalesce(files).sortWithinPartitions("event_date", "device_id", "event_time")
    writer = ordered.writeTo(table).option("use-table-distribution-and-ordering", "false")
    writer = writer.option("fanout-enabled", "false")  # or a file of each day is open to the end
    return commit_once(job, table, summary, writer.append)


def commit_once(
    job: Job, table: str, summary: Mapping[str, str], write: Callable[[], object]
) -> Row | None:
    """Write one snapshot with these entries in its summary; gives that."""
    with snapshot_summary(job, summary):
        try:
            write()
        except SPARK_ERRORS:
            # The answer may be lost and the commit there: only the table knows. Nothing is cleaned
            # up.
            job.spark.catalog.refreshTable(table)
            if find_snapshot(job, table, summary) is None:
                raise
            logger.warning("%s: a commit was told as failed, but is there", name_of(table))
    return find_snapshot(job, table, summary)


@contextmanager
def snapshot_summary(job: Job, summary: Mapping[str, str]) -> Iterator[None]:
    """What is committed inside carries these entries: SQL takes them from the session alone."""
    names = {f"spark.sql.iceberg.snapshot-property.{name}": text for name, text in summary.items()}
    for name, text in names.items():
        job.spark.conf.set(name, text)
    try:
        yield
    finally:
        for name in names:
            job.spark.conf.unset(name)


def digest_of(keys: Iterable[str]) -> str:
    """SHA-256 over the keys of the objects that were read, sorted, one a line: ties a snapshot to
    its entries in the ledger."""
    return hashlib.sha256("".join(f"{key}\n" for key in sorted(keys)).encode()).hexdigest()


def time_ranges(hours: Sequence[int], column: str = "t.event_time") -> str:
    """A condition on a time that holds within these sorted hours since 1970; if they lie in
    too many stretches, also in the shortest gaps between them."""
    gaps = sorted(itertools.pairwise(hours), key=lambda gap: gap[0] - gap[1])[: MAX_TIME_RANGES - 1]
    kept = sorted(gap for gap in gaps if gap[1] - gap[0] > 1)
    starts = [hours[0], *(after for _, after in kept)]
    ends = [*(before for before, _ in kept), hours[-1]]
    return " OR ".join(
        f"{column} >= timestamp_seconds({start * 3600}) "
        f"AND {column} < timestamp_seconds({(end + 1) * 3600})"
        for start, end in zip(starts, ends, strict=True)
    )


# ---- account -----------------------------------------------------------------------------------
def find_commit(job: Job, table: str, run_id: str) -> Row | None:
    """The snapshot of a table that a run committed, unless it was rolled back."""
    return find_snapshot(job, table, {f"{SUMMARY}run_id": run_id})


def find_snapshot(job: Job, table: str, entries: Mapping[str, str]) -> Row | None:
    """The snapshot whose summary has these entries."""
    is_it = functools.reduce(
        Column.__and__, (sf.col("summary")[name] == text for name, text in entries.items())
    )
    snapshots = job.spark.table(f"{table}.snapshots")
    history = job.spark.table(f"{table}.history").where("is_current_ancestor")
    return (
        snapshots.join(sf.broadcast(history.select("snapshot_id")), "snapshot_id")
        .where(is_it)
        .withColumn("committed_at", sf.unix_micros("committed_at"))
        .first()
    )


def rows_added(commit: Row | None) -> int:
    return int(commit.summary.get("added-records", 0)) if commit else 0


def added_by(job: Job, commit: Row) -> DataFrame:
    """The rows that a snapshot of `readings` added."""
    span = {"start-snapshot-id": commit.parent_id, "end-snapshot-id": commit.snapshot_id}
    if commit.parent_id is None:
        span = {"versionAsOf": commit.snapshot_id}
    return job.spark.read.options(**span).table(job.readings)


def marks_of(rows: DataFrame | None) -> dict[str, Any]:
    """How many rows bear which mark, and which columns had values to be recovered."""
    if rows is None:
        return {"late": 0, "ahead": 0, "recovered": 0, "recovered_fields": ""}
    names = sf.flatten(sf.collect_set(sf.map_keys("recovered_values")))
    marks: Row = rows.agg(
        sf.count_if("is_late").alias("late"),
        sf.count_if("is_ahead").alias("ahead"),
        sf.count("recovered_values").alias("recovered"),
        sf.array_join(sf.array_sort(sf.array_distinct(names)), ", ").alias("recovered_fields"),
    ).collect()[0]
    return marks.asDict()


def account_of(
    job: Job, summary: Mapping[str, str], commit: Row | None, finished_at: datetime
) -> Row:
    """What a run did, by its summary and its snapshot, if there was anything to commit."""
    done = {
        "curated": rows_added(commit),
        "snapshot_id": commit.snapshot_id if commit else None,
        **marks_of(added_by(job, commit) if commit else None),
    }
    return account_row(summary, done, finished_at)


def account_row(summary: Mapping[str, str], done: Mapping[str, Any], finished_at: datetime) -> Row:
    told = {name.removeprefix(SUMMARY): value for name, value in summary.items()}
    counted = ("objects", "objects_set_aside", "rows_in", "dropped", "too_old", "erased")
    figures = {name: int(told.get(name, 0)) for name in counted}
    started_at = datetime.fromisoformat(told["started_at"])
    through = told["complete_through"]
    others = sum(figures[name] for name in ("dropped", "too_old", "erased")) + done["curated"]
    return Row(
        run_id=told["run_id"],
        started_at=started_at,
        finished_at=finished_at,
        seconds=(finished_at - started_at).total_seconds(),
        duplicates=figures["rows_in"] - others,
        complete_through=datetime.fromisoformat(through) if through else None,
        kind=told["kind"],
        **figures,
        **done,
    )


def write_account(job: Job, account: Row) -> None:
    append(job, job.runs, ACCOUNT_COLUMNS, [account.asDict()])


def printed(account: Row) -> dict[str, Any]:
    """The account as it is printed: complete-through also in epoch seconds, since a metric is a
    number; left out where there is none yet."""
    through: datetime | None = account.complete_through
    return account.asDict() | ({"complete_through_epoch": through.timestamp()} if through else {})


def announce(job: Job, account: Row) -> None:
    """Tell the event bus that a run has ended. The account is written: an event that can't be sent
    fails no run."""
    if not job.events:
        return
    detail = {"database": job.settings.database, **account.asDict()}
    event = {
        "EventBusName": job.settings.event_bus,
        "Source": "telemetry-lake",
        "DetailType": "Curation finished",
        "Detail": json.dumps(detail, default=datetime.isoformat),
    }
    try:
        refused = job.events.put_events(Entries=[event])["Entries"][0]
    except (BotoCoreError, ClientError) as error:
        refused = {"ErrorMessage": str(error)}
    if "ErrorMessage" in refused:
        logger.warning("the event was not sent: %s", refused["ErrorMessage"])


# ---- replay ------------------------------------------------------------------------------------
def replay(job: Job, selection: Selection) -> Row | None:
    """Rebuild the selected readings from raw, or promote those that came late: counts first, then
    one atomic swap per day. Killed anywhere and run again, it ends in the same table. It plans
    nothing in the ledger: what it leaves when it is killed needs no settling."""
    begin = time.monotonic()
    if not job.settings.dry_run:
        create_tables(job)
        settle_predecessors(job)
    elif not job.spark.catalog.tableExists(job.readings):
        raise SystemExit(f"there is no table {job.readings} yet")
    base = newest_snapshot(job)
    batch = late_batch(job, selection) if selection.late else raw_batch(job, selection)
    changes = changes_of(job, batch)
    print(json.dumps({"replay": counts_of(job, batch, changes)}), flush=True)
    if job.settings.dry_run:
        return None
    if batch.replaced is not None:
        # As they were read before, and first: what is late now may have the same event ids. Killed
        # here, such rows are in no table until this is run again; they are in raw.
        leave_late(job, batch.replaced)
    too_old = commit_late(job, batch)
    curated = batch.of("curated")
    done = {"curated": batch.counts.get("curated", 0), **marks_of(curated)}
    done["snapshot_id"] = swap_days(job, base, changes, curated)
    leave_late(job, batch.rows if selection.late else curated)
    summary = summary_of(job.settings, batch, too_old, completed_before(job))
    finished_at = job.settings.now + timedelta(seconds=time.monotonic() - begin)
    account = account_row(summary, done, finished_at)
    write_account(job, account)
    record_taken(job, selection, batch.objects)
    exchange_objects(job)
    announce(job, account)
    return account


def readings_now(job: Job) -> DataFrame:
    """`readings` as they are, whatever is swapped later: what was computed from them, and stored,
    would be computed anew from the table as it is then."""
    newest = newest_snapshot(job)
    options = {} if newest is None else {"versionAsOf": newest}
    return job.spark.read.options(**options).table(job.readings)


def newest_snapshot(job: Job) -> int | None:
    history = job.spark.table(f"{job.readings}.history").orderBy(sf.desc("made_current_at"))
    newest = history.first()
    return newest.snapshot_id if newest else None


def late_batch(job: Job, selection: Selection) -> Batch:
    """The rows of `late_readings` that are selected. One that is in `readings` is a duplicate: a
    run was killed before it had taken it out here."""
    if job.late not in tables_of_readings(job):
        raise SystemExit(f"there is no table {job.late}")
    rows = job.spark.table(job.late).drop("reason").where(is_selected(selection))
    rows = flagged(rows, readings_now(job), "_is_known")
    fate = sf.when(sf.col("_is_known"), "duplicate").otherwise("curated")
    rows = rows.withColumns({FATE: fate, "run_id": sf.lit(job.settings.run_id)})
    rows = leave_out_erased(job, rows.drop("_is_known"))
    rows = rows.persist()
    return Batch([], rows, *tally(rows))


def raw_batch(job: Job, selection: Selection) -> Batch:
    """The selected raw rows, from all objects that may hold some."""
    objects = find_replayed(job, selection)
    readable = read_footers(job, objects)
    batch = prepare_batch(job, objects_holding(job, selection, readable))
    return replace(batch, replaced=events_replaced(job)) if selection.exchange else batch


def find_replayed(job: Job, selection: Selection) -> list[RawObject]:
    """The objects that are there, or those of them that are named; none that was set aside or in
    whose place others are."""
    prefix = job.settings.raw_prefix
    listed = [raw for raw in job.zone.list_after(prefix) if is_input(prefix, raw)]
    if selection.exchange:
        named = {row.new for row in exchanges(job).select("new").collect()} - {None}
    elif selection.objects:
        lines = job.spark.read.text(selection.objects).collect()
        named = {row.value.strip() for row in lines} - {""}
    else:
        keys = keys_in_ledger(job, "set_aside", "superseded")
        return [raw for raw in listed if raw.key not in keys]
    if old := named & keys_in_ledger(job, "superseded"):
        raise SystemExit(f"in the place of {len(old)} named objects are others, as of {min(old)}")
    if missing := named - {raw.key for raw in listed}:
        raise SystemExit(f"{len(missing)} named objects are not there, as {min(missing)}")
    return [raw for raw in listed if raw.key in named]


def keys_in_ledger(job: Job, *statuses: str) -> set[str]:
    rows = job.spark.table(job.ledger).where(sf.col("status").isin(*statuses))
    return {row.object_key for row in rows.select("object_key").collect()}


def objects_holding(
    job: Job, selection: Selection, objects: Sequence[RawObject]
) -> Sequence[RawObject]:
    """Those of the objects that may hold selected rows: Parquet's statistics spare reading most of
    the others. A row that was read differently before lies elsewhere now; it arrived when the
    table's row of the selected days did."""
    may_hold = is_selected(selection)
    if selection.days:
        now = readings_now(job).where(is_selected(selection))
        hour = sf.floor(sf.unix_micros("arrival_time") / sf.lit(3_600_000_000)).alias("hour")
        hours = now.select(hour).distinct().where("hour IS NOT NULL").orderBy("hour").collect()
        if hours:
            arrived = sf.expr(time_ranges([row.hour for row in hours], "arrival_time"))
            may_hold |= is_selected(replace(selection, days=None)) & arrived
    uris = [job.zone.uri(raw.key) for raw in objects if not raw.problem]
    columns = ", ".join(f"{name} {kind}" for name, kind in REQUIRED_COLUMNS.items())
    if not uris or not (selection.days or selection.device):
        return objects
    with suppress(*SPARK_ERRORS):  # a damaged one: prepare_batch will find which
        rows = job.spark.read.schema(columns).parquet(*uris).where(may_hold)
        paths = rows.select(sf.col("_metadata.file_path").alias("path")).distinct().collect()
        names = {row.path.rpartition("/ingest_date=")[2] for row in paths}
        return [raw for raw in objects if raw.key.rpartition("/ingest_date=")[2] in names]
    return objects


def is_selected(selection: Selection) -> Column:
    """Whether a row's own day and device are those of the selection."""
    selected = sf.lit(True)
    if selection.days:
        first, last = (day.isoformat() for day in selection.days)
        selected &= sf.col("event_time") >= sf.expr(f"timestamp'{first} 00:00:00Z'")
        selected &= sf.col("event_time") < sf.expr(f"timestamp'{last} 00:00:00Z' + INTERVAL 1 DAY")
    if selection.device:
        selected &= sf.col("device_id") == selection.device
    return selected


def select(job: Job, rows: DataFrame) -> DataFrame:
    """Mark what a replay is not for. Rows that are curated in its days are of them, wherever they
    are read to be now: they leave their old day."""
    selection = job.settings.selection
    if not selection:
        return rows
    selected = is_selected(selection)
    if selection.days:
        rows = flagged(rows, readings_now(job).where(selected), "_is_known")
        selected |= sf.col("_is_known") & is_selected(replace(selection, days=None))
    fate = sf.when(selected, sf.col(FATE)).otherwise("unselected")
    return rows.withColumn(FATE, fate).drop("_is_known")


def flagged(rows: DataFrame, others: DataFrame, name: str) -> DataFrame:
    """The rows, with whether the others have their event id."""
    ids = others.select("event_id").distinct().withColumn(name, sf.lit(True))
    return rows.join(ids, "event_id", "left").withColumn(name, sf.coalesce(name, sf.lit(False)))


def changes_of(job: Job, batch: Batch) -> DataFrame:
    """The event ids for which `readings` and the rebuilt rows differ, with the day that each has
    there and the day that it shall have, since 1970; null = none. A row of the table is replaced,
    or leaves, if its event was read again, or its record was, whole, or if it was in an object
    whose place another takes. What is as it was is no
    change, nor is what the table has of a newer contract; rows whose raw objects are gone stay."""
    now = readings_now(job)
    replaced = now.where("false").select("event_id")
    curated = batch.of("curated")
    if batch.rows is None and batch.replaced is None:
        return replaced.selectExpr("event_id", "NULL old_day", "NULL new_day")
    ids = now.select("event_id", "record_id")
    if batch.rows is not None and batch.objects:
        is_read = sf.col(FATE) != "unselected"
        by_record = batch.rows.groupBy("record_id").agg(sf.bool_and(is_read).alias("whole"))
        records = by_record.where("whole").select("record_id")
        events = batch.rows.where(is_read).select("event_id").distinct()
        replaced = ids.join(events, "event_id", "left_semi").select("event_id")
        replaced = replaced.union(ids.join(records, "record_id", "left_semi").select("event_id"))
    if batch.replaced is not None:
        replaced = replaced.union(
            ids.join(batch.replaced, "event_id", "left_semi").select("event_id")
        )
    old = imprint(now.join(replaced.distinct(), "event_id", "left_semi"), "old")
    new = imprint(now.where("false") if curated is None else curated, "new")
    is_same = sf.col("old_day").eqNullSafe(sf.col("new_day")) & (sf.col("old") == sf.col("new"))
    is_newer = sf.col("old_version") > sf.col("new_version")
    differs = ~sf.coalesce(is_same | is_newer, sf.lit(False))
    both = old.join(new, "event_id", "full_outer").where(differs)
    return both.select("event_id", "old_day", "new_day").persist()


def imprint(rows: DataFrame, name: str) -> DataFrame:
    """What to compare rows by: the day, the contract's version, and a text of all values but the
    run's id. Nulls are left out of it: the column may be newer than the table."""
    values = [
        sf.array_sort(sf.map_entries(quoted(column))).alias(column)
        if kind.startswith("map")
        else sf.col(quoted(column))
        for column, kind in sorted(rows.dtypes)
        if column not in ("run_id", FATE)
    ]
    return rows.select(
        "event_id",
        sf.unix_date(sf.to_date("event_time")).alias(f"{name}_day"),
        sf.col("contract_version").alias(f"{name}_version"),
        sf.sha2(sf.to_json(sf.struct(*values)), 256).alias(name),
    )


def counts_of(job: Job, batch: Batch, changes: DataFrame) -> dict[str, Any]:
    """What a replay will do, or would, by day."""
    days = {hour // 24: [0, 0, 0] for hour in batch.hours.get("curated", ())}
    for row in changes.groupBy("old_day", "new_day").count().collect():
        if row.old_day == row.new_day:
            days.setdefault(row.old_day, [0, 0, 0])[2] += row["count"]
            continue
        for position, day in enumerate((row.new_day, row.old_day)):
            if day is not None:
                days.setdefault(day, [0, 0, 0])[position] += row["count"]
    day = sf.unix_date(sf.to_date("event_time")).alias("day")
    within = day_ranges(days) if days else "false"
    now = {
        row.day: row["count"]
        for row in readings_now(job).where(within).groupBy(day).count().collect()
    }
    return {
        "run_id": job.settings.run_id,
        "dry_run": job.settings.dry_run,
        "objects": len(batch.objects),
        "rows_in": sum(batch.counts.values()) - batch.counts.get("unselected", 0),
        "days": [
            {
                "day": day_of(day).isoformat(),
                "rows_now": now.get(day, 0),
                "rows_after": now.get(day, 0) + added - removed,
                "added": added,
                "removed": removed,
                "changed": changed,
            }
            for day, (added, removed, changed) in sorted(days.items())
        ],
    }


def day_of(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)


def day_ranges(days: Iterable[int]) -> str:
    """A condition on `event_time` that holds in these days, since 1970, and in no other."""
    return " OR ".join(
        f"event_time >= timestamp_seconds({day * 86_400}) "
        f"AND event_time < timestamp_seconds({(day + 1) * 86_400})"
        for day in sorted(days)
    )


def swap_days(
    job: Job, base: int | None, changes: DataFrame, curated: DataFrame | None
) -> int | None:
    """Replace each day that changes, in one snapshot: readers see the day as it was or as it shall
    be. Days between which readings move are swapped together, or a reader would see them twice or
    not at all. Gives the last snapshot."""
    pairs = [(row.old_day, row.new_day) for row in changes.drop("event_id").distinct().collect()]
    moves = {day for pair in pairs if None not in pair and pair[0] != pair[1] for day in pair}
    others = {day for pair in pairs for day in pair if day is not None} - moves
    swap = None
    for days in [moves, *({day} for day in sorted(others))]:
        if days:
            swap = swap_at_once(job, days, base, changes, curated)
    return swap.snapshot_id if swap else None


def swap_at_once(
    job: Job, days: Iterable[int], base: int | None, changes: DataFrame, curated: DataFrame | None
) -> Row | None:
    """Overwrite these days with what stays in them and what comes. If anything else has changed
    them since the snapshot that the replay began with, it fails and changes nothing."""
    within = day_ranges(days)
    table = job.spark.table(job.readings)
    leaves = changes.where("old_day IS NOT NULL").select("event_id")
    rows = table.where(within).join(leaves, "event_id", "left_anti")
    if curated is not None:
        comes = changes.where("new_day IS NOT NULL").select("event_id")
        came = curated.where(within).join(comes, "event_id", "left_semi")
        rows = rows.unionByName(came, allowMissingColumns=True)
    writer = rows.select(*(quoted(name) for name in table.columns)).writeTo(job.readings)
    if base is not None:
        writer = writer.option("isolation-level", "serializable")
        writer = writer.option("validate-from-snapshot-id", base)
    told = ",".join(day_of(day).isoformat() for day in sorted(days))
    summary = {f"{SUMMARY}replay_id": job.settings.run_id, f"{SUMMARY}replay_days": told}
    return commit_once(job, job.readings, summary, lambda: writer.overwrite(sf.expr(within)))


def record_taken(job: Job, selection: Selection, objects: Sequence[RawObject]) -> None:
    """Record the named objects that no run had taken: all their rows are replayed. After the
    account, so that no entry ever waits for one. Other selections may leave rows in an object: a
    scheduled run takes it, and finds the replayed ones there."""
    if not selection.objects or selection.days or selection.device:
        return
    taken = job.spark.table(job.ledger).select("object_key").collect()
    keys = {row.object_key for row in taken}
    if new := [raw for raw in objects if raw.key not in keys]:
        append(job, job.ledger, LEDGER_COLUMNS, ledger_entries(job.settings, new))


# ---- exchange, erase ---------------------------------------------------------------------------
# The operator's tools put raw objects in the place of others: read again by a mended contract, or
# without the rows of a device. They write the new ones first and tell the job, which alone changes
# the ledger; the old ones count no longer from that commit on. Until then both may count.
def exchanges(job: Job) -> DataFrame:
    """Which raw object takes the place of which; `new` is null where nothing is left."""
    return job.spark.read.schema(EXCHANGE_COLUMNS).json(job.settings.exchange)


def events_replaced(job: Job) -> DataFrame:
    """The events of the objects whose place others take."""
    uris = [job.zone.uri(row.old) for row in exchanges(job).select("old").collect()]
    return job.spark.read.schema("event_id string, event_time timestamp").parquet(*uris)


def exchange_objects(job: Job) -> None:
    """Exchange the objects in the ledger, in one commit. No later run takes an old one, taken
    before or not. A new one counts as what the old one was; where that was not taken yet, the
    schedule takes the new one. Done twice it changes nothing."""
    if not job.settings.exchange:
        return
    recorded_at = sf.lit(job.settings.now.isoformat()).cast("timestamp").alias("recorded_at")
    run = [sf.lit(job.settings.run_id).alias("run_id"), recorded_at]
    known = job.spark.table(job.ledger).where("status <> 'superseded'")
    known = known.select(sf.col("object_key").alias("old"), "status", "detail")
    pairs = exchanges(job).persist()
    old = pairs.selectExpr(
        "old object_key",
        *("NULL size", "NULL last_modified", "'superseded' status", "NULL rows"),
        "coalesce('by ' || new, 'nothing is left of it') detail",
    )
    new = pairs.where("new IS NOT NULL").join(known, "old").dropDuplicates(["new"])
    new = new.selectExpr(
        "new object_key",
        *("size", "last_modified", "status", "rows"),
        "coalesce(detail, 'instead of ' || old) detail",
    )
    # Cut off from the ledger: Spark 4.1 plans no MERGE whose source reads its target.
    entries = new.union(old).select("*", *run).localCheckpoint()
    entries.createOrReplaceTempView("exchanged")
    statement = (
        f"MERGE INTO {job.ledger} t USING exchanged s ON t.object_key = s.object_key "
        "WHEN MATCHED AND s.status = 'superseded' AND t.status <> 'superseded' "
        "THEN UPDATE SET status = s.status, detail = s.detail, "
        "rows = if(t.status = 'set_aside', NULL, t.rows) "  # no account has them
        "WHEN NOT MATCHED THEN INSERT *"
    )
    summary = {f"{SUMMARY}exchange_id": job.settings.run_id}
    commit_once(job, job.ledger, summary, lambda: job.spark.sql(statement))


def tombstones(job: Job) -> DataFrame | None:
    """The devices that are erased, each with the arrival until which it is; None if none is."""
    warehouse = job.spark.conf.get(f"spark.sql.catalog.{job.settings.catalog}.warehouse", None)
    if not warehouse:
        return None
    files = f"{warehouse.rstrip('/')}/erasures/{job.settings.database}/*.json"
    try:
        found = job.spark.read.schema(TOMBSTONE_COLUMNS).json(files)
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        return None
    return found.groupBy("device_digest").agg(sf.max("until").alias("erased_until"))


def with_erasure(job: Job, rows: DataFrame) -> DataFrame | None:
    """The rows with `erased_until` of their device, null for all others; None if none is erased."""
    erased = tombstones(job)
    if erased is None:
        return None
    digest = sf.sha2("device_id", 256)
    joined = rows.join(sf.broadcast(erased), digest == sf.col("device_digest"), "left")
    return joined.drop("device_digest")


def leave_out_erased(job: Job, rows: DataFrame) -> DataFrame:
    """Mark what a device sent before it was erased, whichever way it comes."""
    marked = with_erasure(job, rows)
    if marked is None:
        return rows
    is_erased = sf.col("arrival_time") < sf.col("erased_until")
    fate = sf.when(is_erased, "erased").otherwise(sf.col(FATE))
    return marked.withColumn(FATE, fate).drop("erased_until")


def erase(job: Job) -> Row:
    """Take the devices that have a tombstone out of every table, and forget every earlier state of
    the tables. Killed anywhere and run again, it ends in the same tables."""
    begin = time.monotonic()
    create_tables(job)
    settle_predecessors(job)
    tables = [name for name in ERASED_FROM if job.spark.catalog.tableExists(job.table(name))]
    summarised = [name for name in SUMMARIES if name in tables and is_up_to_date(job, name)]
    removed = {name: delete_erased(job, name) for name in tables}
    print(json.dumps({"erase": removed}), flush=True)
    gone = removed["readings"] + removed.get("late_readings", 0)
    nothing = Batch([], counts={"erased": gone})
    summary = summary_of(job.settings, nothing, 0, completed_before(job))
    finished_at = job.settings.now + timedelta(seconds=time.monotonic() - begin)
    account = account_row(
        summary, {"curated": 0, "snapshot_id": None, **marks_of(None)}, finished_at
    )
    write_account(job, account)
    exchange_objects(job)
    for name in (*tables, "curation_ledger", "curation_runs"):
        rewrite_manifests(job, name)
    for name in summarised:
        mark_summarised(job, name)
    for name in (*tables, "curation_ledger", "curation_runs"):
        forget(job, name)
    announce(job, account)
    return account


def delete_erased(job: Job, name: str) -> int:
    """Delete the erased devices' rows from a table, in one commit; gives how many. By device id,
    since only that tells which files hold some."""
    table = job.table(name)
    time_column, devices = ERASED_FROM[name], with_erasure(job, job.spark.table(table))
    if devices is None:
        return 0
    devices = devices.where("erased_until IS NOT NULL")
    if time_column:
        is_old = sf.col(time_column) < sf.col("erased_until")
        devices = devices.where(sf.coalesce(is_old, sf.lit(True)))
    until = sf.unix_micros(sf.max("erased_until")).alias("until")
    found = devices.groupBy("device_id").agg(until, sf.count("*").alias("rows")).collect()
    if not found:
        return 0
    conditions = []
    for row in found:
        conditions.append(f"device_id = {literal(row.device_id)}")
        if time_column:
            moment = f"timestamp_micros({row.until})"
            conditions[-1] += f" AND ({time_column} IS NULL OR {time_column} < {moment})"
    job.spark.sql(f"DELETE FROM {table} WHERE ({') OR ('.join(conditions)})")  # noqa: S608 - literals
    return sum(row.rows for row in found)


def literal(text: str) -> str:
    """A text in SQL; a DELETE takes no parameters."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def is_up_to_date(job: Job, name: str) -> bool:
    """Whether a summary is made of `readings` as they are, and of no device that sends again after
    it was erased: taking out its rows is then all that there is to do."""
    told = newest_mark(job, name)
    if told is None:
        return False
    newer = job.spark.table(f"{job.readings}.snapshots").join(
        job.spark.table(f"{job.readings}.history").where("is_current_ancestor"), "snapshot_id"
    )
    by_age = newer.orderBy(sf.desc("made_current_at")).select("snapshot_id", "operation").collect()
    unseen = itertools.takewhile(lambda row: str(row.snapshot_id) != told[SUMMARISED], by_age)
    if any(row.operation != "replace" for row in unseen):
        return False
    devices = with_erasure(job, job.spark.table(job.readings))
    return devices is None or devices.where("arrival_time >= erased_until").isEmpty()


def newest_mark(job: Job, name: str) -> dict[str, str] | None:
    """What the summary job told with its last commit to a table."""
    table = job.table(name)
    history = job.spark.table(f"{table}.history").where("is_current_ancestor")
    snapshots = job.spark.table(f"{table}.snapshots").join(history, "snapshot_id")
    marked = snapshots.where(sf.col("summary")[SUMMARISED].isNotNull())
    newest = marked.orderBy(sf.desc("made_current_at")).first()
    if newest is None:
        return None
    return {key: text for key, text in newest.summary.items() if key.startswith("summary.")}


def mark_summarised(job: Job, name: str) -> None:
    """Tell the summary job, in its own words, that the table is made of `readings` as they are, or
    it would make it anew from all of them."""
    marks = newest_mark(job, name) or {}
    marks[SUMMARISED] = str(newest_snapshot(job))
    rows = job.spark.table(job.table(name)).where("false").writeTo(job.table(name))
    for key, text in marks.items():
        rows = rows.option(f"snapshot-property.{key}", text)
    rows.append()


def rewrite_manifests(job: Job, name: str) -> None:
    """Leave deleted files out of the manifests: with each stand the least and the greatest device
    id that it held. Iceberg leaves a single manifest as it is, unless it is to become several."""
    table = job.table(name)
    manifests = job.spark.table(f"{table}.manifests").where("content = 0")
    (row,) = manifests.agg(
        sf.count("*").alias("all"),
        sf.sum("length").alias("bytes"),
        sf.count_if(sf.col("deleted_data_files_count") > 0).alias("with_deleted"),
    ).collect()
    if not row.with_deleted:
        return
    target = "commit.manifest.target-size-bytes"
    if row["all"] == 1:
        half = f"'{target}' = '{max(1, row.bytes // 2)}'"
        job.spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({half})")
    call = f"CALL `{job.settings.catalog}`.system.rewrite_manifests"
    job.spark.sql(f"{call}(table => '{job.settings.database}.{name}', use_caching => false)")
    if row["all"] == 1:
        job.spark.sql(f"ALTER TABLE {table} UNSET TBLPROPERTIES ('{target}')")


def forget(job: Job, name: str) -> None:
    """Expire every snapshot but the current one, tagged or not, and delete the files that only they
    know. No job needs them: the lock is held and all runs are settled."""
    for ref in job.spark.table(f"{job.table(name)}.refs").where("name <> 'main'").collect():
        logger.warning("%s: dropping the %s %s", name, ref.type.lower(), ref.name)
        job.spark.sql(f"ALTER TABLE {job.table(name)} DROP {ref.type} {quoted(ref.name)}")
    now = int(time.time() * 1_000) + 1
    job.spark.sql(
        f"CALL `{job.settings.catalog}`.system.expire_snapshots("
        f"table => '{job.settings.database}.{name}', older_than => timestamp_millis({now}), "
        "retain_last => 1, stream_results => true)"
    )
    job.spark.catalog.refreshTable(job.table(name))


if __name__ == "__main__":
    main(sys.argv[1:])
