"""What becomes of a payload: the dialects, the values, the reasons."""

import json
from typing import Any

import pytest

from telemetry_contract.event_id import event_id_of
from telemetry_contract.limits import Limits
from telemetry_contract.reading import interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import LONGEST_DETAIL, Reason
from tests.unit.telemetry_contract.samples import (
    ARRIVAL,
    LIMITS,
    good,
    reading_of,
    record_of,
    rejection_of,
)

SNAKE_CASE = (
    b'{"device_id":"device123","timestamp":"2026-11-23T10:00:00.123456","latitude":37.7749,'
    b'"longitude":-122.4194,"status":"active"}'
)
CAMEL_CASE = (
    b'{"deviceId":"asset-001","timestamp":1763892000000,"latitude":12.95,"longitude":77.55,'
    b'"speed":42.5,"status":"moving"}'
)
NESTED = (
    b'{"data":{"co":0.0045,"humidity":58.2,"light":true,"lpg":0.0072,"motion":false,"smoke":0.019,'
    b'"temp":27.0},"device_id":"5e:44:3b:f3:79:c8","ts":1594598735.7727768,"device":"iot-device-02"}'
)


def test_reads_the_flat_dialect_in_snake_case() -> None:
    reading = reading_of(SNAKE_CASE)
    assert reading.device_id == "device123"
    assert reading.event_time == ARRIVAL + 123_456
    assert reading.values == {"latitude": 37.7749, "longitude": -122.4194, "status": "active"}
    assert reading.quality_flags == ("event_time_offset_assumed",)


def test_reads_the_flat_dialect_in_camel_case() -> None:
    reading = reading_of(CAMEL_CASE)
    assert reading.device_id == "asset-001"
    assert reading.event_time == 1_763_892_000_000_000
    assert reading.values["speed"] == 42.5
    assert reading.quality_flags == ("event_time_far_from_arrival",)


def test_reads_the_nested_dialect() -> None:
    reading = reading_of(NESTED)
    assert reading.device_id == "5e:44:3b:f3:79:c8"
    assert reading.event_time == 1_594_598_735_772_777
    assert reading.values == {
        "device_name": "iot-device-02",
        "temperature": 27.0,
        "humidity": 58.2,
        "co": 0.0045,
        "lpg": 0.0072,
        "smoke": 0.019,
        "light": True,
        "motion": False,
    }


def test_keeps_the_payload_verbatim() -> None:
    spaced = b'  {"device_id" : "device-1",\n"ts":1795428000.0}\n'
    assert reading_of(spaced).payload == spaced


def test_keeps_a_payload_with_a_byte_order_mark_verbatim() -> None:
    marked = b"\xef\xbb\xbf" + SNAKE_CASE
    reading = reading_of(marked)
    assert reading.payload == marked
    assert reading.event_id == event_id_of("device123", marked)


# Values: nulled and flagged, never a reason to reject, and the neighbours stay.


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"temperature": 200.1}, "temperature_out_of_range"),
        ({"temp": -100.1}, "temperature_out_of_range"),
        ({"latitude": 91}, "latitude_out_of_range"),
        ({"temperature": 10**400}, "temperature_out_of_range"),
        ({"sequence": 2**63}, "sequence_out_of_range"),
        ({"sequence": -1}, "sequence_out_of_range"),
        ({"sequence": 1.5}, "sequence_wrong_type"),
        ({"sequence": "1e999"}, "sequence_out_of_range"),
        ({"temperature": "1e999"}, "temperature_out_of_range"),
        ({"temperature": "hot"}, "temperature_wrong_type"),
        ({"temperature": "1_000"}, "temperature_wrong_type"),
        ({"temperature": "৪৩"}, "temperature_wrong_type"),
        ({"temperature": "1,5"}, "temperature_wrong_type"),
        ({"temperature": " 1"}, "temperature_wrong_type"),
        ({"temperature": True}, "temperature_wrong_type"),
        ({"temperature": [1]}, "temperature_wrong_type"),
        ({"temperature": {"value": 1}}, "temperature_wrong_type"),
        ({"sequence": True}, "sequence_wrong_type"),
        ({"light": "yes"}, "light_wrong_type"),
        ({"light": 2}, "light_wrong_type"),
        ({"status": 1}, "status_wrong_type"),
        ({"status": "\ud800"}, "status_wrong_type"),
        ({"status": "x" * 257}, "status_out_of_range"),
    ],
)
def test_nulls_and_names_a_bad_value_and_keeps_its_neighbours(
    given: dict[str, Any], flag: str
) -> None:
    reading = reading_of(good(humidity=50.5, **given))
    assert reading.values == {"humidity": 50.5}
    assert reading.quality_flags == (flag,)


