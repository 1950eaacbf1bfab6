"""The deployed stack, changed and deleted: what comes afterwards behaves as the new template says.

The tests may run in any order and alone, but for the last, which ends the stack.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-update-behaviors.html
"""

import base64
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from devices.connection import Connection, ConnectionRefused
from devices.provisioning import DeviceCredentials, provision_fleet
from local.deployment.template import parse
from local.lifecycle import LocalCloud
from tests.integration.deployed_stack import (
    client,
    deployed_cloud,
    settled,
    template_of,
    update,
)

WAIT_SECONDS: Final = 90.0
ONE_SHARD: Final = "0"
_TRACE: Final = "traceid() AS trace_id"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with deployed_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def outputs(cloud: LocalCloud) -> dict[str, str]:
    return cloud.outputs()


@pytest.fixture(scope="module")
def device(cloud: LocalCloud, outputs: dict[str, str]) -> DeviceCredentials:
    """A device, registered with the stack's policy."""
    folder, policy = cloud.folder / "test-devices", outputs["DevicePolicyName"]
    return provision_fleet(client(cloud, "iot"), ["changed-1"], policy, folder)[0]


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


BATCHED: Final = "batched-1"


def put_readings(cloud: LocalCloud, stream: str, numbers: range) -> None:
    """Put so many readings of the device BATCHED into one shard in one call."""
    said = {"device_id": BATCHED, "timestamp": datetime.now(UTC).isoformat()}
    client(cloud, "kinesis").put_records(
        StreamName=stream,
        Records=[
            {
                "Data": json.dumps(said | {"sequence": n}).encode(),
                "PartitionKey": "d",
                "ExplicitHashKey": ONE_SHARD,
            }
            for n in numbers
        ],
    )


