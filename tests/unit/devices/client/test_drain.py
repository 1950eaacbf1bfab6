"""Draining: in order, at a bounded rate, again until acknowledged. The clock is the test's."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from devices.client.drain import Drain, Pace
from devices.client.offline_queue import NewMessage, OfflineQueue, QueuedMessage
from tests.unit.devices.client.test_offline_queue import crashed

TOPIC = "dt/fleet/d1/telemetry"


class Clock:
    """Seconds; they pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds


class KilledError(Exception):
    """The process ends here: what was sent is not noted."""


class Broker:
    """A link to a broker that keeps what it takes, and when.

    `refusals` are places in what is sent that it refuses, one per call; `kill_after` ends the
    process when it has taken so many.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_connected = False
        self.taken: list[tuple[float, int]] = []
        self.refusals: list[int] = []
        self.kill_after: int | None = None

    @property
    def sequences(self) -> list[int]:
        return [sequence for _, sequence in self.taken]

    @property
    def first_deliveries(self) -> list[int]:
        return list(dict.fromkeys(self.sequences))

    def send(self, messages: Sequence[QueuedMessage]) -> int:
        assert self.is_connected
        refused = self.refusals.pop(0) if self.refusals else None
        for place, message in enumerate(messages):
            if place != refused:
                number = json.loads(message.payload)["sequence"]
                self.taken.append((self._clock.seconds, number))
        if self.kill_after is not None and len(self.taken) >= self.kill_after:
            self.kill_after = None
            raise KilledError
        return len(messages) if refused is None else refused


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> Broker:
    return Broker(clock)


def take(queue: OfflineQueue, count: int = 1) -> None:
    make = NewMessage("d1", TOPIC, lambda number: json.dumps({"sequence": number}).encode())
    queue.append([make] * count)


def draining(
    queue: OfflineQueue, broker: Broker, clock: Clock, pace: Pace, drawn: float = 1.0
) -> Drain:
    return Drain(queue, broker, pace, clock.now, lambda: drawn)


def drain_all(drain: Drain, clock: Clock) -> list[float]:
    """Step until there is nothing to do; the waits in between."""
    waits: list[float] = []
    while (wait := drain.step()) is not None:
        waits.append(wait)
        clock.seconds += wait
    return waits


def test_an_hour_without_network_and_a_kill_in_the_middle_lose_and_swap_nothing(
    tmp_path: Path, clock: Clock, broker: Broker
) -> None:
    pace = Pace(messages_per_second=5)
    queue = OfflineQueue(tmp_path / "q", 1_000_000)
    drain = draining(queue, broker, clock, pace)
    for minute in range(60):
        take(queue, 6)
        assert drain.step() is None
        clock.seconds += 60
        if minute == 29:
            image = crashed(tmp_path / "q", tmp_path / "killed")
            queue.close()
            queue = OfflineQueue(image, 1_000_000)
            drain = draining(queue, broker, clock, pace)
    assert broker.taken == []

    back = clock.seconds
    broker.is_connected = True
    # And killed again while it drains, after a message was sent and before that was noted.
    broker.kill_after = 100
    with pytest.raises(KilledError):
        drain_all(drain, clock)
    queue = OfflineQueue(crashed(image, tmp_path / "killed-again"), 1_000_000)
    take(queue)
    drain_all(draining(queue, broker, clock, pace), clock)

    assert broker.first_deliveries == list(range(1, 362))
    assert broker.sequences.count(100) == 2
    assert len(broker.sequences) == 362
    assert len(queue) == 0
    assert clock.seconds - back == pytest.approx(361 / 5)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_sends_no_faster_than_it_is_told(
    tmp_path: Path, clock: Clock, broker: Broker, in_flight: int
) -> None:
    queue = OfflineQueue(tmp_path / "q", 1_000_000)
    take(queue, 40)
    broker.is_connected = True
    pace = Pace(messages_per_second=8, max_in_flight=in_flight)
    drain_all(draining(queue, broker, clock, pace), clock)
    assert broker.sequences == list(range(1, 41))
    times = [moment for moment, _ in broker.taken]
    for start in times:
        within = [moment for moment in times if start <= moment < start + 1]
        assert len(within) <= 8


def test_called_too_early_it_sends_nothing_and_says_how_long_to_wait(
    tmp_path: Path, clock: Clock, broker: Broker
) -> None:
    queue = OfflineQueue(tmp_path / "q", 1_000_000)
    take(queue, 2)
    broker.is_connected = True
    drain = draining(queue, broker, clock, Pace(messages_per_second=2))
    assert drain.step() == 0.5
    clock.seconds += 0.2
    assert drain.step() == pytest.approx(0.3)
    assert broker.sequences == [1]


def test_backs_off_exponentially_with_full_jitter_until_the_broker_takes_it(
    tmp_path: Path, clock: Clock, broker: Broker
) -> None:
    pace = Pace(messages_per_second=10, first_wait_seconds=1, longest_wait_seconds=20)
    broker.is_connected = True
    for number, drawn in enumerate((1.0, 0.5, 0.0)):
        queue = OfflineQueue(tmp_path / f"q{number}", 1_000_000)
        take(queue, 2)
        broker.refusals = [0] * 7
        waits = drain_all(draining(queue, broker, clock, pace, drawn), clock)
        longest = [1, 2, 4, 8, 16, 20, 20]
        assert waits == pytest.approx([drawn * wait for wait in longest] + [0.1, 0.1])


def test_a_success_ends_the_backing_off(tmp_path: Path, clock: Clock, broker: Broker) -> None:
    queue = OfflineQueue(tmp_path / "q", 1_000_000)
    take(queue)
    broker.is_connected, broker.refusals = True, [0, 0]
    drain = draining(queue, broker, clock, Pace(messages_per_second=1))
    assert drain_all(drain, clock) == [1, 2, 1]
    take(queue)
    broker.refusals = [0]
    assert drain_all(drain, clock) == [1, 1]


def test_a_refused_message_keeps_its_place_where_one_is_in_flight(
    tmp_path: Path, clock: Clock, broker: Broker
) -> None:
    queue = OfflineQueue(tmp_path / "q", 1_000_000)
    take(queue, 5)
    broker.is_connected, broker.refusals = True, [0, 0]
    drain_all(draining(queue, broker, clock, Pace()), clock)
    assert broker.sequences == [1, 2, 3, 4, 5]


def test_a_message_refused_among_several_in_flight_is_sent_again_with_all_behind_it(
    tmp_path: Path, clock: Clock, broker: Broker
) -> None:
    queue = OfflineQueue(tmp_path / "q", 1_000_000)
    take(queue, 6)
    broker.is_connected, broker.refusals = True, [1]
    drain_all(draining(queue, broker, clock, Pace(max_in_flight=4)), clock)
    assert broker.sequences == [1, 3, 4, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("failures", [1, 10, 100_000])
def test_no_number_of_failures_makes_a_wait_longer_than_the_longest(failures: int) -> None:
    assert Pace().wait_seconds(failures, lambda: 1.0) <= Pace.longest_wait_seconds


@pytest.mark.parametrize("wrong", [{"messages_per_second": 0}, {"max_in_flight": 0}])
def test_a_pace_that_sends_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least one|more than 0"):
        Pace(**wrong)
