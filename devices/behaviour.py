"""What the devices of a fleet do, and do wrong, on purpose: planned before the first message.

Guarantee: seeded and pure. The same fleet, habits, seed and beginning give the same bytes at the
same moments; a device's plan does not depend on the others but by its number. First and last
readings of each run of sequence numbers arrive, so that every loss between them can be seen by
whoever looks at the numbers alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Final

from devices.garbage import REASONS, encode, spoil
from devices.tracks import Box, Motion, Vehicle
from devices.truth import FIRST_NUMBER, DeviceTruth, Sent, Truth, count_numbers
from telemetry_contract.event_id import event_id_of

# What can be wrong with a device as a whole; each device has one of them at most.
SILENCED: Final = "falls silent"
PAUSING: Final = "pauses"
BURSTING: Final = "holds back and bursts"
BACKLOG: Final = "drains a queue of the day before"
RESTARTING: Final = "begins to count anew"
AHEAD: Final = "clock ahead"
BEHIND: Final = "clock behind"
SET_BACK: Final = "clock set back"
NO_TROUBLE: Final = ""

_WRONG_CLOCK_SECONDS: Final = 7_200.0
# The bounds of the template's LateAfterSeconds and ClockSkewFlagSeconds. Whatever is not meant to
# be beyond stays well below, so that a message that is held up on its way changes no figure.
_BOUND_SECONDS: Final = 3_600.0
_LONGEST_HOLD_SECONDS: Final = 1_800.0
_BACKLOG_SECONDS: Final = (30 * 3_600.0, 2.5 * 3_600.0)
_SKEW_SECONDS: Final = 2.0
_GUARDED: Final = 2
_SHORTEST_RUN: Final = 5
# A device that falls silent does so after a quarter of the period at the earliest.
FEWEST_READINGS: Final = 2 * _SHORTEST_RUN
_DUPLICATE_SECONDS: Final = (0.2, 30.0)
_ODD_VALUES: Final = (("humidity", 250.0), ("temperature", -273.0))


@dataclass(frozen=True)
class Habits:
    """How often what happens: shares of all readings, then shares of all devices.

    Of each trouble at least one device has it, as long as there are enough devices.
    """

    interval_seconds: float = 4.0
    dropped: float = 0.02
    garbage: float = 0.01
    duplicated: float = 0.03
    out_of_range: float = 0.01
    swapped: float = 0.01
    overtaken: float = 0.02
    troubles: tuple[tuple[str, float], ...] = (
        (SILENCED, 0.05),
        (PAUSING, 0.08),
        (BURSTING, 0.08),
        (BACKLOG, 0.04),
        (RESTARTING, 0.05),
        (AHEAD, 0.03),
        (BEHIND, 0.03),
        (SET_BACK, 0.05),
    )


@dataclass(frozen=True)
class Period:
    """When the fleet publishes."""

    began_at: datetime
    seconds: float

    @property
    def began_ms(self) -> int:
        """In milliseconds since 1970."""
        return round(self.began_at.timestamp() * 1000)


@dataclass(frozen=True, order=True)
class Publication:
    """A message and when it is published, in seconds after the beginning."""

    at: float
    device_id: str
    payload: bytes


@dataclass(frozen=True)
class Simulation:
    """Every message in the order of publishing, and the truth about them."""

    publications: tuple[Publication, ...]
    truth: Truth


@dataclass
class _Taken:
    """A reading that a device took; its fate is decided step by step.

    `clock_ms` is the moment by the device's clock, `fate` what becomes of it on purpose: "" for
    nothing, "dropped", or the reason for which the contract rejects what is made of it.
    """

    true_seconds: float
    clock_ms: int = 0
    number: int = 0
    is_first_of_run: bool = False
    is_guarded: bool = False
    fate: str = ""
    is_odd: bool = False
    publish_at: float = 0.0


@dataclass
class _Device:
    """A device's plan in the making."""

    device_id: str
    dialect: int
    trouble: str
    random: Random
    period: Period
    habits: Habits
    taken: list[_Taken] = field(default_factory=list)


def plan_behaviour(
    device_ids: tuple[str, ...], period: Period, seed: int, habits: Habits | None = None
) -> Simulation:
    """Plan all that the devices do in the period."""
    habits = habits or Habits()
    publications: list[Publication] = []
    truths: dict[str, DeviceTruth] = {}
    troubles = _troubles(len(device_ids), habits, Random(seed))
    for index, (device_id, trouble) in enumerate(zip(device_ids, troubles, strict=True)):
        random = Random(f"{seed}/{device_id}")
        device = _Device(device_id, index % 3, trouble, random, period, habits)
        _live(device)
        published, truths[device_id] = _speak(device)
        publications += published
    return Simulation(
        tuple(sorted(publications)), Truth(seed, period.began_at, period.seconds, truths)
    )