def test_a_number_beyond_a_double_costs_only_itself() -> None:
    reading = reading_of(
        b'{"device_id":"device-1","ts":1795428000,"temperature":1e400,"humidity":50.5,"x":[1e999]}'
    )
    assert reading.values == {"humidity": 50.5}
    assert reading.quality_flags == ("temperature_out_of_range",)
    assert reading.attributes == {"x": "[1e999]"}


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"latitude": "52.1"}, "latitude", 52.1),
        ({"longitude": "-0.1"}, "longitude", -0.1),
        ({"temperature": "2e1"}, "temperature", 20.0),
        ({"temperature": 20}, "temperature", 20.0),
        ({"sequence": 5.0}, "sequence", 5),
        ({"sequence": "5"}, "sequence", 5),
        ({"light": 1}, "light", True),
        ({"motion": 0}, "motion", False),
        ({"status": ""}, "status", ""),
        ({"status": "a\u0000b"}, "status", "a\u0000b"),
        ({"latitude": 90}, "latitude", 90.0),
        ({"sequence": 2**63 - 1}, "sequence", 2**63 - 1),
    ],
)
def test_takes_what_loses_nothing(given: dict[str, Any], field: str, value: object) -> None:
    reading = reading_of(good(**given))
    assert reading.values == {field: value}
    assert type(reading.values[field]) is type(value)
    assert reading.quality_flags == ()


def test_null_is_the_same_as_no_value() -> None:
    reading = reading_of(good(temperature=None, temp=21.5, deviceId=None))
    assert reading.values == {"temperature": 21.5}
    assert (reading.measurements, reading.attributes) == ({}, {})


# Unknown fields are kept.


def test_keeps_unknown_numbers_in_measurements_and_the_rest_in_attributes() -> None:
    reading = reading_of(
        good(
            rssi=-70, firmware="1.2", tags=["a", 1], nothing=None, yes=True, data={"x": 1, "y": "z"}
        )
    )
    assert reading.measurements == {"rssi": -70.0, "data.x": 1.0}
    assert reading.attributes == {
        "firmware": "1.2",
        "tags": '["a",1]',
        "nothing": "null",
        "yes": "true",
        "data.y": "z",
    }


def test_keeps_integers_exactly_that_a_double_would_round() -> None:
    reading = reading_of(good(serial=2**53 + 1, exact=2**53, huge=10**40))
    assert reading.measurements == {"exact": float(2**53)}
    assert reading.attributes == {"serial": "9007199254740993", "huge": "1" + "0" * 40}


def test_keeps_the_second_spelling_of_a_field_as_unknown() -> None:
    reading = reading_of(good(temperature=1, temp=2, data={"temperature": 3, "device": "x"}))
    assert reading.values == {"temperature": 1.0, "device_name": "x"}
    assert reading.measurements == {"temp": 2.0, "data.temperature": 3.0}


def test_keeps_text_that_is_no_unicode_as_its_json() -> None:
    reading = reading_of(rb'{"device_id":"d","ts":1795428000,"x":"\ud800","\udfff":1}')
    assert reading.attributes == {"x": r'"\ud800"'}
    assert reading.measurements == {r"\udfff": 1.0}


