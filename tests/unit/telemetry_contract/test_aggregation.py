"""KPL aggregates: each user record has its place, and what is damaged is kept whole."""

import base64
import json
from hashlib import md5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.generate_kinesis import aggregate
from ingest_telemetry.metrics import Metric
from telemetry_contract.aggregation import MAGIC, de_aggregate, user_records
from telemetry_contract.limits import Limits
from telemetry_contract.reading import interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Reason, Rejection
from tests.ingestion import event_of, ingest
from tests.unit.telemetry_contract.samples import ARRIVAL, LIMITS

READING = b'{"device_id":"device-1","timestamp":1795428000,"temperature":21.5}'
# By AWS's own aggregator for Python (aws_kinesis_agg 1.2.3): two partition keys, one hash key.
BY_AWS = base64.b64decode(
    "84mawgoIZGV2aWNlLTEKCGRldmljZS0yEgE1GkYIABpCeyJkZXZpY2VfaWQiOiJkZXZpY2UtMSIsInRpbWVzdGFtcCI6"
    "MTc5NTQyODAwMCwidGVtcGVyYXR1cmUiOjIxLjV9GkYIARAAGkB7ImRldmljZV9pZCI6ImRldmljZS0yIiwidGltZXN0"
    "YW1wIjoxNzk1NDI4MDAxLCJ0ZW1wZXJhdHVyZSI6MjJ9GgwIABoIbm90IGpzb25J4X8XhFcSLbHCGBS0I8Pm"
)


def de_aggregated(data: bytes, limits: Limits = LIMITS) -> list[Record | Rejection]:
    return list(de_aggregate("shard-0:1", ARRIVAL, data, limits))


def outcomes(data: bytes) -> list[tuple[str, str, bytes]]:
    """Record id, what became of it, and its bytes, for all that comes of an aggregate."""
    found = []
    for one in de_aggregated(data):
        readings, rejections = ([], [one]) if isinstance(one, Rejection) else interpret(one, LIMITS)
        found += [(reading.record_id, "accepted", reading.payload) for reading in readings]
        found += [(one.record_id, one.reason.value, one.payload) for one in rejections]
    return found


def sealed(message: bytes) -> bytes:
    """An aggregate of this message, whatever it is, with the right checksum."""
    return MAGIC + message + md5(message, usedforsecurity=False).digest()


def test_takes_apart_what_the_aggregator_of_aws_has_made() -> None:
    second = b'{"device_id":"device-2","timestamp":1795428001,"temperature":22}'
    assert user_records(BY_AWS) == [READING, second, b"not json"]


def test_each_user_record_has_its_place_and_its_own_verdict() -> None:
    assert outcomes(aggregate(READING, b"not json", b"", READING)) == [
        ("shard-0:1:0", "accepted", READING),
        ("shard-0:1:1", "not_json", b"not json"),
        ("shard-0:1:2", "not_json", b""),
        ("shard-0:1:3", "accepted", READING),
    ]


def test_an_array_in_an_aggregate_takes_a_place_for_each_element() -> None:
    array = b" [" + READING + b", 7 ,[1]]"
    assert outcomes(aggregate(array, READING, b"[]", b"[1,")) == [
        ("shard-0:1:0", "accepted", READING),
        ("shard-0:1:1", "not_an_object", b"7"),
        ("shard-0:1:2", "not_an_object", b"[1]"),
        ("shard-0:1:3", "accepted", READING),
        ("shard-0:1:4", "empty_array", b"[]"),
        ("shard-0:1:5", "not_json", b"[1,"),
    ]


def test_a_user_record_may_be_the_rules_envelope() -> None:
    envelope = {
        "payload_b64": base64.b64encode(READING).decode(),
        "topic": "dt/fleet/device-1/telemetry",
        "client_id": "device-1",
        "sub_sequence": 7,
    }
    broken = b'{"payload_b64":5}'
    first, second = de_aggregated(aggregate(json.dumps(envelope).encode(), broken))
    assert isinstance(first, Record)
    assert (first.payload, first.client_id, first.sub_sequence) == (READING, "device-1", 0)
    assert isinstance(second, Rejection)
    assert (second.reason, second.sub_sequence) == (Reason.MALFORMED_ENVELOPE, 1)


def test_the_limit_of_a_payload_is_each_user_records_own() -> None:
    limits = Limits(max_payload_bytes=len(READING))
    whole, large = de_aggregated(aggregate(READING, READING + b" "), limits)
    assert isinstance(whole, Record)
    assert isinstance(large, Rejection)
    assert (large.reason, large.sub_sequence) == (Reason.TOO_LARGE, 1)


def test_an_aggregate_inside_an_aggregate_is_a_payload_that_is_not_text() -> None:
    inner = aggregate(READING)
    assert outcomes(aggregate(inner)) == [("shard-0:1:0", "not_utf8", inner)]


