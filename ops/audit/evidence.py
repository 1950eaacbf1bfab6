"""What is audited, gathered into one DuckDB database on disk, so that no lake is too large for it.

Order matters, since nothing stands still meanwhile: the stream, the run's accounts and ledger, the
zones, the curated tables, then what has come into the raw zone since. So each thing is compared
with something at least as new, and a curation run in progress makes no finding. What the ledger
says in the end of objects in whose place others came counts: these are no evidence of anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import NoSuchTableError

from ops import failed_zone
from ops.audit.findings import Scope
from ops.erasures import Erasures
from ops.errors import OperationError
from telemetry_contract.raw_schema import RAW_SCHEMA
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX, hour_folder

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client
    from pyiceberg.catalog import Catalog

Progress = Callable[[str], None]

EVERY_ROW: Final = "true"
CURATED_TABLES: Final = ("readings", "late_readings")
# As the contract's zone_paths names objects: shard, first and last sequence number, digest.
OBJECT_NAME: Final = re.compile(r"(.+)-(\d+)-(\d+)-([0-9a-f]{16})\.parquet")

# Positions are `<shard>:<sequence>`. A `state` is "whole", or why an object has no rows here.
_TABLES: Final = """
    CREATE TABLE on_stream (position TEXT, shard TEXT, sequence TEXT, arrival_time TIMESTAMPTZ);
    CREATE TABLE held (position TEXT, shard TEXT, sequence TEXT);
    CREATE TABLE raw_objects (
        object_key TEXT, state TEXT, shard TEXT, first_sequence TEXT, last_sequence TEXT,
        last_modified TIMESTAMPTZ);
    CREATE TABLE curation_runs (
        run_id TEXT, kind TEXT, started_at TIMESTAMPTZ, rows_in BIGINT, curated BIGINT,
        duplicates BIGINT, dropped BIGINT, too_old BIGINT, erased BIGINT);
    CREATE TABLE curation_ledger (object_key TEXT, status TEXT, rows BIGINT, run_id TEXT);
    CREATE TABLE ledger_in_the_end (object_key TEXT, status TEXT);
    CREATE TABLE tombstones (device_digest TEXT, until TIMESTAMPTZ)"""
SEQUENCE_DIGITS: Final = 56
# Times of arrival are approximate; a shard's records are in this order but for less than that.
_ARRIVAL_SLACK: Final = timedelta(minutes=1)


class Places(Protocol):
    """The names of a stack's parts, as far as the audit asks: an `ops.stack.Stack` has them."""

    @property
    def stream_name(self) -> str: ...
    @property
    def raw_zone_bucket(self) -> str: ...
    @property
    def rejected_zone_bucket(self) -> str: ...
    @property
    def failed_zone_bucket(self) -> str: ...
    @property
    def curated_zone_bucket(self) -> str: ...
    @property
    def database_name(self) -> str: ...


@dataclass(frozen=True)
class Sources:
    """Where a deployed stack's evidence is."""

    stack: Places
    s3: S3Client
    kinesis: KinesisClient
    catalogue: Catalog
    progress: Progress


def gather(sources: Sources, scope: Scope, database: duckdb.DuckDBPyConnection) -> Scope:
    """Fill the empty `database` with everything that may bear on the scope; gives the scope with
    `written_until` as far as the zones were read in the end."""
    database.execute("SET TimeZone = 'UTC'")
    database.execute(_TABLES)
    for name in ("raw_rows", *CURATED_TABLES):
        _insert(database, name, RAW_SCHEMA.empty_table(), create=True)
    database.execute("ALTER TABLE raw_rows ADD COLUMN object_key TEXT")
    load_stream(sources, scope, database)
    load_table(sources, "curation_runs", EVERY_ROW, database)
    load_table(sources, "curation_ledger", EVERY_ROW, database)
    erasures = Erasures(sources.s3, sources.stack.curated_zone_bucket, sources.stack.database_name)
    for digest, until in erasures.tombstones().items():
        database.execute("INSERT INTO tombstones VALUES (?, ?)", (digest, until))
    load_raw_zone(sources, scope, database)
    load_rejected_zone(sources, scope, database)
    load_failed_zone(sources, scope, database)
    for name in CURATED_TABLES:
        load_table(sources, name, arrived_in(scope), database)
    if scope.written_until and not _is_accounted_for(scope, database):
        scope = replace(scope, written_until=None)
        load_rejected_zone(sources, scope, database)
    load_raw_zone(sources, scope, database)
    _insert_held(database, erasures.positions())
    load_table(sources, "curation_ledger", EVERY_ROW, database, into="ledger_in_the_end")
    leave_out_superseded(database)
    return scope


