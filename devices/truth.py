"""What a simulated fleet did, device by device and hour by hour: what the lake is measured by.

Guarantee: exact, and of the fleet's own knowledge alone. Whatever was dropped, spoilt, repeated or
put out of order is counted where it was done; the lake is never asked. `docs/fleet.md` says which
figure of it equals which column of the lake.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

HOUR_MS: Final = 3_600_000
# A device that counts from this number on began anew.
FIRST_NUMBER: Final = 1


@dataclass
class HourTruth:
    """A device in an hour of event time, by the device's own clock.

    `meant` readings were taken; `sent` arrived at the broker whole, `dropped` were never sent and
    `garbage` only spoilt: `meant == sent + dropped + garbage`. `duplicates` were sent again byte
    for byte, `overtaken` arrived after one with a higher number. Of the readings sent some are
    `late`, `ahead` or `flagged`. The last six follow from the sequence numbers in the order of the
    device's clock, as the lake sees them: `expected` of an hour counts a number that never came
    where the next one shows that it is missing.
    """

    meant: int = 0
    sent: int = 0
    dropped: int = 0
    garbage: int = 0
    duplicates: int = 0
    overtaken: int = 0
    late: int = 0
    ahead: int = 0
    flagged: int = 0
    expected: int = 0
    received: int = 0
    gaps: int = 0
    restarts: int = 0
    reordered: int = 0
    repeated: int = 0


@dataclass
class DeviceTruth:
    """A device: what it is, what is wrong with it, and its hours (since 1970).

    `silent_since` is when it published for the last time, if it then fell silent for good, in
    milliseconds since 1970. `copies` has every reading sent by its event id, and how often.
    `rejected` has the messages that the contract rejects, with the reason.
    """

    device_id: str
    kind: str
    trouble: str
    hours: dict[int, HourTruth] = field(default_factory=dict)
    copies: Counter[str] = field(default_factory=Counter)
    rejected: dict[bytes, str] = field(default_factory=dict)
    last_event_ms: int = 0
    silent_since: int | None = None

    def hour(self, event_ms: int) -> HourTruth:
        """The hour in which an event lies."""
        return self.hours.setdefault(event_ms // HOUR_MS, HourTruth())


@dataclass(frozen=True)
class Sent:
    """A reading that arrived whole, as far as its place among the others matters."""

    event_ms: int
    number: int
    is_first_of_run: bool


@dataclass(frozen=True)
class Truth:
    """What the whole fleet did in a run that began at `began_at`."""

    seed: int
    began_at: datetime
    seconds: float
    devices: Mapping[str, DeviceTruth]

    def totals(self) -> HourTruth:
        """All hours of all devices together."""
        every = [hour for device in self.devices.values() for hour in device.hours.values()]
        names = [each.name for each in fields(HourTruth)]
        return HourTruth(**{name: sum(getattr(hour, name) for hour in every) for name in names})

    def rejected(self) -> dict[str, int]:
        """How many messages the contract rejects, by reason."""
        reasons: Counter[str] = Counter()
        for device in self.devices.values():
            reasons.update(device.rejected.values())
        return dict(sorted(reasons.items()))

    def silent(self) -> set[str]:
        """The devices that fell silent for good."""
        return {name for name, device in self.devices.items() if device.silent_since is not None}

    def as_json(self) -> dict[str, Any]:
        """As it is written to a file: times in ISO 8601, hours without what is 0."""
        return {
            "seed": self.seed,
            "began_at": self.began_at.isoformat(),
            "seconds": self.seconds,
            "totals": asdict(self.totals()),
            "rejected": self.rejected(),
            "silent_devices": len(self.silent()),
            "devices": {name: _device(device) for name, device in self.devices.items()},
        }


def count_numbers(device: DeviceTruth, readings: Iterable[Sent]) -> None:
    """Fill in what follows from the sequence numbers of the readings that were sent."""
    lowest = highest = 0
    seen: set[int] = set()
    for reading in sorted(readings, key=lambda each: (each.event_ms, each.number)):
        hour = device.hour(reading.event_ms)
        if reading.is_first_of_run:
            hour.restarts += bool(seen)
            seen.clear()
        if reading.number in seen:
            hour.repeated += 1
            continue
        hour.received += 1
        if not seen:
            hour.expected += 1
            lowest = highest = reading.number
        beyond = max(reading.number - highest, lowest - reading.number, 0)
        hour.expected += beyond
        hour.gaps += beyond > 1
        hour.reordered += reading.number < highest
        lowest, highest = min(lowest, reading.number), max(highest, reading.number)
        seen.add(reading.number)


def instant(milliseconds: int) -> str:
    """Milliseconds since 1970 in ISO 8601."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _device(device: DeviceTruth) -> dict[str, Any]:
    return {
        "kind": device.kind,
        "trouble": device.trouble,
        "last_event": instant(device.last_event_ms),
        "silent_since": None if device.silent_since is None else instant(device.silent_since),
        "hours": {
            instant(hour * HOUR_MS): {name: n for name, n in asdict(told).items() if n}
            for hour, told in sorted(device.hours.items())
        },
    }
