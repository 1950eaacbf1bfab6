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
from tests.unit.ops.erase_scene import GONE, Scene, record, row, rows_of, scene_in
from tests.unit.ops.lake import READINGS


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
    assert "1 messages go without their readings of erased devices." in report
