"""The checks: each kind of finding is one query over the gathered evidence.

What is in doubt for a reason that is a finding by itself makes no second one: the rows of a raw
object that is missing or altered are neither extra in the curated zone nor lost from the stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb

from ops.audit.evidence import CURATED_TABLES, SEQUENCE_DIGITS, add_raw_object, quoted
from ops.audit.findings import Finding, Scope
from telemetry_contract.event_id import event_id_of
from telemetry_contract.zone_paths import RAW_PREFIX, hour_folder

# They tell how a row came here; a row without any other value is dropped by the job, whose `clean`
# has the same list (a test compares them).
ENVELOPE_COLUMNS: Final = frozenset(
    {
        *("event_id", "device_id", "event_time", "arrival_time", "record_id", "ingest_id"),
        *("broker_time", "client_id", "principal", "topic", "identity", "quality_flags"),
        *("payload", "contract_version"),
    }
)
# That the record {shard}, {sequence} is none of an object that can't be read.
_IS_NOT_DOUBTFUL: Final = (
    "NOT EXISTS (SELECT 1 FROM doubtful d WHERE d.shard = {shard}"
    " AND {sequence} BETWEEN d.first_sequence AND d.last_sequence)"
)
_CURATED_IS_NOT_DOUBTFUL: Final = _IS_NOT_DOUBTFUL.format(
    shard="c.record_shard", sequence="c.record_sequence"
)
_ON_STREAM_IS_NOT_DOUBTFUL: Final = _IS_NOT_DOUBTFUL.format(shard="s.shard", sequence="s.sequence")
_OURS: Final = frozenset({"object_key"})
# That a row's device was erased after the row had arrived.
_IS_ERASED: Final = (
    "EXISTS (SELECT 1 FROM tombstones e WHERE e.device_digest = sha256({row}.device_id)"
    " AND {row}.arrival_time < e.until)"
)

# How a value of the raw zone compares with the curated one where the job changes it on purpose.
_ADJUSTED: Final = {
    # As `clean` writes statuses.
    "status": (
        r"nullif(replace(trim(regexp_replace(lower(r.status), '[\s_-]+', ' ', 'g')), ' ', '_'), '')"
        " IS DISTINCT FROM c.status"
    ),
    # A value that does not fit its column is flagged by the job, beside what the consumer flagged.
    "quality_flags": (
        "coalesce(list_sort(r.quality_flags), []) IS DISTINCT FROM coalesce(list_sort(list_filter("
        "c.quality_flags, lambda f: NOT f LIKE '%!_wrong!_type' ESCAPE '!'"
        " OR list_contains(coalesce(r.quality_flags, []), f))), [])"
    ),
}


@dataclass(frozen=True)
class Case:
    """What the checks judge by: the evidence, the hours, since when a record may still wait for the
    consumer, since when the raw zone keeps everything (None: since ever), and how far behind the
    newest hour that a run took from the next run looks for objects."""

    database: duckdb.DuckDBPyConnection
    scope: Scope
    waiting_since: datetime
    kept_since: datetime | None
    look_back: timedelta

    def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        rows: list[tuple[Any, ...]] = self.database.execute(sql, values or None).fetchall()
        return rows

    def count(self, sql: str, **values: Any) -> int:
        """The one number of a query."""
        return int(self.query(sql, **values)[0][0] or 0)

    def columns(self, table: str) -> dict[str, str]:
        """Names and types of a table's columns."""
        return {name: kind for name, kind, *_ in self.query(f"DESCRIBE {table}")}


