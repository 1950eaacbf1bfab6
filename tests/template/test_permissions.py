"""Roles: what the code and the services behind it call is allowed, and nothing else is.

No emulator enforces any of it; on AWS each of these would be an AccessDenied, or a door left open.
"""

import json
import re
from typing import Any

import pytest

from audit_lake.mark import PREFIX as MARK_PREFIX
from devices.claim_link import claim_client_id
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX
from tests.template.conftest import KEY_ARN, MakeStack
from tests.template.expand import ROOT, TEMPLATE
from tests.template.statements import listed, operations_called, permissions

OPERATIONS = ROOT / "docs" / "operations.md"

# Whose role runs which code.
CODE = {
    "IngestTelemetryRole": [ROOT / "functions" / "ingest_telemetry"],
    "CurateTelemetryRole": [ROOT / "glue"],
    "PauseIngestionRole": [ROOT / "functions" / "pause_ingestion"],
    "ExportRegistryRole": [ROOT / "functions" / "export_registry"],
    "AdmitDeviceRole": [ROOT / "functions" / "admit_device"],
    "AuditLakeRole": [
        ROOT / "functions" / "audit_lake",
        ROOT / "ops" / "erasures.py",
        ROOT / "ops" / "failed_zone.py",
        *(
            ROOT / "ops" / "audit" / f"{module}.py"
            for module in ("audit", "catalogue", "checks", "evidence", "findings")
        ),
    ],
}

# A call that is not listed here fails the test below: say which permission it needs.
ACTION_OF_OPERATION = {
    ("s3", "put_object"): "s3:PutObject",
    ("s3", "get_object"): "s3:GetObject",
    ("s3", "head_object"): "s3:GetObject",
    ("s3", "list_objects_v2"): "s3:ListBucket",
    ("s3", "get_bucket_lifecycle_configuration"): "s3:GetLifecycleConfiguration",
    ("kinesis", "get_records"): "kinesis:GetRecords",
    ("kinesis", "get_shard_iterator"): "kinesis:GetShardIterator",
    ("kinesis", "list_shards"): "kinesis:ListShards",
    ("events", "put_events"): "events:PutEvents",
    ("lambda", "get_event_source_mapping"): "lambda:GetEventSourceMapping",
    ("lambda", "update_event_source_mapping"): "lambda:UpdateEventSourceMapping",
    ("sns", "publish"): "sns:Publish",
    # PyIceberg's, of the same name, which makes it.
    ("glue", "create_table"): "glue:CreateTable",
    ("iot", "list_things"): "iot:ListThings",
    ("iot", "describe_thing"): "iot:DescribeThing",
    ("iot", "list_thing_principals"): "iot:ListThingPrincipals",
}

