"""What is a device's in a record, and what is left of it without the device."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from events.generate_kinesis import aggregate
from ops.erase.device import is_rejected_row_of, without_device
from ops.rejected_zone import RejectedRow
from telemetry_contract.rejection import Reason
from tests.unit.ops.erase_scene import GONE, KEPT
from tests.unit.ops.lake import rejection


def test_of_an_array_the_other_devices_readings_keep_their_places() -> None:
    data = b'[{"device_id": "truck-71"}, {"device_id":  "truck-7"}]'
    assert without_device(data, "another") is None
    [left] = without_device(data, GONE) or []
    assert json.loads(left) == {
        "payload_b64": base64.b64encode(b'{"device_id":  "truck-7"}').decode(),
        "sub_sequence": 1,
    }


def test_of_an_aggregate_the_other_devices_readings_keep_their_places() -> None:
    parts = [b'{"device_id": "truck-71"}', b'[{"device_id": "truck-7"}, {"device_id": "truck-71"}]']
    data = aggregate(*parts, b'{"device_id": "truck-8"}')
    assert without_device(data, "another") is None
    left = [json.loads(one) for one in without_device(data, GONE) or []]
    assert [(one["sub_sequence"], base64.b64decode(one["payload_b64"])) for one in left] == [
        (1, b'{"device_id": "truck-7"}'),
        (3, b'{"device_id": "truck-8"}'),
    ]
    assert without_device(data[:-1] + b"?", GONE) == []


def test_what_names_no_device_is_its_senders_and_a_gateways_readings_stay() -> None:
    def sent(payload: bytes) -> bytes:
        encoded = base64.b64encode(payload).decode()
        return json.dumps({"payload_b64": encoded, "client_id": GONE}).encode()

    assert without_device(sent(b"{}"), GONE) == []
    assert without_device(sent(b"not JSON"), GONE) == []
    assert without_device(sent(b'{"device_id": "truck-7"}'), GONE) is None
    # Of what can't be read only a whole id counts.
    assert without_device(b'{"id": "truck-71", ', KEPT) is None
    assert without_device(b'{"id": "truck-7", ', KEPT) == []


@pytest.mark.parametrize("word", ["dt", "fleet", "telemetry"])
def test_of_a_topic_only_the_thing_is_a_sender(word: str) -> None:
    topic = f"dt/fleet/{GONE}/telemetry"
    payload = base64.b64encode(b"not JSON").decode()
    data = json.dumps({"payload_b64": payload, "topic": topic, "client_id": "c"}).encode()
    assert without_device(data, word) is None
    assert without_device(data, GONE) == []
    at = datetime(2026, 11, 23, tzinfo=UTC)
    told = rejection("shardId-000000000000:1", at) | {"topic": topic, "client_id": "c"}
    told |= {"reason": Reason.IDENTITY_MISMATCH, "payload": b'{"device_id": "truck-7"}'}
    values: dict[str, Any] = {name: told.get(name) for name in RejectedRow.__dataclass_fields__}
    row = RejectedRow(**values)
    assert not is_rejected_row_of(row, word)
    assert is_rejected_row_of(row, GONE)
