"""The fast path: proves most readings good by the column, and leaves the rest alone.

It accepts nothing on its own terms. A reading taken here comes out exactly as `interpret` would
have it, every column included (a property test says so); whatever is not plainly good is left to
`interpret`, which alone names reasons. Payloads are grouped by their shape, so that what costs is
done once per shape and column, and the rest of the work is Arrow's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

import msgspec
import pyarrow as pa

from telemetry_contract.column_checks import (
    Column,
    Places,
    checked_field,
    checked_instants,
    difference,
    rows_at,
    smallest_and_largest,
)
from telemetry_contract.columns import Part, envelope_columns, hexadecimal, part_of
from telemetry_contract.event_id import hash_of_device
from telemetry_contract.event_time import OFFSET_ASSUMED, time_flags
from telemetry_contract.fields import CONTAINER
from telemetry_contract.identity import is_device_id, thing_of
from telemetry_contract.limits import Limits
from telemetry_contract.raw_schema import RAW_TYPES
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection
from telemetry_contract.shapes import Shape, shape_of
from telemetry_contract.unknown_fields import keep_unknown

# Below it the fixed cost of some 40 columns is more than the slow path's for the rows.
FEWEST_READINGS: Final = 16

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)

# Columns that are worked with and not stored.
_RECORD: Final = " record"
_IS_OFFSET_ASSUMED: Final = " is_offset_assumed"
_FROM_ARRIVAL: Final = " from_arrival"

type Row = tuple[Any, ...]


@dataclass(slots=True)
class Proven:
    """Readings proven good, and the records that were left."""

    parts: list[Part]
    flagged: int
    left: list[Record | Rejection]

    @property
    def readings(self) -> int:
        return sum(part.rows for part in self.parts)


def prove(
    records: Iterable[Record | Rejection], limits: Limits, fewest: int = FEWEST_READINGS
) -> Proven:
    """Take every record whose payload is plainly one good reading; leave the others untouched.

    Shapes with fewer than `fewest` readings are left too. The order of rows means nothing.
    """
    proven = Proven([], 0, [])
    groups: dict[tuple[Any, ...], _Group] = {}
    parse = msgspec.json.Decoder().decode
    for record in records:
        # One pass, so that each record is decoded and parsed while it is in the cache.
        if type(record) is not Record:
            proven.left.append(record)
            continue
        try:
            payload = parse(record.payload)
        except _UNREADABLE:
            payload = None
        if type(payload) is not dict:
            proven.left.append(record)
            continue
        keys: tuple[Any, ...] = tuple(payload)
        row = tuple(payload.values())
        group = groups.get(keys)
        if group is None:
            group = groups[keys] = _Group(keys)
        if group.container is not None and type(contained := row[group.container]) is dict:
            # The shape is that of both: another group, by the keys of the two.
            keys = keys, tuple(contained)
            row += tuple(contained.values())
            group = groups.get(keys)
            if group is None:
                group = groups[keys] = _Group(keys)
        group.records.append(record)
        group.rows.append(row)
    for group in groups.values():
        if len(group.rows) < fewest:
            proven.left += group.records
        elif group.rows:
            _prove_group(group, limits, proven)
    return proven


class _Group:
    """The records and rows of one shape; the shape is None where it is not plain."""

    __slots__ = ("container", "records", "rows", "shape")

    def __init__(self, keys: tuple[Any, ...]) -> None:
        is_nested = bool(keys) and type(keys[0]) is tuple
        self.shape = shape_of(*keys) if is_nested else shape_of(keys, None)
        # Where to look for further keys, so that they make another group.
        self.container = keys.index(CONTAINER) if CONTAINER in keys else None
        self.records: list[Record] = []
        self.rows: list[Row] = []


def _prove_group(group: _Group, limits: Limits, proven: Proven) -> None:
    if group.shape is None:
        proven.left += group.records
        return
    columns, bad = _checked(group.shape, group.records, group.rows, limits)
    if bad:
        proven.left += [group.records[place] for place in sorted(bad)]
        columns = _without(columns, bad)
    if columns[_RECORD]:
        flags = _quality_flags(columns, limits)
        proven.flagged += sum(map(bool, flags))
        proven.parts.append(_part(columns, flags))


def _checked(
    shape: Shape, records: list[Record], rows: list[Row], limits: Limits
) -> tuple[dict[str, Any], Places]:
    """Everything that is in the rows, by the column, and the places of what is not plainly good."""
    values: list[Column] = list(zip(*rows, strict=True))
    columns: dict[str, Any] = {_RECORD: records, "device_id": values[shape.device_id]}
    columns["identity"], bad = _identities(columns["device_id"], records)

    instants, columns[_IS_OFFSET_ASSUMED], no_times = checked_instants(values[shape.event_time])
    arrivals = pa.array([record.arrival_time for record in records], pa.int64())
    from_arrival = difference(instants, arrivals)
    columns["event_time"] = instants.view(RAW_TYPES["event_time"])
    columns["arrival_time"] = arrivals.view(RAW_TYPES["arrival_time"])
    columns[_FROM_ARRIVAL] = from_arrival
    bad |= no_times | _out_of_range(instants, from_arrival, limits)

    for field, place in shape.fields:
        columns[field.name], flagged = checked_field(field, values[place])
        bad |= flagged
    if shape.unknown:
        unknown = [(name, values[place]) for name, place in shape.unknown]
        columns["measurements"], columns["attributes"] = _kept(unknown, len(rows))
        bad |= _nested(unknown, records, limits)
    columns["payload"] = [record.payload for record in records]
    largest = limits.max_payload_bytes
    if max(map(len, columns["payload"])) > largest:
        bad |= {place for place, payload in enumerate(columns["payload"]) if len(payload) > largest}
    return columns, bad


def _without(columns: dict[str, Any], bad: Places) -> dict[str, Any]:
    rows = len(columns[_RECORD])
    is_good = [place not in bad for place in range(rows)]
    good = pa.array(list(compress(range(rows), is_good)), pa.int64())
    return {
        name: rows_at(column, good)
        if isinstance(column, pa.Array)
        else list(compress(column, is_good))
        for name, column in columns.items()
    }


def _part(columns: dict[str, Any], flags: Sequence[tuple[str, ...]]) -> Part:
    records: list[Record] = columns[_RECORD]
    device_ids, payloads = columns["device_id"], columns["payload"]
    # Each device is hashed once; its readings go on from there.
    devices = {device_id: hash_of_device(device_id) for device_id in set(device_ids)}
    digests = []
    for device_id, payload in zip(device_ids, payloads, strict=True):
        reading = devices[device_id].copy()
        reading.update(payload)
        digests.append(reading.digest())
    given = {
        **envelope_columns(records),
        **columns,
        "record_id": [
            record.position + ":0"
            if record.sub_sequence is None
            else f"{record.position}:{record.sub_sequence}"
            for record in records
        ],
        "event_id": hexadecimal(digests),
    }
    if any(flags):
        given["quality_flags"] = flags
    return part_of(given, RAW_TYPES, len(records))


def _identities(device_ids: Column, records: list[Record]) -> tuple[Column, Places]:
    """How far each device id can be trusted; where it is none, or not the topic's thing."""
    topics = [record.topic for record in records]
    things = {topic: thing_of(topic) for topic in set(topics)}
    named = tuple([things[topic] for topic in topics])
    if set(map(type, device_ids)) == {str} and all(map(is_device_id, set(device_ids))):
        if named == device_ids:
            return ["verified"] * len(records), set()
        if not any(named):
            return ["claimed"] * len(records), set()
    bad = {
        place
        for place, (device_id, thing) in enumerate(zip(device_ids, named, strict=True))
        if type(device_id) is not str
        or not is_device_id(device_id)
        or (thing is not None and thing != device_id)
    }
    return ["claimed" if thing is None else "verified" for thing in named], bad