def leave_out_superseded(database: duckdb.DuckDBPyConnection) -> None:
    """Forget the raw objects in whose place others came, before the audit or while it read."""
    database.execute("""
        CREATE TABLE superseded AS
            SELECT object_key FROM ledger_in_the_end WHERE status = 'superseded';
        UPDATE curation_ledger SET status = 'superseded'
            WHERE object_key IN (FROM superseded);
        DELETE FROM raw_objects WHERE object_key IN (FROM superseded);
        DELETE FROM raw_rows WHERE object_key IN (FROM superseded)""")


def _is_accounted_for(scope: Scope, database: duckdb.DuckDBPyConnection) -> bool:
    """Whether the zones, as far as they were read, hold every record and every curated row."""
    found = database.execute(
        """FROM on_stream ANTI JOIN held USING (position) SELECT 1
        WHERE arrival_time < coalesce($until, 'infinity'::TIMESTAMPTZ)
        UNION ALL FROM (
            SELECT event_id FROM readings UNION ALL SELECT event_id FROM late_readings
        ) ANTI JOIN raw_rows USING (event_id) SELECT 1 LIMIT 1""",
        {"until": scope.until},
    )
    return not found.fetchall()


def load_stream(sources: Sources, scope: Scope, database: duckdb.DuckDBPyConnection) -> None:
    """The positions of the records that the stream still keeps, as far as the scope goes."""
    name = sources.stack.stream_name
    start: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
    if scope.since:
        start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": scope.since}
    count = 0
    for shard in _shards(sources.kinesis, name):
        iterator: str | None = sources.kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard, **start
        )["ShardIterator"]
        while iterator:
            answer = sources.kinesis.get_records(ShardIterator=iterator)
            records = answer["Records"]
            if records and scope.until:
                earliest = min(one["ApproximateArrivalTimestamp"] for one in records)
                if earliest >= scope.until + _ARRIVAL_SLACK:
                    break
            count += len(records)
            sources.progress(f"stream: {count:,} records")
            rows = {
                "position": [f"{shard}:{one['SequenceNumber']}" for one in records],
                "shard": [shard] * len(records),
                "sequence": [sortable(one["SequenceNumber"]) for one in records],
                # boto3 gives the machine's own zone, whose changes of offset Arrow cannot take over
                "arrival_time": [
                    one["ApproximateArrivalTimestamp"].astimezone(UTC) for one in records
                ],
            }
            if records:
                _insert(database, "on_stream", pa.table(rows))
            is_at_end = not records and not answer.get("MillisBehindLatest")
            iterator = None if is_at_end else answer.get("NextShardIterator")


def load_raw_zone(sources: Sources, scope: Scope, database: duckdb.DuckDBPyConnection) -> None:
    """The raw objects that are not in the database yet, each checked against the digest in its
    name, and the rows of those that are whole."""
    bucket = sources.stack.raw_zone_bucket
    known = {
        key
        for (key,) in database.execute(
            "SELECT object_key FROM raw_objects"
            " UNION ALL SELECT object_key FROM curation_ledger WHERE status = 'superseded'"
        ).fetchall()
    }
    for key, modified in list_zone(sources.s3, bucket, RAW_PREFIX, scope):
        if key in known:
            continue
        known.add(key)
        sources.progress(f"raw zone: {len(known):,} objects")
        rows, state = read_object(sources.s3, bucket, key)
        add_raw_object(database, key, state, modified)
        if rows is not None:
            _hold(database, rows)
            _insert(database, "raw_rows", rows.append_column("object_key", [[key] * len(rows)]))


def load_rejected_zone(sources: Sources, scope: Scope, database: duckdb.DuckDBPyConnection) -> None:
    """Which records the rejected zone holds."""
    bucket = sources.stack.rejected_zone_bucket
    for number, (key, _) in enumerate(list_zone(sources.s3, bucket, REJECTED_PREFIX, scope), 1):
        sources.progress(f"rejected zone: {number:,} objects")
        rows, _ = read_object(sources.s3, bucket, key)
        if rows is not None:
            _hold(database, rows)


def load_failed_zone(sources: Sources, scope: Scope, database: duckdb.DuckDBPyConnection) -> None:
    """Which records the mapping gave up on and kept in the failed zone."""
    bucket = sources.stack.failed_zone_bucket
    keys = failed_zone.list_keys(
        sources.s3, bucket, failed_zone.MAPPING_PREFIX, scope.since, until=None
    )
    for number, key in enumerate(keys, 1):
        sources.progress(f"failed zone: {number:,} objects")
        try:
            batch = failed_zone.read_failed_batch(sources.s3, bucket, key)
        except OperationError:
            continue  # it holds no records: those that it was for are found lost
        _insert_held(database, (one["eventID"] for one in json.loads(batch.event)["Records"]))


