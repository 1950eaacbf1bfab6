"""The fast path: proves a reading good at a tenth of the cost, and leaves the rest alone.

It accepts nothing on its own terms. A reading taken here comes out exactly as `interpret` would
have it, every column included (a property test says so); whatever cannot be proven at once, good or
bad, is left to `interpret`, which alone names reasons. Types and bounds are checked while parsing,
by structs derived from the table of fields, which refuse any key they don't know. Readings never
become objects: each is a row, and the rows become columns.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Final

import msgspec

from telemetry_contract.event_id import hash_of, hash_prefix
from telemetry_contract.event_time import instant_of, time_flags
from telemetry_contract.fields import CONTAINER, DEVICE_ID, EVENT_TIME, FIELDS, Field
from telemetry_contract.identity import is_device_id, thing_of
from telemetry_contract.limits import Limits
from telemetry_contract.record import Record
from telemetry_contract.rejection import ContractViolation, Rejection

type Row = tuple[Any, ...]

_IDS: Final = len(DEVICE_ID.spellings)
_IDS_AND_TIMES: Final = _IDS + len(EVENT_TIME.spellings)
_CONTAINER_KEY: Final = f'"{CONTAINER}"'.encode()

# What the proof adds to a row, in this order, counted from its end.
PROVEN: Final = ("record", "identity", "event_id", "device_id", "event_time", "quality_flags")


class Unproven(Exception):  # noqa: N818 -- no error: the slow path decides
    """The fast path cannot say that a reading is good."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A struct for payloads of one kind, and where its fields lie in the row that it becomes.

    A row starts with the device ids and event times under each of their spellings. `columns` says
    where each field's first spelling is, `aliases` where its further ones are, from `first_alias`
    to the row's end.
    """

    decode: Callable[[bytes], Any]
    row_of: Callable[[Any], Row]
    columns: dict[str, int]
    aliases: dict[int, tuple[int, ...]]
    first_alias: int
    no_aliases: Row

    def resolve(self, row: Row) -> Row:
        """The row with every field under its first spelling. Raises Unproven if given twice."""
        resolved = list(row)
        for column, aliases in self.aliases.items():
            for alias in aliases:
                if row[alias] is not None:
                    if resolved[column] is not None:
                        raise Unproven
                    resolved[column] = row[alias]
        return tuple(resolved)


@dataclass(frozen=True, slots=True)
class ProvenReadings:
    """Readings of one shape, proven good. A row is the shape's, followed by `PROVEN`."""

    shape: Shape
    rows: list[Row]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def flagged(self) -> int:
        """How many carry a quality flag."""
        return sum(1 for row in self.rows if row[-1])

    def columns(self) -> dict[str, Row]:
        """The contract's fields and what the proof added, each as a column."""
        if not self.rows:
            return dict.fromkeys((*self.shape.columns, *PROVEN), ())
        columns = list(zip(*self.rows, strict=True))
        proven = dict(zip(PROVEN, columns[-len(PROVEN) :], strict=True))
        return {name: columns[at] for name, at in self.shape.columns.items()} | proven


def prove(
    records: Iterable[Record | Rejection], limits: Limits
) -> tuple[list[ProvenReadings], list[Record | Rejection]]:
    """Take every record whose payload is surely one good reading; return the others untouched.

    One pass over the records, so that each is decoded, checked and hashed while it is in the cache.
    """
    flat, nested = ProvenReadings(FLAT, []), ProvenReadings(NESTED, [])
    left: list[Record | Rejection] = []
    hash_prefixes, things = _HashPrefixes(), _Things()
    for record in records:
        if type(record) is not Record:
            left.append(record)
            continue
        payload = record.payload
        readings = nested if _CONTAINER_KEY in payload else flat
        shape = readings.shape
        try:
            row = shape.row_of(shape.decode(payload))
            if row[shape.first_alias :] != shape.no_aliases:
                row = shape.resolve(row)
            device_id = _the_only(row[:_IDS])
            thing = things[record.topic]
            if (thing is not None and thing != device_id) or len(
                payload
            ) > limits.max_payload_bytes:
                raise Unproven
            event_time, is_offset_assumed = instant_of(_the_only(row[_IDS:_IDS_AND_TIMES]))
            arrival_time = record.arrival_time
            if not (
                limits.earliest_event_time
                <= event_time
                <= arrival_time + limits.max_event_time_ahead
            ):
                raise Unproven
            event_id = hash_of(hash_prefixes[device_id] + payload)
        except _NOT_PROVEN:
            left.append(record)
            continue
        readings.rows.append(
            (
                *row,
                record,
                "claimed" if thing is None else "verified",
                event_id,
                device_id,
                event_time,
                time_flags(event_time, arrival_time, is_offset_assumed, limits),
            )
        )
    return [flat, nested], left


