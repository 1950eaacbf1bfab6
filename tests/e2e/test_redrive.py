"""What was rejected or failed goes in again: the operator's command against the deployed stack.

The failed zone's objects are put here as the mapping and the rule are documented to leave them; the
command, the deployed function and the job are the real ones.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devices.direct_producer import Reading, put_readings
from local import lifecycle
from local.demo.curation import curate
from local.demo.demo import Demonstration, wait_until_ingested
from local.demo.lake import StreamCounter, connect

ROOT = Path(__file__).parents[2]
EVENT = ROOT / "events/kinesis/bare_sdk_records.json"
DEVICE = "stranded-1"
CURATED = "SELECT event_id, record_id FROM readings WHERE device_id = 'stranded-1' ORDER BY ALL"


CONTRACT = ROOT / "layers/contract"
BUILT = ROOT / "build/sam-host"
MENDED = "mended-1"


def redrive(demo: Demonstration, *options: str, contract: Path = CONTRACT) -> str:
    """The command's account of what it did, judging by the contract in a folder."""
    ran = subprocess.run(
        [sys.executable, "-m", "ops", "redrive", "--stack-name", demo.cloud.stack, *options],
        cwd=ROOT,
        env=os.environ | demo.cloud.variables() | {"PYTHONPATH": str(contract)},
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

    for options in (("--apply",), ("--apply",), ("--apply", "--again")):
        redrive(demo, "--zone", "failed", *options)
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


@contextmanager
def contract_that_knows(
    demo: Demonstration, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Deploys the application with one more name for the device id; gives that contract's folder.

    Afterwards what was deployed before is deployed again.
    """
    mended = folder / BUILT.relative_to(ROOT)
    shutil.copytree(BUILT, mended)
    # The template says where it is from its own folder.
    (folder / "glue").symlink_to(ROOT / "glue")
    package = mended / "ContractLayer/python/telemetry_contract"
    fields = (package / "fields.py").read_text()
    known = 'aliases=("deviceId",),'
    assert fields.count(known) == 1
    (package / "fields.py").write_text(fields.replace(known, f'aliases=("deviceId", "{name}"),'))
    # What is compiled is not compared with its source.
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    contract = folder / "contract"
    shutil.copytree(package, contract / "telemetry_contract")
    try:
        with monkeypatch.context() as patched:
            patched.setattr(lifecycle, "_BUILT_TEMPLATE", mended / "packed.yaml")
            demo.cloud.deploy()
        yield contract
    finally:
        demo.cloud.deploy()


def test_contract_fix_and_redrive_turn_rejects_into_readings_without_one_duplicate(
    demo: Demonstration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime.now(UTC).isoformat()
    payloads = [
        json.dumps({"serial": MENDED, "timestamp": at, "sequence": number}).encode()
        for number in range(20)
    ]
    # Some are sent twice, some two in an array, and a neighbour knows no name at all.
    pair = b"[" + b", ".join(payloads[:2]) + b"]"
    sent = [*payloads, *payloads[:5], pair, b'{"sequence": 7}']
    stream = StreamCounter(demo.lake, demo.outputs["TelemetryStreamName"])
    put_readings(
        demo.lake.client("kinesis"),
        demo.outputs["TelemetryStreamName"],
        [Reading(MENDED, payload) for payload in sent],
    )
    wait_until_ingested(demo.lake, demo.outputs, demo.cloud, stream.count())

    chosen = ("--zone", "rejected", "--reason", "device_id_missing")
    before = raw_objects(demo)
    assert "There is nothing to redrive." in redrive(demo, *chosen, "--apply")
    assert raw_objects(demo) == before

    with contract_that_knows(demo, "serial", tmp_path, monkeypatch) as contract:
        of_device = (*chosen, "--device", MENDED)
        dry = redrive(demo, *of_device, contract=contract)
        assert "to redrive 27 rejected rows" in dry
        assert raw_objects(demo) == before
        first = redrive(
            demo, *of_device, "--limit", "8", "--rate", "4", "--apply", contract=contract
        )
        assert "Sent 8 rejected rows" in first
        assert "leaves 19 waiting" in first
        rest = redrive(demo, *chosen, "--apply", contract=contract)
        assert "accepted 19 readings and rejected 0" in rest
        again = redrive(demo, *chosen, "--apply", contract=contract)
        assert "There is nothing to redrive." in again
        repeated = redrive(demo, *chosen, "--apply", "--again", contract=contract)
        assert "Sent 27 rejected rows" in repeated

    curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
    found = (
        connect(demo.lake)
        .execute("SELECT payload, event_id FROM readings WHERE device_id = ?", [MENDED])
        .fetchall()
    )
    assert Counter(payload for payload, _ in found) == Counter(payloads)
    assert len({event_id for _, event_id in found}) == len(payloads)
