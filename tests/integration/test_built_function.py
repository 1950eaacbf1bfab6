"""The function as `sam build` leaves it, under the real runtime client, writing to an S3 over HTTP.

What a unit test can't see shows here: a dependency that is missing from the artifact or the layers,
a layer trimmed too far, a handler that the runtime can't find, what a cold start makes of the
settings.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from local.api import Api
from local.functions.runtime import FunctionDescription, FunctionRuntime
from local.metrics import Datum
from tests.integration.built import ROOT, built_function, running
from tests.loopback import client_of, empty_moto, served

EVENTS = sorted((ROOT / "events" / "kinesis").glob("*.json"))
EXPECTED: dict[str, Any] = json.loads((ROOT / "events" / "expected.json").read_text())

# Values for the variables that the template takes from parameters and other resources.
VALUES = {
    "RAW_ZONE_BUCKET": "raw-zone",
    "REJECTED_ZONE_BUCKET": "rejected-zone",
    "EARLIEST_EVENT_TIME": "2000-01-01T00:00:00Z",
    "MAX_EVENT_TIME_AHEAD_SECONDS": "86400",
    "CLOCK_SKEW_FLAG_SECONDS": "3600",
    "IDENTITY_MISMATCH_POLICY": "reject",
    "MISSING_TIMESTAMP_POLICY": "reject",
    "POWERTOOLS_METRICS_NAMESPACE": "TelemetryLake/test",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_ENDPOINT_URL": "",
}


@dataclass
class Deployed:
    """The built function, what it measured, and the S3 that it writes to."""

    runtime: FunctionRuntime
    metrics: list[Datum]
    s3: Any
    folder: Path

    def rows(self, bucket: str, keys: list[str]) -> list[dict[str, Any]]:
        """The rows of those of `keys` that are in `bucket`."""
        listed = self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        rows: list[dict[str, Any]] = []
        for key in sorted({one["Key"] for one in listed} & set(keys)):
            body = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            rows += pq.read_table(BytesIO(body)).to_pylist()
        return rows


def ingest_telemetry() -> FunctionDescription:
    return built_function("ingest-telemetry", "IngestTelemetryFunction", VALUES)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("function").name
    with (
        served(Api({}, [], {}, empty_moto())) as endpoint,
        running(ingest_telemetry(), endpoint, folder) as function,
    ):
        s3 = client_of(endpoint, "s3")
        for bucket in ("raw-zone", "rejected-zone"):
            s3.create_bucket(Bucket=bucket)
        yield Deployed(function.runtime, function.metrics, s3, function.folder)


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_built_function_answers_each_event_as_expected(deployed: Deployed, path: Path) -> None:
    expected = dict(EXPECTED[f"kinesis/{path.name}"])
    reasons = expected.pop("rejected_by_reason")

    invocation = deployed.runtime.invoke(path.read_bytes())
    assert invocation.error is None, invocation.payload.decode()
    answer = json.loads(invocation.payload)
    assert {name: answer[name] for name in expected} == expected

    accepted = deployed.rows("raw-zone", answer["objects"])
    rejected = deployed.rows("rejected-zone", answer["objects"])
    assert len(accepted) == expected["accepted"]
    by_reason: dict[str, int] = {}
    for row in rejected:
        by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + 1
    assert by_reason == reasons


def test_payload_of_a_device_is_stored_byte_for_byte(deployed: Deployed) -> None:
    event = json.loads((ROOT / "events" / "kinesis" / "rule_envelope.json").read_text())
    sent = [json.loads(base64.b64decode(one["kinesis"]["data"])) for one in event["Records"]]
    answer = json.loads(deployed.runtime.invoke(json.dumps(event).encode()).payload)
    rows = deployed.rows("raw-zone", answer["objects"])
    assert [row["payload"] for row in rows] == [base64.b64decode(s["payload_b64"]) for s in sent]


def test_metrics_of_the_built_function_are_those_that_cloudwatch_takes(deployed: Deployed) -> None:
    deployed.metrics.clear()
    deployed.runtime.invoke((ROOT / "events" / "kinesis" / "mixed_good_and_bad.json").read_bytes())
    mine = [d for d in deployed.metrics if d.namespace == "TelemetryLake/test"]
    totals = {datum.name: sum(datum.values) for datum in mine if "Reason" not in datum.dimensions}
    assert totals["ReadingsAccepted"] == 4
    assert totals["RecordsReceived"] == 10
    by_reason = {d.dimensions["Reason"]: sum(d.values) for d in mine if "Reason" in d.dimensions}
    assert by_reason == EXPECTED["kinesis/mixed_good_and_bad.json"]["rejected_by_reason"]


def test_log_of_the_built_function_is_json_and_has_no_payload(deployed: Deployed) -> None:
    event = json.loads((ROOT / "events" / "kinesis" / "mixed_good_and_bad.json").read_text())
    deployed.runtime.invoke(json.dumps(event).encode())
    log = deployed.folder / "logs" / "ingest-telemetry.log"
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        assert "message" in json.loads(line)
    for record in event["Records"]:
        assert record["kinesis"]["data"] not in log.read_text(encoding="utf-8")


def test_zone_that_is_away_fails_the_batch_by_an_exception_and_not_by_the_timeout(
    deployed: Deployed,
) -> None:
    function = ingest_telemetry()
    environment = {**function.environment, "RAW_ZONE_BUCKET": "no-such-bucket"}
    quick = replace(function, timeout_seconds=20, environment=environment)
    runtime = FunctionRuntime(lambda: quick, deployed.folder, deployed.s3.meta.endpoint_url)
    try:
        path = ROOT / "events" / "kinesis" / "rule_envelope.json"
        invocation = runtime.invoke(path.read_bytes())
    finally:
        runtime.stop()
    assert invocation.error == "Unhandled"
    error = json.loads(invocation.payload)
    assert error["errorType"] != "Sandbox.Timedout", "it was killed instead of raising in time"
    assert invocation.duration_ms < 20_000
