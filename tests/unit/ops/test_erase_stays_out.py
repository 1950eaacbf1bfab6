"""What was erased does not come back, and what comes afterwards is new."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from ops.erasures import Erasures
from ops.redrive.report import lines_of as redrive_lines
from ops.redrive.selection import Selection
from tests.ingestion import event_of, ingest
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.erase_scene import GONE, KEPT, Scene, opened, record, row, rows_of, scene_in
from tests.unit.ops.lake import READINGS
from tests.unit.ops.test_redrive_failed import given_up


@pytest.fixture
def scene(deployed: Deployed) -> Scene:
    return scene_in(deployed)


def test_what_arrives_after_the_erasure_is_new(scene: Scene) -> None:
    later = scene.lake.now + timedelta(hours=2)
    scene.lake.accept(row(scene.lake.put_records(1)[0], GONE, later))
    scene.lake.curate()
    scene.erase()
    assert [one["arrival_time"] for one in rows_of(scene, GONE)] == [later, later]
    assert scene.lake.found() == []


def test_what_was_on_its_way_stays_out_and_is_not_missed(scene: Scene) -> None:
    scene.erase()
    scene.lake.accept(row(scene.lake.put_records(1)[0], GONE, scene.lake.now))
    scene.lake.curate()
    assert GONE not in scene.lake.rows("readings", "device_id")
    assert scene.lake.rows("curation_runs", "erased")[-1] == 1
    assert scene.lake.found() == []
    # Run again, the erasure finds it in the raw zone.
    assert scene.erase().rows["raw"] == 1
    assert scene.holding(GONE) == []
    assert scene.lake.found() == []


def test_a_row_of_an_erased_device_in_a_table_is_a_finding(scene: Scene) -> None:
    scene.erase()
    again = row("shardId-000000000000:1", GONE, scene.lake.now)
    scene.lake.add("readings", READINGS, [again])
    assert scene.lake.found() == [("row_not_erased", again["event_id"])]


def test_a_redrive_sends_nothing_of_an_erased_device(deployed: Deployed) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    records = [
        record("shardId-000000000000:1", b'{"device_id": "truck-71"}', at),
        record("shardId-000000000000:2", b'{"device_id": "truck-7"}', at),
        record("shardId-000000000000:3", b'{"device_id": "truck-71"}', at + timedelta(days=2)),
    ]
    document = {"payload": json.dumps({"Records": records})}
    deployed.s3.put_object(Bucket="failed-zone", Key="aws/lambda/a", Body=json.dumps(document))
    told = {"topic": f"dt/fleet/{GONE}/telemetry", "clientId": GONE}
    told["base64OriginalPayload"] = base64.b64encode(b"{}").decode()
    deployed.s3.put_object(Bucket="failed-zone", Key="iot/a.json", Body=json.dumps(told))
    deployed.reject(ingest(event_of([b'{"device_id": "truck-71"}'], arrival=at)))
    erasures = Erasures(deployed.s3, "curated-zone", deployed.stack.database_name)
    erasures.bury(GONE, at + timedelta(days=1))
    findings = deployed.redrive(apply=False)
    assert (findings.erased, findings.rows.total()) == (2, 0)
    assert (findings.failed_records, findings.undelivered_messages) == (2, 1)
    # What the rule could not deliver would arrive anew, so its object's time counts.
    erasures.bury(GONE, datetime.now(UTC) + timedelta(days=1))
    findings = deployed.redrive(apply=True)
    assert (findings.erased, findings.sent_records, findings.sent_messages) == (4, 1, 0)
    report = redrive_lines(findings, "stack", Selection(), apply=True)
    assert "4 rows and records are of erased devices and stay out." in report


def test_a_redriven_message_goes_without_an_erased_devices_readings(deployed: Deployed) -> None:
    both = b'[{"device_id": "truck-71", "n": 1}, {"device_id":  "truck-7", "n": 2}]'
    told = {"topic": "dt/fleet/gateway-1/telemetry", "clientId": "gateway-1"}
    told["base64OriginalPayload"] = base64.b64encode(both).decode()
    deployed.s3.put_object(Bucket="failed-zone", Key="iot/a.json", Body=json.dumps(told))
    erasures = Erasures(deployed.s3, "curated-zone", deployed.stack.database_name)
    erasures.bury(GONE, datetime.now(UTC) + timedelta(days=1))
    findings = deployed.redrive(apply=True)
    assert (findings.erased, findings.erased_in_part, findings.sent_messages) == (0, 1, 1)
    [sent] = map(json.loads, deployed.stream_records())
    assert base64.b64decode(sent["payload_b64"]) == b'[{"device_id":  "truck-7", "n": 2}]'
    assert sent["topic"] == told["topic"]
    report = redrive_lines(findings, "stack", Selection(), apply=True)
    assert "1 messages and records go without their readings of erased devices." in report


def test_a_redriven_record_goes_without_an_erased_devices_readings(deployed: Deployed) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    told = [
        f'{{"device_id": "{device}", "timestamp": "2026-11-23T09:00:00Z", "n": {n}}}'.encode()
        for n, device in enumerate((KEPT, GONE, "truck-8", GONE, "truck-9"))
    ]
    array = record("shardId-000000000000:2", b"[" + b", ".join(told) + b"]", at, "gateway-1")
    both_gone = b"[" + told[1] + b"," + told[4] + b"]"
    records = [
        record("shardId-000000000000:1", told[0], at),
        array | {"kinesis": array["kinesis"] | {"partitionKey": GONE}},
        record("shardId-000000000000:3", both_gone, at),
    ]
    for one in records:
        one["kinesis"]["sequenceNumber"] = one["eventID"].rpartition(":")[2]
    document = {"payload": json.dumps({"Records": records})}
    deployed.s3.put_object(Bucket="failed-zone", Key="aws/lambda/a", Body=json.dumps(document))
    erasures = Erasures(deployed.s3, "curated-zone", deployed.stack.database_name)
    for device in (GONE, "truck-9"):
        erasures.bury(device, at + timedelta(days=1))
    dry = deployed.redrive(apply=False)
    assert (dry.erased, dry.erased_in_part, dry.failed_records) == (1, 1, 2)
    findings = deployed.redrive(apply=True)
    assert (findings.erased, findings.erased_in_part, findings.sent_records) == (1, 1, 2)
    [event] = deployed.function.events
    for erased in (GONE, "truck-9"):
        assert erased.encode() not in opened("aws/lambda/sent", given_up(event))
    assert [(row["device_id"], row["record_id"]) for row in deployed.function.accepted] == [
        (KEPT, "shardId-000000000000:1:0"),
        (KEPT, "shardId-000000000000:2:0"),
        ("truck-8", "shardId-000000000000:2:2"),
    ]
    # A mark stands for the whole record.
    assert deployed.redrive(apply=True).failed_records == 0


def test_parts_that_an_erasure_left_at_one_place_are_each_redriven(deployed: Deployed) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    parts = [
        record("shardId-000000000000:1", b'{"device_id": "truck-7", "n": %d}' % n, at, "gateway-1")
        for n in range(2)
    ]
    for one in parts:
        one["kinesis"]["sequenceNumber"] = "1"
    document = {"payload": json.dumps({"Records": parts})}
    deployed.s3.put_object(Bucket="failed-zone", Key="aws/lambda/a", Body=json.dumps(document))
    assert [deployed.redrive(apply=True, limit=1).sent_records for _ in range(3)] == [1, 1, 0]
    sent = [one for event in deployed.function.events for one in event["Records"]]
    assert sent == parts


def test_what_is_left_of_records_goes_in_as_many_calls_as_it_takes(deployed: Deployed) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    told = [
        b'{"device_id": "truck-7", "timestamp": "2026-11-23T09:00:00Z", "n": %d}' % n
        for n in range(11_000)
    ]
    array = b"[" + b",".join([b'{"device_id": "truck-71"}', *told]) + b"]"
    one = record("shardId-000000000000:1", array, at)
    one["kinesis"]["sequenceNumber"] = "1"
    document = {"payload": json.dumps({"Records": [one]})}
    deployed.s3.put_object(Bucket="failed-zone", Key="aws/lambda/a", Body=json.dumps(document))
    erasures = Erasures(deployed.s3, "curated-zone", deployed.stack.database_name)
    erasures.bury(GONE, at + timedelta(days=1))
    findings = deployed.redrive(apply=True)
    assert (findings.sent_records, findings.troubles) == (1, [])
    assert len(deployed.function.events) == 2
    accepted = deployed.function.accepted
    assert [row["record_id"].rpartition(":")[2] for row in accepted] == [
        str(place) for place in range(1, 11_001)
    ]


def test_a_rejected_array_with_an_erased_device_stays_out_as_an_erasure_takes_it(
    deployed: Deployed,
) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    both = b'[{"device_id": "truck-71", "timestamp": 1}, {"device_id": "truck-7", "timestamp": 1}]'
    deployed.reject(ingest(event_of([both], arrival=at), max_payload_bytes=50))
    erasures = Erasures(deployed.s3, "curated-zone", deployed.stack.database_name)
    assert deployed.redrive(apply=False).rows.total() == 1
    erasures.bury(GONE, at + timedelta(days=1))
    findings = deployed.redrive(apply=True)
    assert (findings.erased, findings.rows.total()) == (1, 0)