# UnicodeError: a key or text is not UTF-8. Nothing here can recurse: unknown keys are refused.
_NOT_PROVEN: Final = (Unproven, ContractViolation, msgspec.MsgspecError, UnicodeError)


def _the_only(given: Row) -> Any:
    """The one value that is there. Raises Unproven if there is none, or more."""
    if given.count(None) != len(given) - 1:
        raise Unproven
    for value in given:
        if value is not None:
            return value
    raise Unproven


class _HashPrefixes(dict[str, bytes]):
    """Device ids of this batch as they enter the hash. Raises Unproven for what is no device id."""

    def __missing__(self, device_id: str) -> bytes:
        if not is_device_id(device_id):
            raise Unproven
        prefix = self[device_id] = hash_prefix(device_id)
        return prefix


class _Things(dict[str | None, str | None]):
    """Topics of this batch and the things that they name."""

    def __missing__(self, topic: str | None) -> str | None:
        thing = self[topic] = thing_of(topic)
        return thing


def _type_of(field: Field) -> Any:
    """A field's type with its bounds, as msgspec checks them while it parses."""
    match field.kind:
        case "text":
            return Annotated[str, msgspec.Meta(max_length=int(field.maximum or 0))] | None
        case "number":
            return Annotated[float, msgspec.Meta(ge=field.minimum, le=field.maximum)] | None
        case "integer":
            return Annotated[int, msgspec.Meta(ge=field.minimum, le=field.maximum)] | None
        case "boolean":
            return bool | None


def _spelled(fields: list[Field]) -> list[tuple[str, Any, None]]:
    """Struct fields: first spellings in the order of the fields, then the aliases."""
    first = [(field.name, _type_of(field), None) for field in fields]
    further = [(alias, _type_of(field), None) for field in fields for alias in field.aliases]
    return [*first, *further]


def _struct(name: str, fields: list[tuple[str, Any, Any]]) -> Any:
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True, gc=False)


def _shape(struct: Any, row_of: Callable[[Any], Row], spellings: list[str]) -> Shape:
    at = {spelling: place for place, spelling in enumerate(spellings)}
    aliases = {
        at[field.name]: tuple(at[alias] for alias in field.aliases)
        for field in FIELDS
        if field.aliases
    }
    first_alias = min(chain(*aliases.values()), default=len(spellings))
    return Shape(
        msgspec.json.Decoder(struct).decode,
        row_of,
        {field.name: at[field.name] for field in FIELDS},
        aliases,
        first_alias,
        (None,) * (len(spellings) - first_alias),
    )


def _flat_shape() -> Shape:
    """Everything at the top."""
    fields = [*_ID_AND_TIME, *_spelled(list(FIELDS))]
    return _shape(
        _struct("FlatPayload", fields), msgspec.structs.astuple, [name for name, _, _ in fields]
    )


def _nested_shape() -> Shape:
    """Texts at the top, everything that is measured in the container: so no field is in both."""
    at_top = [*_ID_AND_TIME, *_spelled([field for field in FIELDS if field.kind == "text"])]
    inside = _spelled([field for field in FIELDS if field.kind != "text"])
    contained = _struct("Contained", inside)
    payload = _struct("NestedPayload", [*at_top, (CONTAINER, contained, msgspec.NODEFAULT)])

    def row_of(decoded: Any) -> Row:
        *top, data = msgspec.structs.astuple(decoded)
        return (*top, *msgspec.structs.astuple(data))

    return _shape(payload, row_of, [name for name, _, _ in (*at_top, *inside)])


_ID_AND_TIME: Final[list[tuple[str, Any, None]]] = [
    *((spelling, str | None, None) for spelling in DEVICE_ID.spellings),
    *((spelling, int | float | str | None, None) for spelling in EVENT_TIME.spellings),
]
FLAT: Final = _flat_shape()
NESTED: Final = _nested_shape()