# What a role allows although no code of ours calls it, and who does.
BESIDES = {
    "TelemetryRuleRole": {
        "kinesis:PutRecord": "the rule's action",
        "s3:PutObject": "the rule's error action",
        "kms:GenerateDataKey": "both write encrypted",
    },
    "IngestTelemetryRole": {
        "kinesis:DescribeStream": "the mapping polls in this role",
        "kinesis:DescribeStreamSummary": "the mapping",
        "kinesis:GetRecords": "the mapping",
        "kinesis:GetShardIterator": "the mapping",
        "kinesis:ListShards": "the mapping",
        "s3:ListBucket": "the mapping, on its on-failure destination",
        "kms:Decrypt": "reading the stream, comparing objects",
        "kms:GenerateDataKey": "writing objects",
        "logs:CreateLogStream": "Lambda",
        "logs:PutLogEvents": "Lambda",
        "xray:PutTraceSegments": "active tracing",
        "xray:PutTelemetryRecords": "active tracing",
    },
    "RawZoneCrawlerRole": {
        "s3:GetObject": "the crawler reads footers",
        "s3:ListBucket": "the crawler",
        "s3:GetBucketLocation": "the crawler",
        "kms:Decrypt": "the crawler",
        "glue:GetDatabase": "the crawler writes its table and partitions",
        "glue:GetTable": "the crawler",
        "glue:GetTables": "the crawler",
        "glue:CreateTable": "the crawler",
        "glue:UpdateTable": "the crawler",
        "glue:GetPartition": "the crawler",
        "glue:GetPartitions": "the crawler",
        "glue:BatchGetPartition": "the crawler",
        "glue:BatchCreatePartition": "the crawler",
        "glue:CreatePartition": "the crawler",
        "glue:UpdatePartition": "the crawler",
        "logs:CreateLogGroup": "crawlers share one log group in an account",
        "logs:CreateLogStream": "the crawler",
        "logs:PutLogEvents": "the crawler",
    },
    "CurateTelemetryRole": {
        "s3:PutObject": "Iceberg's S3FileIO",
        "s3:DeleteObject": "Iceberg cleans up after a failed commit",
        "s3:AbortMultipartUpload": "Iceberg's S3FileIO",
        "s3:GetBucketLocation": "Spark's S3A",
        "kms:Decrypt": "reading objects",
        "kms:GenerateDataKey": "writing objects",
        "glue:GetDatabase": "Iceberg's GlueCatalog",
        "glue:GetTable": "Iceberg's GlueCatalog",
        "glue:GetTables": "Iceberg's GlueCatalog",
        "glue:CreateTable": "Iceberg's GlueCatalog",
        "glue:UpdateTable": "Iceberg's GlueCatalog commits with it",
        "logs:CreateLogStream": "Glue",
        "logs:PutLogEvents": "Glue",
        "cloudwatch:PutMetricData": "Glue's job metrics",
    },
    "SummariseDevicesRole": {
        "s3:GetObject": "Iceberg's S3FileIO; Glue reads the script",
        "s3:PutObject": "Iceberg's S3FileIO",
        "s3:DeleteObject": "Iceberg cleans up after a failed commit",
        "s3:AbortMultipartUpload": "Iceberg's S3FileIO",
        "s3:ListBucket": "a missing object is told from a forbidden one",
        "kms:Decrypt": "reading objects",
        "kms:GenerateDataKey": "writing objects",
        "glue:GetDatabase": "Iceberg's GlueCatalog",
        "glue:GetTable": "Iceberg's GlueCatalog",
        "glue:GetTables": "Iceberg's GlueCatalog",
        "glue:CreateTable": "Iceberg's GlueCatalog",
        "glue:UpdateTable": "Iceberg's GlueCatalog commits with it",
        "logs:CreateLogStream": "Glue",
        "logs:PutLogEvents": "Glue",
        "cloudwatch:PutMetricData": "Glue's job metrics",
    },
    "MaintainTablesRole": {
        "s3:GetObject": "Iceberg's S3FileIO; Glue reads the script",
        "s3:PutObject": "Iceberg's S3FileIO",
        "s3:DeleteObject": "expired and orphaned files",
        "s3:AbortMultipartUpload": "Iceberg's S3FileIO",
        "s3:ListBucket": "the search for orphaned files",
        "kms:Decrypt": "reading objects",
        "kms:GenerateDataKey": "writing objects",
        "glue:GetDatabase": "Iceberg's GlueCatalog",
        "glue:GetTable": "Iceberg's GlueCatalog",
        "glue:GetTables": "Iceberg's GlueCatalog",
        "glue:UpdateTable": "Iceberg's GlueCatalog commits with it",
        "logs:CreateLogStream": "Glue",
        "logs:PutLogEvents": "Glue",
        "cloudwatch:PutMetricData": "Glue's job metrics",
    },
    "AuditLakeRole": {
        "kms:Decrypt": "reading stream and objects",
        "kms:GenerateDataKey": "writing how far it has come",
        "glue:GetTable": "PyIceberg's GlueCatalog",
        "logs:CreateLogStream": "Lambda",
        "logs:PutLogEvents": "Lambda",
        "xray:PutTraceSegments": "active tracing",
        "xray:PutTelemetryRecords": "active tracing",
    },
    "PauseIngestionRole": {
        "kms:Decrypt": "telling the topic",
        "kms:GenerateDataKey": "telling the topic",
        "logs:CreateLogStream": "Lambda",
        "logs:PutLogEvents": "Lambda",
        "xray:PutTraceSegments": "active tracing",
        "xray:PutTelemetryRecords": "active tracing",
    },
    "AuditScheduleRole": {"lambda:InvokeFunction": "EventBridge Scheduler"},
    "ExportRegistryRole": {
        "s3:GetObject": "PyIceberg reads the table",
        "s3:PutObject": "PyIceberg",
        "s3:DeleteObject": "PyIceberg, metadata that a commit supersedes",
        "s3:AbortMultipartUpload": "pyarrow's S3",
        "s3:ListBucket": "a missing object is told from a forbidden one",
        "kms:Decrypt": "reading objects",
        "kms:GenerateDataKey": "writing objects",
        "glue:GetTable": "PyIceberg's GlueCatalog",
        "glue:UpdateTable": "PyIceberg's GlueCatalog commits with it",
        "logs:CreateLogStream": "Lambda",
        "logs:PutLogEvents": "Lambda",
        "xray:PutTraceSegments": "active tracing",
        "xray:PutTelemetryRecords": "active tracing",
    },
    "RegistryExportScheduleRole": {"lambda:InvokeFunction": "EventBridge Scheduler"},
    "AdmitDeviceRole": {
        "logs:CreateLogStream": "Lambda",
        "logs:PutLogEvents": "Lambda",
        "xray:PutTraceSegments": "active tracing",
        "xray:PutTelemetryRecords": "active tracing",
    },
    "DeviceProvisioningRole": {
        "iot:DescribeThing": "RegisterThing, on the template's thing",
        "iot:CreateThing": "RegisterThing",
        "iot:UpdateThing": "RegisterThing",
        "iot:ListThingPrincipals": "RegisterThing",
        "iot:DescribeCertificate": "RegisterThing, on the template's certificate",
        "iot:UpdateCertificate": "RegisterThing activates it",
        "iot:AttachThingPrincipal": "RegisterThing",
        "iot:AttachPolicy": "RegisterThing",
        "iot:AttachPrincipalPolicy": "RegisterThing, by its older name",
        "iot:ListPrincipalThings": "RegisterThing",
        "iot:ListPrincipalPolicies": "RegisterThing",
        "iot:GetPolicy": "RegisterThing, on the template's policy",
    },
}

