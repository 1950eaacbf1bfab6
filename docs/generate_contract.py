"""Writes the generated parts of `docs/contract.md` from the contract's own tables.

Between `<!-- generated: NAME -->` and `<!-- end -->` stands what this module says; the rest of the
page is written by hand. So the page can't say anything of a field, a reason or a bound that the
code does not do.

    python -m docs.generate_contract           # write the page anew
    python -m docs.generate_contract --check   # fail if it is not what this would write
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from telemetry_contract import event_time, identity
from telemetry_contract.fields import (
    CONTAINER,
    CONTRACT_VERSION,
    DEVICE_ID,
    EVENT_TIME,
    FIELDS,
    LARGEST_INTEGER,
    Field,
)
from telemetry_contract.limits import MICROSECONDS_PER_SECOND, Limits
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.rejection import Reason

PAGE: Final = Path(__file__).resolve().parent / "contract.md"
BLOCK: Final = re.compile(
    r"(?P<start><!-- generated: (?P<name>[a-z_]+) -->\n).*?(?P<end><!-- end -->\n)", re.DOTALL
)

FLAG_MEANINGS: Final = {
    event_time.OFFSET_ASSUMED: "the event time had no offset; it was read as UTC",
    event_time.FAR_FROM_ARRIVAL: "the event time is further from the arrival than "
    "`ClockSkewFlagSeconds`: a wrong clock, or a late delivery",
    event_time.FROM_ARRIVAL: "the payload had no event time; its arrival at the broker, else in "
    "the stream, stands in "
    "(only with `MissingTimestampPolicy=arrival_time`)",
    identity.IDENTITY_MISMATCH_FLAG: "the payload names another device than its topic, "
    "or the topic begins with `dt/` and names none "
    "(only with `IdentityMismatchPolicy=flag`)",
}


class PageError(Exception):
    """The page lacks a block, or has one that this module does not know."""


def fields_block() -> str:
    """The table of fields, required ones first."""
    rows = [_field_row(field, required=True) for field in (DEVICE_ID, EVENT_TIME)]
    rows += [_field_row(field, required=False) for field in FIELDS]
    head = ("field", "also taken from", "type", "unit", "bounds", "what it is")
    return (
        f"Version {CONTRACT_VERSION}. Each name is looked for at the top of the payload, then in "
        f"its object `{CONTAINER}`; of several names the first one given here counts.\n\n"
        + _table(head, rows)
    )


def reasons_block() -> str:
    """The table of reason codes."""
    rows = [(f"`{reason.value}`", reason.description) for reason in Reason]
    return _table(("reason", "means"), rows)


def flags_block() -> str:
    """The table of quality flags."""
    bounded = [field for field in FIELDS if field.minimum is not None or field.maximum is not None]
    rows = [
        (
            "`<field>_out_of_range`",
            "the value was outside the field's bounds and is null now: "
            + ", ".join(f"`{field.name}`" for field in bounded),
        ),
        (
            "`<field>_wrong_type`",
            "the value was not of the field's type and is null now: any field",
        ),
        *((f"`{flag}`", meaning) for flag, meaning in FLAG_MEANINGS.items()),
    ]
    return _table(("flag", "means"), rows)


def times_block() -> str:
    """Which numbers and texts are times, and which times are accepted, by default."""
    limits = Limits()
    earliest = datetime.fromtimestamp(limits.earliest_event_time / MICROSECONDS_PER_SECOND, UTC)
    rows = [
        (f"a number below 10^{_power(event_time.SECONDS_BELOW)}", "seconds since 1970"),
        (
            f"below 10^{_power(event_time.MILLISECONDS_BELOW)}",
            "milliseconds since 1970",
        ),
        (
            f"below 10^{_power(event_time.MICROSECONDS_BELOW)}",
            "microseconds since 1970",
        ),
        ("text of such a number", "the same"),
        ("`2026-11-23T10:00:00.123456+01:00`", "ISO 8601; `Z`, `+HH`, `+HHMM` or `+HH:MM`"),
        (
            "`2026-11-23T10:00:00`, `2026-11-23 10:00`",
            f"ISO 8601 without an offset: UTC, flagged `{event_time.OFFSET_ASSUMED}`",
        ),
    ]
    return (
        _table(("sent", "read as"), rows)
        + "\n"
        + _table(
            ("bound", "default", "parameter"),
            [
                ("earliest event time", f"{earliest:%Y-%m-%dT%H:%M:%SZ}", "`EarliestEventTime`"),
                (
                    "furthest after the arrival",
                    f"{_seconds(limits.max_event_time_ahead)} s",
                    "`MaxEventTimeAheadSeconds`",
                ),
                (
                    "flagged when further from the arrival, either way, than",
                    f"{_seconds(limits.clock_skew_flag)} s",
                    "`ClockSkewFlagSeconds`",
                ),
                ("largest payload", f"{limits.max_payload_bytes:,} bytes", "(none)"),
                ("deepest nesting", str(limits.max_depth), "(none)"),
            ],
        )
    )


def columns_block() -> str:
    """The columns of raw and rejected objects."""
    return (
        "Raw zone:\n\n" + _columns(RAW_SCHEMA) + "\nRejected zone:\n\n" + _columns(REJECTED_SCHEMA)
    )


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "fields": fields_block,
    "reasons": reasons_block,
    "flags": flags_block,
    "times": times_block,
    "columns": columns_block,
}


def regenerated(page: str) -> str:
    """The page with every block replaced; raises PageError for a missing or unknown block."""
    found = [match["name"] for match in BLOCK.finditer(page)]
    if sorted(found) != sorted(BLOCKS):
        raise PageError(
            f"docs/contract.md has the blocks {sorted(found)}; it needs each of these once: "
            f"{sorted(BLOCKS)}"
        )
    return BLOCK.sub(
        lambda match: f"{match['start']}\n{BLOCKS[match['name']]()}\n{match['end']}", page
    )


def _field_row(field: Field, *, required: bool) -> tuple[str, ...]:
    return (
        f"`{field.name}`" + (" (required)" if required else ""),
        ", ".join(f"`{alias}`" for alias in field.aliases) or "",
        "text or number" if field is EVENT_TIME else field.kind,
        field.unit or "",
        _bounds(field),
        field.description,
    )


def _bounds(field: Field) -> str:
    if field.kind == "text":
        return f"up to {field.maximum:,.0f} characters" if field.maximum else ""
    low, high = field.minimum, field.maximum
    if low is None and high is None:
        return ""
    if high == LARGEST_INTEGER:
        return f"from {low:,.0f}, 64 bits"
    return f"{_number(low)} to {_number(high)}"


def _number(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:,g}" if abs(bound) < 1e6 else f"{bound:,.0f}"


def _columns(schema: pa.Schema) -> str:
    rows = [
        (f"`{column.name}`", str(column.type), "yes" if column.nullable else "no")
        for column in schema
    ]
    return _table(("column", "type", "may be null"), rows)


def _power(number: int) -> int:
    return len(str(number)) - 1


def _seconds(microseconds: int) -> str:
    return f"{microseconds // MICROSECONDS_PER_SECOND:,}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '\\|') for cell in row)} |\n" for row in lines)


def run(arguments: list[str], page: Path = PAGE) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.generate_contract",
        description="Write the generated parts of docs/contract.md.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it is stale")
    check = parser.parse_args(arguments).check
    text = page.read_text()
    try:
        wanted = regenerated(text)
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    if check and text != wanted:
        print("docs/contract.md is stale: run `make docs` and read the difference", file=sys.stderr)
        return 1
    if not check:
        page.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