def prepare(case: Case) -> None:
    """Make the views that the checks share, and note which objects are missing.

    `ledger`: the entries that count. `accepted`: the raw rows that arrived in the scope. `curated`:
    the rows of the curated tables that did, with the parts of their record ids. Both say of each
    row whether its device is erased. `doubtful`: the records of objects that can't be read, as
    ranges.
    """
    make = case.database.execute
    # A run writes its plan first: an entry counts once the run has its account.
    make("CREATE VIEW ledger AS FROM curation_ledger SEMI JOIN curation_runs USING (run_id)")
    for (key,) in case.query(
        "SELECT object_key FROM ledger ANTI JOIN raw_objects USING (object_key)"
        " WHERE status <> 'superseded'"
    ):
        if not _may_be_gone(key, case):
            add_raw_object(case.database, key, "missing", None)
    make("CREATE VIEW doubtful AS FROM raw_objects WHERE state <> 'whole'")
    make(
        f"CREATE TABLE accepted AS SELECT *, {_has_no_value(case)} AS is_dropped,"
        f" {_IS_ERASED.format(row='raw_rows')} AS is_erased FROM raw_rows"
        " WHERE arrival_time >= coalesce($since, '-infinity'::TIMESTAMPTZ)"
        " AND arrival_time < coalesce($until, 'infinity'::TIMESTAMPTZ)",
        {"since": case.scope.since, "until": case.scope.until},
    )
    union = " UNION ALL BY NAME ".join(
        f"SELECT *, '{name}' AS table_name FROM {name}" for name in CURATED_TABLES
    )
    make(
        "CREATE VIEW curated AS SELECT *, split_part(record_id, ':', 1) AS record_shard,"
        f" lpad(split_part(record_id, ':', 2), {SEQUENCE_DIGITS}, '0') AS record_sequence"
        f", {_IS_ERASED.format(row='u')} AS is_erased FROM ({union}) u"
    )


def run_checks(case: Case) -> Iterator[Finding]:
    """All findings, kind by kind."""
    for check in CHECKS:
        yield from check(case)


def records_lost(case: Case) -> Iterator[Finding]:
    """Records on the stream that are in no zone though the consumer had time for them. Behind the
    last that the zones hold of a shard, the consumer may not have come so far."""
    found = case.query(
        f"""WITH newest AS (SELECT shard, max(sequence) AS sequence FROM held GROUP BY shard)
        SELECT s.position, strftime(s.arrival_time, '%Y-%m-%d %H:%M:%SZ'),
            s.sequence < n.sequence AS is_passed
        FROM on_stream s ANTI JOIN held USING (position) LEFT JOIN newest n ON n.shard = s.shard
        WHERE {_ON_STREAM_IS_NOT_DOUBTFUL} AND s.arrival_time < least($settled, $until)
        ORDER BY s.sequence""",
        settled=case.waiting_since,
        until=case.scope.until or case.waiting_since,
    )
    for position, arrival_time, is_passed in found:
        kind = "record_lost" if is_passed else "record_waiting"
        yield Finding(kind, position, f"arrived {arrival_time}")


def objects_damaged(case: Case) -> Iterator[Finding]:
    """Raw objects that are gone or are not what they were. What a run has set aside is known."""
    found = case.query(
        """SELECT o.object_key, o.state FROM raw_objects o LEFT JOIN ledger l USING (object_key)
        WHERE o.state <> 'whole' AND coalesce(l.status, '') <> 'set_aside'
        AND (o.state <> 'foreign' OR l.status IS NOT NULL)
        AND o.object_key < coalesce($end, o.object_key || '~') ORDER BY o.object_key""",
        end=end_of(case),
    )
    for key, state in found:
        if state == "missing":
            yield Finding("raw_object_missing", key)
        else:
            yield Finding("raw_object_altered", key, _WHY_ALTERED[state])


_WHY_ALTERED: Final = {
    "altered": "its bytes have another digest than its name",
    "unreadable": "it is no Parquet file",
    "foreign": "its name carries no digest",
}


def objects_not_taken(case: Case) -> Iterator[Finding]:
    """Raw objects that no run has taken and none will: runs begin at the look-back."""
    horizon = horizon_of(case)
    found = case.query(
        "SELECT object_key FROM raw_objects ANTI JOIN curation_ledger USING (object_key)"
        " ANTI JOIN ledger_in_the_end USING (object_key)"
        " WHERE object_key < least($horizon, $end) AND state NOT IN ('foreign', 'missing')"
        " ORDER BY object_key",
        horizon=horizon,
        end=end_of(case),
    )
    for (key,) in found:
        yield Finding("raw_object_not_taken", key, f"runs look no further back than {horizon}")


