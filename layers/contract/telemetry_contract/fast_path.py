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
from msgspec.structs import astuple

from telemetry_contract.column_checks import (
    Column,
    Places,
    checked_field,
    checked_instants,
    difference,
    rows_at,
    smallest_and_largest,
)
from telemetry_contract.columns import Part, hexadecimal, part_of, record_columns
from telemetry_contract.event_id import hash_of_device
from telemetry_contract.event_time import OFFSET_ASSUMED, time_flags
from telemetry_contract.fields import CONTAINER
from telemetry_contract.identity import is_device_id, thing_of
from telemetry_contract.limits import Limits
from telemetry_contract.raw_schema import RAW_TYPES
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection
from telemetry_contract.shapes import Decode, Keys, Shape, decoder_of, shape_of
from telemetry_contract.unknown_fields import keep_unknown

# Below it the fixed cost of some 40 columns is more than the slow path's for the rows.
FEWEST_READINGS: Final = 16
# Making a type for a shape costs some 100 payloads' worth, once.
FEWEST_FOR_DECODER: Final = 32
# The brace and the first key tell fleets apart.
_TELLING_BYTES: Final = 12

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)

# Columns that are worked with and not stored.
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
    groups = _Groups()
    # Payloads that begin alike are mostly of one shape, so that one is tried first.
    likely: dict[bytes, _Group] = {}
    for record in records:
        # One pass, so that each record is decoded and parsed while it is in the cache.
        if type(record) is not Record:
            proven.left.append(record)
            continue
        payload = record.payload
        beginning = payload[:_TELLING_BYTES]
        guess = likely.get(beginning)
        if guess is not None and (row := guess.row_of(payload)) is not None:
            guess.records.append(record)
            guess.rows.append(row)
            continue
        group = groups.add(record)
        if group is None:
            proven.left.append(record)
        elif len(group.rows) >= FEWEST_FOR_DECODER and (
            guess is None or len(group.rows) > len(guess.rows)
        ):
            group.make_decoder()
            likely[beginning] = group
    for group in groups.values():
        if len(group.rows) < fewest:
            proven.left += group.records
        else:
            _prove_group(group, limits, proven)
    return proven


class _Group:
    """The records and rows of one shape: the keys of a payload, and those of its container."""

    __slots__ = ("_contained", "_container", "_decode", "_keys", "records", "rows")

    def __init__(self, keys: Keys, contained: Keys | None) -> None:
        self._keys = keys
        self._contained = contained
        self._container: int | None = keys.index(CONTAINER) if CONTAINER in keys else None
        self._decode: Decode | None = None
        self.records: list[Record] = []
        self.rows: list[Row] = []

    @property
    def shape(self) -> Shape | None:
        """None where it is not plain what belongs where."""
        return shape_of(self._keys, self._contained)

    def make_decoder(self) -> None:
        """Let `row_of` take payloads of this shape."""
        self._decode = decoder_of(self._keys, self._contained)

    def row_of(self, payload: bytes) -> Row | None:
        """The payload's values in the order of the keys; None if it has another shape."""
        if self._decode is None:
            return None
        try:
            row = astuple(self._decode(payload))
        except _UNREADABLE:
            return None
        if self._container is None:
            return row
        container = row[self._container]
        if self._contained is not None:
            return row + astuple(container)
        # Where the shape has no container, its decoder takes anything there, a container too.
        return None if type(container) is dict else row