def _troubles(count: int, habits: Habits, random: Random) -> list[str]:
    assigned = [
        trouble
        for trouble, share in habits.troubles
        for _ in range(max(round(share * count), share > 0))
    ][:count]
    assigned += [NO_TROUBLE] * (count - len(assigned))
    random.shuffle(assigned)
    return assigned


def _live(device: _Device) -> None:
    """Decide what the device takes, when, and what becomes of it."""
    device.taken = [_Taken(moment) for moment in _moments(device)]
    if len(device.taken) < FEWEST_READINGS:
        raise ValueError(
            f"{device.device_id} takes only {len(device.taken)} readings: a longer period or a "
            f"shorter interval, so that there are {FEWEST_READINGS}"
        )
    _set_clock(device)
    _number(device)
    if device.trouble != SET_BACK:
        _swap(device)
    _lose(device)
    _schedule(device)


def _moments(device: _Device) -> list[float]:
    """When it takes a reading, in seconds after the beginning."""
    draw, seconds = device.random.uniform, device.period.seconds
    interval = device.habits.interval_seconds
    end = draw(0.25, 0.4) * seconds if device.trouble == SILENCED else seconds - 0.5 * interval
    pause = draw(0.3, 0.5) * seconds
    length = draw(0.1, 0.2) * seconds if device.trouble == PAUSING else 0.0
    phase = draw(0, interval)
    planned = (phase + step * interval for step in range(int(seconds / interval) + 1))
    jittered = [moment + draw(-0.1, 0.1) * interval for moment in planned]
    # A silent device takes no readings, so it leaves out no numbers either.
    return [at for at in jittered if 0 <= at < end and not pause <= at < pause + length]


def _set_clock(device: _Device) -> None:
    """What the device's own clock says at each reading."""
    draw, taken = device.random.uniform, device.taken
    offset = draw(-_SKEW_SECONDS, _SKEW_SECONDS)
    offset += {AHEAD: _WRONG_CLOCK_SECONDS, BEHIND: -_WRONG_CLOCK_SECONDS}.get(device.trouble, 0)
    interval = device.habits.interval_seconds
    fast = (
        min(draw(1.5, 4.5) * interval, _LONGEST_HOLD_SECONDS) if device.trouble == SET_BACK else 0
    )
    corrected_at = draw(0.4, 0.6) * device.period.seconds
    oldest, youngest = _BACKLOG_SECONDS
    for place, each in enumerate(taken):
        seconds = each.true_seconds + offset + (fast if each.true_seconds < corrected_at else 0)
        if device.trouble == BACKLOG:
            seconds = offset - oldest + (oldest - youngest) * place / len(taken)
        each.clock_ms = device.period.began_ms + round(seconds * 1000)


def _number(device: _Device) -> None:
    """Number the readings, and guard where runs begin and end."""
    taken = device.taken
    anew = device.random.randint(_SHORTEST_RUN, len(taken) - _SHORTEST_RUN)
    starts = [0, anew] if device.trouble == RESTARTING else [0]
    for start, end in zip(starts, [*starts[1:], len(taken)], strict=True):
        for place in range(start, end):
            taken[place].number = FIRST_NUMBER + place - start
            taken[place].is_guarded = min(place - start, end - 1 - place) < _GUARDED
        taken[start].is_first_of_run = True


def _swap(device: _Device) -> None:
    """Some neighbours have each other's number: out of order by the device's own clock."""
    place = 0
    while place + 1 < len(device.taken):
        first, second = device.taken[place], device.taken[place + 1]
        place += 1
        if first.is_guarded or second.is_guarded:
            continue
        if device.random.random() < device.habits.swapped:
            first.number, second.number = second.number, first.number
            first.is_guarded = second.is_guarded = True
            place += 1


def _lose(device: _Device) -> None:
    """Drop some, one to three in a row, and spoil some."""
    draw, habits = device.random.random, device.habits
    dropping = 0
    for each in device.taken:
        if not dropping and draw() < habits.dropped / 2:
            dropping = device.random.randint(1, 3)
        if each.is_guarded:
            dropping = 0
        elif dropping:
            dropping -= 1
            each.fate = "dropped"
        elif draw() < habits.garbage:
            each.fate = device.random.choice(REASONS)
        each.is_odd = not each.fate and draw() < habits.out_of_range


def _schedule(device: _Device) -> None:
    """When each is published: at once, or held back; some overtake the one before."""
    draw, seconds = device.random.uniform, device.period.seconds
    hold_at = draw(0.3, 0.6) * seconds
    hold = min(draw(0.1, 0.2) * seconds, _LONGEST_HOLD_SECONDS)
    least = min(0.05, device.habits.interval_seconds / 100)
    for each in device.taken:
        each.publish_at = each.true_seconds + draw(least, 5 * least)
        if device.trouble == BURSTING and hold_at <= each.true_seconds < hold_at + hold:
            # In their order, all within a moment.
            each.publish_at = hold_at + hold + (each.true_seconds - hold_at) / hold * least
    published = [each for each in device.taken if each.fate != "dropped"]
    place = 1
    while place < len(published):
        first, second = published[place - 1], published[place]
        place += 1
        is_free = not (first.is_guarded or second.is_guarded)
        if is_free and device.random.random() < device.habits.overtaken:
            first.publish_at, second.publish_at = second.publish_at, first.publish_at
            place += 1


