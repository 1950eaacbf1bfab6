"""What simulated devices do wrong: as often as asked, visible in their bytes, and told as it is."""

import itertools
import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from devices.behaviour import (
    AHEAD,
    BACKLOG,
    BEHIND,
    BURSTING,
    PAUSING,
    RESTARTING,
    SET_BACK,
    SILENCED,
    Habits,
    Period,
    Publication,
    Simulation,
    plan_behaviour,
)
from devices.truth import HOUR_MS
from telemetry_contract.limits import Limits
from telemetry_contract.reading import Reading, interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection

PERIOD = Period(datetime(2026, 11, 24, 6, 40, tzinfo=UTC), 1_200.0)
HABITS = Habits(interval_seconds=5, dropped=0.05, garbage=0.05, duplicated=0.05, swapped=0.03)
DEVICES = tuple(f"fleet-{number:02}" for number in range(24))
FINE = Habits(5, 0, 0, 0, 0, 0, 0, troubles=())


@pytest.fixture(scope="module")
def fleet() -> Simulation:
    return plan_behaviour(DEVICES, PERIOD, seed=5, habits=HABITS)


def judged(publication: Publication) -> tuple[list[Reading], list[Rejection]]:
    """What the contract makes of a message that has come through the device's own topic."""
    record = Record(
        "shardId-0:1",
        round((PERIOD.began_ms + publication.at * 1000) * 1000),
        publication.payload,
        topic=f"dt/fleet/{publication.device_id}/telemetry",
    )
    return interpret(record, Limits())


def troubled(fleet: Simulation, trouble: str) -> list[str]:
    return [name for name, each in fleet.truth.devices.items() if each.trouble == trouble]


def of(fleet: Simulation, device_id: str) -> list[Publication]:
    return [each for each in fleet.publications if each.device_id == device_id]


def numbers(publications: list[Publication]) -> list[int]:
    """The sequence numbers of what the contract accepts, in the order of publishing."""
    return [
        json.loads(publication.payload)["sequence"]
        for publication in publications
        if judged(publication)[0]
    ]


def test_the_same_seed_sends_the_same_bytes_at_the_same_moments_and_another_others() -> None:
    first, same = (plan_behaviour(DEVICES, PERIOD, 5, HABITS) for _ in range(2))
    assert first == same
    assert plan_behaviour(DEVICES, PERIOD, 6, HABITS).publications != first.publications


def test_messages_come_in_the_order_of_publishing_and_within_the_period(fleet: Simulation) -> None:
    moments = [publication.at for publication in fleet.publications]
    assert moments == sorted(moments)
    assert 0 <= moments[0] < moments[-1] <= PERIOD.seconds


def test_the_contract_accepts_and_rejects_exactly_what_the_truth_says(fleet: Simulation) -> None:
    copies: dict[str, Counter[str]] = {name: Counter() for name in DEVICES}
    rejected: dict[str, dict[bytes, str]] = {name: {} for name in DEVICES}
    for publication in fleet.publications:
        readings, rejections = judged(publication)
        copies[publication.device_id].update(reading.event_id for reading in readings)
        for rejection in rejections:
            rejected[publication.device_id][publication.payload] = rejection.reason.value
    for name, device in fleet.truth.devices.items():
        assert copies[name] == device.copies
        assert rejected[name] == device.rejected
    assert len(fleet.truth.rejected()) > 5


