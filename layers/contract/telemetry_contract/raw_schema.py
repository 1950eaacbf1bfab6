"""The Arrow schemas of raw and rejected objects: the contract between consumer and job."""

from typing import Final

import pyarrow as pa

from telemetry_contract.fields import FIELDS, Kind

_TIME: Final = pa.timestamp("us", tz="UTC")

ARROW_TYPES: Final[dict[Kind, pa.DataType]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
}

_ENVELOPE: Final = (
    pa.field("record_id", pa.string(), nullable=False),
    pa.field("ingest_id", pa.string()),
    pa.field("arrival_time", _TIME, nullable=False),
    pa.field("broker_time", _TIME),
    pa.field("client_id", pa.string()),
    pa.field("principal", pa.string()),
    pa.field("topic", pa.string()),
)

RAW_SCHEMA: Final = pa.schema(
    [
        *_ENVELOPE,
        pa.field("identity", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("device_id", pa.string(), nullable=False),
        pa.field("event_time", _TIME, nullable=False),
        *(pa.field(field.name, ARROW_TYPES[field.kind]) for field in FIELDS),
        pa.field("measurements", pa.map_(pa.string(), pa.float64())),
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
        pa.field("quality_flags", pa.list_(pa.string())),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("contract_version", pa.int32(), nullable=False),
    ]
)

REJECTED_SCHEMA: Final = pa.schema(
    [
        *_ENVELOPE,
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("contract_version", pa.int32(), nullable=False),
    ]
)

# The same by name: looking a type up in a schema makes a new object each time.
RAW_TYPES: Final[dict[str, pa.DataType]] = {field.name: field.type for field in RAW_SCHEMA}
REJECTED_TYPES: Final[dict[str, pa.DataType]] = {
    field.name: field.type for field in REJECTED_SCHEMA
}