def _out_of_range(instants: pa.Array, from_arrival: pa.Array, limits: Limits) -> Places:
    """Where an event time is before the earliest accepted or too far after the arrival."""
    earliest, _ = smallest_and_largest(instants)
    _, furthest = smallest_and_largest(from_arrival)
    if earliest >= limits.earliest_event_time and furthest <= limits.max_event_time_ahead:
        return set()
    pairs = zip(instants.to_pylist(), from_arrival.to_pylist(), strict=True)
    return {
        place
        for place, (instant, ahead) in enumerate(pairs)
        if instant < limits.earliest_event_time or ahead > limits.max_event_time_ahead
    }


def _quality_flags(columns: dict[str, Any], limits: Limits) -> list[tuple[str, ...]]:
    """The flags of each row; values that would be flagged have been left to the slow path."""
    is_assumed: Sequence[bool] = columns[_IS_OFFSET_ASSUMED]
    nearest, furthest = smallest_and_largest(columns[_FROM_ARRIVAL])
    if -limits.clock_skew_flag <= nearest and furthest <= limits.clock_skew_flag:
        return [(OFFSET_ASSUMED,) if assumed else () for assumed in is_assumed]
    pairs = zip(columns[_FROM_ARRIVAL].to_pylist(), is_assumed, strict=True)
    return [time_flags(from_arrival, assumed, limits) for from_arrival, assumed in pairs]


def _kept(
    unknown: list[tuple[str, Column]], rows: int
) -> tuple[list[dict[str, float]], list[dict[str, str]]]:
    """The measurements and the attributes of each row."""
    measurements: list[dict[str, float]] = [{} for _ in range(rows)]
    attributes: list[dict[str, str]] = [{} for _ in range(rows)]
    for name, column in unknown:
        for value, numbers, others in zip(column, measurements, attributes, strict=True):
            keep_unknown(name, value, numbers, others)
    return measurements, attributes


def _nested(unknown: list[tuple[str, Column]], records: list[Record], limits: Limits) -> Places:
    """Where a payload has so many brackets that it may be too deep."""
    if not any({dict, list}.intersection(map(type, column)) for _, column in unknown):
        return set()
    return {
        place
        for place, record in enumerate(records)
        if record.payload.count(b"{") + record.payload.count(b"[") > limits.max_depth
    }
