"""The real `sam deploy` of the built template into the local cloud, and what is there afterwards.

`test_deployment_changes` goes on from there: updates and the stack's end.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import yaml

from devices.claim import ClaimFiles, ClaimRefusedError, claim_device
from devices.connection import Connection
from devices.keys import write_private
from devices.provisioning import Device, DeviceCredentials, Registrar
from local.deployment.template import parse
from local.lifecycle import LocalCloud, clean_environment
from tests.integration.deployed_stack import client, deploy, deployed_cloud

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = {
    "TelemetryStreamName",
    "RawZoneBucketName",
    "RejectedZoneBucketName",
    "FailedZoneBucketName",
    "CuratedZoneBucketName",
    "DatabaseName",
    "CurationWorkflowName",
    "IngestTelemetryFunctionName",
    "PipelineDashboardUrl",
    "OperationsDashboardUrl",
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with deployed_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def outputs(cloud: LocalCloud) -> dict[str, str]:
    return cloud.outputs()


def test_every_resource_of_the_template_is_there(cloud: LocalCloud) -> None:
    pages = client(cloud, "cloudformation").get_paginator("list_stack_resources")
    shown = pages.paginate(StackName=cloud.stack).build_full_result()
    statuses = {one["ResourceStatus"] for one in shown["StackResourceSummaries"]}
    there = {one["LogicalResourceId"] for one in shown["StackResourceSummaries"]}

    assert statuses == {"CREATE_COMPLETE"}
    declared = parse((ROOT / "template.yaml").read_text())["Resources"]
    missing = {name: declared[name].get("Condition") for name in declared.keys() - there}
    # Layers get their content's hash in their name.
    assert {name for name, condition in missing.items() if not condition} == {
        "ContractLayer",
        "ColumnarLayer",
    }
    assert set(missing.values()) - {None} == {
        "DisableMappingByAlarm",
        "HasAlarmEmail",
        "HasBudget",
        "HasSecondTopicFilter",
    }


def test_the_outputs_that_people_and_tools_read_are_given(outputs: dict[str, str]) -> None:
    assert outputs.keys() >= OUTPUTS
    assert all(outputs.values())


def test_the_stream_is_as_the_template_says(cloud: LocalCloud, outputs: dict[str, str]) -> None:
    kinesis = client(cloud, "kinesis")
    stream = kinesis.describe_stream_summary(StreamName=outputs["TelemetryStreamName"])
    summary = stream["StreamDescriptionSummary"]

    assert summary["OpenShardCount"] == 2
    assert summary["RetentionPeriodHours"] == 168
    assert (summary["EncryptionType"], summary["KeyId"]) == ("KMS", "alias/aws/kinesis")


def test_the_rule_is_as_the_template_says(cloud: LocalCloud, outputs: dict[str, str]) -> None:
    rule = client(cloud, "iot").get_topic_rule(ruleName=outputs["TelemetryRuleName"])["rule"]

    assert rule["sql"].endswith("FROM 'dt/+/+/telemetry'")
    assert rule["actions"][0]["kinesis"]["streamName"] == outputs["TelemetryStreamName"]


def test_the_mapping_is_as_the_template_says(cloud: LocalCloud, outputs: dict[str, str]) -> None:
    (mapping,) = client(cloud, "lambda").list_event_source_mappings()["EventSourceMappings"]

    assert mapping["EventSourceArn"].endswith(f"stream/{outputs['TelemetryStreamName']}")
    assert mapping["FunctionArn"].endswith(outputs["IngestTelemetryFunctionName"])
    assert mapping["BatchSize"] == 10_000
    assert mapping["MaximumBatchingWindowInSeconds"] == 1
    failed = f"arn:aws:s3:::{outputs['FailedZoneBucketName']}"
    assert mapping["DestinationConfig"]["OnFailure"]["Destination"] == failed


def test_the_zones_are_private_encrypted_and_versioned(
    cloud: LocalCloud, outputs: dict[str, str]
) -> None:
    s3 = client(cloud, "s3")
    for zone in ("Raw", "Rejected", "Failed", "Curated"):
        bucket = outputs[f"{zone}ZoneBucketName"]
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
        assert all(block.values())
        encryption = rules["Rules"][0]["ApplyServerSideEncryptionByDefault"]
        assert encryption["SSEAlgorithm"] == "AES256"
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert "abandoned-uploads" in [rule["ID"] for rule in rules]


def test_the_job_has_its_arguments_and_its_script(
    cloud: LocalCloud, outputs: dict[str, str]
) -> None:
    job = client(cloud, "glue").get_job(JobName=outputs["CurateTelemetryJobName"])["Job"]
    bucket, key = job["Command"]["ScriptLocation"].removeprefix("s3://").split("/", 1)

    assert job["DefaultArguments"]["--raw_zone_bucket"] == outputs["RawZoneBucketName"]
    script = client(cloud, "s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert script == (ROOT / "glue/curate_telemetry.py").read_bytes()


def test_alarms_and_dashboards_are_kept(cloud: LocalCloud, outputs: dict[str, str]) -> None:
    cloudwatch = client(cloud, "cloudwatch")
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]

    assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {
        outputs["AlarmTopicArn"]
    }
    for name in ("pipeline", "operations"):
        dashboard = cloudwatch.get_dashboard(DashboardName=f"{cloud.stack}-{name}")
        assert json.loads(dashboard["DashboardBody"])["widgets"]


def test_a_device_claims_its_certificate_by_the_deployed_template_once(
    cloud: LocalCloud, outputs: dict[str, str], tmp_path: Path
) -> None:
    iot = client(cloud, "iot")
    made = iot.create_keys_and_certificate(setAsActive=True)
    claim = ClaimFiles(tmp_path / "claim.pem", tmp_path / "claim.key.pem")
    write_private(claim.certificate, made["certificatePem"])
    write_private(claim.private_key, made["keyPair"]["PrivateKey"])
    iot.attach_policy(policyName=outputs["ClaimPolicyName"], target=made["certificateArn"])
    template = outputs["DeviceProvisioningTemplateName"]
    endpoint = cloud.device_endpoint()
    with pytest.raises(ClaimRefusedError, match="AccessDenied"):
        claim_device(endpoint, claim, template, "claimed-1", tmp_path)
    registrar = Registrar(iot, outputs["DevicePolicyName"], tmp_path)
    registrar.announce(Device("claimed-1", {"site": "depot"}))
    files = claim_device(endpoint, claim, template, "claimed-1", tmp_path)
    with pytest.raises(ClaimRefusedError, match="AccessDenied"):
        claim_device(endpoint, claim, template, "claimed-1", tmp_path / "thief")

    answers: Queue[str | None] = Queue()
    device = DeviceCredentials("claimed-1", "", files.certificate, files.private_key)
    payload = {"device_id": "claimed-1", "timestamp": datetime.now(UTC).isoformat()}
    with Connection(endpoint, device) as connection:
        connection.publish(
            "dt/fleet/claimed-1/telemetry", json.dumps(payload).encode(), answers.put
        )
        assert answers.get(timeout=60) is None
    # Readings are joined with what is exported: once, and once more when it was moved.
    functions = client(cloud, "lambda")
    names = [each["FunctionName"] for each in functions.list_functions()["Functions"]]
    (export,) = (name for name in names if "ExportRegistry" in name)
    changes = []
    for site in ("depot", "depot", "harbour"):
        registrar.announce(Device("claimed-1", {"site": site}))
        answer = functions.invoke(FunctionName=export)["Payload"].read()
        changes.append(json.loads(answer)["changes"])
    assert changes == [1, 0, 1]


def test_a_conditional_deny_does_not_lock_the_local_cloud_out(
    cloud: LocalCloud, outputs: dict[str, str]
) -> None:
    s3, bucket = client(cloud, "s3"), outputs["CuratedZoneBucketName"]

    s3.put_object(Bucket=bucket, Key="probe", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="probe")["Body"].read() == b"x"
    s3.delete_object(Bucket=bucket, Key="probe")


def test_a_second_deployment_finds_nothing_to_change(cloud: LocalCloud) -> None:
    cloud.deploy()

    assert "No changes to deploy" in (cloud.folder / "logs/deploy.log").read_text()


def test_sam_prints_what_the_local_cloud_does_not_have(cloud: LocalCloud, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        yaml.safe_dump(
            {
                "Resources": {
                    "Queue": {"Type": "AWS::Nothing::Queue"},
                    "Stream": {"Type": "AWS::Kinesis::Stream", "Properties": {"Colour": "red"}},
                }
            }
        )
    )
    sam = os.environ.get("SAM") or str(ROOT / ".venv-sam/bin/sam")

    told = subprocess.run(
        [sam, "deploy", "--template-file", str(template), "--stack-name", "odd", "--resolve-s3"],
        cwd=tmp_path,
        env=clean_environment() | cloud.variables(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode != 0
    assert "the local cloud has no AWS::Nothing::Queue" in told.stdout + told.stderr
    assert "AWS::Kinesis::Stream has no property Colour" in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (
            {"VersioningConfiguration": {"Status": "Enabled", "MFADelete": "Enabled", "Who": "me"}},
            "PutBucketVersioning.VersioningConfiguration.Who",
        ),
        (
            {"LifecycleConfiguration": {"Rules": [{"Status": "Enabled", "Moon": "full"}]}},
            "Moon",
        ),
        ({"BucketName": "not a name"}, "not a name"),
    ],
)
def test_a_nested_property_that_has_no_effect_here_fails_the_resource(
    cloud: LocalCloud, properties: dict[str, Any], reason: str
) -> None:
    template = {
        "Resources": {
            "Stream": {"Type": "AWS::Kinesis::Stream", "Properties": {"Name": "doomed"}},
            "Bucket": {
                "Type": "AWS::S3::Bucket",
                "Properties": properties,
                "DependsOn": "Stream",
            },
        }
    }

    stack = deploy(cloud, template, f"doomed-{len(reason)}")

    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert reason in stack["StackStatusReason"]
    assert "doomed" not in client(cloud, "kinesis").list_streams()["StreamNames"]
