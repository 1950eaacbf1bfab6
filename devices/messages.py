"""What a simulated fleet says: its messages, planned from a seed before the first one is sent.

Guarantee: the plan knows the truth about itself. Each message is a new reading, a repetition of one
byte for byte, or breaks the contract in exactly one known way, and the tally counts them.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from devices.garbage import REASONS, encode, spoil

_CITY: Final = (52.52, 13.405)
_METRES_PER_DEGREE: Final = 111_320
_LONGEST_INTERVAL: Final = timedelta(seconds=10)
# A whole run lies within this time before now, so that only readings meant to be late are.
_SPAN: Final = timedelta(minutes=30)
_LATE: Final = (timedelta(hours=3), timedelta(days=6))
_SWAPPED_SHARE: Final = 0.02


@dataclass(frozen=True)
class Shares:
    """How much of the traffic is not plain, each a share between 0 and 1 of the messages."""

    duplicates: float = 0.05
    bad: float = 0.02
    out_of_range: float = 0.01
    late: float = 0.03


@dataclass(frozen=True)
class Message:
    """One payload of one device, and the reason code the contract has for it, if it is bad."""

    device_id: str
    payload: bytes
    reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """Messages in the order of each device's sending, and what they amount to."""

    messages: tuple[Message, ...]
    distinct: int
    duplicates: int
    rejected: Mapping[str, int]
    late: int

    def by_device(self) -> dict[str, list[Message]]:
        """Each device's messages, in order."""
        grouped: dict[str, list[Message]] = {}
        for message in self.messages:
            grouped.setdefault(message.device_id, []).append(message)
        return grouped


class _Tracker:
    """A device that moves about a city and measures; readings are one `interval` apart."""

    def __init__(self, device_id: str, dialect: int, start: datetime, random: Random) -> None:
        self.device_id = device_id
        self._dialect = dialect
        self._at = start
        self._random = random
        self._sequence = 0
        self._latitude = _CITY[0] + random.uniform(-0.05, 0.05)
        self._longitude = _CITY[1] + random.uniform(-0.08, 0.08)
        self._heading = random.uniform(0, 2 * math.pi)
        self._speed = random.uniform(0, 60)
        self._temperature = random.uniform(5, 25)
        self._humidity = random.uniform(30, 80)
        self._battery = random.uniform(60, 100)

    def next_reading(self, interval: timedelta, age: timedelta = timedelta(0)) -> dict[str, Any]:
        """The next reading, dated `age` back."""
        self._at += interval
        self._move(interval.total_seconds())
        at = self._at - age
        self._sequence += 1
        common = {
            "latitude": round(self._latitude, 6),
            "longitude": round(self._longitude, 6),
            "speed": round(self._speed, 1),
            "status": "moving" if self._speed > 1 else "idle",
            "temperature": round(self._temperature, 2),
            "humidity": round(self._humidity, 2),
            "battery": round(self._battery, 1),
            "sequence": self._sequence,
        }
        # The two dialects of trackers: ISO 8601 without an offset, and epoch milliseconds.
        if self._dialect == 0:
            stamp: str | int = at.replace(tzinfo=None).isoformat(timespec="microseconds")
            return {"device_id": self.device_id, "timestamp": stamp, **common}
        stamp = int(at.timestamp() * 1000)
        return {"deviceId": self.device_id, "timestamp": stamp, **common}

    def _move(self, seconds: float) -> None:
        draw = self._random.gauss
        self._speed = min(max(self._speed + draw(0, 6), 0), 90)
        self._heading += draw(0, 0.3)
        metres = self._speed / 3.6 * seconds
        north, east = metres * math.cos(self._heading), metres * math.sin(self._heading)
        self._latitude += north / _METRES_PER_DEGREE
        self._longitude += east / (_METRES_PER_DEGREE * math.cos(math.radians(_CITY[0])))
        # Back to the city, or a long run would end in the sea.
        if math.dist((self._latitude, self._longitude), _CITY) > 0.2:
            self._heading += math.pi / 2
        self._temperature = min(max(self._temperature + draw(0, 0.05), -20), 45)
        self._humidity = min(max(self._humidity + draw(0, 0.2), 0), 100)
        self._battery = max(self._battery - 0.001, 0)


_OUT_OF_RANGE: Final = (("humidity", 250.0), ("latitude", 123.4), ("temperature", -273.0))


def plan_fleet(
    device_ids: Sequence[str], messages: int, shares: Shares, seed: int, now: datetime
) -> Plan:
    """Plan `messages` messages of the devices; the same arguments give the same bytes."""
    random = Random(seed)
    bad = round(messages * shares.bad)
    duplicates = round(messages * shares.duplicates)
    distinct = messages - bad - duplicates
    if not device_ids or distinct < 1 <= duplicates or distinct < 0:
        raise ValueError("a fleet needs devices, and readings for its duplicates to repeat")
    late_count = round(distinct * shares.late)
    kinds = ["bad"] * bad + ["late"] * late_count
    kinds += ["odd"] * round(distinct * shares.out_of_range)
    kinds += ["plain"] * (messages - duplicates - len(kinds))
    random.shuffle(kinds)
    interval = min(_LONGEST_INTERVAL, _SPAN / (len(kinds) // len(device_ids) + 1))
    start = now.astimezone(UTC) - interval * (len(kinds) // len(device_ids) + 1)
    trackers = [
        _Tracker(device_id, index % 2, start, random) for index, device_id in enumerate(device_ids)
    ]
    reasons = _endless(REASONS)
    lines: list[list[Message]] = [[] for _ in trackers]
    for position, kind in enumerate(kinds):
        turn = position % len(trackers)
        lines[turn].append(_message(trackers[turn], kind, interval, reasons, random))
    _swap_neighbours(lines, random)
    _repeat(lines, duplicates, random)
    planned = tuple(message for line in lines for message in line)
    rejected = Counter(message.reason for message in planned if message.reason)
    return Plan(planned, distinct, duplicates, dict(rejected), late_count)


def _message(
    tracker: _Tracker, kind: str, interval: timedelta, reasons: Iterator[str], random: Random
) -> Message:
    age = timedelta(0)
    if kind == "late":
        age = _LATE[0] + (_LATE[1] - _LATE[0]) * random.random()
    reading = tracker.next_reading(interval, age)
    if kind == "bad":
        reason = next(reasons)
        return Message(tracker.device_id, spoil(reading, reason), reason)
    if kind == "odd":
        name, value = random.choice(_OUT_OF_RANGE)
        reading[name] = value
    return Message(tracker.device_id, encode(reading))


def _endless(names: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from names


def _swap_neighbours(lines: list[list[Message]], random: Random) -> None:
    """Some messages overtake the one before."""
    for line in lines:
        for position in range(1, len(line)):
            if random.random() < _SWAPPED_SHARE:
                line[position - 1], line[position] = line[position], line[position - 1]


def _repeat(lines: list[list[Message]], count: int, random: Random) -> None:
    """Readings are sent again, later than the first time, by the device that sent them."""
    good = [(line, message) for line in lines for message in line if message.reason is None]
    for line, message in random.choices(good, k=count) if count else []:
        line.insert(random.randint(line.index(message) + 1, len(line)), message)
