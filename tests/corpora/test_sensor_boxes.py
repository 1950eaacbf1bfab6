"""Real telemetry of July 2020: three sensor boxes, 9,995 messages, each of them a good reading."""

from __future__ import annotations

import json
from collections import Counter

import msgspec
import pytest

from tests.ingestion import event_of, ingest


def test_every_message_is_accepted_as_it_was_sent(sensor_boxes: bytes) -> None:
    messages = [bytes(raw) for raw in msgspec.json.decode(sensor_boxes, type=list[msgspec.Raw])]
    result = ingest(event_of(messages))
    assert len(messages) == 9_995
    assert result.answer["accepted"] == 9_995
    assert result.rejected == []
    assert result.payloads == Counter(messages)


def test_values_and_times_are_those_of_the_file(sensor_boxes: bytes) -> None:
    messages = [bytes(raw) for raw in msgspec.json.decode(sensor_boxes, type=list[msgspec.Raw])]
    rows = ingest(event_of(messages)).accepted
    for row in rows[::97]:
        sent = json.loads(row["payload"])
        assert row["device_id"] == sent["device_id"]
        assert row["device_name"] == sent["device"]
        assert row["event_time"].timestamp() == pytest.approx(sent["ts"], abs=1e-6)
        assert row["temperature"] == sent["data"]["temp"]
        for name in ("co", "humidity", "light", "lpg", "motion", "smoke"):
            assert row[name] == sent["data"][name]
        # The file is six years old, and nothing else is wrong with it.
        assert row["quality_flags"] == ["event_time_far_from_arrival"]


def test_the_file_as_one_array_gives_the_same_readings(sensor_boxes: bytes) -> None:
    messages = [bytes(raw) for raw in msgspec.json.decode(sensor_boxes, type=list[msgspec.Raw])]
    one_by_one = ingest(event_of(messages)).accepted
    # As large as the file is, it is over what a record may hold: three parts.
    parts = [messages[start : start + 3_500] for start in range(0, len(messages), 3_500)]
    as_arrays = ingest(event_of([b"[" + b", ".join(part) + b"]" for part in parts])).accepted
    assert Counter(row["event_id"] for row in as_arrays) == Counter(
        row["event_id"] for row in one_by_one
    )
    assert Counter(row["payload"] for row in as_arrays) == Counter(messages)