def load_table(
    sources: Sources,
    name: str,
    condition: str,
    database: duckdb.DuckDBPyConnection,
    *,
    into: str = "",
) -> None:
    """The rows of an Iceberg table for which the condition holds; none without such a table."""
    sources.progress(f"table {name}")
    try:
        table = sources.catalogue.load_table((sources.stack.database_name, name))
    except NoSuchTableError:
        return
    rows = table.scan(row_filter=condition).to_arrow_batch_reader()
    _insert(database, into or name, rows)


def arrived_in(scope: Scope) -> str:
    """That a curated row arrived within the scope."""
    conditions = [
        f"arrival_time {comparison} '{moment.isoformat()}'"
        for comparison, moment in ((">=", scope.since), ("<", scope.until))
        if moment
    ]
    return " and ".join(conditions) or EVERY_ROW


def list_zone(
    s3: S3Client, bucket: str, prefix: str, scope: Scope
) -> Iterator[tuple[str, datetime]]:
    """Keys and times of the objects that may hold what arrived at `scope.since` or later: an object
    lies in the hour in which it was written, never before the arrival of what it holds."""
    end = hour_folder(prefix, scope.written_until) if scope.written_until else None
    start_after = hour_folder(prefix, scope.since) if scope.since else prefix
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, StartAfter=start_after
    )
    for page in pages:
        for entry in page.get("Contents", []):
            if end and entry["Key"] >= end:
                return
            if not entry["Key"].endswith("/"):
                yield entry["Key"], entry["LastModified"]


def read_object(s3: S3Client, bucket: str, key: str) -> tuple[pa.Table | None, str]:
    """A zone's object: its rows and the state "whole", or no rows and what is wrong with it:
    "missing", "altered", "unreadable", or "foreign" (not of a name that the consumer gives)."""
    match = OBJECT_NAME.fullmatch(key.rpartition("/")[2])
    if not match:
        return None, "foreign"
    try:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None, "missing"
    if not sha256(body).hexdigest().startswith(match[4]):
        return None, "altered"
    try:
        return pq.read_table(BytesIO(body)), "whole"
    except (pa.ArrowException, OSError):
        return None, "unreadable"


def add_raw_object(
    database: duckdb.DuckDBPyConnection, key: str, state: str, modified: datetime | None
) -> None:
    """Note a raw object, and by its name which records it is of."""
    match = OBJECT_NAME.fullmatch(key.rpartition("/")[2])
    shard, first, last = match.group(1, 2, 3) if match else (None, "", "")
    database.execute(
        "INSERT INTO raw_objects VALUES (?, ?, ?, ?, ?, ?)",
        (key, state, shard, sortable(first), sortable(last), modified),
    )


def sortable(sequence: str) -> str:
    """A sequence number as a text that sorts as the number does."""
    return sequence.rjust(SEQUENCE_DIGITS, "0")


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _hold(database: duckdb.DuckDBPyConnection, rows: pa.Table) -> None:
    """Note the records that these rows are of. A record id ends in its sub-sequence."""
    _insert_held(database, (one.rpartition(":")[0] for one in rows.column("record_id").to_pylist()))


def _insert_held(database: duckdb.DuckDBPyConnection, positions: Iterable[str]) -> None:
    parts = [(one, *one.rpartition(":")[::2]) for one in dict.fromkeys(positions)]
    rows = {
        "position": [position for position, _, _ in parts],
        "shard": [shard for _, shard, _ in parts],
        "sequence": [sortable(sequence) for _, _, sequence in parts],
    }
    if parts:
        _insert(database, "held", pa.table(rows))


def _insert(
    database: duckdb.DuckDBPyConnection, table: str, rows: object, *, create: bool = False
) -> None:
    """Add Arrow rows to a table (a name of ours), which gets the columns that it lacks."""
    database.register("arriving", rows)
    if create:
        database.execute(f"CREATE TABLE {table} AS SELECT * FROM arriving")
    else:
        known = _columns(database, table)
        for name, kind in _columns(database, "arriving").items():
            if name not in known:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {kind}")
        database.execute(f"INSERT INTO {table} BY NAME SELECT * FROM arriving")
    database.unregister("arriving")


def _columns(database: duckdb.DuckDBPyConnection, table: str) -> Mapping[str, str]:
    described: list[tuple[str, ...]] = database.execute(f"DESCRIBE {table}").fetchall()
    return {name: kind for name, kind, *_ in described}


def _shards(kinesis: KinesisClient, name: str) -> list[str]:
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=name)
    return [shard["ShardId"] for page in pages for shard in page["Shards"]]
