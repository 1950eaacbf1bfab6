"""A small deployed stack to which bad things are done, and its clock.

Time passes by the services' clock, which is moved; what happens in it is real.
"""

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import pyarrow.parquet as pq

from devices.connection import Connection
from devices.provisioning import DeviceCredentials, provision_fleet
from local.lifecycle import LocalCloud
from tests.integration.deployed_stack import client

# Spark on a busy machine takes minutes; only a failure waits for all of it.
WAIT_SECONDS: Final = 600.0
# The shards of samconfig's local stack halve the hash keys.
SHARDS: Final = ("0", str(2**127))
_STRANGER_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*"}],
}


@dataclass
class Scene:
    """The stack and what was put into it. `alarms` are the deployed ones' names by logical id."""

    cloud: LocalCloud
    outputs: dict[str, str]
    alarms: dict[str, str]
    event_rules: set[str]
    moved_seconds: float = 0.0
    put: list[int] = field(default_factory=list)

    def client(self, service: str) -> Any:
        """A boto3 client of the stack's cloud."""
        return client(self.cloud, service)

    # ------------------------------------------------------------------------------------- time

    def advance(self, seconds: int) -> None:
        """Go on to where the present multiple of `seconds` ends, with all that happened in it
        measured."""
        self.cloud.evaluate_alarms()
        now = time.time() + self.moved_seconds
        self.jump(now // seconds * seconds + seconds + 1 - now)

    def jump(self, seconds: float) -> None:
        """Let so much time pass."""
        self.cloud.inject("clock-jump", seconds=seconds)
        self.moved_seconds += seconds

    def ringing(self) -> set[str]:
        """The logical ids of the alarms that are on now."""
        states = self.cloud.evaluate_alarms()
        return {logical for logical, name in self.alarms.items() if states[name] == "ALARM"}

    # ---------------------------------------------------------------------------------- records

    def put_readings(self, count: int, *, shard: int = 0, bad: int = 0, filler: int = 0) -> None:
        """Put so many readings and `bad` that break the contract into a shard, in one call; those
        that the stream took are kept in `put`."""
        now = datetime.now(UTC).isoformat()
        first = len(self.put) + 1_000 * (1 + int(time.monotonic()))
        numbers = range(first, first + count)
        good = [
            {"device_id": "d", "timestamp": now, "sequence": number, "note": "x" * filler}
            for number in numbers
        ]
        payloads = [*good, *({"timestamp": now, "note": "x" * filler} for _ in range(bad))]
        # Alternating, so that the stream takes some of both.
        order = sorted(range(len(payloads)), key=lambda at: at % max(count, 1))
        answer = self.client("kinesis").put_records(
            StreamName=self.outputs["TelemetryStreamName"],
            Records=[
                {
                    "Data": json.dumps(payloads[at]).encode(),
                    "PartitionKey": "d",
                    "ExplicitHashKey": SHARDS[shard],
                }
                for at in order
            ],
        )
        for at, told in zip(order, answer["Records"], strict=True):
            if at < count and "SequenceNumber" in told:
                self.put.append(numbers[at])

    def ingested(self) -> list[int]:
        """The sequence numbers of all readings in the raw zone."""
        s3, bucket = self.client("s3"), self.outputs["RawZoneBucketName"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="raw_data/")
        found: list[int] = []
        for page in pages:
            for item in page.get("Contents", []):
                body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                if body.startswith(b"PAR1"):
                    found += pq.read_table(io.BytesIO(body))["sequence"].to_pylist()
        return found

    def wait_until_consumed(self) -> None:
        """Wait until the mapping has done everything that is on the stream."""
        # Each look reads the shards, of which the stream allows five a second to all.
        wait_until(lambda: self.mapping()["behind"] == 0, every_seconds=0.5)

    def mapping(self) -> dict[str, Any]:
        """The mapping's status."""
        (mapping,) = self.cloud.status()["mappings"]
        return dict(mapping)

    # ---------------------------------------------------------------------------------- devices

    @cached_property
    def device(self) -> DeviceCredentials:
        """A device of the stack's policy."""
        return self._provisioned("alarmed-1", self.outputs["DevicePolicyName"])

    @cached_property
    def stranger(self) -> DeviceCredentials:
        """A device that another policy lets publish what the stack's would not."""
        policy = "anything"
        self.client("iot").create_policy(
            policyName=policy, policyDocument=json.dumps(_STRANGER_POLICY)
        )
        return self._provisioned("stranger-1", policy)

    def _provisioned(self, name: str, policy: str) -> DeviceCredentials:
        folder = self.cloud.folder / "test-devices"
        return provision_fleet(self.client("iot"), [name], policy, folder)[0]

    def publish(self, device: DeviceCredentials, topic: str, payload: bytes, counter: str) -> None:
        """Publish a message and wait until the intake has counted it as `counter`."""
        before = self.cloud.status()["intake"][counter]
        with Connection(self.cloud.device_endpoint(), device) as connection:
            connection.publish(topic, payload, lambda _refused: None)
            wait_until(lambda: self.cloud.status()["intake"][counter] > before)

    @property
    def topic(self) -> str:
        """Where `device` publishes."""
        return f"dt/fleet/{self.device.thing_name}/telemetry"

    # ----------------------------------------------------------------------------------- alarms

    @contextmanager
    def told(self) -> Iterator[list[dict[str, Any]]]:
        """What the alarm topic tells a queue in the meantime."""
        sns, sqs, messages = self.client("sns"), self.client("sqs"), list[dict[str, Any]]()
        queue = sqs.create_queue(QueueName="told")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        topic = self.outputs["AlarmTopicArn"]
        subscribed = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        yield messages
        sns.unsubscribe(SubscriptionArn=subscribed["SubscriptionArn"])
        while received := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in received:
                messages.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    def changes(self, logical_id: str) -> list[str]:
        """The states that an alarm has gone into, in their order."""
        answer = self.client("cloudwatch").describe_alarm_history(
            AlarmName=self.alarms[logical_id],
            HistoryItemType="StateUpdate",
            ScanBy="TimestampAscending",
        )
        return [
            json.loads(item["HistoryData"])["newState"]["stateValue"]
            for item in answer["AlarmHistoryItems"]
        ]


def scene_of(cloud: LocalCloud) -> Scene:
    """The scene of a deployed stack, with the alarms that are deployed."""
    pages = client(cloud, "cloudformation").get_paginator("list_stack_resources")
    shown = pages.paginate(StackName=cloud.stack).build_full_result()
    alarms = {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for one in shown["StackResourceSummaries"]
        if one["ResourceType"] == "AWS::CloudWatch::Alarm"
    }
    rules = {
        one["LogicalResourceId"]
        for one in shown["StackResourceSummaries"]
        if one["ResourceType"] == "AWS::Events::Rule"
    }
    return Scene(cloud, cloud.outputs(), alarms, rules)


def wait_until(condition: Callable[[], bool], every_seconds: float = 0.1) -> None:
    """Wait for what a part of the cloud does in its own time; fail if it takes too long."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every_seconds)


def all_in(expected: Sequence[int], found: Sequence[int]) -> bool:
    """Whether everything expected was found."""
    return set(expected) <= set(found)
