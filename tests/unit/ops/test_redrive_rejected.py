"""Rejected readings go in again as the records that they were, once, and only those that help."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from events.generate_kinesis import ARRIVAL, READINGS, aggregate
from ops.errors import OperationError
from ops.rejected_zone import RejectedRow, encoded_record, events_of
from tests.ingestion import Row, event_of, ingest
from tests.unit.ops.conftest import Deployed

GOOD = b'{"device_id":"device123","timestamp":"2026-11-23T10:00:00Z","temperature":20.5}'
OTHER_DEVICE = b'{"device_id":"device999","timestamp":"2026-11-23T10:00:00Z","temperature":20.5}'
HEARTBEAT = b'{"device_id":"device123","temperature":20.5}'
NOT_JSON = b'{"device_id":'
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry"


def enveloped(payload: bytes, number: int = 0) -> bytes:
    envelope = {
        "payload_b64": base64.b64encode(payload).decode(),
        "topic": "dt/fleet/device123/telemetry",
        "client_id": "device123",
        "principal": "5ac2fd0d",
        "broker_time": 1795428000123,
        "ingest_id": f"00000000-0000-4000-8000-{number:012}",
    }
    return json.dumps(envelope).encode()


MIXED = [enveloped(GOOD), enveloped(OTHER_DEVICE, 1), NOT_JSON, HEARTBEAT, enveloped(NOT_JSON, 2)]


def rows_of(rows: list[dict[str, Any]]) -> list[RejectedRow]:
    names = RejectedRow.__dataclass_fields__
    return [RejectedRow(**{name: row[name] for name in names}) for row in rows]


def by_record_id(rows: list[Row]) -> list[Row]:
    """The rows in the order of their record ids: theirs in an object means nothing."""
    return sorted(rows, key=lambda row: str(row["record_id"]))


def event_ids(rows: list[Row]) -> Counter[str]:
    return Counter(row["event_id"] for row in rows)


def test_dry_run_says_what_would_become_of_each_reason_and_sends_nothing(
    deployed: Deployed,
) -> None:
    deployed.reject(ingest(event_of(MIXED)))
    deployed.function.environment["IDENTITY_MISMATCH_POLICY"] = "flag"
    findings = deployed.redrive(apply=False)
    assert findings.rows == {"identity_mismatch": 1, "not_json": 2, "timestamp_missing": 1}
    assert +findings.would_be_accepted == {"identity_mismatch": 1}
    assert +findings.still_rejected == {"not_json": 2, "timestamp_missing": 1}
    assert deployed.function.events == []
    assert findings.troubles == []


def test_sends_only_what_the_contract_would_now_accept(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of(MIXED)))
    deployed.function.environment["IDENTITY_MISMATCH_POLICY"] = "flag"
    findings = deployed.redrive(apply=True)
    assert findings.sent_rows == 1
    assert (findings.accepted_by_function, findings.rejected_by_function) == (1, 0)
    [row] = deployed.function.accepted
    assert row["payload"] == OTHER_DEVICE
    assert "identity_mismatch" in row["quality_flags"]


def test_redriven_reading_is_the_row_that_it_would_have_been_at_first(deployed: Deployed) -> None:
    event = event_of(MIXED, arrival=ARRIVAL)
    deployed.reject(ingest(event))
    deployed.function.environment |= {
        "IDENTITY_MISMATCH_POLICY": "flag",
        "MISSING_TIMESTAMP_POLICY": "arrival_time",
    }
    deployed.redrive(apply=True)
    at_first = ingest(
        event, identity_mismatch_policy="flag", missing_timestamp_policy="arrival_time"
    )
    redriven = {row["record_id"]: row for row in deployed.function.accepted}
    assert len(redriven) == 2
    assert redriven == {
        row["record_id"]: row for row in at_first.accepted if row["payload"] != GOOD
    }


def test_record_that_was_too_large_with_its_envelope_goes_in_again_with_it_once(
    deployed: Deployed,
) -> None:
    event = event_of([enveloped(GOOD), GOOD], arrival=ARRIVAL)
    first = ingest(event, max_payload_bytes=len(GOOD) - 1)
    assert first.rejected_by_reason == {"too_large": 2}
    deployed.reject(first)
    deployed.redrive(apply=True)
    assert by_record_id(deployed.function.accepted) == by_record_id(ingest(event).accepted)


def test_redriving_twice_gives_the_same_event_ids(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of(MIXED)))
    deployed.function.environment |= {
        "IDENTITY_MISMATCH_POLICY": "flag",
        "MISSING_TIMESTAMP_POLICY": "arrival_time",
    }
    deployed.redrive(apply=True)
    once = event_ids(deployed.function.accepted)
    deployed.redrive(apply=True, again=True)
    assert event_ids(deployed.function.accepted) == once + once
    assert len(once) == 2


def test_equal_elements_of_an_array_stay_readings_of_their_own(deployed: Deployed) -> None:
    array = b"[" + b",".join([HEARTBEAT, GOOD, HEARTBEAT, HEARTBEAT]) + b"]"
    event = event_of([array, enveloped(array)])
    deployed.reject(ingest(event))
    deployed.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    deployed.redrive(apply=True)
    at_first = ingest(event, missing_timestamp_policy="arrival_time")
    wanted = event_ids([row for row in at_first.accepted if row["payload"] == HEARTBEAT])
    assert len(wanted) == 6
    assert event_ids(deployed.function.accepted) == wanted
    assert {row["record_id"] for row in deployed.function.accepted} == {
        row["record_id"] for row in at_first.accepted if row["payload"] == HEARTBEAT
    }


def test_element_proven_good_by_the_fast_path_keeps_its_place_in_the_array(
    deployed: Deployed,
) -> None:
    ahead = GOOD.replace(b"11-23T10:00:00", b"11-27T10:00:00")
    # So many that the fast path takes them when they come one by one.
    event = event_of([b"[" + b",".join([GOOD, ahead, GOOD, ahead]) + b"]"] * 500)
    deployed.reject(ingest(event))
    deployed.function.environment["MAX_EVENT_TIME_AHEAD_SECONDS"] = str(7 * 86_400)
    deployed.redrive(apply=True)
    at_first = ingest(event, max_event_time_ahead=7 * 86_400_000_000)
    assert len(deployed.function.accepted) == 1_000
    assert by_record_id(deployed.function.accepted) == by_record_id(
        [row for row in at_first.accepted if row["payload"] == ahead]
    )


def test_user_record_of_an_aggregate_keeps_its_place(deployed: Deployed) -> None:
    array = b"[" + HEARTBEAT + b"," + HEARTBEAT + b"]"
    event = event_of([aggregate(HEARTBEAT, GOOD, array, enveloped(HEARTBEAT), HEARTBEAT)])
    deployed.reject(ingest(event))
    deployed.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    deployed.redrive(apply=True)
    at_first = ingest(event, missing_timestamp_policy="arrival_time")
    assert len(deployed.function.accepted) == 5
    assert by_record_id(deployed.function.accepted) == by_record_id(
        [row for row in at_first.accepted if row["payload"] == HEARTBEAT]
    )


def test_damaged_aggregate_is_told_as_rejected_and_is_not_sent(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of([aggregate(GOOD)[:-1], aggregate(aggregate(GOOD), GOOD)])))
    findings = deployed.redrive(apply=True)
    assert findings.still_rejected == {"malformed_aggregate": 1, "not_utf8": 1}
    assert deployed.function.events == []


def test_array_within_an_array_is_not_taken_apart_by_a_redrive(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of([b"[[" + GOOD + b"]]", b"[" + GOOD + b",[" + GOOD + b"]]"])))
    findings = deployed.redrive(apply=True)
    assert findings.still_rejected == {"not_an_object": 2}
    assert deployed.function.events == []


def test_rejected_rows_sent_unchanged_are_rejected_as_the_same_rows() -> None:
    fails = [path.read_bytes() for path in sorted(Path(READINGS).glob("*.fail.json"))]
    assert len(fails) > 20
    malformed = [b'{"payload_b64":7}', b'{"payload_b64":"!","topic":"dt/a/b/telemetry"}']
    inner = [b"[" + b", ".join([GOOD, HEARTBEAT, b"7", b"[[]]", b"[]", OTHER_DEVICE]) + b"]"]
    # By itself, an empty array that had its place in an aggregate is a reading that is no object.
    aggregates = [aggregate(*(one for one in fails if one != b"[]")), aggregate(*inner, inner[0])]
    damaged = [one[:-1] for one in aggregates] + [aggregate(aggregates[0])]
    datas = [*fails, *malformed, *inner, *map(enveloped, fails), *map(enveloped, inner)]
    datas += [*aggregates, *damaged]
    first = ingest(event_of(datas, arrival=ARRIVAL)).rejected
    assert len(first) > len(fails) * 2

    records = [json.loads(encoded_record(row, STREAM_ARN)) for row in rows_of(first)]
    again = ingest({"Records": records})
    assert again.accepted == []
    assert by_record_id(again.rejected) == by_record_id(first)


def test_selects_by_arrival_time_and_reason(deployed: Deployed) -> None:
    early = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    deployed.reject(ingest(event_of([NOT_JSON, HEARTBEAT], arrival=early)))
    deployed.reject(ingest(event_of([NOT_JSON, HEARTBEAT, HEARTBEAT], arrival=ARRIVAL)))
    rows = {
        (since, until, reasons): deployed.redrive(
            apply=False, since=since, until=until, reasons=reasons
        ).rows.total()
        for since, until, reasons in [
            (None, None, frozenset()),
            (ARRIVAL, None, frozenset()),
            (ARRIVAL + timedelta(microseconds=1), None, frozenset()),
            (early, ARRIVAL, frozenset()),
            (None, early, frozenset()),
            (None, None, frozenset({"timestamp_missing"})),
            (ARRIVAL, None, frozenset({"timestamp_missing"})),
        ]
    }
    # The first two rows have the record ids of two of the others, and so count once.
    assert list(rows.values()) == [3, 3, 0, 2, 0, 2, 2]


def test_rows_of_a_batch_that_was_delivered_twice_count_once(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of(MIXED)))
    deployed.reject(ingest({"Records": event_of(MIXED)["Records"][:4]}))
    findings = deployed.redrive(apply=False)
    assert findings.rows.total() == 4
    assert findings.repeated_rows == 3


def test_object_that_cannot_be_read_is_named_and_the_others_are_redriven(
    deployed: Deployed,
) -> None:
    key = "rejected_data/ingest_date=2026-11-23/ingest_hour=09/damaged.parquet"
    deployed.s3.put_object(Bucket="rejected-zone", Key=key, Body=b"PAR1 not really")
    deployed.reject(ingest(event_of(MIXED)))
    deployed.function.environment["IDENTITY_MISMATCH_POLICY"] = "flag"
    findings = deployed.redrive(apply=True)
    assert findings.sent_rows == 1
    [trouble] = findings.troubles
    assert f"s3://rejected-zone/{key}" in trouble


def test_batch_on_which_the_function_fails_is_named_and_does_not_count(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of(MIXED)))
    deployed.function.environment["IDENTITY_MISMATCH_POLICY"] = "flag"
    deployed.function.fail_on = b"Records"
    findings = deployed.redrive(apply=True)
    assert findings.sent_rows == 0
    [trouble] = findings.troubles
    assert "ZeroDivisionError" in trouble


def row_at(place: int, payload: bytes = GOOD, shard: str = "shardId-000000000000") -> RejectedRow:
    return RejectedRow(
        record_id=f"{shard}:{place}:0",
        ingest_id=None,
        arrival_time=ARRIVAL,
        broker_time=None,
        client_id=None,
        principal=None,
        topic=None,
        reason="timestamp_missing",
        payload=payload,
    )


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([row_at(place) for place in range(9, 12)], [3]),
        ([row_at(place, b"x") for place in range(10_001)], [10_000, 1]),
        ([row_at(place, b"x" * 1_000_000) for place in range(9)], [4, 4, 1]),
        ([row_at(1), row_at(2, shard="shardId-000000000001"), row_at(3)], [2, 1]),
        ([], []),
    ],
    ids=["in order", "by number", "by size", "by shard", "none"],
)
def test_events_keep_to_what_a_mapping_would_send(
    rows: list[RejectedRow], counts: list[int]
) -> None:
    events = list(events_of({row: encoded_record(row, STREAM_ARN) for row in rows}))
    assert [len(held) for _, held in events] == counts
    for event, held in events:
        records = json.loads(event)["Records"]
        assert [record["eventID"] for record in records] == [row.position for row in held]
        assert len(event) <= 6_000_000
        assert len({record["eventID"].split(":")[0] for record in records}) == 1
        sequences = [int(record["kinesis"]["sequenceNumber"]) for record in records]
        assert sequences == sorted(sequences)


@pytest.mark.parametrize("policy", ["IDENTITY_MISMATCH_POLICY", "MISSING_TIMESTAMP_POLICY"])
def test_policy_that_this_version_does_not_know_is_named_and_not_guessed(
    deployed: Deployed, policy: str
) -> None:
    deployed.function.environment[policy] = "ask"
    with pytest.raises(OperationError, match=f"{policy} is reject or .*'ask'"):
        deployed.redrive(apply=False)
