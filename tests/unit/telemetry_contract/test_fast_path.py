"""The fast path and the slow one agree on everything, every column of every row included."""

import base64
import json
import os
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.generate_kinesis import aggregate
from telemetry_contract import fast_path
from telemetry_contract.aggregation import de_aggregate
from telemetry_contract.columns import raw_table, readings_part
from telemetry_contract.decoding import decode_record
from telemetry_contract.fast_path import prove
from telemetry_contract.fields import CONTAINER, DEVICE_ID, EVENT_TIME, FIELDS, Field
from telemetry_contract.limits import Limits
from telemetry_contract.reading import interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Rejection

ARRIVAL = 1_795_428_000_000_000  # 2026-11-23T10:00:00Z
LIMITS = Limits()
# Enough for a suite of seconds; `HYPOTHESIS_EXAMPLES=5000` for an evening's search.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "60"))


def rows_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["record_id"]: row for row in table.to_pylist()}


def interpreted_slowly(
    records: list[Record | Rejection], limits: Limits
) -> tuple[dict[str, Any], list[Rejection]]:
    readings, rejections = [], []
    for record in records:
        if isinstance(record, Rejection):
            rejections.append(record)
            continue
        accepted, rejected = interpret(record, limits)
        readings += accepted
        rejections += rejected
    return rows_of(raw_table([readings_part(readings)])), rejections


def assert_both_paths_agree(records: list[Record | Rejection], limits: Limits = LIMITS) -> int:
    """Whatever the fast path takes is what the slow one makes of it; returns how much it took."""
    expected, expected_rejections = interpreted_slowly(records, limits)
    taken = 0
    # A shape's own decoder is made late in a batch; here also from its first reading on.
    for fewest_for_decoder in (1, fast_path.FEWEST_FOR_DECODER):
        with mock.patch.object(fast_path, "FEWEST_FOR_DECODER", fewest_for_decoder):
            proven = prove(records, limits, fewest=1)
        fast = rows_of(raw_table(proven.parts))
        left, rejections = interpreted_slowly(proven.left, limits)
        assert fast.keys().isdisjoint(left)
        assert {**fast, **left} == expected
        assert {rejection.record_id for rejection in rejections} == {
            rejection.record_id for rejection in expected_rejections
        }
        assert proven.flagged == sum(bool(row["quality_flags"]) for row in fast.values())
        taken = len(fast)
    return taken


# Numbers as no `json.dumps` writes them; they stand for themselves in a payload.
LITERALS = ("1e400", "-1e400", "-0", "1E2", "1.0", "9" * 400, "9" * 5000, "1e-400", "NaN")


def json_of(payload: object, ensure_ascii: bool) -> bytes:
    text = json.dumps(payload, ensure_ascii=ensure_ascii)
    for literal in LITERALS:
        text = text.replace(f'"@{literal}@"', literal)
    return text.encode("utf-8", "surrogatepass")


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-200, max_value=200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(min_value=-200, max_value=200),
    st.text(max_size=8),
    st.sampled_from(["52.1", "-0.1", "1e5", "1e999", "true", "07", "1_000", "৪৩", "", "NaN"]),
    st.sampled_from([f"@{literal}@" for literal in LITERALS]),
    st.sampled_from(
        [
            "\ud800",
            "a\u0000b",
            2**53,
            2**53 + 1,
            2**63 - 1,
            2**63,
            2**64,
            10**30,
            -1,
            0,
            1,
            1.0,
            -0.0,
        ]
    ),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.text(max_size=4), scalars, max_size=2),
)
device_ids = st.one_of(
    st.sampled_from(["device-1", "5e:44:3b:f3:79:c8", "a", "x" * 128]),
    st.sampled_from(["", "x" * 129, "../../etc/passwd", "a/b", "-", "é", "a\u0000", "a b"]),
    scalars,
)
times = st.one_of(
    st.sampled_from(
        [
            "2026-11-23T10:00:00.123456",
            "2026-11-23T09:59:00Z",
            "2026-11-23 10:00:00+05:30",
            "2026-11-23T10",
            "2026-11-23T10Z",
            "2026-11-23",
            "20261123T100000Z",
            "2026-11-23t10:00:00Z",
            "2026-11-23T10:00:60Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T10:00:00.123456789Z",
            "2026-11-23T10:00:00,5Z",
            "2026-W48-1T10:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "2026-11-23T10:00:00-00:00",
            "2026-11-23T10:00:00+99:99",
            "1795428000",
            "1795428000.5",
            "1795428000000",
            "soon",
            "",
            1_795_428_000,
            1_795_428_000.7727768,
            1_795_428_000_123,
            1_795_428_000_123.5,
            1_795_428_000_123_456,
            1_795_428_000_123_456_789,
            10**11,
            10**14,
            10**17,
            0,
            -1,
            True,
            None,
            1e308,
        ]
    ),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.integers(min_value=946_684_800, max_value=1_900_000_000),
    st.floats(min_value=946_684_800, max_value=1_900_000_000),
    st.integers(min_value=946_684_800_000, max_value=1_900_000_000_000),
    scalars,
)


