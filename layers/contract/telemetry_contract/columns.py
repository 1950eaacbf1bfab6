"""The batch as columns: readings and rejections become Arrow tables of the two schemas."""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, Final

import pyarrow as pa

from telemetry_contract.fast_path import ProvenReadings
from telemetry_contract.fields import CONTRACT_VERSION, FIELDS
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.reading import Reading
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection

_NO_UNKNOWN_FIELDS: Final[tuple[dict[str, Any]]] = ({},)


def raw_table(readings: Sequence[Reading], proven: Sequence[ProvenReadings] = ()) -> pa.Table:
    """Rows of `RAW_SCHEMA`. Their order means nothing."""
    sources = [_columns_of(readings), *(_proven_columns(some) for some in proven if len(some))]
    rows = len(readings) + sum(len(some) for some in proven)
    columns: dict[str, Any] = {
        name: list(chain.from_iterable(source[name] for source in sources)) for name in sources[0]
    }
    columns["contract_version"] = [CONTRACT_VERSION] * rows
    return _table(columns, RAW_SCHEMA)


def _columns_of(readings: Sequence[Reading]) -> dict[str, Sequence[Any]]:
    return {
        **_envelope_columns([reading.record for reading in readings]),
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


def _proven_columns(proven: ProvenReadings) -> dict[str, Sequence[Any]]:
    columns: dict[str, Sequence[Any]] = dict(proven.columns())
    records = columns.pop("record")
    return {
        **columns,
        **_envelope_columns(records),
        "record_id": [f"{record.position}:0" for record in records],
        "measurements": _NO_UNKNOWN_FIELDS * len(records),
        "attributes": _NO_UNKNOWN_FIELDS * len(records),
        "payload": [record.payload for record in records],
    }


def rejected_table(rejections: Sequence[Rejection]) -> pa.Table:
    """Rows of `REJECTED_SCHEMA`, in the order given."""
    columns: dict[str, Sequence[Any]] = {
        **_envelope_columns([rejection.record for rejection in rejections]),
        "record_id": [rejection.record_id for rejection in rejections],
        "reason": [rejection.reason.value for rejection in rejections],
        "detail": [rejection.detail for rejection in rejections],
        "payload": [rejection.payload for rejection in rejections],
        "contract_version": [CONTRACT_VERSION] * len(rejections),
    }
    return _table(columns, REJECTED_SCHEMA)


def _envelope_columns(records: Sequence[Record]) -> dict[str, Sequence[Any]]:
    return {
        "ingest_id": [record.ingest_id for record in records],
        "arrival_time": [record.arrival_time for record in records],
        "broker_time": [record.broker_time for record in records],
        "client_id": [record.client_id for record in records],
        "principal": [record.principal for record in records],
        "topic": [record.topic for record in records],
    }


def _table(columns: dict[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


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
