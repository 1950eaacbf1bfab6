"""What was rejected or failed goes in again: the operator's command against the deployed stack.

The failed zone's objects are put here as the mapping and the rule are documented to leave them; the
command, the deployed function and the job are the real ones.
"""

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.demo.curation import curate
from local.demo.demo import Demonstration, wait_until_ingested
from local.demo.lake import StreamCounter, connect

ROOT = Path(__file__).parents[2]
EVENT = ROOT / "events/kinesis/bare_sdk_records.json"
DEVICE = "stranded-1"
CURATED = "SELECT event_id, record_id FROM readings WHERE device_id = 'stranded-1' ORDER BY ALL"


def redrive(demo: Demonstration, *options: str) -> str:
    """The command's account of what it did."""
    ran = subprocess.run(
        [sys.executable, "-m", "ops", "redrive", "--stack-name", demo.cloud.stack, *options],
        cwd=ROOT,
        env=os.environ | demo.cloud.variables() | {"PYTHONPATH": "layers/contract"},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def raw_objects(demo: Demonstration) -> set[str]:
    """The keys in the raw zone."""
    listed = demo.lake.client("s3").list_objects_v2(Bucket=demo.outputs["RawZoneBucketName"])
    return {entry["Key"] for entry in listed["Contents"]}


def failed_batch() -> dict[str, Any]:
    """An event of the mapping that failed for good: three readings of a device, one bad record."""
    event: dict[str, Any] = json.loads(EVENT.read_text())
    model = event["Records"][0]
    first = int(model["kinesis"]["sequenceNumber"])
    bodies = [
        json.dumps({"device_id": DEVICE, "timestamp": "2026-11-20T10:00:00Z", "sequence": n})
        for n in range(3)
    ]
    event["Records"] = [
        model
        | {
            "eventID": f"shardId-000000000009:{first + place}",
            "kinesis": model["kinesis"]
            | {
                "sequenceNumber": str(first + place),
                "data": base64.b64encode(body.encode()).decode(),
            },
        }
        for place, body in enumerate([*bodies, "not JSON"])
    ]
    return event


def test_failed_and_undelivered_records_are_curated_once_however_often_redriven(
    demo: Demonstration,
) -> None:
    s3 = demo.lake.client("s3")
    bucket = demo.outputs["FailedZoneBucketName"]
    s3.put_object(
        Bucket=bucket,
        Key="aws/lambda/0a1b2c3d/shardId-000000000009/2026/11/23/2026-11-23T10.00.05-uuid",
        Body=json.dumps({"version": "1.0", "payload": json.dumps(failed_batch())}),
    )
    sent_at = datetime.now(UTC).isoformat()
    undelivered = json.dumps({"device_id": DEVICE, "timestamp": sent_at, "sequence": 9}).encode()
    s3.put_object(
        Bucket=bucket,
        Key="iot/2026/11/23/10/uuid.json",
        Body=json.dumps(
            {
                "ruleName": "telemetry",
                "topic": f"dt/fleet/{DEVICE}/telemetry",
                "clientId": DEVICE,
                "base64OriginalPayload": base64.b64encode(undelivered).decode(),
                "failures": [{"failedAction": "KinesisAction", "failedResource": "telemetry"}],
            }
        ),
    )
    before = raw_objects(demo)
    redrive(demo, "--zone", "failed")
    assert raw_objects(demo) == before

    for _ in range(2):
        redrive(demo, "--zone", "failed", "--apply")
    on_the_stream = StreamCounter(demo.lake, demo.outputs["TelemetryStreamName"]).count()
    wait_until_ingested(demo.lake, demo.outputs, demo.cloud, on_the_stream)
    curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
    found = connect(demo.lake).execute(CURATED).fetchall()
    assert len(found) == len({event_id for event_id, _ in found}) == 4
    # The failed batch kept its place in the stream; the undelivered message got one.
    assert sum(record_id.startswith("shardId-000000000009:") for _, record_id in found) == 3


def test_readings_that_stay_rejected_are_not_sent(demo: Demonstration) -> None:
    before = raw_objects(demo)
    assert "not_json" in redrive(demo, "--zone", "rejected", "--apply")
    assert raw_objects(demo) == before