def horizon_of(case: Case) -> str:
    """The key from which on runs look for objects; before the first run it is that of any."""
    newest = case.query("SELECT max(object_key) FROM ledger")[0][0]
    if newest is None:
        return RAW_PREFIX
    date, hour = re.findall(r"=([\d-]+)/", newest.removeprefix(RAW_PREFIX))
    newest_hour = datetime.fromisoformat(f"{date}T{hour}:00:00+00:00")
    return hour_folder(RAW_PREFIX, newest_hour - case.look_back)


def end_of(case: Case) -> str | None:
    """The key at which the scope's objects end: those of a later hour are a later audit's."""
    return hour_folder(RAW_PREFIX, case.scope.until) if case.scope.until else None


def rows_untaken(case: Case) -> int:
    """How many accepted rows no run has taken yet, though a later one will."""
    return case.count(
        "SELECT count(*) FROM accepted ANTI JOIN ledger USING (object_key)"
        " WHERE object_key >= $horizon",
        horizon=horizon_of(case),
    )


def rows_missing(case: Case) -> Iterator[Finding]:
    """Accepted readings that the ledger counts as curated and no curated table has."""
    found = case.query(
        """SELECT a.event_id, min(a.object_key) FROM accepted a JOIN ledger l USING (object_key)
        ANTI JOIN known_ids k ON k.event_id = a.event_id
        WHERE l.status = 'curated' AND NOT a.is_dropped AND NOT a.is_erased
        GROUP BY ALL ORDER BY 2, 1"""
    )
    for event_id, key in found:
        yield Finding("row_missing", event_id, f"accepted in {key}")


def rows_extra(case: Case) -> Iterator[Finding]:
    """Curated rows of readings that the raw zone never accepted."""
    found = case.query(
        f"""SELECT c.event_id, c.table_name, c.device_id FROM curated c
        ANTI JOIN raw_rows r ON r.event_id = c.event_id
        WHERE {_CURATED_IS_NOT_DOUBTFUL} AND NOT c.is_erased
        AND c.arrival_time >= coalesce($kept, c.arrival_time)
        ORDER BY 1""",
        kept=case.kept_since,
    )
    for event_id, table, device in found:
        yield Finding("row_extra", event_id, f"in {table}, device {device}")


def rows_not_erased(case: Case) -> Iterator[Finding]:
    """Curated rows of a device that was erased after they had arrived."""
    found = case.query("SELECT event_id, table_name FROM curated WHERE is_erased ORDER BY 1")
    for event_id, table in found:
        yield Finding("row_not_erased", event_id, f"in {table}")


def rows_duplicated(case: Case) -> Iterator[Finding]:
    """Event ids that more than one curated row has."""
    found = case.query(
        """SELECT k.event_id, count(*) FROM known_ids k
        SEMI JOIN (SELECT event_id FROM accepted UNION SELECT event_id FROM curated) s
        ON s.event_id = k.event_id GROUP BY 1 HAVING count(*) > 1 ORDER BY 1"""
    )
    for event_id, rows in found:
        yield Finding("row_duplicated", event_id, f"{rows} rows")


def rows_altered(case: Case) -> Iterator[Finding]:
    """Curated rows that are not as any of their raw copies; where raw has expired, those whose id
    is not that of their device and payload."""
    names = ", ".join(
        f"CASE WHEN {_differs(name, kinds)} THEN '{name}' END"
        for name, kinds in _compared_columns(case).items()
    )
    found = case.query(
        f"""SELECT event_id, table_name, min_by(differences, len(differences)) FROM (
            SELECT c.rowid_, c.event_id, c.table_name,
                   list_filter([{names}], lambda name: name IS NOT NULL) AS differences
            FROM (SELECT *, row_number() OVER () AS rowid_ FROM curated) c
            JOIN raw_rows r ON r.event_id = c.event_id
            WHERE {_CURATED_IS_NOT_DOUBTFUL})
        GROUP BY rowid_, event_id, table_name HAVING min(len(differences)) > 0 ORDER BY 1"""
    )
    for event_id, table, differences in found:
        yield Finding("row_altered", event_id, f"in {table}: {', '.join(differences)}")
    unproven = case.query(
        """SELECT c.event_id, c.table_name, c.device_id, c.payload, c.ingest_id, c.record_id
        FROM curated c ANTI JOIN raw_rows r ON r.event_id = c.event_id
        WHERE c.arrival_time < $kept ORDER BY 1""",
        kept=case.kept_since,
    )
    for event_id, table, device, payload, ingest_id, record_id in unproven:
        position, _, sub_sequence = record_id.rpartition(":")
        delivery = f"{ingest_id or position}:{sub_sequence}"
        if event_id not in (event_id_of(device, payload), event_id_of(device, payload, delivery)):
            yield Finding("row_altered", event_id, f"in {table}: not the id of its payload")