# Actions without resource-level permissions. Nothing else of ours may say Resource: "*".
EVERY_RESOURCE = {
    ("IngestTelemetryRole", "xray:PutTraceSegments"),
    ("IngestTelemetryRole", "xray:PutTelemetryRecords"),
    ("AuditLakeRole", "xray:PutTraceSegments"),
    ("AuditLakeRole", "xray:PutTelemetryRecords"),
    ("PauseIngestionRole", "xray:PutTraceSegments"),
    ("PauseIngestionRole", "xray:PutTelemetryRecords"),
    ("ExportRegistryRole", "iot:ListThings"),
    ("ExportRegistryRole", "xray:PutTraceSegments"),
    ("ExportRegistryRole", "xray:PutTelemetryRecords"),
    ("AdmitDeviceRole", "xray:PutTraceSegments"),
    ("AdmitDeviceRole", "xray:PutTelemetryRecords"),
    ("CurateTelemetryRole", "cloudwatch:PutMetricData"),
    ("SummariseDevicesRole", "cloudwatch:PutMetricData"),
    ("MaintainTablesRole", "cloudwatch:PutMetricData"),
}


@pytest.fixture(scope="module")
def stack(make_stack: MakeStack) -> dict[str, Any]:
    """With the role that a parameter adds."""
    return make_stack(DisableMappingOnRejectedShare="true")


@pytest.fixture(scope="module")
def encrypted_stack(make_stack: MakeStack) -> dict[str, Any]:
    return make_stack(DisableMappingOnRejectedShare="true", KmsKeyArn=KEY_ARN)


def roles(stack: dict[str, Any]) -> set[str]:
    return {name for name, each in stack.items() if each["Type"] == "AWS::IAM::Role"}


def test_every_role_is_looked_at(stack: dict[str, Any]) -> None:
    assert roles(stack) == set(BESIDES)


@pytest.mark.parametrize("role", CODE)
def test_every_call_of_the_code_is_one_whose_permission_is_known(role: str) -> None:
    calls = operations_called(*CODE[role])
    assert calls, "the scan finds no call at all: has the code found another way to make a client?"
    assert calls <= set(ACTION_OF_OPERATION)


