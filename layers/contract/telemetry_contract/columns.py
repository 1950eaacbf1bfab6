"""The batch as columns: readings and rejections become Arrow tables of the two schemas."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from telemetry_contract.fields import CONTRACT_VERSION, FIELDS
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.reading import Reading
from telemetry_contract.rejection import Rejection


def raw_table(readings: Sequence[Reading]) -> pa.Table:
    """Rows of `RAW_SCHEMA`, in the order given."""
    columns: dict[str, list[Any]] = {
        **_envelope_columns(readings),
        "identity": [reading.identity for reading in readings],
        "event_id": [reading.event_id for reading in readings],
        "device_id": [reading.device_id for reading in readings],
        "event_time": [reading.event_time for reading in readings],
        **{
            field.name: [reading.values.get(field.name) for reading in readings] for field in FIELDS
        },
        "measurements": [list(reading.measurements.items()) for reading in readings],
        "attributes": [list(reading.attributes.items()) for reading in readings],
        "quality_flags": [list(reading.quality_flags) for reading in readings],
        "payload": [reading.payload for reading in readings],
        "contract_version": [CONTRACT_VERSION] * len(readings),
    }
    return _table(columns, RAW_SCHEMA)


def rejected_table(rejections: Sequence[Rejection]) -> pa.Table:
    """Rows of `REJECTED_SCHEMA`, in the order given."""
    columns: dict[str, list[Any]] = {
        **_envelope_columns(rejections),
        "reason": [rejection.reason.value for rejection in rejections],
        "detail": [rejection.detail for rejection in rejections],
        "payload": [rejection.payload for rejection in rejections],
        "contract_version": [CONTRACT_VERSION] * len(rejections),
    }
    return _table(columns, REJECTED_SCHEMA)


def _envelope_columns(rows: Sequence[Reading] | Sequence[Rejection]) -> dict[str, list[Any]]:
    return {
        "record_id": [row.record_id for row in rows],
        "ingest_id": [row.record.ingest_id for row in rows],
        "arrival_time": [row.record.arrival_time for row in rows],
        "broker_time": [row.record.broker_time for row in rows],
        "client_id": [row.record.client_id for row in rows],
        "principal": [row.record.principal for row in rows],
        "topic": [row.record.topic for row in rows],
    }


def _table(columns: dict[str, list[Any]], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
