"""What the figures of `device_hours` mean, case by case: each case is a device, all are computed at
once."""

from collections import defaultdict
from typing import Any

import pytest
from pyspark.sql import SparkSession

import summarise_devices as job
from tests.spark.summary_lake import READINGS, at, reading, rows_of

type Hours = dict[str, list[dict[str, Any]]]  # a device's rows, by hour

NUMBERS: dict[str, tuple[list[int | None], tuple[int, ...]]] = {
    "none": ([None, None], (0, 0, 0, 0, 0, 0)),
    "one": ([7], (1, 1, 0, 0, 0, 0)),
    "in order": ([7, 8, 9], (3, 3, 0, 0, 0, 0)),
    "one without": ([7, None, 8], (2, 2, 0, 0, 0, 0)),
    "gaps": ([7, 9, 12], (6, 3, 2, 0, 0, 0)),
    "a gap that is filled": ([1, 2, 4, 3, 5], (5, 5, 1, 0, 1, 0)),
    "repeated": ([1, 2, 2, 3], (3, 3, 0, 0, 0, 1)),
    "filled and repeated": ([1, 4, 2, 2, 3, 5], (5, 5, 1, 0, 2, 1)),
    # A restart is no gap, whether the device begins with 0 or 1, early or late in its life.
    "restart with 0": ([57, 58, 0, 1, 2], (5, 5, 0, 1, 0, 0)),
    "restart with 1": ([57, 1, 2], (3, 3, 0, 1, 0, 0)),
    "soon": ([3, 1, 2, 3], (4, 4, 0, 1, 0, 0)),
    "with another": ([500, 320, 321], (3, 3, 0, 1, 0, 0)),
    "not far enough back": ([500, 400, 501], (102, 3, 1, 0, 1, 0)),
    # A wrong clock: it was the sixth that it sent.
    "first by its time only": ([6, 3, 4, 5, 7], (5, 5, 1, 0, 3, 0)),
    "largest gap": ([5, 100_005], (100_001, 2, 1, 0, 0, 0)),
    "too large": ([5, 100_006], (2, 2, 0, 1, 0, 0)),
    # A number of the run before is no repetition.
    "runs": ([1, 2, 3, 4, 1, 3], (7, 6, 1, 1, 0, 0)),
    "64 bits": ([2**63 - 1, 0, 2**63 - 1], (3, 3, 0, 2, 0, 0)),
}
# Degrees north (0.001 are 111 m) in so many seconds: metres, seconds and jumps.
STEPS = {
    "moves": (0.001, 10, (111.195, 10.0, 0)),
    "jumps": (0.001, 1, (0.0, 0.0, 1)),
    "stands, and the receiver is not exact": (0.0001, 60, (0.0, 0.0, 0)),
    "moves a little": (0.0001, 2, (11.1195, 2.0, 0)),
    "an hour": (0.001, 3_600, (111.195, 3_600.0, 0)),
    "two hours, and who knows how long of it it moved": (0.1, 7_200, (11_119.5, 0.0, 0)),
    "nothing": (0.0, 0, (0.0, 0.0, 0)),
}
AROUND_THE_DATE_LINE = [(10.0, 179.9999), (10.0, -179.9999), (0.0, 0.0), (10.0, -179.9998)]


@pytest.fixture(scope="module")
def hours(spark: SparkSession) -> Hours:
    readings = [
        reading(case, at(seconds=n), sequence=number, event_id=f"{n}")
        for case, (numbers, _) in NUMBERS.items()
        for n, number in enumerate(numbers)
    ]
    for case, (degrees, seconds, _) in STEPS.items():
        readings += [
            reading(case, at(), latitude=50.0, longitude=8.0, event_id="1"),
            reading(case, at(seconds=seconds / 2), latitude=50.0, event_id="2"),
            reading(case, at(seconds=seconds), latitude=50 + degrees, longitude=8.0, event_id="3"),
        ]
    readings += [
        reading("wrong", at(minutes=n), latitude=north, longitude=east)
        for n, (north, east) in enumerate(AROUND_THE_DATE_LINE)
    ]
    readings += [
        reading("next hour", at(minutes=minute), sequence=number)
        for minute, number in {-2: 1, -1: 4, 1: 2, 2: 3, 3: 5}.items()
    ]
    readings += [
        reading("days", at(days=day), sequence=number, latitude=north, longitude=8.0)
        for day, number, north in [(0, 1, 50.0), (1, 3, 50.1), (3, 9, 50.2)]
    ]
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    schema = spark.createDataFrame([], READINGS).schema
    rows = [tuple(each.get(name) for name in schema.names) for each in readings]
    made: Hours = defaultdict(list)
    table = rows_of(job.hours_of(spark.createDataFrame(rows, schema), None), ("device_id", "hour"))
    for (device_id, _), row in sorted(table.items()):
        made[device_id].append(row)
    return made


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_are_expected_received_missed_or_begun_anew(hours: Hours, case: str) -> None:
    (hour,) = hours[case]
    names = ("expected", "received", "gaps", "restarts", "reordered", "repeated")
    assert tuple(hour[name] for name in names) == NUMBERS[case][1]


@pytest.mark.parametrize("case", STEPS)
def test_a_step_is_a_move_a_jump_or_standing_still(hours: Hours, case: str) -> None:
    last, (degrees, _, moved) = hours[case][-1], STEPS[case]
    figures = (last["distance_metres"], last["moving_seconds"], last["jumps"])
    assert figures == pytest.approx(moved, rel=1e-5)
    assert (last["latitude_last"], last["longitude_last"]) == (50.0 + degrees, 8.0)


def test_a_wrong_position_is_two_jumps_and_the_date_line_is_none(hours: Hours) -> None:
    (hour,) = hours["wrong"]
    assert (hour["jumps"], hour["distance_metres"]) == (2, 0.0)


def test_what_fills_a_gap_in_the_next_hour_is_received_there(hours: Hours) -> None:
    assert [(hour["expected"], hour["received"]) for hour in hours["next hour"]] == [(4, 2), (1, 3)]


def test_a_day_looks_back_upon_the_day_before_and_no_further(hours: Hours) -> None:
    assert [(hour["expected"], hour["gaps"]) for hour in hours["days"]] == [(1, 0), (2, 1), (1, 0)]
    metres = [hour["distance_metres"] for hour in hours["days"]]
    assert metres == pytest.approx([0.0, 11_119.5, 0.0], rel=1e-5)
