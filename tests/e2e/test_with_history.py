"""An archive goes in through the deployed function: one curated row a reading, and nothing amiss.

It comes last, since it adds devices of its own to the lake that the other tests look at.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from devices.direct_producer import Reading, put_readings
from local.demo.curation import curate
from local.demo.demo import Demonstration, wait_until_ingested
from local.demo.lake import StreamCounter, connect

ROOT = Path(__file__).parents[2]
DEVICE = "archived-1"
ARCHIVE = "old-archive"


def ops(demo: Demonstration, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """What a command prints; it must end with one of these codes."""
    ran = subprocess.run(
        [sys.executable, "-m", "ops", *arguments, "--stack-name", demo.cloud.stack],
        cwd=ROOT,
        env=os.environ | demo.cloud.variables() | {"PYTHONPATH": str(ROOT / "layers/contract")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in codes, ran.stderr
    return ran.stdout


def test_messy_history_imported_twice_is_curated_once_and_its_rejects_have_reasons(
    demo: Demonstration,
) -> None:
    start = datetime.now(UTC) - timedelta(days=40)
    times = [(start + timedelta(minutes=number)).isoformat() for number in range(30)]
    # A reading without any value would be dropped as empty.
    readings = [
        json.dumps({"device_id": DEVICE, "timestamp": at, "sequence": number}).encode()
        for number, at in enumerate(times)
    ]
    # The first came over the stream already.
    stream_name = demo.outputs["TelemetryStreamName"]
    put_readings(demo.lake.client("kinesis"), stream_name, [Reading(DEVICE, readings[0])])
    stream = StreamCounter(demo.lake, stream_name)
    wait_until_ingested(demo.lake, demo.outputs, demo.cloud, stream.count())

    s3 = demo.lake.client("s3")
    s3.create_bucket(Bucket=ARCHIVE)
    lines = [*readings[:12], b"not json", readings[3], b'{"device_id":"archived-1"}']
    files = {
        "a/lines.ndjson.gz": gzip.compress(b"\n".join(lines)),
        "b/array.json": b"[" + b", ".join(readings[10:20]) + b"]",
        "c/firehose": b"".join(readings[20:]),
    }
    for key, body in files.items():
        s3.put_object(Bucket=ARCHIVE, Key=f"telemetry/{key}", Body=body)
    place = f"s3://{ARCHIVE}/telemetry/"
    dry = ops(demo, "import", place)
    assert "Run again with --apply to import 35 messages" in dry
    assert re.search(r"rejected: not_json +1\n", dry)
    assert "Sent 20 messages" in ops(demo, "import", place, "--limit", "20", "--apply")
    assert "Sent 15 messages" in ops(demo, "import", place, "--apply")
    assert "There is nothing to import." in ops(demo, "import", place, "--apply")
    assert "Sent 35 messages" in ops(demo, "import", place, "--apply", "--again")

    curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
    found = (
        connect(demo.lake)
        .execute("SELECT payload, event_id FROM readings WHERE device_id = ?", [DEVICE])
        .fetchall()
    )
    assert Counter(bytes(payload) for payload, _ in found) == Counter(readings)
    assert len({event_id for _, event_id in found}) == len(readings)
    # Both bad ones wait for a redrive, each once, though they were rejected twice.
    waiting = ops(demo, "redrive", "--zone", "rejected", "--device", DEVICE)
    assert "timestamp_missing" in waiting
    # Other tests leave findings of their own; of what was imported there is none.
    assert "history-" not in ops(demo, "audit", "--json", codes=(0, 1))


def test_cost_reads_the_deployed_stacks_parameters_and_readers_have_their_policy(
    demo: Demonstration,
) -> None:
    load = ("--messages-per-second", "10", "--payload-bytes", "200", "--json")
    told = json.loads(ops(demo, "cost", *load))
    deployed = demo.lake.client("cloudformation").describe_stacks(StackName=demo.cloud.stack)
    [stack] = deployed["Stacks"]
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    assert told["settings"]["window_seconds"] == int(parameters["MaxBatchingWindowSeconds"])
    assert told["settings"]["architecture"] == parameters["Architecture"]

    policy = demo.lake.client("iam").get_policy(PolicyArn=demo.outputs["ReaderPolicyArn"])
    assert policy["Policy"]["DefaultVersionId"] == "v1"
