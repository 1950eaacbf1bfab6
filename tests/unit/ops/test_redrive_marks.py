"""What was redriven is marked, once it is confirmed and never before, and waits no more."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from events.generate_kinesis import ARRIVAL
from ops.errors import OperationError
from ops.redrive import marks as marks_module
from ops.redrive.marks import Marks
from tests.ingestion import event_of, ingest
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.test_redrive_failed import (
    BATCH_KEY,
    GOOD,
    MESSAGE_KEY,
    given_up,
    put,
    undelivered,
)
from tests.unit.ops.test_redrive_rejected import HEARTBEAT, MIXED

DAY = date(2026, 11, 23)


def mark_keys(deployed: Deployed, bucket: str) -> list[str]:
    listed = deployed.s3.list_objects_v2(Bucket=bucket, Prefix="redriven/")
    return [entry["Key"] for entry in listed.get("Contents", [])]


def all_zones_waiting(deployed: Deployed) -> None:
    """One rejected row that is now accepted, a batch of three records, a message."""
    deployed.reject(ingest(event_of(MIXED)))
    deployed.function.environment["IDENTITY_MISMATCH_POLICY"] = "flag"
    put(deployed, BATCH_KEY.format(1), given_up(event_of([GOOD] * 3)))
    put(deployed, MESSAGE_KEY.format("0a"), undelivered(GOOD))


def test_what_was_redriven_is_neither_waiting_nor_sent_by_the_next_run(deployed: Deployed) -> None:
    all_zones_waiting(deployed)
    first = deployed.redrive(apply=True)
    assert (first.sent_rows, first.sent_records, first.sent_messages) == (1, 3, 1)
    calls = len(deployed.function.events)

    for apply in (False, True):
        later = deployed.redrive(apply=apply)
        assert +later.rows == {"not_json": 2, "timestamp_missing": 1}
        assert +later.redriven_rows == {"identity_mismatch": 1}
        assert (later.failed_batches, later.redriven_batches) == (0, 1)
        assert (later.undelivered_messages, later.redriven_messages) == (0, 1)
        assert later.chosen == 0
    assert len(deployed.function.events) == calls
    assert len(deployed.stream_records()) == 1


def test_again_sends_what_is_marked_once_more(deployed: Deployed) -> None:
    all_zones_waiting(deployed)
    deployed.redrive(apply=True)
    assert deployed.redrive(apply=False, again=True).chosen == 5
    findings = deployed.redrive(apply=True, again=True)
    assert (findings.sent_rows, findings.sent_records, findings.sent_messages) == (1, 3, 1)


def test_dry_run_marks_nothing(deployed: Deployed) -> None:
    all_zones_waiting(deployed)
    deployed.redrive(apply=False)
    assert mark_keys(deployed, "rejected-zone") == mark_keys(deployed, "failed-zone") == []
    assert deployed.redrive(apply=False).chosen == 5


def test_rows_are_marked_under_the_day_of_their_arrival_beside_the_zone(deployed: Deployed) -> None:
    early = datetime(2026, 11, 20, 23, 59, tzinfo=UTC)
    deployed.reject(ingest(event_of([HEARTBEAT], arrival=early)))
    deployed.reject(ingest(event_of([b"no", HEARTBEAT], arrival=ARRIVAL)))
    deployed.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    deployed.redrive(apply=True)
    folders = [key.rpartition("/")[0] for key in mark_keys(deployed, "rejected-zone")]
    assert folders == ["redriven/day=2026-11-20", "redriven/day=2026-11-23"]


def test_mark_is_only_written_once_the_function_has_answered(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_zones_waiting(deployed)
    monkeypatch.setattr(marks_module, "MAX_UNWRITTEN", 1)
    at_each_call: list[int] = []

    def count_marks() -> None:
        zones = ("rejected-zone", "failed-zone")
        at_each_call.append(sum(len(mark_keys(deployed, zone)) for zone in zones))

    deployed.function.on_invoke = count_marks
    deployed.redrive(apply=True)
    assert at_each_call == [0, 1]


def test_what_the_function_failed_on_stays_waiting(deployed: Deployed) -> None:
    all_zones_waiting(deployed)
    deployed.function.fail_on = b"Records"
    findings = deployed.redrive(apply=True)
    assert (findings.sent_rows, findings.sent_records) == (0, 0)
    deployed.function.fail_on = None
    later = deployed.redrive(apply=True)
    assert (later.sent_rows, later.sent_records, later.sent_messages) == (1, 3, 0)


def test_message_that_the_stream_refused_stays_waiting(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployed, MESSAGE_KEY.format("0a"), undelivered(GOOD))

    def no(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutRecords")

    with monkeypatch.context() as closed:
        closed.setattr(deployed.kinesis, "put_records", no)
        assert deployed.redrive(apply=True).sent_messages == 0
    assert deployed.redrive(apply=True).sent_messages == 1


def test_row_that_the_deployed_function_rejects_again_stays_waiting(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of([HEARTBEAT, HEARTBEAT])))
    # The contract here and what is deployed do not agree: the latter still rejects.
    deployed.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    deployed.function.limits_in_truth = {"missing_timestamp_policy": "reject"}
    findings = deployed.redrive(apply=True)
    assert (findings.sent_rows, findings.rejected_by_function) == (2, 2)
    [trouble] = findings.troubles
    assert "Deploy it, then run again" in trouble
    deployed.function.limits_in_truth = {}
    assert deployed.redrive(apply=True).accepted_by_function == 2


def test_rejected_element_of_a_redriven_array_is_waiting_for_itself(deployed: Deployed) -> None:
    array = b"[" + HEARTBEAT + b"," + GOOD + b"]"
    first = ingest(event_of([array]), max_payload_bytes=len(array) - 1)
    assert first.rejected_by_reason == {"too_large": 1}
    deployed.reject(first)
    findings = deployed.redrive(apply=True)
    assert (findings.accepted_by_function, findings.rejected_by_function) == (1, 1)
    assert findings.troubles == []
    [again] = deployed.function.results
    # Its first element has the record id that the whole array had.
    assert again.rejected[0]["record_id"] == first.rejected[0]["record_id"]
    deployed.reject(again)
    later = deployed.redrive(apply=False)
    assert +later.rows == {"timestamp_missing": 1}
    assert +later.redriven_rows == {"too_large": 1}


def test_copy_of_a_redriven_row_in_another_object_is_redriven_too(deployed: Deployed) -> None:
    event = event_of([HEARTBEAT, b"no", b"never"])
    deployed.reject(ingest(event))
    deployed.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    deployed.redrive(apply=True)
    deployed.reject(ingest({"Records": event["Records"][:2]}))
    assert deployed.redrive(apply=False).chosen == 0


def test_killed_between_sending_and_marking_a_run_is_repeated_by_the_next(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_zones_waiting(deployed)
    with monkeypatch.context() as killed:
        killed.setattr(Marks, "add", lambda *_: None)
        deployed.redrive(apply=True, rejected=False)
        deployed.redrive(apply=True, failed=False)
    once = Counter(row["event_id"] for row in deployed.function.accepted)
    findings = deployed.redrive(apply=True)
    assert (findings.sent_rows, findings.sent_records, findings.sent_messages) == (1, 3, 1)
    assert Counter(row["event_id"] for row in deployed.function.accepted) == once + once


def test_stopped_by_hand_it_marks_what_was_confirmed_and_says_so(deployed: Deployed) -> None:
    for number in range(3):
        put(deployed, BATCH_KEY.format(number), given_up(event_of([GOOD] * 2)))

    def stop_on_the_third() -> None:
        if len(deployed.function.events) == 2:
            raise KeyboardInterrupt

    deployed.function.on_invoke = stop_on_the_third
    findings = deployed.redrive(apply=True)
    assert (findings.was_interrupted, findings.sent_records) == (True, 4)
    later = deployed.redrive(apply=False)
    assert (later.failed_batches, later.redriven_batches) == (1, 2)


def test_parts_of_a_batch_sent_before_a_stop_are_not_sent_again(deployed: Deployed) -> None:
    put(deployed, BATCH_KEY.format(1), given_up(event_of([b'{"n":%d}' % n for n in range(6)])))

    def stop_on_the_third() -> None:
        if len(deployed.function.events) == 2:
            raise KeyboardInterrupt

    deployed.function.on_invoke = stop_on_the_third
    deployed.redrive(apply=True, rate=2)
    deployed.function.on_invoke = lambda: None
    assert deployed.redrive(apply=True).sent_records == 2
    assert sent_positions(deployed) == Counter(
        record["eventID"] for record in event_of([b""] * 6)["Records"]
    )


def sent_positions(deployed: Deployed) -> Counter[str]:
    return Counter(
        record["eventID"] for event in deployed.function.events for record in event["Records"]
    )


def test_marks_that_cannot_be_written_end_the_run_and_are_named(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_zones_waiting(deployed)
    monkeypatch.setattr(marks_module, "MAX_UNWRITTEN", 1)

    def no(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    monkeypatch.setattr(deployed.s3, "put_object", no)
    findings = deployed.redrive(apply=True)
    assert (findings.sent_rows, findings.sent_records) == (1, 0)
    [trouble] = findings.troubles
    assert "s3://rejected-zone/redriven/" in trouble
    assert "s3:PutObject" in trouble


def test_damaged_mark_is_named_with_what_to_do(deployed: Deployed) -> None:
    all_zones_waiting(deployed)
    key = "redriven/day=2026-11-23/damaged.parquet"
    deployed.s3.put_object(Bucket="rejected-zone", Key=key, Body=b"PAR1 not really")
    with pytest.raises(OperationError, match=f"s3://rejected-zone/{key} .* Remove it"):
        deployed.redrive(apply=False)


def test_only_the_days_of_what_is_looked_at_are_read(deployed: Deployed) -> None:
    """A damaged mark of another day is never met."""
    key = "redriven/day=2026-11-22/damaged.parquet"
    deployed.s3.put_object(Bucket="rejected-zone", Key=key, Body=b"PAR1 not really")
    all_zones_waiting(deployed)
    assert deployed.redrive(apply=False).chosen == 5


def test_marks_are_written_when_they_are_many_or_have_waited(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks_module, "MAX_UNWRITTEN", 3)
    now = [0.0]
    marks = Marks(deployed.s3, "rejected-zone", lambda: now[0])

    def written() -> int:
        return len(mark_keys(deployed, "rejected-zone"))

    marks.add(DAY, ["a", "b"])
    assert written() == 0
    marks.add(DAY, ["c"])
    assert written() == 1
    marks.add(DAY, ["d"])
    now[0] = marks_module.MAX_UNWRITTEN_SECONDS
    assert written() == 1
    marks.add(DAY, ["e"])
    assert written() == 2
    marks.write()
    assert written() == 2
    others = Marks(boto3.client("s3"), "rejected-zone")
    assert [others.has(DAY, mark) for mark in "abcdef"] == [True] * 5 + [False]


def test_runs_at_the_same_time_keep_each_others_marks(deployed: Deployed) -> None:
    runs = [Marks(deployed.s3, "rejected-zone") for _ in range(2)]
    for run, mark in zip(runs, "ab", strict=True):
        run.add(DAY, [mark])
        run.write()
    third = Marks(deployed.s3, "rejected-zone")
    assert third.has(DAY, "a")
    assert third.has(DAY, "b")
