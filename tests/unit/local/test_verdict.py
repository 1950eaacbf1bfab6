"""Truth and lake compared: a lake that is right in everything but one thing is found out by it."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from devices.behaviour import Habits, Period, Simulation, plan_behaviour
from devices.truth import FIRST_NUMBER, HOUR_MS, instant
from local.demo.verdict import (
    COLUMNS,
    LakeFigures,
    RawRow,
    differing_hours,
    overtaken,
    redelivered,
    verdicts,
)

PERIOD = Period(datetime(2026, 11, 24, 6, 40, tzinfo=UTC), 1_200.0)
HABITS = Habits(5, dropped=0.05, garbage=0.05, duplicated=0.1, swapped=0, overtaken=0)
DEVICE = "fleet-01"


@pytest.fixture(scope="module")
def fleet() -> Simulation:
    return plan_behaviour(tuple(f"fleet-{n:02}" for n in range(1, 10)), PERIOD, 2, HABITS)


def right(fleet: Simulation) -> LakeFigures:
    """A lake that tells the truth."""
    truth = fleet.truth
    rows = [
        RawRow(device.device_id, event_id, place, FIRST_NUMBER)
        for device in truth.devices.values()
        for place, event_id in enumerate(device.copies.elements())
    ]
    return LakeFigures(
        hours={
            (name, hour): {column: getattr(told, figure) for column, figure in COLUMNS.items()}
            for name, device in truth.devices.items()
            for hour, told in device.hours.items()
            if told.sent
        },
        latest={
            name: (device.last_event_ms, device.silent_since is not None)
            for name, device in truth.devices.items()
        },
        curated=Counter({row.event_id for row in rows}),
        ahead=truth.totals().ahead,
        raw=rows,
        duplicates=truth.totals().duplicates,
        rejected={
            (name, payload): {reason}
            for name, device in truth.devices.items()
            for payload, reason in device.rejected.items()
        },
    )


def wrong(fleet: Simulation, lake: LakeFigures) -> list[str]:
    return [verdict.what for verdict in verdicts(fleet.truth, lake) if not verdict.is_equal]


def test_a_lake_that_tells_the_truth_is_equal_in_everything(fleet: Simulation) -> None:
    assert wrong(fleet, right(fleet)) == []
    assert differing_hours(fleet.truth, right(fleet)) == []


def test_what_is_delivered_again_is_removed_as_a_duplicate_and_no_difference(
    fleet: Simulation,
) -> None:
    lake = right(fleet)
    again = replace(lake, raw=[*lake.raw, *lake.raw[:7]], duplicates=lake.duplicates + 7)
    assert redelivered(fleet.truth, again) == 7
    assert wrong(fleet, again) == []
    assert wrong(fleet, replace(again, duplicates=lake.duplicates + 6)) == [
        "duplicates: sent again + redelivered"
    ]


def test_a_copy_that_never_came_is_not_made_up_for_by_another_that_came_twice(
    fleet: Simulation,
) -> None:
    lake = right(fleet)
    twice = next(a for a, b in itertools.pairwise(lake.raw) if a.event_id == b.event_id)
    others = [row for row in lake.raw if row is not twice]
    assert wrong(fleet, replace(lake, raw=[*others, others[-1]])) == [
        "events with fewer raw rows than were sent"
    ]


def an_hour(lake: LakeFigures) -> tuple[str, int]:
    return next(key for key in lake.hours if key[0] == DEVICE)


def with_hour(lake: LakeFigures, **figures: Any) -> LakeFigures:
    key = an_hour(lake)
    return replace(lake, hours={**lake.hours, key: {**lake.hours[key], **figures}})


def first_of(lake: LakeFigures) -> str:
    return next(iter(lake.curated))


WRONG: list[tuple[Callable[[LakeFigures], LakeFigures], list[str]]] = [
    (
        lambda lake: replace(lake, curated=lake.curated - Counter([first_of(lake)])),
        ["different readings sent, each once in readings"],
    ),
    (
        lambda lake: replace(lake, curated=lake.curated + Counter([first_of(lake)])),
        ["different readings sent, each once in readings", "rows of readings beside these"],
    ),
    (
        lambda lake: replace(lake, curated=lake.curated + Counter(["nobody's"])),
        ["rows of readings beside these"],
    ),
    (
        lambda lake: with_hour(lake, expected=lake.hours[an_hour(lake)]["expected"] + 1),
        [
            "lost: dropped + garbage",
            "device_hours.expected",
            "device-hours, every figure equal",
        ],
    ),
    (
        lambda lake: with_hour(lake, reordered=1),
        ["device_hours.reordered", "device-hours, every figure equal"],
    ),
    (
        lambda lake: replace(lake, hours={**lake.hours, ("nobody", 1): dict.fromkeys(COLUMNS, 0)}),
        ["device-hours beside these"],
    ),
    (
        lambda lake: replace(lake, latest={**lake.latest, DEVICE: (lake.latest[DEVICE][0], True)}),
        ["devices silent", "devices silent in one of the two only"],
    ),
    (
        lambda lake: replace(lake, latest={**lake.latest, DEVICE: (HOUR_MS, False)}),
        ["devices whose last event is the truth's"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), WRONG)
def test_a_lake_that_is_wrong_in_one_thing_is_told_so(
    fleet: Simulation, change: Callable[[LakeFigures], LakeFigures], expected: list[str]
) -> None:
    assert not fleet.truth.devices[DEVICE].silent_since
    assert wrong(fleet, change(right(fleet))) == expected


def test_a_message_rejected_for_another_reason_is_told(fleet: Simulation) -> None:
    lake = right(fleet)
    key, reasons = next(iter(lake.rejected.items()))
    other = replace(lake, rejected={**lake.rejected, key: {"too_large"}})
    assert wrong(fleet, other) == [
        f"rejected as {min(reasons)}",
        "rejected as too_large",
        "rejected, byte for byte and for its reason",
    ]


def test_an_hour_that_differs_is_told_in_words(fleet: Simulation) -> None:
    lake = right(fleet)
    device_id, hour = an_hour(lake)
    gaps, told = lake.hours[device_id, hour]["gaps"], instant(hour * HOUR_MS)
    assert differing_hours(fleet.truth, with_hour(lake, gaps=99)) == [
        f"{device_id} in the hour of {told}: gaps {gaps} / 99"
    ]


def test_an_event_is_overtaken_by_its_first_arrival_and_not_by_a_later_copy() -> None:
    def rows(*arrivals: tuple[str, int]) -> list[RawRow]:
        return [RawRow("d", event, place, number) for place, (event, number) in enumerate(arrivals)]

    assert overtaken(rows(("a", 1), ("b", 2), ("c", 3), ("b", 2))) == 0
    assert overtaken(rows(("a", 1), ("c", 3), ("b", 2), ("d", 4))) == 1
    # It began anew.
    assert overtaken(rows(("a", 1), ("b", 2), ("c", 3), ("e", 1), ("f", 2))) == 0