def test_flags_and_lateness_of_every_hour_are_those_of_the_contract(fleet: Simulation) -> None:
    told: Counter[tuple[str, int, str]] = Counter()
    seen: set[str] = set()
    for publication in fleet.publications:
        for reading in judged(publication)[0]:
            if reading.event_id in seen:
                continue
            seen.add(reading.event_id)
            behind = PERIOD.began_ms + publication.at * 1000 - reading.event_time / 1000
            key = (publication.device_id, reading.event_time // 1000 // HOUR_MS)
            told[(*key, "sent")] += 1
            told[(*key, "flagged")] += bool(reading.quality_flags)
            told[(*key, "late")] += behind > HOUR_MS
            told[(*key, "ahead")] += behind < -HOUR_MS
    for name, device in fleet.truth.devices.items():
        for hour, truth in device.hours.items():
            for figure in ("sent", "flagged", "late", "ahead"):
                assert told[name, hour, figure] == getattr(truth, figure), (name, hour, figure)


def test_whatever_was_taken_was_sent_dropped_or_spoilt(fleet: Simulation) -> None:
    for device in fleet.truth.devices.values():
        for hour in device.hours.values():
            assert hour.meant == hour.sent + hour.dropped + hour.garbage
    totals = fleet.truth.totals()
    assert len(fleet.publications) == totals.sent + totals.garbage + totals.duplicates
    assert min(totals.dropped, totals.garbage, totals.duplicates, totals.overtaken) > 0


def test_what_is_missing_by_the_numbers_is_what_was_lost_on_purpose(fleet: Simulation) -> None:
    for device in fleet.truth.devices.values():
        hours = device.hours.values()
        missing = sum(hour.expected - hour.received for hour in hours)
        assert missing == sum(hour.dropped + hour.garbage for hour in hours), device.device_id


def test_no_reading_is_near_the_bound_of_being_late(fleet: Simulation) -> None:
    # Else a message that is held up on its way would change a figure.
    for publication in fleet.publications:
        for reading in judged(publication)[0]:
            behind = PERIOD.began_ms / 1000 + publication.at - reading.event_time / 1e6
            assert not 0.6 * 3_600 < abs(behind) < 1.8 * 3_600


def test_every_trouble_has_a_device_and_shows_in_its_messages(fleet: Simulation) -> None:
    (silent, *_) = troubled(fleet, SILENCED)
    assert fleet.truth.silent() == set(troubled(fleet, SILENCED))
    last_at = of(fleet, silent)[-1].at
    assert last_at < 0.4 * PERIOD.seconds
    assert fleet.truth.devices[silent].silent_since == PERIOD.began_ms + round(last_at * 1000)

    (restarted, *_) = troubled(fleet, RESTARTING)
    assert Counter(numbers(of(fleet, restarted)))[1] >= 2
    (bursting, *_) = troubled(fleet, BURSTING)
    at_once = Counter(round(each.at) for each in of(fleet, bursting)).most_common(1)[0][1]
    assert at_once > 10
    (pausing, *_) = troubled(fleet, PAUSING)
    moments = [each.at for each in of(fleet, pausing)]
    pause = max(b - a for a, b in itertools.pairwise(moments))
    assert pause > 0.09 * PERIOD.seconds

    for trouble, figure in ((AHEAD, "ahead"), (BEHIND, "late"), (BACKLOG, "late")):
        (name, *_) = troubled(fleet, trouble)
        hours = fleet.truth.devices[name].hours.values()
        assert all(getattr(hour, figure) == hour.sent for hour in hours)
    assert len(fleet.truth.devices[troubled(fleet, BACKLOG)[0]].hours) > 24
    (set_back, *_) = troubled(fleet, SET_BACK)
    assert sum(hour.reordered for hour in fleet.truth.devices[set_back].hours.values()) > 0


def test_all_three_dialects_are_spoken(fleet: Simulation) -> None:
    spoken = {
        tuple(sorted(json.loads(each.payload).keys() & {"device_id", "deviceId", "data"}))
        for each in fleet.publications
        if judged(each)[0]
    }
    assert spoken == {("device_id",), ("deviceId",), ("data", "device_id")}


def test_without_faults_every_number_comes_once_and_in_order() -> None:
    fleet = plan_behaviour(DEVICES[:3], PERIOD, 1, FINE)
    for name in DEVICES[:3]:
        told = numbers(of(fleet, name))
        assert told == list(range(1, len(told) + 1))
    totals = fleet.truth.totals()
    assert totals.expected == totals.received == totals.sent == totals.meant
    assert totals.gaps == totals.reordered == totals.overtaken == totals.duplicates == 0


def test_refuses_a_period_too_short_to_begin_and_to_end() -> None:
    with pytest.raises(ValueError, match="takes only 1 readings: a longer period"):
        plan_behaviour(DEVICES[:1], Period(PERIOD.began_at, 6.0), 1, FINE)
