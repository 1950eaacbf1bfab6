"""Which hours are audited, and in which order: each closed one, once, the oldest first.

Guarantee: none is left out, however long nobody started the function, since each begins where the
last one that was reported ended. The first audit ever is of the newest hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow.compute as pc
from pyiceberg.exceptions import NoSuchTableError

from ops.audit.evidence import EVERY_ROW
from ops.audit.findings import Audit, Scope

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

HOUR: Final = timedelta(hours=1)
# What arrives at an hour's end is written in the next one, and later when the zones were away. The
# audit reads on by itself for what it does not find so near.
NEAR: Final = 2 * HOUR
# A day that was missed is made good in one invocation, if its time suffices.
MOST_HOURS: Final = 24


class Place(Protocol):
    """Where it is kept how far the audit has come."""

    def read(self) -> datetime | None: ...

    def write(self, through: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What an audit of hours uses of the world. `taken_through`: the hour up to which curation
    runs have taken everything that was written to the raw zone, None before the first run."""

    mark: Place
    taken_through: Callable[[], datetime | None]
    audit: Callable[[Scope], Audit]
    report: Callable[[datetime, Audit], None]
    remaining_seconds: Callable[[], float]


def audit_hours(use: Collaborators) -> list[datetime]:
    """Audit and report the hours that can be and were not yet; gives them."""
    audited = []
    longest = 0.0
    for hour in _hours(use):
        before = use.remaining_seconds()
        if before < 2 * longest:
            break  # the next invocation goes on here
        audit = use.audit(Scope(hour, hour + HOUR, hour + HOUR + NEAR))
        if audit.untaken_rows:
            break  # the next run takes them, and the hour is looked at then
        use.report(hour, audit)
        use.mark.write(hour + HOUR)
        audited.append(hour)
        longest = max(longest, before - use.remaining_seconds())
    return audited


def _hours(use: Collaborators) -> Iterator[datetime]:
    """The hours that are closed and curated. What arrived in an hour lies in it and in the next."""
    through = use.taken_through()
    if through is None:
        return
    end = through - HOUR
    hour = use.mark.read() or end - HOUR
    for _ in range(MOST_HOURS):
        if hour + HOUR > end:
            return
        yield hour
        hour += HOUR


def taken_through(catalogue: Catalog, database_name: str) -> datetime | None:
    """The newest `complete_through` of the runs' accounts: whole hours that were closed by then."""
    try:
        table = catalogue.load_table((database_name, "curation_runs"))
    except NoSuchTableError:
        return None
    scan = table.scan(row_filter=EVERY_ROW, selected_fields=("complete_through",))
    accounts = scan.to_arrow_batch_reader().read_all()
    newest: datetime | None = pc.max(accounts.column("complete_through")).as_py()
    return newest