def accounts_wrong(case: Case) -> Iterator[Finding]:
    """Runs whose figures do not add up, by themselves or with the ledger."""
    found = case.query(
        """SELECT r.run_id, r.rows_in, r.curated, r.duplicates, r.dropped,
            coalesce(r.too_old, 0) + coalesce(r.erased, 0),
            coalesce(sum(l.rows) FILTER (l.status IN ('curated', 'superseded')), 0)
        FROM curation_runs r LEFT JOIN curation_ledger l USING (run_id)
        WHERE coalesce(r.kind, 'schedule') = 'schedule'
        AND r.started_at >= coalesce($since, r.started_at)
        AND r.started_at < coalesce($until, 'infinity'::TIMESTAMPTZ) GROUP BY ALL ORDER BY 1""",
        since=case.scope.since,
        until=case.scope.until,
    )
    for run_id, rows_in, curated, duplicates, dropped, others, taken in found:
        parts = curated + duplicates + dropped + others
        if rows_in != parts or rows_in != taken:
            yield Finding(
                "account_wrong",
                run_id,
                f"{rows_in:,} rows in; curated, duplicates, dropped, too old and erased are"
                f" {parts:,};"
                f" the ledger has {taken:,}",
            )


CHECKS: Final[tuple[Callable[[Case], Iterator[Finding]], ...]] = (
    records_lost,
    objects_damaged,
    objects_not_taken,
    rows_missing,
    rows_extra,
    rows_not_erased,
    rows_duplicated,
    rows_altered,
    accounts_wrong,
)


def _may_be_gone(key: str, case: Case) -> bool:
    """Whether an object of that key was not listed, or may have been removed by its lifecycle."""
    end = case.scope.written_until
    if end and key >= hour_folder(RAW_PREFIX, end):
        return True
    starts = [moment for moment in (case.scope.since, case.kept_since) if moment]
    return bool(starts) and key < hour_folder(RAW_PREFIX, max(starts))


def _has_no_value(case: Case) -> str:
    """Whether a raw row carries no value at all, as SQL."""
    conditions = []
    for name, kind in case.columns("raw_rows").items():
        if name in ENVELOPE_COLUMNS | _OURS:
            continue
        # A map or list without entries is no value.
        size = {"MAP": "cardinality", "]": "len"}.get(kind[:3] if kind[:3] == "MAP" else kind[-1:])
        value = f"nullif({size}({quoted(name)}), 0)" if size else quoted(name)
        conditions.append(f"{value} IS NULL")
    return " AND ".join(conditions)


def _compared_columns(case: Case) -> dict[str, tuple[str, str]]:
    """The columns that raw and curated rows both have, with their types there."""
    curated = case.columns("curated")
    return {
        name: (kind, curated[name])
        for name, kind in case.columns("raw_rows").items()
        if name in curated and name not in _OURS
    }


def _differs(name: str, kinds: tuple[str, str]) -> str:
    """Whether a curated value, `c`, is not what the job makes of the raw one, `r`, as SQL."""
    if name in _ADJUSTED:
        return _ADJUSTED[name]
    raw, curated = f"r.{quoted(name)}", f"c.{quoted(name)}"
    if kinds[0] != kinds[1]:
        # The job nulls and flags what does not fit.
        cast = f"try_cast({raw} AS {kinds[1]})"
        return f"{curated} IS NOT NULL AND {cast} IS DISTINCT FROM {curated}"
    if kinds[0].startswith("MAP"):
        raw, curated = (
            f"list_sort(map_entries(coalesce({one}, MAP {{}})))" for one in (raw, curated)
        )
    return f"{raw} IS DISTINCT FROM {curated}"