MALFORMED = {
    "the magic number alone": MAGIC,
    "an ordinary payload that begins with the magic number": MAGIC + READING,
    "no user record": sealed(b""),
    "keys and no user record": sealed(b"\x0a\x01k"),
    "a partition key that is not in the table": sealed(b"\x0a\x01k\x1a\x05\x08\x01\x1a\x01d"),
    "no table of partition keys": sealed(b"\x1a\x05\x08\x00\x1a\x01d"),
    "a hash key that is not in the table": sealed(b"\x0a\x01k\x1a\x07\x08\x00\x10\x00\x1a\x01d"),
    "a user record without a partition key": sealed(b"\x0a\x01k\x1a\x03\x1a\x01d"),
    "a user record without data": sealed(b"\x0a\x01k\x1a\x02\x08\x00"),
    "a user record longer than what is left": sealed(b"\x0a\x01k\x1a\x7f\x08\x00\x1a\x01d"),
    "data longer than its user record": sealed(b"\x0a\x01k\x1a\x05\x08\x00\x1a\x02d"),
    "a number without an end": sealed(b"\x0a\x01k\x1a\x02\x08\x80"),
    "a number of eleven bytes": sealed(b"\x0a\x01k\x1a" + b"\x80" * 10 + b"\x00"),
    "a number instead of user records": sealed(b"\x0a\x01k\x18\x05"),
    "a group": sealed(b"\x0a\x01k\x1b"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=list(MALFORMED))
def test_what_is_no_whole_aggregate_is_rejected_with_all_its_bytes(data: bytes) -> None:
    assert outcomes(data) == [("shard-0:1:0", "malformed_aggregate", data)]


@pytest.mark.parametrize("cut", range(4, len(BY_AWS)))
def test_an_aggregate_cut_off_anywhere_is_rejected_with_what_is_left(cut: int) -> None:
    assert outcomes(BY_AWS[:cut]) == [("shard-0:1:0", "malformed_aggregate", BY_AWS[:cut])]


@pytest.mark.parametrize("place", range(4, len(BY_AWS)))
def test_an_aggregate_of_which_a_bit_was_turned_is_rejected(place: int) -> None:
    turned = bytearray(BY_AWS)
    turned[place] ^= 1
    assert outcomes(bytes(turned)) == [("shard-0:1:0", "malformed_aggregate", bytes(turned))]


def test_skips_fields_that_it_does_not_know() -> None:
    tag = b"\x22\x03\x0a\x01t"
    unknown = b"\x2d1234" + b"\x311234567" + b"8" + b"\x38\x96\x01"
    record = b"\x08\x00\x1a\x01d" + tag + unknown
    message = b"\x0a\x01k" + unknown + b"\x1a" + bytes([len(record)]) + record
    assert user_records(sealed(message)) == [b"d"]


@settings(deadline=None)
@given(st.binary())
def test_any_message_with_the_right_checksum_is_taken_apart_or_refused(message: bytes) -> None:
    found = de_aggregated(sealed(message))
    whole = [one for one in found if isinstance(one, Rejection) and one.payload == sealed(message)]
    assert found
    assert not whole or (len(found), whole[0].reason) == (1, Reason.MALFORMED_AGGREGATE)


@given(st.lists(st.binary(max_size=300), min_size=1))
def test_every_user_record_comes_out_with_its_bytes_in_order(datas: list[bytes]) -> None:
    assert user_records(aggregate(*datas)) == datas


def test_what_a_device_publishes_is_never_taken_for_an_aggregate() -> None:
    envelope = {
        "payload_b64": base64.b64encode(BY_AWS).decode(),
        "topic": "dt/a/device-1/telemetry",
    }
    result = ingest(event_of([json.dumps(envelope).encode()]))
    assert result.rejected_by_reason == {"not_utf8": 1}
    assert result.rejected[0]["payload"] == BY_AWS


def test_the_function_accepts_a_batch_of_aggregates_and_plain_records(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = aggregate(*[READING] * 50)
    result = ingest(event_of([READING, many, many[:-3], BY_AWS]))
    assert result.answer | {"objects": None} == {
        "received": 55,
        "accepted": 53,
        "rejected": 2,
        "objects": None,
    }
    assert result.rejected_by_reason == {"malformed_aggregate": 1, "not_json": 1}
    ids = [row["record_id"] for row in result.accepted + result.rejected]
    assert len(set(ids)) == 55
    emitted = map(json.loads, capsys.readouterr().out.splitlines())
    (counted,) = [one for one in emitted if Metric.RECORDS_RECEIVED in one]
    assert (counted[Metric.RECORDS_RECEIVED], counted[Metric.READINGS_RECEIVED]) == ([4], [55])


def test_equal_heartbeats_in_an_aggregate_stay_apart_where_the_arrival_is_their_time() -> None:
    heartbeat = b'{"device_id":"device-1","battery":80}'
    event = event_of([aggregate(*[heartbeat] * 20)])
    result = ingest(event, missing_timestamp_policy="arrival_time")
    assert len({row["event_id"] for row in result.accepted}) == 20
    assert ingest(event, missing_timestamp_policy="arrival_time").accepted == result.accepted


def test_a_record_full_of_empty_user_records_is_one_batch_of_rejections() -> None:
    assert ingest(event_of([aggregate(*[b""] * 10_000)])).rejected_by_reason == {"not_json": 10_000}
