"""A deployed stack in memory: buckets and stream by moto, the consumer itself as the function."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from ops.delivery import Function, Stream
from ops.redrive.findings import Findings
from ops.redrive.pace import Pace
from ops.redrive.rejected import limits_of
from ops.redrive.run import Redrive
from ops.redrive.selection import Selection
from ops.stack import Stack, read_stack
from tests.ingestion import ENVIRONMENT, Ingested, Row, ingest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STACK = "iot-telemetry-lake-test"
OUTPUTS = {
    "TelemetryStreamName": "telemetry",
    "IngestTelemetryFunctionName": "ingest-telemetry",
    "RawZoneBucketName": "raw-zone",
    "RejectedZoneBucketName": "rejected-zone",
    "FailedZoneBucketName": "failed-zone",
    "CuratedZoneBucketName": "curated-zone",
    "DatabaseName": "iot_data_db",
    "CurateTelemetryJobName": "curate-telemetry",
    "SummariseDevicesJobName": "summarise-devices",
    "MaintainTablesJobName": "maintain-tables",
}


@dataclass
class ConsumerAsFunction:
    """A Lambda client whose function is the handler, run here; it keeps what was accepted."""

    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    events: list[dict[str, Any]] = field(default_factory=list)
    results: list[Ingested] = field(default_factory=list)
    fail_on: bytes | None = None
    # Called before each invocation.
    on_invoke: Callable[[], object] = field(default=lambda: None)
    # Where what is deployed decides otherwise than its environment lets one think.
    limits_in_truth: dict[str, Any] = field(default_factory=dict)

    def get_function_configuration(self, *, FunctionName: str) -> dict[str, Any]:
        assert FunctionName == OUTPUTS["IngestTelemetryFunctionName"]
        return {"Environment": {"Variables": self.environment}}

    def invoke(
        self,
        *,
        FunctionName: str,
        InvocationType: str,
        Payload: bytes,
    ) -> dict[str, Any]:
        assert (FunctionName, InvocationType) == ("ingest-telemetry", "RequestResponse")
        assert len(Payload) <= 6 * 1024 * 1024
        self.on_invoke()
        if self.fail_on is not None and self.fail_on in Payload:
            error = {"errorMessage": "no", "errorType": "ZeroDivisionError"}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(error).encode())}
        event = json.loads(Payload)
        limits = limits_of(self.environment, FunctionName)
        decided_by = {
            "identity_mismatch_policy": limits.identity_mismatch_policy,
            "missing_timestamp_policy": limits.missing_timestamp_policy,
            "max_event_time_ahead": limits.max_event_time_ahead,
        }
        result = ingest(event, **(decided_by | self.limits_in_truth))
        self.events.append(event)
        self.results.append(result)
        return {"Payload": io.BytesIO(json.dumps(result.answer).encode())}

    @property
    def accepted(self) -> list[Row]:
        return [row for result in self.results for row in result.accepted]


@dataclass
class Deployed:
    """The stack, its function, and what redrives it."""

    stack: Stack
    s3: S3Client
    function: ConsumerAsFunction
    kinesis: Any
    progress: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def reject(self, result: Ingested) -> None:
        """Puts what one call rejected into the rejected zone."""
        for key, body in result.rejected_objects.items():
            self.s3.put_object(Bucket="rejected-zone", Key=key, Body=body)

    def redrive(self, *, apply: bool, rate: int | None = None, **selection: Any) -> Findings:
        """A run whose clock moves only while it waits; how long it waited is in `pauses`."""
        earlier = len(self.pauses)
        return Redrive(
            self.stack,
            self.s3,
            # The consumer itself, in the place of a client that calls it.
            Function(self.function, self.stack.function_name),  # type: ignore[arg-type]
            Stream(self.kinesis, self.stack.stream_name),
            self.progress.append,
            Pace(rate, lambda: sum(self.pauses[earlier:]), self.pauses.append),
        ).run(Selection(**selection), apply=apply)

    def stream_records(self) -> list[bytes]:
        """The data of every record on the stream."""
        [shard] = self.kinesis.list_shards(StreamName="telemetry")["Shards"]
        iterator = self.kinesis.get_shard_iterator(
            StreamName="telemetry",
            ShardId=shard["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        return [
            record["Data"] for record in self.kinesis.get_records(ShardIterator=iterator)["Records"]
        ]


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3")
        for bucket in ("rejected-zone", "failed-zone", "curated-zone"):
            s3.create_bucket(Bucket=bucket)
        kinesis = boto3.client("kinesis")
        kinesis.create_stream(StreamName="telemetry", ShardCount=1)
        cloudformation = boto3.client("cloudformation")
        cloudformation.create_stack(StackName=STACK, TemplateBody=json.dumps(_template()))
        yield Deployed(read_stack(cloudformation, STACK), s3, ConsumerAsFunction(), kinesis)


def _template() -> dict[str, Any]:
    return {
        # A template without any resource is refused.
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {name: {"Value": value} for name, value in OUTPUTS.items()},
    }
