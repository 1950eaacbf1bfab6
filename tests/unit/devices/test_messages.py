"""The simulated fleet: its plan must know the truth about itself, as the contract judges it."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from devices.messages import Message, Plan, Shares, plan_fleet
from telemetry_contract.limits import Limits
from telemetry_contract.reading import Reading, interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection

NOW = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
DEVICES = ("tracker-0001", "tracker-0002", "tracker-0003")
SHARES = Shares(duplicates=0.1, bad=0.1, out_of_range=0.05, late=0.1)


def plan(messages: int = 1_000, seed: int = 7, shares: Shares = SHARES) -> Plan:
    return plan_fleet(DEVICES, messages, shares, seed, NOW)


def judged(message: Message) -> tuple[list[Reading], list[Rejection]]:
    """What the contract makes of a message that has come through the device's own topic."""
    record = Record(
        "shardId-0:1",
        round(NOW.timestamp() * 1_000_000),
        message.payload,
        topic=f"dt/fleet/{message.device_id}/telemetry",
    )
    return interpret(record, Limits())


def test_sends_exactly_as_many_messages_as_asked() -> None:
    for messages in (1, 2, 7, 100, 999):
        shares = SHARES if messages > 2 else Shares(0, 0, 0, 0)
        assert len(plan(messages, shares=shares).messages) == messages


def test_the_contract_rejects_each_bad_message_for_the_reason_that_the_plan_names() -> None:
    for message in plan().messages:
        readings, rejections = judged(message)
        reasons = [rejection.reason.value for rejection in rejections]
        assert reasons == ([message.reason] if message.reason else []), message
        assert len(readings) == (0 if message.reason else 1)


def test_the_tally_adds_up_to_what_is_sent() -> None:
    fleet = plan()
    assert fleet.distinct + fleet.duplicates + sum(fleet.rejected.values()) == 1_000
    assert fleet.rejected == Counter(m.reason for m in fleet.messages if m.reason)
    good = [m for m in fleet.messages if m.reason is None]
    event_ids = {reading.event_id for m in good for reading in judged(m)[0]}
    assert len(event_ids) == fleet.distinct
    assert len(good) - len(event_ids) == fleet.duplicates == 100


def test_every_reason_a_device_can_cause_occurs() -> None:
    assert len(plan().rejected) == 11


def test_the_same_seed_sends_the_same_bytes_and_another_seed_others() -> None:
    assert plan(seed=7) == plan(seed=7)
    assert plan(seed=7).messages != plan(seed=8).messages


def test_only_readings_meant_to_be_late_are_older_than_an_hour() -> None:
    fleet = plan()
    old = set()
    for message in fleet.messages:
        for reading in judged(message)[0]:
            age = NOW - datetime.fromtimestamp(reading.event_time / 1_000_000, UTC)
            assert age >= timedelta(0)
            if age > timedelta(hours=1):
                old.add(message.payload)
    assert len(old) == fleet.late > 0


def test_values_out_of_range_are_flagged_and_their_neighbours_kept() -> None:
    flagged = [
        reading
        for message in plan(shares=Shares(0, 0, 1, 0)).messages
        for reading in judged(message)[0]
        if any(flag.endswith("_out_of_range") for flag in reading.quality_flags)
    ]
    assert len(flagged) == 1_000


def test_some_readings_overtake_the_one_before() -> None:
    times = [
        reading.event_time
        for message in plan(shares=Shares(0, 0, 0, 0)).by_device()[DEVICES[0]]
        for reading in judged(message)[0]
    ]
    assert times != sorted(times)


def test_both_dialects_of_trackers_are_spoken() -> None:
    texts = [message.payload for message in plan().messages if message.reason is None]
    assert any(b'"device_id"' in text for text in texts)
    assert any(b'"deviceId"' in text for text in texts)


@pytest.mark.parametrize("messages", [0, 1])
def test_refuses_duplicates_where_there_is_no_reading_to_repeat(messages: int) -> None:
    with pytest.raises(ValueError, match="readings for its duplicates"):
        plan_fleet(DEVICES if messages else (), messages, Shares(duplicates=1, bad=0), 7, NOW)
