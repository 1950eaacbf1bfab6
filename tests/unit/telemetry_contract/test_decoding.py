"""Taking the envelope off: what is one, what is a broken one, what is none."""

import base64
import json
from typing import Any

import pytest

from telemetry_contract.decoding import decode_record
from telemetry_contract.record import Record
from telemetry_contract.rejection import Reason, Rejection
from tests.unit.telemetry_contract.samples import ARRIVAL, LIMITS

PAYLOAD = b'{"device_id":"a"}'
ENVELOPE = {
    "payload_b64": base64.b64encode(PAYLOAD).decode(),
    "topic": "dt/fleet/a/telemetry",
    "client_id": "a",
    "principal": "p",
    "broker_time": 1_795_428_000_000,
    "ingest_id": "i",
    "trace_id": "t",
}


def decoded(data: bytes) -> Record | Rejection:
    return decode_record("shard-0:1", ARRIVAL, data, LIMITS)


def test_takes_the_rules_envelope_off() -> None:
    assert decoded(json.dumps(ENVELOPE).encode()) == Record(
        "shard-0:1", ARRIVAL, PAYLOAD, "i", ARRIVAL, "a", "p", "dt/fleet/a/telemetry"
    )


@pytest.mark.parametrize(
    "change",
    [{}, {"further": {"x": [1]}}, {"trace_id": 5}, {"topic": None, "broker_time": None}],
)
def test_tolerates_what_it_does_not_need(change: dict[str, Any]) -> None:
    record = decoded(json.dumps({**ENVELOPE, **change}).encode())
    assert isinstance(record, Record)
    assert record.payload == PAYLOAD


def test_an_envelope_needs_nothing_but_the_payload() -> None:
    record = decoded(json.dumps({"payload_b64": ENVELOPE["payload_b64"]}).encode())
    assert record == Record("shard-0:1", ARRIVAL, PAYLOAD)


def test_recognises_the_key_however_it_is_written() -> None:
    escaped = b'\xef\xbb\xbf{"\\u0070ayload_b64":"e30="}'
    record = decoded(escaped)
    assert isinstance(record, Record)
    assert record.payload == b"{}"


@pytest.mark.parametrize(
    "data",
    [
        PAYLOAD,
        b"",
        b"[]",
        b"\xff",
        b'["payload_b64"]',
        b'{"x":"payload_b64"}',
        b'{"x":{"payload_b64":"e30="}}',
        b'{"payload_b64":"e30="',
        b"[" * 100_000,
        b'{"payload_b64":' * 10_000,
    ],
    ids=lambda data: str(data)[:40],
)
def test_everything_else_is_the_payload_itself(data: bytes) -> None:
    assert decoded(data) == Record("shard-0:1", ARRIVAL, data)


@pytest.mark.parametrize(
    "change",
    [
        {"payload_b64": 5},
        {"payload_b64": None},
        {"payload_b64": "e30"},
        {"payload_b64": "e3 0="},
        {"payload_b64": "e30=\n"},
        {"payload_b64": "-_-_"},
        {"payload_b64": "é"},
        {"topic": 5},
        {"topic": "\ud800"},
        {"client_id": ["a"]},
        {"broker_time": "1795428000000"},
        {"broker_time": 1.5},
        {"broker_time": True},
        {"broker_time": -1},
        {"broker_time": 10**18},
        {"ingest_id": {}},
    ],
    ids=str,
)
def test_a_broken_envelope_is_rejected_whole(change: dict[str, Any]) -> None:
    data = json.dumps({**ENVELOPE, **change}).encode()
    rejection = decoded(data)
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.payload) == (Reason.MALFORMED_ENVELOPE, data)


def test_a_record_over_the_limit_is_not_parsed() -> None:
    data = b'{"payload_b64":"' + b"A" * LIMITS.max_payload_bytes + b'"}'
    rejection = decoded(data)
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.payload) == (Reason.TOO_LARGE, data)


def test_an_empty_payload_in_an_envelope_is_an_empty_payload() -> None:
    record = decoded(b'{"payload_b64":""}')
    assert isinstance(record, Record)
    assert record.payload == b""