def objects(cloud: LocalCloud, bucket: str) -> list[list[dict[str, Any]]]:
    """The rows of each raw object, that is of each batch."""
    s3 = client(cloud, "s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="raw_data/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    bodies = [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
    return [pq.read_table(io.BytesIO(body)).to_pylist() for body in bodies]


def batches(cloud: LocalCloud, bucket: str) -> list[list[int]]:
    """The sequence numbers of BATCHED in each batch that has any, in their order."""
    found = [
        [row["sequence"] for row in rows if row["device_id"] == BATCHED]
        for rows in objects(cloud, bucket)
    ]
    return sorted(numbers for numbers in found if numbers)


def records_of(cloud: LocalCloud, stream: str) -> list[dict[str, Any]]:
    """Every record of the stream, closed shards included."""
    kinesis, found = client(cloud, "kinesis"), []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        place = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while place:
            answer = kinesis.get_records(ShardIterator=place)
            found += answer["Records"]
            place = answer.get("NextShardIterator") if answer["Records"] else None
    return [json.loads(record["Data"]) for record in found]


def publish(cloud: LocalCloud, stream: str, device: DeviceCredentials, payload: bytes) -> Any:
    """Publish a message; the envelope that the rule made of it."""
    acknowledged: list[str | None] = []
    topic = f"dt/fleet/{device.thing_name}/telemetry"
    with Connection(cloud.device_endpoint(), device) as connection:
        connection.publish(topic, payload, acknowledged.append)
        assert wait_until(lambda: acknowledged == [None])
    encoded = base64.b64encode(payload).decode()

    def envelopes() -> list[dict[str, Any]]:
        return [one for one in records_of(cloud, stream) if one.get("payload_b64") == encoded]

    assert wait_until(lambda: bool(envelopes()))
    (envelope,) = envelopes()
    return envelope


def test_a_changed_mapping_batches_by_its_new_settings_from_where_it_was(
    cloud: LocalCloud, outputs: dict[str, str]
) -> None:
    stream, raw = outputs["TelemetryStreamName"], outputs["RawZoneBucketName"]
    put_readings(cloud, stream, range(10))
    assert wait_until(lambda: sum(map(len, batches(cloud, raw))) == 10)

    stack = update(cloud, BatchSize="7", MaxBatchingWindowSeconds="300")
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    earlier = batches(cloud, raw)
    # Of 19 the last five wait for two more.
    put_readings(cloud, stream, range(10, 29))
    full = [list(range(10, 17)), list(range(17, 24))]
    assert wait_until(lambda: batches(cloud, raw) == earlier + full)
    put_readings(cloud, stream, range(29, 31))
    full.append(list(range(24, 31)))
    assert wait_until(lambda: batches(cloud, raw) == earlier + full)

    put_readings(cloud, stream, range(31, 36))
    update(cloud, MaxBatchingWindowSeconds="1")
    assert wait_until(lambda: batches(cloud, raw) == [*earlier, *full, list(range(31, 36))])
    # Nothing came again, so the mapping never lost its place.
    arrived = Counter(number for batch in batches(cloud, raw) for number in batch)
    assert arrived == Counter(range(36))


def test_a_changed_shard_count_really_makes_that_many_and_loses_nothing(
    cloud: LocalCloud, outputs: dict[str, str]
) -> None:
    kinesis, stream = client(cloud, "kinesis"), outputs["TelemetryStreamName"]
    parents = {shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]}
    put = kinesis.put_record(StreamName=stream, Data=b'{"put": "before"}', PartitionKey="k")
    assert put["ShardId"] in parents

    stack = update(cloud, ShardCount="4", StreamRetentionHours="200")

    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    assert summary["RetentionPeriodHours"] == 200
    quarters = [str((2 * quarter + 1) * 2**125) for quarter in range(4)]
    shards = {
        kinesis.put_record(
            StreamName=stream, Data=b'{"put": "after"}', PartitionKey="k", ExplicitHashKey=key
        )["ShardId"]
        for key in quarters
    }
    assert len(shards) == 4
    assert not shards & parents
    put_then = Counter(str(record.get("put")) for record in records_of(cloud, stream))
    assert (put_then["before"], put_then["after"]) == (1, 4)


def test_a_changed_rule_is_what_evaluates_the_next_message(
    cloud: LocalCloud, outputs: dict[str, str], device: DeviceCredentials
) -> None:
    stream, template = outputs["TelemetryStreamName"], template_of(cloud)
    assert "edition" not in publish(cloud, stream, device, b"first")

    changed = template.replace(_TRACE, f"{_TRACE}, 'second' AS edition")
    assert changed != template
    assert update(cloud, changed)["StackStatus"] == "UPDATE_COMPLETE"

    envelope = publish(cloud, stream, device, b"second")
    assert (envelope["edition"], envelope["client_id"]) == ("second", device.thing_name)


def test_a_second_topic_filter_takes_a_fleet_that_publishes_elsewhere(
    cloud: LocalCloud, outputs: dict[str, str], device: DeviceCredentials
) -> None:
    topic, bucket = "asset/tracker", outputs["RawZoneBucketName"]

    def answer() -> str | None:
        acknowledged: list[str | None] = []
        now = datetime.now(UTC).isoformat()
        payload = {"device_id": "asset-001", "timestamp": now}
        with Connection(cloud.device_endpoint(), device) as connection:
            connection.publish(topic, json.dumps(payload).encode(), acknowledged.append)
            assert wait_until(lambda: bool(acknowledged))
        return acknowledged[0]

    def arrived() -> list[dict[str, Any]]:
        return [row for rows in objects(cloud, bucket) for row in rows if row["topic"] == topic]

    assert answer() == "NOT_AUTHORIZED"
    assert update(cloud, SecondTopicFilter=topic)["StackStatus"] == "UPDATE_COMPLETE"
    assert answer() is None
    assert wait_until(lambda: bool(arrived()))
    (row,) = arrived()
    assert (row["device_id"], row["identity"]) == ("asset-001", "claimed")
    # And away again: the permission goes with the rule.
    assert update(cloud, SecondTopicFilter="")["StackStatus"] == "UPDATE_COMPLETE"
    assert answer() == "NOT_AUTHORIZED"
    (status,) = client(cloud, "iot").list_topic_rules()["rules"]
    assert status["ruleName"] == outputs["TelemetryRuleName"]


def test_a_rule_with_a_function_that_is_not_emulated_is_refused_and_the_old_one_goes_on(
    cloud: LocalCloud, outputs: dict[str, str], device: DeviceCredentials
) -> None:
    template = template_of(cloud)

    stack = update(cloud, template.replace(_TRACE, f"{_TRACE}, md5(topic()) AS digest"))

    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "function not supported: md5()" in stack["StackStatusReason"]
    assert "digest" not in publish(cloud, outputs["TelemetryStreamName"], device, b"third")


def test_an_update_that_a_service_refuses_goes_back(
    cloud: LocalCloud, outputs: dict[str, str]
) -> None:
    kinesis = client(cloud, "kinesis")
    stream = outputs["TelemetryStreamName"]
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    shards = summary["OpenShardCount"]

    stack = update(cloud, ShardCount=str(shards * 2 + 1), BatchSize="55")

    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "cannot scale up over double" in stack["StackStatusReason"]
    (mapping,) = client(cloud, "lambda").list_event_source_mappings()["EventSourceMappings"]
    assert mapping["BatchSize"] != 55


def test_deleting_the_stack_waits_for_certificates_and_removes_all_but_what_is_to_be_kept(
    cloud: LocalCloud, outputs: dict[str, str], device: DeviceCredentials
) -> None:
    """https://docs.aws.amazon.com/iot/latest/apireference/API_DeletePolicy.html"""
    cloudformation, iot = client(cloud, "cloudformation"), client(cloud, "iot")
    put_readings(cloud, outputs["TelemetryStreamName"], range(100, 110))
    bucket = outputs["RawZoneBucketName"]
    assert wait_until(
        lambda: set(range(100, 110)) <= {n for batch in batches(cloud, bucket) for n in batch}
    )
    stored = objects(cloud, bucket)
    stack_id = cloudformation.describe_stacks(StackName=cloud.stack)["Stacks"][0]["StackId"]
    kept = {
        logical_id
        for logical_id, resource in parse(template_of(cloud))["Resources"].items()
        if resource.get("DeletionPolicy", "Delete") != "Delete"
    }

    cloudformation.delete_stack(StackName=cloud.stack)

    # A certificate still has the policy.
    stack = settled(cloudformation, cloud.stack)
    assert stack["StackStatus"] == "DELETE_FAILED"
    assert "DevicePolicy" in stack["StackStatusReason"]
    iot.detach_policy(policyName=outputs["DevicePolicyName"], target=device.certificate_arn)

    cloudformation.delete_stack(StackName=cloud.stack)

    assert settled(cloudformation, stack_id)["StackStatus"] == "DELETE_COMPLETE"
    with pytest.raises(ClientError, match="does not exist"):
        cloudformation.describe_stacks(StackName=cloud.stack)
    events = cloudformation.describe_stack_events(StackName=stack_id)["StackEvents"]
    last = {one["LogicalResourceId"]: one["ResourceStatus"] for one in reversed(events)}
    assert {one for one, status in last.items() if status == "DELETE_SKIPPED"} == kept
    assert left_behind(cloud) == {}
    with pytest.raises(ConnectionRefused):
        Connection(cloud.device_endpoint(), device).__enter__()
    for zone in ("Raw", "Rejected", "Failed", "Curated"):
        client(cloud, "s3").head_bucket(Bucket=outputs[f"{zone}ZoneBucketName"])
    assert stored
    assert objects(cloud, bucket) == stored
    database = client(cloud, "glue").get_database(Name=outputs["DatabaseName"])
    assert database["Database"]["Name"] == outputs["DatabaseName"]


def left_behind(cloud: LocalCloud) -> dict[str, list[Any]]:
    """What is there, by kind, of everything that a stack makes and does not keep."""
    asked: list[tuple[str, str, str]] = [
        ("kinesis", "list_streams", "StreamNames"),
        ("lambda", "list_functions", "Functions"),
        ("lambda", "list_layers", "Layers"),
        ("lambda", "list_event_source_mappings", "EventSourceMappings"),
        ("iot", "list_topic_rules", "rules"),
        ("iot", "list_policies", "policies"),
        ("iam", "list_roles", "Roles"),
        ("logs", "describe_log_groups", "logGroups"),
        ("glue", "get_crawlers", "Crawlers"),
        ("glue", "get_jobs", "Jobs"),
        ("glue", "get_triggers", "Triggers"),
        ("glue", "list_workflows", "Workflows"),
        ("sns", "list_topics", "Topics"),
        ("events", "list_rules", "Rules"),
        ("cloudwatch", "describe_alarms", "MetricAlarms"),
        ("cloudwatch", "list_dashboards", "DashboardEntries"),
    ]
    found = {
        f"{service} {operation}": getattr(client(cloud, service), operation)()[member]
        for service, operation, member in asked
    }
    workgroups = client(cloud, "athena").list_work_groups()["WorkGroups"]
    # Every account has this one.
    found["athena"] = [one for one in workgroups if one["Name"] != "primary"]
    return {kind: things for kind, things in found.items() if things}
