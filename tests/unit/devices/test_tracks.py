"""What simulated devices measure is plausible, and the same for the same random numbers."""

import itertools
import math
from random import Random

import pytest

from devices.tracks import Box, Vehicle

MIDNIGHT = 1_795_478_400  # 2026-11-24 00:00 UTC
METRES_PER_DEGREE = 111_320


@pytest.mark.parametrize("step_seconds", [1, 5, 60])
def test_a_vehicle_moves_without_leaps_turns_and_stops(step_seconds: int) -> None:
    vehicle = Vehicle(Random(3))
    told = [vehicle.values_at(MIDNIGHT + step_seconds * n) for n in range(1_500)]
    steps = []
    for before, after in itertools.pairwise(told):
        north = (after["latitude"] - before["latitude"]) * METRES_PER_DEGREE
        east = (after["longitude"] - before["longitude"]) * METRES_PER_DEGREE
        steps.append(math.hypot(north, east * math.cos(math.radians(52.52))))
    assert max(steps) < 85 / 3.6 * step_seconds + 1
    assert sum(steps) > 10 * step_seconds  # it gets somewhere
    assert {each["status"] for each in told} == {"moving", "idle"}
    assert all(51.8 < each["latitude"] < 53.2 for each in told)


def test_a_vehicle_speeds_up_and_brakes_no_harder_than_a_bus() -> None:
    vehicle = Vehicle(Random(4))
    speeds = [vehicle.values_at(MIDNIGHT + n)["speed"] / 3.6 for n in range(2_000)]
    changes = [after - before for before, after in itertools.pairwise(speeds)]
    assert max(changes) < 1.6
    # Into a stop it may roll the last metre.
    assert min(changes) > -3


def test_a_day_is_warm_and_dry_in_the_afternoon_and_dark_at_night() -> None:
    box = Box(Random(5))
    day = [box.values_at(MIDNIGHT + 600 * n) for n in range(144)]
    night, afternoon = day[18:30], day[84:96]

    def mean(part: list[dict[str, float]], name: str) -> float:
        return sum(each[name] for each in part) / len(part)

    assert mean(afternoon, "temperature") > mean(night, "temperature") + 2
    assert mean(afternoon, "humidity") < mean(night, "humidity") - 10
    assert not any(each["light"] for each in night)
    assert all(each["light"] for each in afternoon)
    assert all(980 < each["pressure"] < 1040 for each in day)


def test_the_same_random_numbers_give_the_same_values() -> None:
    for kind in (Vehicle, Box):
        first, same = kind(Random(6)), kind(Random(6))
        moments = [MIDNIGHT + 7 * n for n in range(50)]
        assert [first.values_at(m) for m in moments] == [same.values_at(m) for m in moments]
