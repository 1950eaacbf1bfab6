"""Readings and rejections as Arrow tables of the two schemas, put together by the column."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa
from msgspec.structs import astuple

from telemetry_contract.fields import CONTRACT_VERSION, FIELDS
from telemetry_contract.raw_schema import RAW_SCHEMA, RAW_TYPES, REJECTED_SCHEMA, REJECTED_TYPES
from telemetry_contract.reading import Reading
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection

# Columns by name, each as Arrow holds it or as a sequence of what it is to hold.
type Columns = Mapping[str, Sequence[Any] | pa.Array]


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a table: those of its columns that are not empty."""

    rows: int
    arrays: dict[str, pa.Array]


def readings_part(readings: Sequence[Reading]) -> Part:
    """Rows of `RAW_SCHEMA`, one per reading."""
    columns = {
        **record_columns([reading.record for reading in readings]),
        "record_id": [reading.record_id for reading in readings],
        "identity": [reading.identity for reading in readings],
        "event_id": [reading.event_id for reading in readings],
        "device_id": [reading.device_id for reading in readings],
        "event_time": [reading.event_time for reading in readings],
        **{
            field.name: [reading.values.get(field.name) for reading in readings] for field in FIELDS
        },
        "measurements": [reading.measurements for reading in readings],
        "attributes": [reading.attributes for reading in readings],
        "quality_flags": [reading.quality_flags for reading in readings],
        "payload": [reading.payload for reading in readings],
    }
    return part_of(columns, RAW_TYPES, len(readings))


def rejections_part(rejections: Sequence[Rejection]) -> Part:
    """Rows of `REJECTED_SCHEMA`, one per rejection."""
    columns = {
        **record_columns([rejection.record for rejection in rejections]),
        "record_id": [rejection.record_id for rejection in rejections],
        "reason": [rejection.reason.value for rejection in rejections],
        "detail": [rejection.detail for rejection in rejections],
        "payload": [rejection.payload for rejection in rejections],
    }
    return part_of(columns, REJECTED_TYPES, len(rejections))


def record_columns(records: Sequence[Record]) -> dict[str, tuple[Any, ...]]:
    """The fields of `Record` as columns: what the stream and the broker say, and the payload."""
    names = Record.__struct_fields__
    if not records:
        return dict.fromkeys(names, ())
    # One pass, so that each record is fetched from memory once.
    return dict(zip(names, zip(*map(astuple, records), strict=True), strict=True))


def part_of(columns: Columns, types: Mapping[str, pa.DataType], rows: int) -> Part:
    """Those of the columns that the types name, as arrays."""
    return Part(
        rows,
        {
            name: column if isinstance(column, pa.Array) else _array(column, types[name])
            for name, column in columns.items()
            if name in types
        },
    )


def raw_table(parts: Sequence[Part]) -> pa.Table:
    """A table of `RAW_SCHEMA`. The order of its rows means nothing."""
    return _table(parts, RAW_SCHEMA, RAW_TYPES)


def rejected_table(parts: Sequence[Part]) -> pa.Table:
    """A table of `REJECTED_SCHEMA`."""
    return _table(parts, REJECTED_SCHEMA, REJECTED_TYPES)


def hexadecimal(digests: Sequence[bytes]) -> pa.Array:
    """One text per digest, all made at once: one buffer of digits, cut at equal lengths."""
    digits = b"".join(digests).hex().encode()
    offsets = array("i", range(0, len(digits) + 1, len(digits) // len(digests)))
    return pa.StringArray.from_buffers(len(digests), pa.py_buffer(offsets), pa.py_buffer(digits))


def _table(parts: Sequence[Part], schema: pa.Schema, types: Mapping[str, pa.DataType]) -> pa.Table:
    rows = sum(part.rows for part in parts)
    columns = []
    for name, arrow_type in types.items():
        if name == "contract_version":
            columns.append(pa.repeat(pa.scalar(CONTRACT_VERSION, arrow_type), rows))
        elif any(name in part.arrays for part in parts):
            chunks = [
                part.arrays[name] if name in part.arrays else _empty(arrow_type, part.rows)
                for part in parts
            ]
            columns.append(pa.chunked_array(chunks, arrow_type))
        else:
            columns.append(_empty(arrow_type, rows))
    return pa.Table.from_arrays(columns, schema=schema)


def _array(values: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    # Lists and maps are nearly always empty: laid out by hand they cost a tenth.
    if pa.types.is_map(arrow_type):
        keys = pa.array(list(chain.from_iterable(values)), arrow_type.key_type)
        items = [item for value in values if value for item in value.values()]
        return pa.MapArray.from_arrays(
            _offsets(values), keys, pa.array(items, arrow_type.item_type)
        )
    if pa.types.is_list(arrow_type):
        flat = pa.array(list(chain.from_iterable(values)), arrow_type.value_type)
        return pa.ListArray.from_arrays(_offsets(values), flat)
    return pa.array(values, type=arrow_type)


def _offsets(values: Sequence[Any]) -> pa.Array:
    return pa.array([0, *accumulate(map(len, values))], pa.int32())


def _empty(arrow_type: pa.DataType, rows: int) -> pa.Array:
    """Empty lists and maps; nulls of any other type."""
    if pa.types.is_map(arrow_type):
        nothing = pa.nulls(0, arrow_type.key_type), pa.nulls(0, arrow_type.item_type)
        return pa.MapArray.from_arrays(pa.repeat(_NO_ELEMENTS, rows + 1), *nothing)
    if pa.types.is_list(arrow_type):
        nothing = pa.nulls(0, arrow_type.value_type)
        return pa.ListArray.from_arrays(pa.repeat(_NO_ELEMENTS, rows + 1), nothing)
    return pa.nulls(rows, arrow_type)


_NO_ELEMENTS = pa.scalar(0, pa.int32())