def good_value(field: Field) -> st.SearchStrategy[Any]:
    low, high = field.minimum, field.maximum
    match field.kind:
        case "number":
            return st.floats(low, high) | st.integers(int(low or 0), int(high or 0))
        case "integer":
            return st.integers(int(low or 0), 2**63 - 1)
        case "text":
            return st.text(st.characters(codec="utf-8"), max_size=12)
        case "boolean":
            return st.booleans()


@st.composite
def members(draw: st.DrawFn) -> dict[str, Any]:
    """Some fields of the contract, mostly good, and some unknown ones."""
    given: dict[str, Any] = {}
    for field in draw(st.lists(st.sampled_from(FIELDS), unique_by=lambda f: f.name, max_size=5)):
        spelling = draw(st.sampled_from(field.spellings))
        given[spelling] = draw(st.one_of(good_value(field), good_value(field), values))
    given |= draw(
        st.dictionaries(
            st.sampled_from(["rssi", "firmware", "data.x", "x", "temp"]), values, max_size=2
        )
    )
    return given


@st.composite
def payload_of_shape(draw: st.DrawFn) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if draw(st.integers(0, 9)):
        payload[draw(st.sampled_from(DEVICE_ID.spellings))] = draw(device_ids)
    if draw(st.integers(0, 9)):
        payload[draw(st.sampled_from(EVENT_TIME.spellings))] = draw(times)
    payload |= draw(members())
    if draw(st.integers(0, 2)) == 0:
        payload[CONTAINER] = draw(st.one_of(members(), values))
    return dict(draw(st.permutations(list(payload.items()))))


