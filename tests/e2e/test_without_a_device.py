"""One device leaves the deployed pipeline: the operator's command against the deployed stack.

Last by its name: other modules count on what the demonstration has put into the lake.
"""

import base64
import io
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from devices.direct_producer import Reading, put_readings
from local.demo.curation import curate
from local.demo.demo import Demonstration, wait_until_ingested
from local.demo.lake import StreamCounter, connect
from ops.__main__ import run

GONE, KEPT = "erased-91", "erased-9"  # of which one id begins as the other
BUCKETS = ("Raw", "Rejected", "Failed", "Curated")


def payload(device: str, number: int) -> bytes:
    told = {"device_id": device, "timestamp": "2026-11-19T08:00:00Z", "sequence": number}
    return json.dumps(told | {"temperature": 20.5}).encode()


def ops(demo: Demonstration, capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    """What a command returns and prints."""
    capsys.readouterr()
    name, *options = command
    code = run([name, "--stack-name", demo.cloud.stack, *options])
    return code, capsys.readouterr().out


def versions(demo: Demonstration) -> Iterator[tuple[str, str, bytes]]:
    """Bucket, key and content of every version of every object of the four zones."""
    s3 = demo.lake.client("s3")
    for zone in BUCKETS:
        bucket = demo.outputs[f"{zone}ZoneBucketName"]
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for one in page.get("Versions", []):
                stored = s3.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
                yield zone, one["Key"], stored["Body"].read()


def opened(key: str, body: bytes) -> bytes:
    """All that an object says: Parquet's values, Avro's blocks, what base64 hides."""
    if body[:4] == b"PAR1":
        return repr(pq.read_table(io.BytesIO(body)).to_pylist()).encode()
    if key.endswith(".avro"):
        return b"".join([body, *_blocks(body)])
    if key.startswith(("aws/", "iot/")):
        document = json.loads(body)
        hidden = [document.get("base64OriginalPayload", "")]
        records = json.loads(document.get("payload", "{}")).get("Records", [])
        hidden += [one["kinesis"]["data"] for one in records]
        return b"\n".join([body, *map(base64.b64decode, hidden)])
    return body


def _blocks(body: bytes) -> Iterator[bytes]:
    """The blocks of an Avro file, inflated; its sync marker stands behind the header and each."""
    for part in body.split(body[-16:])[1:-1]:
        ends = (n for n, byte in enumerate(part) if byte < 0x80)
        start = [next(ends), next(ends)][-1] + 1  # behind two numbers, as varints
        yield zlib.decompressobj(-15).decompress(part[start:])


def holding(demo: Demonstration, device: str) -> list[tuple[str, str]]:
    return [
        (zone, key) for zone, key, body in versions(demo) if device.encode() in opened(key, body)
    ]


def rows(demo: Demonstration) -> list[Any]:
    """Everything in the tables that is not of the device to be erased."""
    connection = connect(demo.lake)
    query = "SELECT * EXCLUDE (run_id) FROM readings WHERE device_id <> ? ORDER BY event_id"
    found: list[Any] = connection.sql(query, params=[GONE]).to_arrow_table().to_pylist()
    hours = "SELECT * FROM device_hours WHERE device_id <> ? ORDER BY device_id, hour"
    return [*found, *connection.sql(hours, params=[GONE]).to_arrow_table().to_pylist()]


def strand(demo: Demonstration, name: str) -> None:
    """Leave a batch in the failed zone, with a record of each device."""
    data = {GONE: payload(GONE, 100), KEPT: payload(KEPT, 100)}
    records = [
        {
            "eventID": f"shardId-000000000091:{place}",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry",
            "kinesis": {
                "partitionKey": device,
                "sequenceNumber": str(place),
                "data": base64.b64encode(data[device]).decode(),
                "approximateArrivalTimestamp": datetime(2026, 11, 19, 9, tzinfo=UTC).timestamp(),
            },
        }
        for place, device in enumerate(data, start=1)
    ]
    body = json.dumps({"version": "1.0", "payload": json.dumps({"Records": records})})
    bucket = demo.outputs["FailedZoneBucketName"]
    demo.lake.client("s3").put_object(Bucket=bucket, Key=f"aws/lambda/e/{name}", Body=body)


def test_an_erased_device_is_nowhere_stays_out_and_is_not_missed(
    demo: Demonstration, capsys: pytest.CaptureFixture[str]
) -> None:
    s3, stream = (
        demo.lake.client("s3"),
        StreamCounter(demo.lake, demo.outputs["TelemetryStreamName"]),
    )
    sent = [Reading(device, payload(device, n)) for n in range(20) for device in (GONE, KEPT)]
    sent.append(Reading(GONE, b'{"device_id": "erased-91", "timestamp": "when?"}'))
    put_readings(demo.lake.client("kinesis"), demo.outputs["TelemetryStreamName"], sent)
    wait_until_ingested(demo.lake, demo.outputs, demo.cloud, stream.count())
    curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
    strand(demo, "1")
    audit = ("audit", "--settle-minutes", "0", "--json")
    before = dict(counted(ops(demo, capsys, *audit)[1]))
    others, places = rows(demo), holding(demo, GONE)
    assert {zone for zone, _ in places} == set(BUCKETS)
    stored = next(key for zone, key in places if zone == "Raw")
    raw_bucket = demo.outputs["RawZoneBucketName"]
    body = s3.get_object(Bucket=raw_bucket, Key=stored)["Body"].read()

    code, told = ops(demo, capsys, "erase", "--device", GONE)
    assert (code, holding(demo, GONE)) == (0, places)
    assert "Nothing was changed" in told

    code, told = ops(demo, capsys, "erase", "--device", GONE, "--apply", "--yes")
    assert code == 0, told
    assert "ages out by itself, within 168 hours" in told
    assert holding(demo, GONE) == []
    assert rows(demo) == others
    assert dict(counted(ops(demo, capsys, *audit)[1])) == before

    # A copy of a raw object that somebody had, and a batch that failed before: neither comes back.
    name, _, digest = stored.rpartition("-")
    s3.put_object(Bucket=raw_bucket, Key=f"{name}0-{digest}", Body=body)
    strand(demo, "2")
    code, told = ops(demo, capsys, "redrive", "--zone", "failed", "--apply")
    assert (code, "of erased devices and stay out" in told) == (0, True), told
    curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
    found = connect(demo.lake).execute("SELECT device_id FROM readings WHERE device_id = ?", [GONE])
    assert found.fetchall() == []
    # Erased once more, what was restored is gone as well.
    assert ops(demo, capsys, "erase", "--device", GONE, "--apply", "--yes")[0] == 0
    assert holding(demo, GONE) == []


def counted(told: str) -> Iterator[tuple[str, int]]:
    """Each kind of finding and how many there are: other tests may have left some."""
    kinds = [one["kind"] for one in json.loads(told)["findings"]]
    return ((kind, kinds.count(kind)) for kind in set(kinds))
