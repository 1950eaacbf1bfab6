"""Hostile JSON, every file of JSONTestSuite, goes through the handler beside good neighbours.

Whatever a payload holds, nothing crashes, no neighbour is harmed, and every input is in the raw or
the rejected zone byte for byte.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.ingestion import Ingested, event_of, ingest

NEIGHBOUR = b'{"device_id":"neighbour","timestamp":"2026-11-23T10:00:00Z","sequence":%d}'
JSON_SPACE = b" \t\r\n"
DEPTH_LIMIT_REASONS = {"too_deep", "not_json", "not_utf8"}

Delivery = Callable[[bytes], bytes]


def bare(payload: bytes) -> bytes:
    return payload


def enveloped(payload: bytes) -> bytes:
    envelope = {
        "payload_b64": base64.b64encode(payload).decode(),
        "topic": "dt/fleet/neighbour/telemetry",
        "client_id": "neighbour",
        "principal": "5ac2fd0d",
        "broker_time": 1795428000000,
        "ingest_id": "00000000-0000-4000-8000-000000000000",
    }
    return json.dumps(envelope).encode()


deliveries = pytest.mark.parametrize("delivery", [bare, enveloped], ids=lambda each: each.__name__)


def as_value(document: bytes) -> bytes:
    """The document as the value of one field of a reading that is good otherwise."""
    return b'{"device_id":"neighbour","timestamp":"2026-11-23T10:00:00Z","note":' + document + b"}"


def ingest_among_neighbours(payloads: Sequence[bytes], delivery: Delivery) -> Ingested:
    """One batch in which a good reading stands before and after each of the payloads."""
    sent = [NEIGHBOUR % 0]
    for number, payload in enumerate(payloads, start=1):
        sent += [payload, NEIGHBOUR % number]
    event = event_of([delivery(payload) for payload in sent])
    result = ingest(event)

    accepted = Counter(row["payload"] for row in result.accepted)
    assert all(accepted[NEIGHBOUR % number] == 1 for number in range(len(payloads) + 1))
    stored = stored_by_record(result)
    assert set(stored) == {record["eventID"] for record in event["Records"]}
    for record, payload in zip(event["Records"], sent, strict=True):
        assert holds(stored[record["eventID"]], payload), payload[:80]
    return result


def stored_by_record(result: Ingested) -> dict[str, list[bytes]]:
    """The stored payloads of each record, in the order of their sub-sequences: 0, 1 and so on."""
    stored: dict[str, dict[int, bytes]] = {}
    for row in result.accepted + result.rejected:
        position, _, place = row["record_id"].rpartition(":")
        assert int(place) not in stored.setdefault(position, {}), "the same record id twice"
        stored[position][int(place)] = row["payload"]
    assert all(sorted(pieces) == list(range(len(pieces))) for pieces in stored.values())
    return {
        position: [pieces[i] for i in range(len(pieces))] for position, pieces in stored.items()
    }


def holds(pieces: list[bytes], payload: bytes) -> bool:
    """Whether the pieces are the payload, or all elements of its array in their own bytes.

    No parser judges here: around the pieces nothing may be left but brackets, commas and space.
    """
    if pieces == [payload]:
        return True
    at = 0
    between = b"["
    for piece in pieces:
        found = payload.find(piece, at)
        if found < 0 or payload[at:found].strip(JSON_SPACE) != between:
            return False
        at = found + len(piece)
        between = b","
    return payload[at:].strip(JSON_SPACE) == b"]"


@deliveries
def test_every_file_is_accounted_for_byte_for_byte(
    json_test_suite: list[Path], delivery: Delivery
) -> None:
    payloads = [path.read_bytes() for path in json_test_suite]
    result = ingest_among_neighbours(payloads, delivery)
    assert result.answer["received"] == len(result.accepted) + len(result.rejected)
    # None of the files is a reading, so all that is accepted are the neighbours.
    assert len(result.accepted) == len(payloads) + 1


@deliveries
def test_every_file_as_a_value_is_accounted_for_byte_for_byte(
    json_test_suite: list[Path], delivery: Delivery
) -> None:
    payloads = [as_value(path.read_bytes()) for path in json_test_suite]
    ingest_among_neighbours(payloads, delivery)


@deliveries
def test_files_that_must_parse_are_judged_as_json(
    json_test_suite: list[Path], delivery: Delivery
) -> None:
    must_parse = [path.read_bytes() for path in json_test_suite if path.name.startswith("y_")]
    reasons = ingest_among_neighbours(must_parse, delivery).rejected_by_reason
    assert set(reasons) <= {"not_an_object", "device_id_missing", "empty_array"}


@deliveries
def test_reading_with_a_value_that_must_parse_is_accepted(
    json_test_suite: list[Path], delivery: Delivery
) -> None:
    must_parse = [
        as_value(path.read_bytes()) for path in json_test_suite if path.name.startswith("y_")
    ]
    result = ingest_among_neighbours(must_parse, delivery)
    assert result.rejected == []
    kept = [row for row in result.accepted if row["payload"] in set(must_parse)]
    assert all(
        "note" in row["measurements"] | row["attributes"] or _is_null(row["payload"])
        for row in kept
    )


@deliveries
def test_files_that_must_not_parse_are_rejected_as_no_json(
    json_test_suite: list[Path], delivery: Delivery
) -> None:
    must_not = [path.read_bytes() for path in json_test_suite if path.name.startswith("n_")]
    result = ingest_among_neighbours(must_not, delivery)
    assert set(result.rejected_by_reason) <= DEPTH_LIMIT_REASONS
    assert len(result.rejected) == len(must_not)


@deliveries
def test_reading_with_a_value_that_must_not_parse_is_rejected_as_no_json(
    json_test_suite: list[Path], delivery: Delivery
) -> None:
    must_not = {
        path.name: as_value(path.read_bytes())
        for path in json_test_suite
        if path.name.startswith("n_")
    }
    result = ingest_among_neighbours(list(must_not.values()), delivery)
    assert set(result.rejected_by_reason) <= DEPTH_LIMIT_REASONS
    accepted = {row["payload"] for row in result.accepted}
    assert [name for name, payload in must_not.items() if payload in accepted] == []


def _is_null(payload: bytes) -> bool:
    return json.loads(payload)["note"] is None