@st.composite
def batches(draw: st.DrawFn) -> list[Record | Rejection]:
    """Records of few shapes with many values, as a fleet sends them, some enveloped."""
    records: list[Record | Rejection] = []
    for shape in draw(st.lists(payload_of_shape(), min_size=1, max_size=3)):
        for _ in range(draw(st.integers(1, 4))):
            payload = {
                key: draw(device_ids)
                if key in DEVICE_ID.spellings and draw(st.booleans())
                else draw(times)
                if key in EVENT_TIME.spellings and draw(st.booleans())
                else draw(st.one_of(members(), values))
                if key == CONTAINER and draw(st.booleans())
                else value
                for key, value in shape.items()
            }
            body = json_of(payload, draw(st.booleans()))
            data = draw(st.sampled_from([body, body, body, b"\xef\xbb\xbf" + body, body[:-1]]))
            if draw(st.booleans()):
                data = json.dumps(
                    {
                        "payload_b64": base64.b64encode(data).decode(),
                        "topic": draw(
                            st.sampled_from(
                                [
                                    None,
                                    "dt/fleet/device-1/telemetry",
                                    "dt/x/y/device-1/telemetry",
                                    "elsewhere",
                                ]
                            )
                        ),
                        "broker_time": draw(st.sampled_from([None, 1_795_428_000_000])),
                        "ingest_id": draw(st.sampled_from([None, "f0e1"])),
                    }
                ).encode()
            arrival = ARRIVAL + draw(st.integers(-(10**10), 10**10))
            position = f"shard-0:{len(records)}"
            if draw(st.integers(0, 3)):
                records.append(decode_record(position, arrival, data, LIMITS))
            else:
                inside = [data, b"[" + body + b"," + body + b"]", body][: draw(st.integers(1, 3))]
                records += de_aggregate(position, arrival, aggregate(*inside), LIMITS)
    return records


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches())
def test_fast_and_slow_path_agree_on_everything(records: list[Record | Rejection]) -> None:
    assert_both_paths_agree(records)


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches())
def test_paths_agree_under_the_other_policies(records: list[Record | Rejection]) -> None:
    assert_both_paths_agree(
        records,
        Limits(
            identity_mismatch_policy="flag",
            missing_timestamp_policy="arrival_time",
            max_payload_bytes=120,
            max_depth=3,
        ),
    )


