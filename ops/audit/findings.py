"""What an audit can find: one finding a record, object or row, each under the name of its kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

# Every kind, with what it means and what to do.
KINDS: Final = {
    "record_lost": (
        "on the stream, and in no zone",
        "read it from the stream while it keeps it, and look into the consumer's log at its time",
    ),
    "record_waiting": (
        "on the stream for longer than it should be, and the consumer has not come to it",
        "see whether the mapping is enabled and how old its iterator is (docs/operations.md)",
    ),
    "raw_object_missing": (
        "in the ledger, but no longer in the raw zone",
        "restore the object's version in the bucket, or redrive its records from the stream",
    ),
    "raw_object_altered": (
        "its bytes are not those that its name was made from",
        "restore the object's older version, then `replay` its day",
    ),
    "raw_object_not_taken": (
        "in the raw zone, and no run has taken it",
        "`replay` it: runs look no further back than the look-back",
    ),
    "row_missing": (
        "accepted in raw, and in no curated table",
        "`replay` its day",
    ),
    "row_extra": (
        "in a curated table, and accepted nowhere in raw",
        "find who wrote it (the table's snapshots), then delete it",
    ),
    "row_not_erased": (
        "in a curated table, though its device was erased after it had arrived",
        "`erase` the device again: it goes on where it was stopped",
    ),
    "row_duplicated": (
        "more than one curated row has its event id",
        "`replay` its day",
    ),
    "row_altered": (
        "a curated row that differs from its raw row, or from its own event id",
        "`replay` its day",
    ),
    "account_wrong": (
        "a run's account does not add up with the ledger",
        "look at the run's log; the rows themselves are checked by the other kinds",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: `kind` of KINDS, `what` it is, and `detail`."""

    kind: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Scope:
    """The hours in which what is audited arrived: [since, until), None for no bound. The zones are
    read as far as they were written before `written_until`, and all of them (None) where something
    is not accounted for by then."""

    since: datetime | None = None
    until: datetime | None = None
    written_until: datetime | None = None


@dataclass
class Audit:
    """What was looked at, and what was found. Records that are `waiting` are on the stream behind
    all that the zones hold of their shard: the consumer has not come to them yet. `untaken_rows`
    were accepted, and a later curation run will take them: their curated rows are not checked."""

    records: int = 0
    waiting: int = 0
    raw_objects: int = 0
    raw_rows: int = 0
    untaken_rows: int = 0
    set_aside: int = 0
    dropped_rows: int = 0
    curated_rows: int = 0
    runs: int = 0
    findings: list[Finding] = field(default_factory=list)