def test_a_container_that_is_no_object_is_an_unknown_field() -> None:
    assert reading_of(good(data=5)).measurements == {"data": 5.0}
    assert reading_of(good(data=[5])).attributes == {"data": "[5]"}


# Arrays: each element is a reading of its own.


def test_cuts_the_elements_of_an_array_out_verbatim() -> None:
    first = '{ "device_id":"a", "ts":1795428000, "x":1e400 }'
    second = '{"device_id":"b","ts":1795428000.0, "s":"é"}'
    readings, rejections = interpret(
        record_of(f" [ {first} ,\n{second}, 5 , {{}}]".encode()), LIMITS
    )
    assert [reading.payload.decode() for reading in readings] == [first, second]
    assert [reading.event_id for reading in readings] == [
        event_id_of("a", first.encode()),
        event_id_of("b", second.encode()),
    ]
    assert [reading.record_id for reading in readings] == ["shard-0:1:0", "shard-0:1:1"]
    assert [(r.record_id, r.reason, r.payload) for r in rejections] == [
        ("shard-0:1:2", Reason.NOT_AN_OBJECT, b"5"),
        ("shard-0:1:3", Reason.DEVICE_ID_MISSING, b"{}"),
    ]


def test_a_reading_has_the_same_id_alone_and_in_an_array() -> None:
    (in_array,), _ = interpret(record_of(b"[" + SNAKE_CASE + b"]"), LIMITS)
    assert in_array.event_id == reading_of(SNAKE_CASE).event_id


# Reasons.


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b" \n", Reason.NOT_JSON),
        (b"\xef\xbb\xbf", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b"{}{}", Reason.NOT_JSON),
        (b"{'device_id':'a'}", Reason.NOT_JSON),
        (b'{"device_id":"a","ts":1795428000,"x":NaN}', Reason.NOT_JSON),
        (b'{"device_id":"a","ts":1795428000,"x":-Infinity}', Reason.NOT_JSON),
        (b'{"device_id":"a","ts":1795428000,}', Reason.NOT_JSON),
        (b'{"device_id":"a\nb","ts":1795428000}', Reason.NOT_JSON),
        (b"\xff", Reason.NOT_UTF8),
        (b'{"device_id":"\xed\xa0\x80"}', Reason.NOT_UTF8),
        ('{"device_id":"a"}'.encode("utf-16"), Reason.NOT_UTF8),
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b'{"a":' * 100_000, Reason.TOO_DEEP),
        (b'{"device_id":"a","x":' + b"[" * 64 + b"]" * 64 + b"}", Reason.TOO_DEEP),
        (b" " * 1_048_577, Reason.TOO_LARGE),
        (b"5", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"[]", Reason.EMPTY_ARRAY),
        (b"[[]]", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.DEVICE_ID_MISSING),
        (b'{"device_id":null,"ts":1795428000}', Reason.DEVICE_ID_MISSING),
        (b'{"device_id":"","ts":1795428000}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":17,"ts":1795428000}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":"../../etc/passwd","ts":1795428000}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":"a\\u0000b","ts":1795428000}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":"a\\nb","ts":1795428000}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":"\\ud800","ts":1795428000}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":"a","deviceId":"b","ts":1795428000}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":"a","data":{"device_id":"b"},"ts":1}', Reason.DEVICE_ID_INVALID),
        (b'{"device_id":"a"}', Reason.TIMESTAMP_MISSING),
        (b'{"device_id":"a","ts":"soon"}', Reason.TIMESTAMP_INVALID),
        (b'{"device_id":"a","ts":true}', Reason.TIMESTAMP_INVALID),
        (b'{"device_id":"a","ts":{}}', Reason.TIMESTAMP_INVALID),
        (b'{"device_id":"a","ts":0}', Reason.TIMESTAMP_OUT_OF_RANGE),
        (b'{"device_id":"a","ts":1e400}', Reason.TIMESTAMP_OUT_OF_RANGE),
    ],
    ids=lambda value: str(value)[:50],
)
def test_names_the_reason_and_keeps_the_bytes(payload: bytes, reason: Reason) -> None:
    rejection = rejection_of(payload)
    assert rejection.reason is reason
    assert reason is Reason.NOT_AN_OBJECT or rejection.payload == payload
    assert len(rejection.detail) <= LONGEST_DETAIL


