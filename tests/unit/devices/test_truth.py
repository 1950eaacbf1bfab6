"""Sequence numbers counted as the lake's definitions say, on cases that can be counted by hand."""

from datetime import UTC, datetime
from typing import Any

import pytest

from devices.truth import HOUR_MS, DeviceTruth, HourTruth, Sent, Truth, count_numbers

HOUR = 494_000
FIGURES = ("expected", "received", "gaps", "restarts", "reordered", "repeated")


def counted(*numbers: int, restarts_at: int | None = None, per_hour: int = 100) -> DeviceTruth:
    """Numbers in the order of the device's clock; at one place it begins anew."""
    device = DeviceTruth("d", "box", "")
    count_numbers(
        device,
        [
            Sent(
                (HOUR + place // per_hour) * HOUR_MS + place * 1000,
                number,
                place in (0, restarts_at),
            )
            for place, number in enumerate(numbers)
        ],
    )
    return device


def figures(hour: HourTruth) -> dict[str, Any]:
    return {name: getattr(hour, name) for name in FIGURES if getattr(hour, name)}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1, 2, 3), {"expected": 3, "received": 3}),
        ((1, 2, 5), {"expected": 5, "received": 3, "gaps": 1}),
        # The second is missing until it comes: a gap, and then a reading out of order.
        ((1, 3, 2, 4), {"expected": 4, "received": 4, "gaps": 1, "reordered": 1}),
        ((1, 2, 2, 3), {"expected": 3, "received": 3, "repeated": 1}),
        ((5, 4, 6), {"expected": 3, "received": 3, "reordered": 1}),
    ],
)
def test_numbers_tell_what_is_missing_and_what_is_out_of_order(
    numbers: tuple[int, ...], expected: dict[str, int]
) -> None:
    assert figures(counted(*numbers).hours[HOUR]) == expected


def test_a_device_that_begins_anew_has_lost_nothing_between() -> None:
    device = counted(7, 8, 9, 1, 2, restarts_at=3)
    assert figures(device.hours[HOUR]) == {"expected": 5, "received": 5, "restarts": 1}


def test_what_is_missing_counts_in_the_hour_of_the_reading_that_shows_it() -> None:
    device = counted(1, 2, 5, 6, per_hour=2)
    assert figures(device.hours[HOUR]) == {"expected": 2, "received": 2}
    assert figures(device.hours[HOUR + 1]) == {"expected": 4, "received": 2, "gaps": 1}


def test_the_file_tells_times_in_words_and_leaves_out_what_is_nothing() -> None:
    device = counted(1, 2, 5)
    device.last_event_ms, device.silent_since = HOUR * HOUR_MS + 2_000, HOUR * HOUR_MS + 2_500
    began = datetime(2026, 5, 10, tzinfo=UTC)
    told = Truth(7, began, 60.0, {"d": device}).as_json()
    assert told["silent_devices"] == 1
    assert told["totals"]["expected"] == 5
    assert told["devices"]["d"]["silent_since"].endswith("T08:00:02.500+00:00")
    (hour,) = told["devices"]["d"]["hours"].values()
    assert hour == {"expected": 5, "received": 3, "gaps": 1}