def _speak(device: _Device) -> tuple[list[Publication], DeviceTruth]:
    """The device's messages, and the truth about them."""
    motion: Motion = Box(device.random) if device.dialect == 2 else Vehicle(device.random)
    kind = "box" if device.dialect == 2 else "vehicle"
    truth = DeviceTruth(device.device_id, kind, device.trouble)
    publications: list[Publication] = []
    last_at = max(each.publish_at for each in device.taken)
    for each in device.taken:
        values = motion.values_at(_moment_of(device, each))
        hour = truth.hour(each.clock_ms)
        hour.meant += 1
        if each.fate == "dropped":
            hour.dropped += 1
            continue
        payload = _payload(device, each, values)
        publications.append(Publication(each.publish_at, device.device_id, payload))
        if each.fate:
            hour.garbage += 1
            truth.rejected[payload] = each.fate
            continue
        _account_for(device, each, truth)
        event_id = event_id_of(device.device_id, payload)
        truth.copies[event_id] += 1
        for again_at in _repetitions(device, each, last_at):
            hour.duplicates += 1
            truth.copies[event_id] += 1
            publications.append(Publication(again_at, device.device_id, payload))
    sent = [each for each in device.taken if not each.fate]
    count_numbers(truth, (Sent(e.clock_ms, e.number, e.is_first_of_run) for e in sent))
    _count_overtaken(truth, sent)
    truth.last_event_ms = max(each.clock_ms for each in sent)
    if device.trouble == SILENCED:
        truth.silent_since = device.period.began_ms + round(last_at * 1000)
    return publications, truth


def _moment_of(device: _Device, taken: _Taken) -> float:
    """The true moment; a queue's readings were taken when its clock says."""
    if device.trouble == BACKLOG:
        return taken.clock_ms / 1000
    return device.period.began_ms / 1000 + taken.true_seconds


def _payload(device: _Device, taken: _Taken, values: dict[str, Any]) -> bytes:
    """In the device's dialect: ISO 8601 without an offset, epoch milliseconds, or nested."""
    if taken.is_odd:
        name, value = device.random.choice(_ODD_VALUES)
        values = {**values, name: value}
    name, seconds = device.device_id, taken.clock_ms / 1000
    reading: dict[str, Any]
    if device.dialect == 0:
        moment = datetime.fromtimestamp(seconds, device.period.began_at.tzinfo)
        stamp = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
        reading = {"device_id": name, "timestamp": stamp, **values}
    elif device.dialect == 1:
        reading = {"deviceId": name, "timestamp": taken.clock_ms, **values}
    else:
        nested = {("temp" if key == "temperature" else key): v for key, v in values.items()}
        reading = {"data": nested, "device_id": name, "ts": seconds, "device": f"box {name}"}
    reading["sequence"] = taken.number
    return spoil(reading, taken.fate) if taken.fate else encode(reading)


def _account_for(device: _Device, taken: _Taken, truth: DeviceTruth) -> None:
    """What the lake has to say of a reading that is sent, all by itself."""
    arrival_ms = device.period.began_ms + taken.publish_at * 1000
    behind_seconds = (arrival_ms - taken.clock_ms) / 1000
    hour = truth.hour(taken.clock_ms)
    hour.sent += 1
    hour.late += behind_seconds > _BOUND_SECONDS
    hour.ahead += behind_seconds < -_BOUND_SECONDS
    is_far = abs(behind_seconds) > _BOUND_SECONDS
    # Of a time without an offset the lake says that it assumed one.
    hour.flagged += is_far or taken.is_odd or device.dialect == 0


def _repetitions(device: _Device, taken: _Taken, last_at: float) -> Iterator[float]:
    """When the same message is published again; never after the device's last one."""
    while device.random.random() < device.habits.duplicated:
        again_at = taken.publish_at + device.random.uniform(*_DUPLICATE_SECONDS)
        if again_at > last_at:
            return
        yield again_at


def _count_overtaken(truth: DeviceTruth, sent: list[_Taken]) -> None:
    """Readings that were published after one of their run with a higher number."""
    run, runs = 0, {}
    for each in sent:
        run += each.is_first_of_run
        runs[id(each)] = run
    highest: dict[int, int] = {}
    for each in sorted(sent, key=lambda taken: taken.publish_at):
        before = highest.get(runs[id(each)], 0)
        truth.hour(each.clock_ms).overtaken += each.number < before
        highest[runs[id(each)]] = max(before, each.number)
