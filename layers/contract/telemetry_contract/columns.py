"""Readings and rejections as Arrow tables of the two schemas, put together by the column."""

from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa

from telemetry_contract.fields import CONTRACT_VERSION, FIELDS
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.reading import Reading
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection

type Columns = Mapping[str, Sequence[Any] | pa.Array]


def raw_table(readings: Sequence[Reading]) -> pa.Table:
    """Rows of `RAW_SCHEMA`, one per reading."""
    return table_of(
        {
            **envelope_columns([reading.record for reading in readings]),
            "record_id": [reading.record_id for reading in readings],
            "identity": [reading.identity for reading in readings],
            "event_id": [reading.event_id for reading in readings],
            "device_id": [reading.device_id for reading in readings],
            "event_time": [reading.event_time for reading in readings],
            **{
                field.name: [reading.values.get(field.name) for reading in readings]
                for field in FIELDS
            },
            "measurements": [reading.measurements for reading in readings],
            "attributes": [reading.attributes for reading in readings],
            "quality_flags": [reading.quality_flags for reading in readings],
            "payload": [reading.payload for reading in readings],
        },
        RAW_SCHEMA,
        len(readings),
    )


def rejected_table(rejections: Sequence[Rejection]) -> pa.Table:
    """Rows of `REJECTED_SCHEMA`, one per rejection."""
    return table_of(
        {
            **envelope_columns([rejection.record for rejection in rejections]),
            "record_id": [rejection.record_id for rejection in rejections],
            "reason": [rejection.reason.value for rejection in rejections],
            "detail": [rejection.detail for rejection in rejections],
            "payload": [rejection.payload for rejection in rejections],
        },
        REJECTED_SCHEMA,
        len(rejections),
    )


def envelope_columns(records: Sequence[Record]) -> dict[str, Sequence[Any]]:
    """What the stream and the broker say of each record."""
    return {
        "ingest_id": [record.ingest_id for record in records],
        "arrival_time": [record.arrival_time for record in records],
        "broker_time": [record.broker_time for record in records],
        "client_id": [record.client_id for record in records],
        "principal": [record.principal for record in records],
        "topic": [record.topic for record in records],
    }


def table_of(columns: Columns, schema: pa.Schema, rows: int) -> pa.Table:
    """The columns as a table; one that is not given is empty, the contract's version is added."""
    version = {"contract_version": pa.repeat(pa.scalar(CONTRACT_VERSION, pa.int32()), rows)}
    given = {**columns, **version}
    arrays = [
        _array(given[field.name], field.type) if field.name in given else _empty(field.type, rows)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def hexadecimal(digests: Sequence[bytes]) -> pa.Array:
    """One text per digest, all made at once: one buffer of digits, cut at equal lengths."""
    digits = b"".join(digests).hex().encode()
    offsets = array("i", range(0, len(digits) + 1, len(digits) // len(digests)))
    return pa.StringArray.from_buffers(len(digests), pa.py_buffer(offsets), pa.py_buffer(digits))


def _array(values: Sequence[Any] | pa.Array, arrow_type: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
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
    offsets = pa.repeat(pa.scalar(0, pa.int32()), rows + 1)
    if pa.types.is_map(arrow_type):
        nothing = pa.nulls(0, arrow_type.key_type), pa.nulls(0, arrow_type.item_type)
        return pa.MapArray.from_arrays(offsets, *nothing)
    if pa.types.is_list(arrow_type):
        return pa.ListArray.from_arrays(offsets, pa.nulls(0, arrow_type.value_type))
    return pa.nulls(rows, arrow_type)