def test_a_depth_just_within_the_limit_is_taken() -> None:
    deep = json.loads("[" * 63 + "]" * 63)
    assert reading_of(good(x=deep)).attributes["x"] == "[" * 63 + "]" * 63


def test_brackets_in_text_are_no_depth() -> None:
    assert reading_of(good(x='[{"' * 500)).attributes["x"] == '[{"' * 500


def test_no_detail_quotes_the_payload() -> None:
    for payload in (b'{"secret"', b'{"device_id":"secret /"}', b'{"device_id":"a","ts":"secret"}'):
        assert "secret" not in rejection_of(payload).detail


def test_a_reading_without_time_is_rejected_or_placed_at_its_arrival_by_policy() -> None:
    heartbeat = b'{"device_id":"a"}'
    limits = Limits(missing_timestamp_policy="arrival_time")
    assert rejection_of(heartbeat).reason is Reason.TIMESTAMP_MISSING
    reading = reading_of(heartbeat, limits)
    assert reading.event_time == ARRIVAL
    assert reading.quality_flags == ("event_time_from_arrival",)


def test_a_reading_without_time_is_one_event_at_one_time_however_often_it_is_delivered() -> None:
    limits = Limits(missing_timestamp_policy="arrival_time")
    broker_time = ARRIVAL - 120_000
    deliveries = [
        Record(position, arrival, b'{"device_id":"a"}', "i-1", broker_time)
        for position, arrival in [("shard-0:1", ARRIVAL), ("shard-1:7", ARRIVAL + 7_200_000_000)]
    ]
    events = [
        (reading.event_id, reading.event_time, reading.quality_flags)
        for record in deliveries
        for reading in interpret(record, limits)[0]
    ]
    assert events == [(events[0][0], broker_time, ("event_time_from_arrival",))] * 2


@pytest.mark.parametrize("broker_time", [0, ARRIVAL + 86_400_000_001])
def test_a_brokers_time_keeps_the_bounds_where_it_stands_in(broker_time: int) -> None:
    limits = Limits(missing_timestamp_policy="arrival_time")
    rejection = rejection_of(b'{"device_id":"a"}', limits, broker_time=broker_time)
    assert rejection.reason is Reason.TIMESTAMP_OUT_OF_RANGE


def test_equal_heartbeats_are_two_and_one_delivered_twice_is_one() -> None:
    heartbeat = b'{"device_id":"a"}'
    limits = Limits(missing_timestamp_policy="arrival_time")
    first = reading_of(heartbeat, limits, ingest_id="i-1")
    again = reading_of(heartbeat, limits, ingest_id="i-1")
    second = reading_of(heartbeat, limits, ingest_id="i-2")
    bare = reading_of(heartbeat, limits)
    assert first.event_id == again.event_id
    assert len({first.event_id, second.event_id, bare.event_id}) == 3
    assert first.event_id == event_id_of("a", heartbeat, "i-1:0")
    both, _ = interpret(record_of(b"[" + heartbeat + b"," + heartbeat + b"]"), limits)
    assert both[0].event_id != both[1].event_id


def test_a_wrong_time_is_rejected_even_where_a_missing_one_is_not() -> None:
    limits = Limits(missing_timestamp_policy="arrival_time")
    assert rejection_of(b'{"device_id":"a","ts":"soon"}', limits).reason is Reason.TIMESTAMP_INVALID
