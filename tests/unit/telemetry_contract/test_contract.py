"""The contract is data: what is derived from the table agrees with it, and names nothing twice."""

import io
from collections import Counter

import pyarrow.parquet as pq
import pytest

from telemetry_contract.columns import raw_table, readings_part, rejected_table, rejections_part
from telemetry_contract.fields import (
    CONTAINER,
    CONTRACT_VERSION,
    DEVICE_ID,
    EVENT_TIME,
    FIELDS,
    LARGEST_INTEGER,
    Field,
)
from telemetry_contract.parquet import parquet_of
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.rejection import Reason
from tests.unit.telemetry_contract.samples import good, reading_of, rejection_of

BEFORE_FIELDS = [
    *("record_id", "ingest_id", "arrival_time", "broker_time", "client_id", "principal", "topic"),
    *("identity", "event_id", "device_id", "event_time"),
]
AFTER_FIELDS = ["measurements", "attributes", "quality_flags", "payload", "contract_version"]


def test_raw_columns_are_the_envelope_then_the_fields_then_the_rest() -> None:
    assert RAW_SCHEMA.names == [*BEFORE_FIELDS, *(field.name for field in FIELDS), *AFTER_FIELDS]


def test_columns_of_the_first_version_keep_their_order() -> None:
    assert [field.name for field in FIELDS][:15] == [
        *("sequence", "device_name", "status", "latitude", "longitude", "speed", "temperature"),
        *("humidity", "pressure", "battery", "co", "lpg", "smoke", "light", "motion"),
    ]


def test_rejected_columns_are_the_envelope_then_the_reason_and_the_bytes() -> None:
    assert REJECTED_SCHEMA.names == [
        *BEFORE_FIELDS[:7],
        *["reason", "detail", "payload", "contract_version"],
    ]


def test_no_spelling_means_two_fields() -> None:
    spellings = Counter(
        spelling for field in (DEVICE_ID, EVENT_TIME, *FIELDS) for spelling in field.spellings
    )
    assert spellings.most_common(1)[0][1] == 1
    assert CONTAINER not in spellings


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_says_what_it_is_and_its_bounds_hold(field: Field) -> None:
    assert field.description.endswith(".")
    assert (field.unit is not None) == (field.kind == "number")
    if field.kind == "integer":
        assert field.minimum is not None
        assert field.maximum is not None
        assert -LARGEST_INTEGER <= field.minimum <= field.maximum <= LARGEST_INTEGER
    for spelling in field.spellings:
        if field.maximum is None:
            continue
        if field.kind == "text":
            assert reading_of(good(**{spelling: "x" * int(field.maximum)})).quality_flags == ()
            too_long = reading_of(good(**{spelling: "x" * (int(field.maximum) + 1)}))
            assert too_long.quality_flags == (field.out_of_range_flag,)
        else:
            assert reading_of(good(**{spelling: field.maximum})).quality_flags == ()
            above = reading_of(good(**{spelling: field.maximum * 2 + 1}))
            assert above.quality_flags == (field.out_of_range_flag,)


def test_every_reason_is_described_and_its_code_is_snake_case() -> None:
    for reason in Reason:
        assert reason.description.endswith(".")
        assert reason == reason.value == reason.name.lower()


def test_tables_of_nothing_have_the_schema() -> None:
    assert raw_table([]).schema == RAW_SCHEMA
    assert rejected_table([]).schema == REJECTED_SCHEMA


def test_rows_survive_parquet() -> None:
    reading = reading_of(good(temperature=21.5, rssi=-70, firmware="1.2", humidity=101))
    (row,) = pq.read_table(
        io.BytesIO(parquet_of(raw_table([readings_part([reading])])))
    ).to_pylist()
    assert row["temperature"] == 21.5
    assert row["humidity"] is None
    assert row["measurements"] == [("rssi", -70.0)]
    assert row["attributes"] == [("firmware", "1.2")]
    assert row["quality_flags"] == ["humidity_out_of_range"]
    assert row["payload"] == reading.payload
    assert row["contract_version"] == CONTRACT_VERSION

    rejected = rejected_table([rejections_part([rejection_of(b"{}")])])
    (row,) = pq.read_table(io.BytesIO(parquet_of(rejected))).to_pylist()
    assert (row["reason"], row["payload"]) == ("device_id_missing", b"{}")
