"""The audit of a deployed stack: gather the evidence, then compare everything with everything.

Guarantee: a lost record (within the stream's retention), and at any time a raw object or curated
row that is missing, extra or altered, is a finding; a lake that is as it should be gives none,
however busy it is. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import duckdb
from botocore.exceptions import ClientError
from pyiceberg.exceptions import NoSuchTableError

from ops.audit.checks import Case, prepare, rows_untaken, run_checks
from ops.audit.evidence import CURATED_TABLES, Sources, gather
from ops.audit.findings import Audit, Scope

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


# More day ranges than this make a filter that costs more than the days between them.
_MAX_DAYS: Final = 200


@dataclass(frozen=True)
class Terms:
    """How long a record may wait for the consumer, and how far back a curation run looks."""

    settle: timedelta
    look_back: timedelta


def audit_stack(
    sources: Sources,
    scope: Scope,
    terms: Terms,
    now: datetime,
    memory_megabytes: int | None = None,
) -> Audit:
    """Audit what arrived in the scope. Takes disk in the folder for temporary files: some three
    times the size of the raw zone of these hours. Of the memory DuckDB takes most, or what it is
    given."""
    limit = {"memory_limit": f"{memory_megabytes}MB"} if memory_megabytes else {}
    with (
        TemporaryDirectory(prefix="audit-") as folder,
        closing(duckdb.connect(Path(folder) / "evidence.duckdb", config=limit)) as database,
    ):
        scope = gather(sources, scope, database)
        kept_since = raw_kept_since(sources.s3, sources.stack.raw_zone_bucket, now)
        case = Case(database, scope, now - terms.settle, kept_since, terms.look_back)
        prepare(case)
        gather_known_ids(sources, scope, case)
        sources.progress("comparing")
        findings = list(run_checks(case))
        return Audit(
            records=case.count("SELECT count(*) FROM on_stream"),
            waiting=case.count("SELECT count(*) FROM on_stream ANTI JOIN held USING (position)"),
            raw_objects=case.count("SELECT count(*) FROM raw_objects WHERE state = 'whole'"),
            raw_rows=case.count("SELECT count(*) FROM accepted"),
            untaken_rows=rows_untaken(case),
            set_aside=case.count("SELECT count(*) FROM ledger WHERE status = 'set_aside'"),
            dropped_rows=case.count("SELECT count(*) FROM accepted WHERE is_dropped"),
            curated_rows=case.count("SELECT count(*) FROM curated"),
            runs=case.count("SELECT count(*) FROM curation_runs"),
            findings=findings,
        )


def gather_known_ids(sources: Sources, scope: Scope, case: Case) -> None:
    """Make `known_ids`, the event ids of the curated rows: of all, or, for an audit of some hours,
    of the days in which their readings fall. Of two copies that arrived in different hours either
    may be the one that is kept."""
    if scope == Scope():
        case.database.execute("CREATE VIEW known_ids AS SELECT event_id FROM curated")
        return
    case.database.execute("CREATE TABLE known_ids (event_id TEXT)")
    days = [
        day for (day,) in case.query("SELECT DISTINCT event_time::DATE FROM accepted ORDER BY 1")
    ]
    if not days:
        return
    for name in CURATED_TABLES:
        sources.progress(f"table {name}: {len(days):,} days")
        try:
            table = sources.catalogue.load_table((sources.stack.database_name, name))
        except NoSuchTableError:
            continue
        scan = table.scan(row_filter=_in_days(days), selected_fields=("event_id",))
        case.database.register("arriving", scan.to_arrow_batch_reader())
        case.database.execute("INSERT INTO known_ids SELECT event_id FROM arriving")
        case.database.unregister("arriving")


def raw_kept_since(s3: S3Client, bucket: str, now: datetime) -> datetime | None:
    """The moment before which the bucket's lifecycle may have removed objects; None if it never
    does."""
    try:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return None
        raise
    days = [
        rule["Expiration"]["Days"]
        for rule in rules
        if rule["Status"] == "Enabled" and "Days" in rule.get("Expiration", {})
    ]
    # A day of grace: what is written last in a day may go with the rest of it.
    return now - timedelta(days=min(days) - 1) if days else None


def _in_days(days: Sequence[date]) -> str:
    """That a row's event time is in one of the days; in one stretch where they are too many."""
    spans = [(day, day) for day in days] if len(days) <= _MAX_DAYS else [(days[0], days[-1])]
    return " or ".join(
        f"(event_time >= '{first}T00:00:00+00:00'"
        f" and event_time < '{last + timedelta(days=1)}T00:00:00+00:00')"
        for first, last in spans
    )
