"""What a replay did, or would do, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from ops.replay.interpret import Reread
from ops.replay.run import Outcome
from ops.tables import aligned

COLUMNS = ("rows_now", "rows_after", "added", "removed", "changed")


def reread_lines(reread: Reread, stack_name: str, *, apply: bool) -> Iterator[str]:
    """What interpreting again comes to, and what comes next."""
    yield f"Raw objects of stack {stack_name}, interpreted again" + ("" if apply else " (dry run)")
    yield ""
    yield f"{reread.rows:,} rows of {reread.objects:,} objects."
    yield f"In {len(reread.exchanges):,} of the objects"
    yield f"  {reread.changed:,} rows read differently"
    yield f"  {reread.rejected.total():,} rows are rejected now" + "".join(
        f"; {reason}: {rows:,}" for reason, rows in sorted(reread.rejected.items())
    )
    if reread.unread:
        yield f"{len(reread.unread):,} objects are no raw objects, as {reread.unread[0]}"
    yield ""
    if not reread.exchanges:
        yield "Everything reads as it did: there is nothing to change."
    elif not apply:
        yield (
            f"Nothing was changed. Run again with --apply to put {len(reread.exchanges):,} objects "
            "in the place of these and build their readings anew."
        )


def lines_of(outcome: Outcome, stack_name: str) -> Iterator[str]:
    """The counts by day, and what comes next."""
    counts, account = outcome.counts, outcome.account
    yield f"Replay of stack {stack_name}" + ("" if account else " (dry run)")
    yield ""
    yield f"{counts['rows_in']:,} rows were read from {counts['objects']:,} raw objects."
    days = counts["days"]
    differing = [day for day in days if day["added"] or day["removed"] or day["changed"]]
    if days:
        yield ""
        yield from aligned(
            [
                ("day", *(name.replace("_", " ") for name in COLUMNS)),
                *((day["day"], *(day[name] for name in COLUMNS)) for day in days),
            ]
        )
    yield ""
    if not differing:
        yield "The tables are as raw says: there is nothing to change."
    elif account:
        yield f"{len(differing):,} days were swapped, by run {account['run_id']}."
    else:
        yield f"Nothing was changed. Run again with --apply to swap {len(differing):,} days."
