"""What an export has to write: a row for each device of which something else is known than before.

Guarantee: rows are only ever added, so a device that was moved keeps its past; a device of which
nothing changed gets none, however often the export runs. A thing that is gone from IoT's registry
keeps its last row: others fill the table too, and what is missing there is no news of a device.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

# Attributes with a column of their own; the rest go into `attributes`.
COLUMNS: Final = ("model", "site", "owner")

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a device; nothing is the same as an unknown device."""

    model: str | None = None
    site: str | None = None
    owner: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the registry; without a time it holds from the beginning."""

    device_id: str
    valid_from: datetime | None
    known: Known


def known_of(thing: Mapping[str, Any]) -> Known:
    """What IoT's registry says of a thing, as ListThings gives it. Its type stands in for a model
    that no attribute names."""
    attributes = dict(thing.get("attributes") or {})
    columns = {name: attributes.pop(name, None) or None for name in COLUMNS}
    columns["model"] = columns["model"] or thing.get("thingTypeName")
    return Known(**columns, attributes=attributes)


def present_state(rows: Iterable[Row], at: datetime) -> dict[str, Known]:
    """What holds for each device at a time, by the curation job's rule: the row from the latest
    instant, and of several from one instant the same one that the job takes."""
    latest: dict[str, Row] = {}
    for row in rows:
        if row.valid_from is not None and row.valid_from > at:
            continue
        before = latest.get(row.device_id)
        if before is None or _rank(row) > _rank(before):
            latest[row.device_id] = row
    return {device_id: row.known for device_id, row in latest.items()}


def changes(
    present: Mapping[str, Known], things: Iterable[Mapping[str, Any]], at: datetime
) -> list[Row]:
    """The rows to append for what is known of `things` at `at`."""
    found = ((str(thing["thingName"]), known_of(thing)) for thing in things)
    return [
        Row(device_id, at, known)
        for device_id, known in found
        if known != present.get(device_id, Known())
    ]


def _rank(row: Row) -> tuple[Any, ...]:
    """Grows with what the job prefers: later, then the greater model, site, owner, attributes as
    JSON; an absent one is the least."""
    known = row.known
    entries = [{"key": key, "value": value} for key, value in sorted(known.attributes.items())]
    texts = (*(known.model, known.site, known.owner), json.dumps(entries, separators=(",", ":")))
    return (row.valid_from or _BEGINNING, *((text is not None, text or "") for text in texts))
