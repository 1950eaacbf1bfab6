"""The simulator's truth beside the lake's figures, line by line.

Guarantee: `verdicts` compares exactly. Of what arrives at least once (raw and rejected zone) it
asks for each message by itself; of what holds each event once it asks for every figure of every
device and hour. `docs/fleet.md` says which figure of the truth is which column.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from devices.truth import FIRST_NUMBER, HOUR_MS, DeviceTruth, HourTruth, Truth, instant

# `device_hours` has these columns, the truth these figures.
COLUMNS: Final[Mapping[str, str]] = {
    "readings": "sent",
    "late": "late",
    "flagged": "flagged",
    "expected": "expected",
    "received": "received",
    "gaps": "gaps",
    "restarts": "restarts",
    "reordered": "reordered",
    "repeated": "repeated",
}


@dataclass(frozen=True)
class RawRow:
    """A row of the raw zone; `position` is its record's place in the stream."""

    device_id: str
    event_id: str
    position: int
    number: int


@dataclass(frozen=True)
class LakeFigures:
    """What the lake says of the truth's devices.

    `hours` are the rows of `device_hours` by device and hour since 1970; `latest` has the last
    event (milliseconds) and whether the device is silent, by device; `curated` the rows of
    `readings` by event id; `ahead` how many of these are marked so; `raw` every row of the raw
    zone; `rejected` the rows of the rejected zone by device and payload, with their reasons;
    `duplicates` the sum over the accounts in `curation_runs`.
    """

    hours: Mapping[tuple[str, int], Mapping[str, Any]]
    latest: Mapping[str, tuple[int, bool]]
    curated: Counter[str]
    ahead: int
    raw: Sequence[RawRow]
    duplicates: int
    rejected: Mapping[tuple[str, bytes], set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A figure of the truth and what the lake has for it."""

    what: str
    truth: int
    lake: int

    @property
    def is_equal(self) -> bool:
        """Whether the lake is right."""
        return self.truth == self.lake


def verdicts(truth: Truth, lake: LakeFigures) -> list[Verdict]:
    """Every comparison there is."""
    totals = truth.totals()
    return [
        *_readings(truth, lake),
        Verdict("lost: dropped + garbage", totals.dropped + totals.garbage, _lost(lake)),
        *(
            Verdict(f"device_hours.{column}", getattr(totals, figure), _sum(lake, column))
            for column, figure in COLUMNS.items()
        ),
        *_equal_hours(truth, lake),
        Verdict("ahead of the arrival by more than an hour", totals.ahead, lake.ahead),
        *_duplicates(truth, lake),
        Verdict("overtaken on the way to the stream", totals.overtaken, overtaken(lake.raw)),
        *_rejected(truth, lake),
        *_devices(truth, lake),
    ]


def redelivered(truth: Truth, lake: LakeFigures) -> int:
    """Rows of the raw zone beyond those that the devices sent: at least once, as it promises."""
    return len(lake.raw) - _copies(truth).total()


def overtaken(raw: Iterable[RawRow]) -> int:
    """Events that came to the stream, for the first time, after one with a higher number."""
    first: dict[str, RawRow] = {}
    for row in raw:
        known = first.get(row.event_id)
        if known is None or row.position < known.position:
            first[row.event_id] = row
    highest: dict[str, int] = {}
    count = 0
    for row in sorted(first.values(), key=lambda each: each.position):
        # A device that begins anew has nothing before it.
        before = 0 if row.number == FIRST_NUMBER else highest.get(row.device_id, 0)
        count += row.number < before
        highest[row.device_id] = max(before, row.number)
    return count


def differing_hours(truth: Truth, lake: LakeFigures) -> list[str]:
    """The device-hours that differ, each figure as truth / lake: for who looks for the reason."""
    told = []
    for key in sorted({*_hours(truth), *lake.hours}):
        meant, row = _hours(truth).get(key, HourTruth()), lake.hours.get(key, {})
        named = [
            f"{column} {getattr(meant, figure)} / {row.get(column, 0)}"
            for column, figure in COLUMNS.items()
            if getattr(meant, figure) != row.get(column, 0)
        ]
        if named:
            told.append(f"{key[0]} in the hour of {instant(key[1] * HOUR_MS)}: {', '.join(named)}")
    return told


def _readings(truth: Truth, lake: LakeFigures) -> list[Verdict]:
    copies = _copies(truth)
    exact = sum(lake.curated[event_id] == 1 for event_id in copies)
    return [
        Verdict("different readings sent, each once in readings", len(copies), exact),
        Verdict("rows of readings beside these", 0, lake.curated.total() - exact),
    ]


def _lost(lake: LakeFigures) -> int:
    return _sum(lake, "expected") - _sum(lake, "received")


def _sum(lake: LakeFigures, column: str) -> int:
    return sum(row[column] for row in lake.hours.values())


def _equal_hours(truth: Truth, lake: LakeFigures) -> list[Verdict]:
    hours = _hours(truth)
    equal = sum(
        all(lake.hours[key][column] == getattr(hour, figure) for column, figure in COLUMNS.items())
        for key, hour in hours.items()
        if key in lake.hours
    )
    return [
        Verdict("device-hours, every figure equal", len(hours), equal),
        Verdict("device-hours beside these", 0, len(lake.hours.keys() - hours.keys())),
    ]


def _duplicates(truth: Truth, lake: LakeFigures) -> list[Verdict]:
    copies, found = _copies(truth), Counter(row.event_id for row in lake.raw)
    too_few = sum(found[event_id] < count for event_id, count in copies.items())
    removed = truth.totals().duplicates + redelivered(truth, lake)
    return [
        Verdict("events with fewer raw rows than were sent", 0, too_few),
        Verdict("duplicates: sent again + redelivered", removed, lake.duplicates),
    ]


def _rejected(truth: Truth, lake: LakeFigures) -> list[Verdict]:
    found = Counter(reason for reasons in lake.rejected.values() for reason in reasons)
    told = truth.rejected()
    exact = sum(
        lake.rejected.get((device.device_id, payload)) == {reason}
        for device in truth.devices.values()
        for payload, reason in device.rejected.items()
    )
    return [
        *(
            Verdict(f"rejected as {reason}", told.get(reason, 0), found[reason])
            for reason in sorted({*told, *found})
        ),
        Verdict("rejected, byte for byte and for its reason", sum(told.values()), exact),
    ]


def _devices(truth: Truth, lake: LakeFigures) -> list[Verdict]:
    silent = {name for name, (_, is_silent) in lake.latest.items() if is_silent}
    same_end = sum(
        lake.latest.get(name, (0, False))[0] == device.last_event_ms
        for name, device in truth.devices.items()
    )
    return [
        Verdict("devices silent", len(truth.silent()), len(silent)),
        Verdict("devices silent in one of the two only", 0, len(truth.silent() ^ silent)),
        Verdict("devices whose last event is the truth's", len(truth.devices), same_end),
    ]


def _copies(truth: Truth) -> Counter[str]:
    copies: Counter[str] = Counter()
    for device in truth.devices.values():
        copies.update(device.copies)
    return copies


def _hours(truth: Truth) -> dict[tuple[str, int], HourTruth]:
    return {
        (device.device_id, hour): told
        for device in truth.devices.values()
        for hour, told in _heard(device).items()
    }


def _heard(device: DeviceTruth) -> dict[int, HourTruth]:
    """The hours of which anything came: the lake knows no others."""
    return {hour: told for hour, told in device.hours.items() if told.sent}
