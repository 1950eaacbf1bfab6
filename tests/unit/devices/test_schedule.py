"""Publishing by a plan: each message once, in order, not before its moment, and accounted for."""

from dataclasses import dataclass, field

import pytest

from devices.behaviour import Publication
from devices.connection import Acknowledged
from devices.schedule import Clock, allow_files, publish


@dataclass
class FakeTime:
    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


@dataclass
class FakeDevice:
    """Takes `seconds` of a fake time for a message, and refuses those of `refused`."""

    time: FakeTime
    seconds: float = 0.0
    refused: frozenset[bytes] = frozenset()
    published: list[tuple[float, str, bytes]] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes, acknowledged: Acknowledged) -> None:
        self.published.append((round(self.time.now, 6), topic, payload))
        self.time.now += self.seconds
        acknowledged("QUOTA_EXCEEDED" if payload in self.refused else None)


PLAN = (
    Publication(0.5, "a", b"1"),
    Publication(1.0, "b", b"2"),
    Publication(1.0, "a", b"3"),
    Publication(4.0, "b", b"4"),
)


def test_each_message_goes_out_once_at_its_moment_on_its_devices_topic() -> None:
    time = FakeTime()
    devices = {"a": FakeDevice(time), "b": FakeDevice(time)}
    published = publish(PLAN, devices, "dt/fleet", time.clock())
    assert devices["a"].published == [
        (1_000.5, "dt/fleet/a/telemetry", b"1"),
        (1_001.0, "dt/fleet/a/telemetry", b"3"),
    ]
    assert [(at, payload) for at, _, payload in devices["b"].published] == [
        (1_001.0, b"2"),
        (1_004.0, b"4"),
    ]
    assert (published.sent, published.acknowledged, published.not_acknowledged) == (4, 4, {})


def test_a_slow_broker_makes_the_schedule_late_and_leaves_nothing_out() -> None:
    time = FakeTime()
    slow = FakeDevice(time, seconds=2.0)
    published = publish(PLAN, {"a": slow, "b": slow}, "dt/fleet", time.clock())
    assert [payload for _, _, payload in slow.published] == [b"1", b"2", b"3", b"4"]
    assert published.slowest_seconds == 3.5
    assert published.acknowledged == 4


def test_tells_why_messages_were_not_acknowledged() -> None:
    time = FakeTime()
    device = FakeDevice(time, refused=frozenset({b"2", b"3"}))
    published = publish(PLAN, {"a": device, "b": device}, "dt/fleet", time.clock())
    assert (published.acknowledged, published.not_acknowledged) == (2, {"QUOTA_EXCEEDED": 2})


def test_says_when_the_system_lets_too_few_files_be_open() -> None:
    with pytest.raises(ValueError, match=r"1000000000000 files have to be open, \d+ may be"):
        allow_files(10**12)