def literals(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


ODD: dict[str, list[bytes]] = {
    "temperature": literals("200", "200.0001", "-101", "true", '"21.5"', '"hot"', "1e400", "[]"),
    "sequence": literals("-1", "5.0", "5.5", "1e300", "true", "9223372036854775808", '"7"', "null"),
    "status": literals("5", "true", '"' + "x" * 256 + '"', '"' + "x" * 257 + '"', "{}", "null"),
    "light": literals("0", "1", "2", "1.0", '"true"', "null"),
    "device_id": literals('""', '"a/b"', "5", "null", '"' + "x" * 129 + '"', "[]", '"device-2"'),
    "timestamp": literals(
        *('"2026-11-23T10:00:00"', '"2026-11-23"', '"2026-11-23T10"', '"2026-11-23T10+05:30"'),
        *('"2026-11-23T10:00:00.1234567Z"', '"1795428000"', '"soon"', "1795428000", "null"),
        *("1795428000.5", "1795428000123", "0", "true", '"1999-12-31T23:59:59Z"'),
        *('"2026-11-24T10:00:01Z"', '"2026-11-23T08:59:59Z"', '"0000-01-01T00:00:00Z"'),
    ),
    "rssi": literals("true", "null", '"x"', "9007199254740993", "1e400", "[1]", "{}", '"\\ud800"'),
    "data": literals("5", "null", "[]", "{}", '{"temp":1}', '{"x":1}', "[" * 64 + "]" * 64),
}


@pytest.mark.parametrize(
    ("key", "odd"),
    [(key, odd) for key, values_of_key in ODD.items() for odd in values_of_key],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("time", [b'"2026-11-23T10:00:00Z"', b"1795428000", b"1795428000123"])
def test_an_odd_value_among_plain_ones_is_decided_as_if_alone(
    key: str, odd: bytes, time: bytes
) -> None:
    plain = {
        "device_id": b'"device-1"',
        "timestamp": time,
        "temperature": b"21.5",
        "sequence": b"7",
        "status": b'"active"',
        "light": b"true",
        "rssi": b"-70",
        "data": b'{"humidity":50}',
    }
    texts = [plain, plain, {**plain, key: odd}, plain]
    records: list[Record | Rejection] = [
        Record(
            f"shard-0:{at}",
            ARRIVAL,
            b"{" + b",".join(b'"%s":%s' % (name.encode(), text[name]) for name in text) + b"}",
            topic="dt/fleet/device-1/telemetry",
        )
        for at, text in enumerate(texts)
    ]
    assert assert_both_paths_agree(records) >= 3


def test_takes_all_of_a_plain_batch() -> None:
    bodies = [
        b'{"device_id":"device-1","timestamp":"2026-11-23T10:00:00","temperature":21.5}',
        b'{"deviceId":"device-1","timestamp":1795428000123,"speed":42,"firmware":"1.2","rssi":-70}',
        b'{"data":{"temp":27.0,"light":true},"device_id":"device-1","ts":1795428000.5}',
    ]
    records: list[Record | Rejection] = [
        Record(f"shard-0:{at}", ARRIVAL + at, bodies[at % 3]) for at in range(60)
    ]
    assert assert_both_paths_agree(records) == 60


@pytest.mark.parametrize("key", ODD)
def test_a_column_of_one_odd_value_is_decided_as_if_each_were_alone(key: str) -> None:
    for odd in ODD[key]:
        members = {"device_id": b'"device-1"', "timestamp": b"1795428000", key: odd}
        body = (
            b"{" + b",".join(b'"%s":%s' % (name.encode(), members[name]) for name in members) + b"}"
        )
        assert_both_paths_agree([Record(f"shard-0:{at}", ARRIVAL, body) for at in range(3)])


def test_decoder_of_a_shape_leaves_payloads_that_only_begin_like_it() -> None:
    plain = {"device_id": "d1", "timestamp": 1_795_428_000, "temperature": 20.5, "data": {"co": 1}}
    variants: list[dict[str, Any]] = [
        plain,
        plain | {"firmware": "4.2"},
        plain | {"data": {"co": 1, "rssi": -70}},
        plain | {"data": {"lpg": 1}},
        plain | {"data": 7},
        plain | {"temperature": "20.5"},
        {key: plain[key] for key in ("device_id", "timestamp", "data")},
        {key: plain[key] for key in ("device_id", "data", "temperature", "timestamp")},
    ]
    payloads = [json.dumps(variant).encode() for variant in variants for _ in range(3)]
    twice = b'{"device_id":"d1","timestamp":1795428000,"temperature":1,"temperature":2,"data":{}}'
    payloads += [json.dumps(plain).encode(), twice, twice.replace(b'"data"', b'"\\u0064ata"')]
    records: list[Record | Rejection] = [
        Record(f"shard:{place}", ARRIVAL, payload) for place, payload in enumerate(payloads)
    ]
    assert assert_both_paths_agree(records) == len(records)


@pytest.mark.parametrize("key", ['"', "\\", "\x1f", "\x00", "a\nb", "\x7f", "", "é"], ids=ascii)
def test_many_payloads_with_an_odd_key_are_decided_as_if_each_were_alone(key: str) -> None:
    plain = {"device_id": "d1", "timestamp": 1_795_428_000}
    for payload in (plain | {key: 1.5}, plain | {"data": {key: 1.5}}):
        records: list[Record | Rejection] = [
            Record(f"shard:{place}", ARRIVAL, json.dumps(payload).encode())
            for place in range(fast_path.FEWEST_FOR_DECODER + 1)
        ]
        assert assert_both_paths_agree(records) == len(records)


@pytest.mark.parametrize("inside", [None, 7, "text", [1]], ids=str)
def test_decoder_of_a_shape_without_a_container_leaves_payloads_that_have_one(inside: Any) -> None:
    plain = {"device_id": "d1", "timestamp": 1_795_428_000, "data": inside}
    # A field out of its bounds, another device: all of it would be accepted as mere attributes.
    smuggled = {"temp": 21.5, "humidity": 500, "device_id": "other"}
    variants = [plain] * 40 + [plain | {"data": smuggled}, plain | {"data": {}}, plain] * 3
    records: list[Record | Rejection] = [
        Record(f"shard:{place}", ARRIVAL, json.dumps(variant).encode())
        for place, variant in enumerate(variants)
    ]
    assert assert_both_paths_agree(records) == 46