@pytest.mark.parametrize("role", BESIDES)
def test_role_allows_what_is_called_and_nothing_else(
    encrypted_stack: dict[str, Any], role: str
) -> None:
    allowed = {each.action for each in permissions(encrypted_stack) if each.role == role}
    calls = operations_called(*CODE[role]) if role in CODE else set()
    needed = {ACTION_OF_OPERATION[call] for call in calls}
    assert allowed == needed | set(BESIDES[role])


def test_only_actions_without_resources_are_allowed_everywhere(stack: dict[str, Any]) -> None:
    everywhere = {(each.role, each.action) for each in permissions(stack) if each.resource == "*"}
    assert everywhere == EVERY_RESOURCE


def test_no_action_is_a_pattern(stack: dict[str, Any]) -> None:
    assert not [each for each in permissions(stack) if "*" in each.action]


def test_metrics_of_the_job_are_bound_to_their_namespace(stack: dict[str, Any]) -> None:
    conditions = {
        each.condition for each in permissions(stack) if each.action == "cloudwatch:PutMetricData"
    }
    assert conditions == {"{'StringEquals': {'cloudwatch:namespace': 'Glue'}}"}


def test_function_writes_to_its_prefixes_and_to_the_failed_zone_only(stack: dict[str, Any]) -> None:
    written = {
        each.resource
        for each in permissions(stack)
        if each.role == "IngestTelemetryRole" and each.action == "s3:PutObject"
    }
    assert written == {
        f"arn:aws:s3:::RawZoneBucket/{RAW_PREFIX}*",
        f"arn:aws:s3:::RejectedZoneBucket/{REJECTED_PREFIX}*",
        "arn:aws:s3:::FailedZoneBucket/*",  # the mapping, on failure
    }


def test_function_reads_what_it_wrote_to_compare_it(stack: dict[str, Any]) -> None:
    read = {
        each.resource
        for each in permissions(stack)
        if each.role == "IngestTelemetryRole" and each.action == "s3:GetObject"
    }
    assert read == {
        f"arn:aws:s3:::RawZoneBucket/{RAW_PREFIX}*",
        f"arn:aws:s3:::RejectedZoneBucket/{REJECTED_PREFIX}*",
    }


def test_rule_may_write_where_its_error_action_does(stack: dict[str, Any]) -> None:
    action = stack["TelemetryRule"]["Properties"]["TopicRulePayload"]["ErrorAction"]["S3"]
    prefix = action["Key"].split("/")[0]
    resources = {
        each.resource
        for each in permissions(stack)
        if each.role == action["RoleArn"].removesuffix(".Arn") and each.action == "s3:PutObject"
    }
    assert resources == {f"arn:aws:s3:::{action['BucketName']}/{prefix}/*"}


