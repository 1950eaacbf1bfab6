"""The consumer as a whole: what it has written when it returns, and what it does when it can't."""

import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from ingest_telemetry import batch
from ingest_telemetry.batch import KinesisEvent
from ingest_telemetry.metrics import Metric
from tests.unit.ingest_telemetry.effects import (
    GOOD,
    NOW,
    Clock,
    InvocationContext,
    World,
    enveloped,
    event_of,
)

from ingest_telemetry import handler  # isort: skip -- wired from the environment set above

CANARY = b"canary-in-the-payload"
MIXED = [
    GOOD,
    b"not json " + CANARY,
    enveloped(GOOD),
    b'{"device_id":"device-1"}',
    b'[{"device_id":"device-2","ts":1795428000},{"device_id":"device-2"}]',
    b"\xff\xfe" + CANARY,
]


def ingest(event: KinesisEvent, world: World) -> dict[str, int]:
    account = handler.ingest(event, world.clock.remaining_seconds, world.use())
    world.effects.append("returned")
    return {
        "records": account.records,
        "accepted": account.accepted,
        "rejected": account.rejected,
        "flagged": account.flagged,
    }


def invoke(event: KinesisEvent, world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(handler, "COLLABORATORS", world.use())
    answer: dict[str, Any] = handler.lambda_handler(
        event, cast("LambdaContext", InvocationContext())
    )
    return answer


HOSTILE = [
    b"",
    b"\0",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"data":' * 100_000,
    b'{"device_id":"a","ts":1795428000,"x":' + b"[" * 100_000,
    b'{"device_id":"a","ts":1795428000,"data":{"x":' + b"[" * 500 + b"]" * 500 + b"}}",
    b'{"device_id":"a","ts":' + b"9" * 5_000 + b"}",
    b'{"device_id":"a","ts":1795428000,"sequence":' + b"9" * 5_000 + b"}",
    b'{"device_id":"a","ts":1795428000,"x":1e999999}',
    b'{"device_id":"a","ts":1795428000,"status":"\\ud800"}',
    b'{"\\udfff":1,"device_id":"\\udfff","ts":1795428000}',
    b"{" + b",".join(b'"k%d":%d' % (at, at) for at in range(50_000)) + b"}",
    b"[" + b",".join([b'{"device_id":"a","ts":1795428000}'] * 5_000) + b"]",
    b"[" + b"," * 100_000,
    b'"' + b"\\" * 99_999,
    b'{"payload_b64":' * 50_000,
    b'{"payload_b64":"' + b"A" * 99_999,
    b"x" * 2_000_000,
]


def test_no_record_harms_its_neighbours() -> None:
    world = World()
    neighbours = [GOOD.replace(b"device-1", f"n-{at}".encode()) for at in range(len(HOSTILE) + 1)]
    batch = [neighbours[0]]
    for hostile, neighbour in zip(HOSTILE, neighbours[1:], strict=True):
        batch += [hostile, enveloped(hostile, topic=None), neighbour]
    ingest(event_of(batch), world)
    stored = [row["payload"] for row in world.accepted + world.rejected]
    for neighbour in neighbours:
        assert neighbour in {row["payload"] for row in world.accepted}
    for hostile in HOSTILE:
        # Too large or a broken envelope: kept as the record came. An array: by its elements.
        assert hostile in stored or enveloped(hostile, topic=None) in stored or hostile[:1] == b"["
    assert len(stored) == len(neighbours) + 2 * (len(HOSTILE) - 1) + 2 * 5_000


def test_returns_only_after_every_object_is_written() -> None:
    world = World()
    ingest(event_of(MIXED), world)
    assert world.effects == ["wrote raw_data", "wrote rejected_data", "returned"]


@pytest.mark.parametrize("broken", ["raw_data/", "rejected_data/"])
def test_raises_when_a_zone_cannot_be_written(broken: str) -> None:
    world = World(broken_prefixes=(broken,))
    with pytest.raises(ConnectionError):
        ingest(event_of(MIXED), world)
    assert "returned" not in world.effects


def test_every_payload_of_a_mixed_batch_is_in_one_zone_byte_for_byte() -> None:
    world = World()
    counts = ingest(event_of(MIXED), world)
    assert counts == {"records": 6, "accepted": 3, "rejected": 4, "flagged": 0}
    assert sorted(row["payload"] for row in world.accepted) == sorted(
        [GOOD, GOOD, b'{"device_id":"device-2","ts":1795428000}']
    )
    assert {row["payload"]: row["reason"] for row in world.rejected} == {
        b"not json " + CANARY: "not_json",
        b'{"device_id":"device-1"}': "timestamp_missing",
        b'{"device_id":"device-2"}': "timestamp_missing",
        b"\xff\xfe" + CANARY: "not_utf8",
    }


def test_bad_data_alone_is_a_success() -> None:
    world = World()
    ingest(event_of([b"", b"[]", b"{}"]), world)
    assert world.effects == ["wrote rejected_data", "returned"]
    assert [row["reason"] for row in world.rejected] == [
        "not_json",
        "empty_array",
        "device_id_missing",
    ]


def test_acknowledges_an_empty_batch_without_writing() -> None:
    world = World()
    assert ingest(event_of([]), world)["records"] == 0
    assert world.effects == ["returned"]


def test_an_unforeseen_exception_fails_the_batch_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(batch, "interpret", broken)
    world = World()
    with pytest.raises(ZeroDivisionError):
        ingest(event_of(MIXED), world)
    assert world.effects == []


def test_the_same_batch_again_is_the_same_objects() -> None:
    first, again = World(), World()
    ingest(event_of(MIXED), first)
    ingest(event_of(MIXED), again)
    assert first.objects == again.objects


def test_decides_the_same_days_later_and_writes_to_the_hour_of_the_writing() -> None:
    first, later = World(), World(clock=Clock(now=NOW + timedelta(days=6, hours=3)))
    ingest(event_of(MIXED), first)
    ingest(event_of(MIXED), later)
    assert list(first.objects.values()) == list(later.objects.values())
    assert [key.split("/")[1:3] for key in later.objects] == [
        ["ingest_date=2026-11-29", "ingest_hour=13"]
    ] * 2


def test_large_batches_come_out_as_small_ones_do() -> None:
    whole, single = World(), World()
    payloads = [GOOD.replace(b"device-1", f"device-{at}".encode()) for at in range(100)]
    ingest(event_of([*payloads, *MIXED]), whole)
    for at in range(0, 100, 2):
        ingest(event_of(payloads[at : at + 2]), single)
    ids = {row["event_id"]: row["payload"] for row in whole.accepted if row["payload"] in payloads}
    assert ids == {row["event_id"]: row["payload"] for row in single.accepted}
    assert len(ids) == 100


def test_keeps_what_the_broker_says_of_a_reading() -> None:
    world = World()
    ingest(event_of([enveloped(GOOD)]), world)
    (row,) = world.accepted
    assert row["identity"] == "verified"
    assert row["client_id"] == "device-1"
    assert row["ingest_id"] == "6c84fb90-12c4-11e1-840d-7b25c5ee775a"
    assert row["broker_time"] == NOW - timedelta(seconds=29)
    assert row["arrival_time"] == NOW
    assert row["event_time"] == NOW - timedelta(seconds=30)
    assert row["record_id"].endswith("36588898:0")


def test_answers_with_counts_and_keys_and_no_partial_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    answer = invoke(event_of(MIXED), world, monkeypatch)
    assert answer == {
        "received": 7,
        "accepted": 3,
        "rejected": 4,
        "objects": list(world.objects),
    }
    assert json.loads(json.dumps(answer)) == answer


def test_no_payload_reaches_the_logs_even_when_a_write_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = StringIO()
    monkeypatch.setattr(handler.LOGGER.registered_handler, "stream", log)
    invoke(event_of(MIXED), World(), monkeypatch)
    with pytest.raises(ConnectionError):
        invoke(event_of(MIXED), World(broken_prefixes=("rejected_data/",)), monkeypatch)
    printed = capsys.readouterr()
    output = log.getvalue() + printed.out + printed.err
    assert "batch_ingested" in output
    assert CANARY.decode() not in output
    assert "device-2" not in output


def test_says_which_object_had_trouble_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    log = StringIO()
    monkeypatch.setattr(handler.LOGGER.registered_handler, "stream", log)
    handler._log_trouble("raw_data/x.parquet", ConnectionError("refused"))
    line = json.loads(log.getvalue())
    assert (line["level"], line["object_key"], line["error"]) == (
        "WARNING",
        "raw_data/x.parquet",
        "refused",
    )


def test_emits_every_metric_it_names_and_counts_rejections_by_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke(event_of(MIXED), World(), monkeypatch)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    emitted = [line for line in lines if "_aws" in line]
    (batch_line,) = [line for line in emitted if "Reason" not in line]
    assert {name: batch_line[name] for name in Metric} == {
        Metric.RECORDS_RECEIVED: [6],
        Metric.READINGS_RECEIVED: [7],
        Metric.READINGS_ACCEPTED: [3],
        Metric.READINGS_REJECTED: [4],
        Metric.READINGS_FLAGGED: [0],
        Metric.OBJECTS_WRITTEN: [2],
        Metric.BYTES_WRITTEN: batch_line[Metric.BYTES_WRITTEN],
        Metric.OLDEST_RECORD_AGE: [0],
        Metric.INGEST_DELAY: [0],
    }
    assert {
        line["Reason"]: line[Metric.READINGS_REJECTED] for line in emitted if "Reason" in line
    } == {"not_json": [1], "timestamp_missing": [2], "not_utf8": [1]}
    for line in emitted:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "TelemetryLake"
        assert set(directive["Dimensions"][0]) <= {"service", "Reason"}


def test_emits_nothing_for_a_batch_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConnectionError):
        invoke(event_of(MIXED), World(broken_prefixes=("raw_data/",)), monkeypatch)
    assert Metric.RECORDS_RECEIVED not in capsys.readouterr().out


def test_nothing_is_kept_between_invocations() -> None:
    fresh = World()
    ingest(event_of([GOOD]), fresh)
    used = World()
    ingest(event_of(MIXED * 20), World(limits=replace(used.limits, max_depth=1)))
    ingest(event_of([GOOD]), used)
    assert used.objects == fresh.objects