class _Groups(dict[tuple[Keys, Keys | None], _Group]):
    """The groups of a batch by their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self._parse = msgspec.json.Decoder().decode

    def add(self, record: Record) -> _Group | None:
        """The group to which the record was added; None if its payload is no object."""
        try:
            payload = self._parse(record.payload)
        except _UNREADABLE:
            return None
        if type(payload) is not dict:
            return None
        keys, row = tuple(payload), tuple(payload.values())
        contained: Keys | None = None
        if isinstance(inside := payload.get(CONTAINER), dict):
            contained = tuple(inside)
            row += tuple(inside.values())
        group = self.get((keys, contained))
        if group is None:
            group = self[keys, contained] = _Group(keys, contained)
        group.records.append(record)
        group.rows.append(row)
        return group


def _prove_group(group: _Group, limits: Limits, proven: Proven) -> None:
    shape = group.shape
    if shape is None:
        proven.left += group.records
        return
    columns, bad = _checked(shape, group.records, group.rows, limits)
    if bad:
        proven.left += [group.records[place] for place in sorted(bad)]
        columns = _without(columns, bad)
    if len(bad) < len(group.rows):
        flags = _quality_flags(columns, limits)
        proven.flagged += sum(map(bool, flags))
        proven.parts.append(_part(columns, flags))


def _checked(
    shape: Shape, records: list[Record], rows: list[Row], limits: Limits
) -> tuple[dict[str, Any], Places]:
    """Everything that is in the rows, by the column, and the places of what is not plainly good."""
    values: list[Column] = list(zip(*rows, strict=True))
    columns: dict[str, Any] = {**record_columns(records), "device_id": values[shape.device_id]}
    columns["identity"], bad = _identities(columns["device_id"], columns["topic"])

    instants, columns[_IS_OFFSET_ASSUMED], no_times = checked_instants(values[shape.event_time])
    arrivals = pa.array(columns["arrival_time"], pa.int64())
    from_arrival = difference(instants, arrivals)
    columns["event_time"] = instants.view(RAW_TYPES["event_time"])
    columns["arrival_time"] = arrivals.view(RAW_TYPES["arrival_time"])
    columns[_FROM_ARRIVAL] = from_arrival
    bad |= no_times | _out_of_range(instants, from_arrival, limits)

    for field, place in shape.fields:
        columns[field.name], flagged = checked_field(field, values[place])
        bad |= flagged
    payloads = columns["payload"]
    if shape.unknown:
        unknown = [(name, values[place]) for name, place in shape.unknown]
        columns["measurements"], columns["attributes"] = _kept(unknown, len(rows))
        bad |= _nested(unknown, payloads, limits)
    largest = limits.max_payload_bytes
    if max(map(len, payloads)) > largest:
        bad |= {place for place, payload in enumerate(payloads) if len(payload) > largest}
    return columns, bad


def _without(columns: dict[str, Any], bad: Places) -> dict[str, Any]:
    rows = len(columns["payload"])
    is_good = [place not in bad for place in range(rows)]
    good = pa.array(list(compress(range(rows), is_good)), pa.int64())
    return {
        name: rows_at(column, good)
        if isinstance(column, pa.Array)
        else list(compress(column, is_good))
        for name, column in columns.items()
    }


def _part(columns: dict[str, Any], flags: Sequence[tuple[str, ...]]) -> Part:
    device_ids, payloads = columns["device_id"], columns["payload"]
    # Each device is hashed once; its readings go on from there.
    devices = {device_id: hash_of_device(device_id) for device_id in set(device_ids)}
    digests = []
    for device_id, payload in zip(device_ids, payloads, strict=True):
        reading = devices[device_id].copy()
        reading.update(payload)
        digests.append(reading.digest())
    places = zip(columns["position"], columns["sub_sequence"], strict=True)
    columns["record_id"] = [f"{position}:{element or 0}" for position, element in places]
    columns["event_id"] = hexadecimal(digests)
    if any(flags):
        columns["quality_flags"] = flags
    return part_of(columns, RAW_TYPES, len(payloads))


def _identities(device_ids: Column, topics: Column) -> tuple[Column, Places]:
    """How far each device id can be trusted; where it is none, or not the topic's thing."""
    things = {topic: thing_of(topic) for topic in set(topics)}
    named = tuple(map(things.__getitem__, topics))
    if set(map(type, device_ids)) == {str} and all(map(is_device_id, set(device_ids))):
        if named == device_ids:
            return ["verified"] * len(topics), set()
        if set(things.values()) == {None}:
            return ["claimed"] * len(topics), set()
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


def _nested(unknown: list[tuple[str, Column]], payloads: Column, limits: Limits) -> Places:
    """Where a payload has so many brackets that it may be too deep."""
    if not any({dict, list}.intersection(map(type, column)) for _, column in unknown):
        return set()
    return {
        place
        for place, payload in enumerate(payloads)
        if payload.count(b"{") + payload.count(b"[") > limits.max_depth
    }