def test_job_never_writes_to_the_raw_zone(stack: dict[str, Any]) -> None:
    touched = {
        each.action
        for each in permissions(stack)
        if each.role in ("CurateTelemetryRole", "RawZoneCrawlerRole")
        and "RawZoneBucket" in each.resource
    }
    assert touched == {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"}


def test_maintenance_deletes_in_the_warehouse_of_the_tables_only(stack: dict[str, Any]) -> None:
    deleted = {
        each.resource
        for each in permissions(stack)
        if each.role == "MaintainTablesRole" and each.action == "s3:DeleteObject"
    }
    assert deleted == {"arn:aws:s3:::CuratedZoneBucket/curated/*"}


def test_audit_changes_nothing_but_how_far_it_has_come(stack: dict[str, Any]) -> None:
    allowed = [each for each in permissions(stack) if each.role == "AuditLakeRole"]
    reading = re.compile(r"(s3|glue|kinesis):(Get|List)\w+|(logs|xray):\w+")
    changing = {
        (each.action, each.resource) for each in allowed if not reading.fullmatch(each.action)
    }
    assert changing == {("s3:PutObject", f"arn:aws:s3:::CuratedZoneBucket/{MARK_PREFIX}*")}


def test_job_reads_its_script_from_the_bucket_that_sam_uploads_to(make_stack: MakeStack) -> None:
    stack = make_stack(SamArtifactBucketName="our-artifacts")
    assert "arn:aws:s3:::our-artifacts/*" in {
        each.resource
        for each in permissions(stack)
        if each.role == "CurateTelemetryRole" and each.action == "s3:GetObject"
    }


def test_buckets_are_reached_in_this_account_only(stack: dict[str, Any]) -> None:
    # A bucket whose name someone else has taken must not receive telemetry.
    open_to_others = [
        each
        for each in permissions(stack)
        if each.action.startswith("s3:")
        and each.condition != "{'StringEquals': {'s3:ResourceAccount': 'THE-ACCOUNT'}}"
    ]
    assert not open_to_others


def test_each_role_is_for_one_service(stack: dict[str, Any]) -> None:
    # IoT and the scheduler could be told to assume a role by another account. Lambda and Glue are
    # given theirs by iam:PassRole, which ends at the account, and state no source of their call.
    conditions = {}
    for role in roles(stack):
        document = stack[role]["Properties"]["AssumeRolePolicyDocument"]
        (statement,) = document["Statement"]
        conditions[role] = (statement["Principal"]["Service"], statement.get("Condition"))
    assert conditions == {
        "TelemetryRuleRole": (
            "iot.amazonaws.com",
            {"StringEquals": {"aws:SourceAccount": "THE-ACCOUNT"}},
        ),
        "IngestTelemetryRole": ("lambda.amazonaws.com", None),
        "RawZoneCrawlerRole": ("glue.amazonaws.com", None),
        "CurateTelemetryRole": ("glue.amazonaws.com", None),
        "SummariseDevicesRole": ("glue.amazonaws.com", None),
        "MaintainTablesRole": ("glue.amazonaws.com", None),
        "AuditLakeRole": ("lambda.amazonaws.com", None),
        "PauseIngestionRole": ("lambda.amazonaws.com", None),
        "ExportRegistryRole": ("lambda.amazonaws.com", None),
        "AdmitDeviceRole": ("lambda.amazonaws.com", None),
        "DeviceProvisioningRole": (
            "iot.amazonaws.com",
            {"StringEquals": {"aws:SourceAccount": "THE-ACCOUNT"}},
        ),
        "RegistryExportScheduleRole": (
            "scheduler.amazonaws.com",
            {"StringEquals": {"aws:SourceAccount": "THE-ACCOUNT"}},
        ),
        "AuditScheduleRole": (
            "scheduler.amazonaws.com",
            {"StringEquals": {"aws:SourceAccount": "THE-ACCOUNT"}},
        ),
    }


NEEDS_OF_THE_KEY = {
    "s3:PutObject": {"kms:GenerateDataKey"},
    "kinesis:PutRecord": {"kms:GenerateDataKey"},
    "s3:GetObject": {"kms:Decrypt"},
    "kinesis:GetRecords": {"kms:Decrypt"},
    # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    "sns:Publish": {"kms:GenerateDataKey", "kms:Decrypt"},
}


def test_roles_that_touch_encrypted_data_may_use_the_key(encrypted_stack: dict[str, Any]) -> None:
    granted = list(permissions(encrypted_stack))
    needed = {
        (each.role, need) for each in granted for need in NEEDS_OF_THE_KEY.get(each.action, ())
    }
    given = {(each.role, each.action) for each in granted if each.resource == KEY_ARN}
    assert given == needed


def test_without_a_key_of_ones_own_no_role_speaks_of_keys(stack: dict[str, Any]) -> None:
    assert not [each for each in permissions(stack) if each.action.startswith("kms:")]


def test_key_of_ones_own_encrypts_everything_that_holds_telemetry(
    encrypted_stack: dict[str, Any],
) -> None:
    for name, resource in encrypted_stack.items():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::S3::Bucket":
                (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
                default = rule["ServerSideEncryptionByDefault"]
                assert default == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY_ARN}, name
                assert rule["BucketKeyEnabled"] is True, name
            case "AWS::Kinesis::Stream":
                assert properties["StreamEncryption"]["KeyId"] == KEY_ARN
            case "AWS::SNS::Topic":
                assert properties["KmsMasterKeyId"] == KEY_ARN
            case "AWS::Athena::WorkGroup":
                results = properties["WorkGroupConfiguration"]["ManagedQueryResultsConfiguration"]
                assert results["EncryptionConfiguration"] == {"KmsKey": KEY_ARN}


def test_everything_is_encrypted_without_a_key_of_ones_own(stack: dict[str, Any]) -> None:
    for resource in stack.values():
        if resource["Type"] == "AWS::S3::Bucket":
            encryption = resource["Properties"]["BucketEncryption"]
            (rule,) = encryption["ServerSideEncryptionConfiguration"]
            assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    stream = stack["TelemetryStream"]["Properties"]
    assert stream["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}


def test_alarm_topic_is_not_under_the_key_that_aws_manages(stack: dict[str, Any]) -> None:
    # CloudWatch and EventBridge have no right to alias/aws/sns: their messages would vanish.
    assert "KmsMasterKeyId" not in stack["AlarmTopic"]["Properties"]


def publishers(stack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The statements of the alarm topic's policy, by the service that they let publish."""
    statements = stack["AlarmTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    return {
        service: statement
        for statement in statements
        for service in listed(statement["Principal"]["Service"])
    }


def test_alarms_and_events_may_publish_to_the_topic(stack: dict[str, Any]) -> None:
    found = publishers(stack)
    assert set(found) == {"cloudwatch.amazonaws.com", "events.amazonaws.com"}
    for statement in found.values():
        assert (statement["Effect"], statement["Action"]) == ("Allow", "sns:Publish")
        assert statement["Resource"] == "AlarmTopic"


def test_pause_changes_one_mapping_and_nothing_else(stack: dict[str, Any]) -> None:
    allowed = {
        (each.action, each.resource)
        for each in permissions(stack)
        if each.role == "PauseIngestionRole" and not each.action.startswith(("logs:", "xray:"))
    }
    mapping = (
        "arn:aws:lambda:THE-REGION:THE-ACCOUNT:event-source-mapping:"
        "IngestTelemetryFunctionTelemetry"
    )
    assert allowed == {
        ("lambda:GetEventSourceMapping", mapping),
        ("lambda:UpdateEventSourceMapping", mapping),
        ("sns:Publish", "AlarmTopic"),
    }


def test_budget_may_publish_from_this_account_where_there_is_one(make_stack: MakeStack) -> None:
    statement = publishers(make_stack(MonthlyBudgetUsd="100"))["budgets.amazonaws.com"]
    assert (statement["Action"], statement["Resource"]) == ("sns:Publish", "AlarmTopic")
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "THE-ACCOUNT"}}


def test_alarms_publish_from_this_account_only(stack: dict[str, Any]) -> None:
    assert "aws:SourceAccount" in str(publishers(stack)["cloudwatch.amazonaws.com"]["Condition"])


def test_no_condition_keeps_events_from_the_topic(stack: dict[str, Any]) -> None:
    # EventBridge gives a topic's policy nothing to compare: under a condition it is refused.
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    assert "Condition" not in publishers(stack)["events.amazonaws.com"]


def key_policy_of_the_docs() -> dict[str, dict[str, Any]]:
    """The statements that docs/operations.md has for a key of one's own, by service."""
    section = OPERATIONS.read_text().partition("## A key of your own")[2]
    (snippet,) = re.findall(r"```json\n(.+?)```", section.partition("\n## ")[0], re.DOTALL)
    return {
        service: statement
        for statement in json.loads(f"[{snippet}]")
        for service in listed(statement["Principal"]["Service"])
    }


def test_documented_key_policy_lets_alarms_events_and_query_results_in() -> None:
    found = {service: set(each["Action"]) for service, each in key_policy_of_the_docs().items()}
    # https://docs.aws.amazon.com/athena/latest/ug/encrypting-managed-results.html
    assert found == {
        "cloudwatch.amazonaws.com": {"kms:Decrypt", "kms:GenerateDataKey"},
        "events.amazonaws.com": {"kms:Decrypt", "kms:GenerateDataKey"},
        "budgets.amazonaws.com": {"kms:Decrypt", "kms:GenerateDataKey"},
        "encryption.athena.amazonaws.com": {
            "kms:Decrypt",
            "kms:GenerateDataKey",
            "kms:DescribeKey",
        },
    }


def test_no_condition_keeps_events_from_the_key() -> None:
    conditional = {
        service for service, each in key_policy_of_the_docs().items() if "Condition" in each
    }
    assert conditional == {
        "budgets.amazonaws.com",
        "cloudwatch.amazonaws.com",
        "encryption.athena.amazonaws.com",
    }


def test_buckets_refuse_plain_http_and_the_public(stack: dict[str, Any]) -> None:
    buckets = {name for name, each in stack.items() if each["Type"] == "AWS::S3::Bucket"}
    for name in buckets:
        access = stack[name]["Properties"]["PublicAccessBlockConfiguration"]
        assert len(access) == 4
        assert all(access.values())
        policy = stack[f"{name}Policy"]["Properties"]
        assert policy["Bucket"] == name
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert set(listed(statement["Resource"])) == {f"{name}.Arn", f"{name}.Arn/*"}


def test_export_touches_the_files_of_one_table_only(stack: dict[str, Any]) -> None:
    touched = {
        each.resource
        for each in permissions(stack)
        if each.role == "ExportRegistryRole" and each.action.endswith("Object")
    }
    assert touched == {"arn:aws:s3:::CuratedZoneBucket/curated/iot_data_db.db/device_registry/*"}


def test_claim_certificate_is_good_for_asking_and_nothing_else(stack: dict[str, Any]) -> None:
    statements = stack["ClaimPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    allowed = {
        (each["Action"], target.rpartition(":")[2])
        for each in statements
        for target in listed(each["Resource"])
    }
    questions = {
        "$aws/certificates/create-from-csr/json",
        "$aws/provisioning-templates/DeviceProvisioningTemplate/provision/json",
    }
    assert allowed == {
        # By the client id that devices.claim_link connects with, and by no live device's.
        ("iot:Connect", f"client/{claim_client_id('*')}"),
        *(("iot:Publish", f"topic/{topic}") for topic in questions),
        *(("iot:Receive", f"topic/{topic}/*") for topic in questions),
        *(("iot:Subscribe", f"topicfilter/{topic}/*") for topic in questions),
    }


def test_device_acts_as_its_own_thing_only(stack: dict[str, Any]) -> None:
    thing = "${iot:Connection.Thing.ThingName}"
    topics = "arn:aws:iot:THE-REGION:THE-ACCOUNT:topic/"
    connect, publish = stack["DevicePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert connect["Action"] == "iot:Connect"
    assert connect["Resource"] == f"arn:aws:iot:THE-REGION:THE-ACCOUNT:client/{thing}"
    assert publish["Action"] == "iot:Publish"
    assert set(publish["Resource"]) == {
        f"{topics}dt/*/{thing}/telemetry",
        f"{topics}$aws/rules/TelemetryRule/dt/*/{thing}/telemetry",
    }
    for statement in (connect, publish):
        assert statement["Condition"] == {"Bool": {"iot:Connection.Thing.IsAttached": ["true"]}}


@pytest.mark.parametrize(
    ("topic_filter", "topics"),
    [("asset/tracker", "asset/tracker"), ("a/+/b", "a/*/b"), ("plant/+/#", "plant/*/*")],
)
def test_second_topic_filter_lets_a_device_publish_there_and_nothing_more(
    make_stack: MakeStack, topic_filter: str, topics: str
) -> None:
    def statements(**parameters: str) -> tuple[dict[str, Any], dict[str, Any]]:
        stack = make_stack(**parameters)
        connect, publish = stack["DevicePolicy"]["Properties"]["PolicyDocument"]["Statement"]
        return connect, publish

    (connect, publish), (as_ever, least) = (
        statements(SecondTopicFilter=topic_filter),
        statements(),
    )
    assert connect == as_ever
    resource = f"arn:aws:iot:THE-REGION:THE-ACCOUNT:topic/{topics}"
    assert publish == least | {"Resource": [*least["Resource"], resource]}


def test_no_account_region_or_partition_is_written_down() -> None:
    text = TEMPLATE.read_text()
    assert "arn:aws" not in text
    assert not re.search(r"[:/-]\d{12}\b", text)
    assert not re.search(r"\b(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d\b", text)
