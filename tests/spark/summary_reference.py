"""The definitions of `device_hours` and `device_latest` once more, in plain Python, reading by
reading: written from the words at the top of the job, not from its code."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MICROS = 1_000_000
HOUR = 3_600 * MICROS
DAY = 24 * HOUR

type Reading = Mapping[str, Any]  # times in microseconds since 1970
type Table = dict[tuple[Any, ...], dict[str, Any]]


def device_hours(readings: Iterable[Reading], fields: Sequence[str]) -> Table:
    """Rows by device and hour."""
    by_device = defaultdict(list)
    for reading in readings:
        by_device[reading["device_id"]].append(reading)
    table: Table = {}
    for device, own in by_device.items():
        own.sort(key=order)
        for day in {reading["event_time"] // DAY for reading in own}:
            two_days = [each for each in own if each["event_time"] // DAY in (day - 1, day)]
            for hour, row in day_of_device(two_days, day, fields).items():
                table[device, hour] = row
    return table


def order(reading: Reading) -> tuple[Any, ...]:
    number = reading["sequence"]
    return reading["event_time"], -1 if number is None else number, reading["event_id"]


def day_of_device(two_days: Sequence[Reading], day: int, fields: Sequence[str]) -> dict[int, Any]:
    rows: dict[int, Any] = defaultdict(lambda: defaultdict(int, distance_metres=0.0))
    values: dict[tuple[int, str], list[float]] = defaultdict(list)
    place = None
    previous: int | None = None
    seen: set[int] = set()
    for reading in two_days:
        hour = reading["event_time"] // HOUR * HOUR
        # What lies in the day before is looked at, and counted nowhere.
        row = rows[hour] if reading["event_time"] // DAY == day else defaultdict(int)
        row["readings"] += 1
        row["late"] += reading["is_late"]
        row["flagged"] += bool(reading["quality_flags"])
        row["last_event_time"] = max(row["last_event_time"], reading["event_time"])
        row["last_arrival_time"] = max(row["last_arrival_time"], reading["arrival_time"])
        if reading["status"] is not None:
            row["status_last"] = reading["status"]
        for name in fields:
            if is_number(reading[name]):
                values[hour, name].append(reading[name])
        if (number := reading["sequence"]) is not None:
            count_number(row, number, previous, seen)
            previous = number
        if is_number(reading["latitude"]) and is_number(reading["longitude"]):
            here = (reading["latitude"], reading["longitude"], reading["event_time"])
            row["latitude_last"], row["longitude_last"], row["position_time"] = here
            if place:
                count_step(row, place, here)
            place = here
    for hour, row in rows.items():
        for name in fields:
            if found := values[hour, name]:
                row[f"{name}_min"], row[f"{name}_max"] = min(found), max(found)
                row[f"{name}_mean"], row[f"{name}_last"] = math.fsum(found) / len(found), found[-1]
    return rows


def is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def count_number(row: dict[str, Any], number: int, previous: int | None, seen: set[int]) -> None:
    """`seen` = the numbers of the run."""
    if previous is not None:
        began_anew = number in (0, 1) and previous - number >= 2
        if began_anew or previous - number > 100 or number - previous > 100_000:
            row["restarts"] += 1
            seen.clear()
    if number in seen:
        row["repeated"] += 1
        return
    row["received"] += 1
    if not seen:
        row["expected"] += 1
    else:
        outside = len(range(min(seen), number, -1)) + len(range(max(seen), number))
        row["expected"] += outside
        row["gaps"] += outside > 1
        row["reordered"] += number < max(seen)
    seen.add(number)


def count_step(row: dict[str, Any], start: tuple[Any, ...], end: tuple[Any, ...]) -> None:
    metres, seconds = arc(start, end), (end[2] - start[2]) / MICROS
    if metres > 100 * seconds:
        row["jumps"] += 1
    elif metres >= 25 or metres > seconds / 2:
        row["distance_metres"] += metres
        row["moving_seconds"] += seconds if seconds <= 3_600 else 0


def arc(start: tuple[Any, ...], end: tuple[Any, ...]) -> float:
    """By the vectors to the two places, which is another formula than the job's."""

    def vector(latitude: float, longitude: float) -> tuple[float, float, float]:
        north, east = math.radians(latitude), math.radians(longitude)
        return (
            math.cos(north) * math.cos(east),
            math.cos(north) * math.sin(east),
            math.sin(north),
        )

    chord = math.dist(vector(*start[:2]), vector(*end[:2]))
    return 2 * 6_371_008.8 * math.asin(min(1.0, chord / 2))


def device_latest(hours: Table, fields: Sequence[str], sums: Sequence[str]) -> Table:
    """Rows by device, without silence."""
    by_device = defaultdict(list)
    for (device, hour), row in sorted(hours.items()):
        by_device[device].append((hour, row))
    table: Table = {}
    for device, rows in by_device.items():
        last_hour = rows[-1][0]
        arrival, arrival_hour = max((row["last_arrival_time"], hour) for hour, row in rows)
        latest = {
            "last_hour": last_hour,
            "last_event_time": rows[-1][1]["last_event_time"],
            "last_arrival_time": arrival,
            "last_arrival_hour": arrival_hour,
        }
        recent = [row for hour, row in rows if hour > last_hour - 24 * HOUR]
        for row in recent:
            for name in (*fields, "status", "latitude", "longitude"):
                latest[name] = row.get(f"{name}_last", latest.get(name))
            latest["position_time"] = row.get("position_time", latest.get("position_time"))
        for name in sums:
            latest[f"{name}_24h"] = sum(row[name] for row in recent)
        table[device,] = latest
    return table
