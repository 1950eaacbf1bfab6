"""Settings that validate everywhere and fail, or quietly do something else, on AWS alone."""

import json
import re
from typing import Any

import pytest

from admit_device.admission import THING_NAME
from ingest_telemetry.patience import LONGEST_PAUSE_SECONDS, RESERVE_SECONDS
from telemetry_contract.identity import identity_of
from telemetry_contract.limits import Limits
from telemetry_contract.zone_paths import RAW_PREFIX
from tests.template.conftest import MakeStack
from tests.template.expand import ROOT

HOUR = 3600
DAY = 24 * HOUR

SETS_OF_PARAMETERS: list[dict[str, str]] = [
    {},
    {"KmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d"},
    {"StreamMode": "PROVISIONED", "ShardCount": "2", "CrawlRawZone": "false"},
    {"AuditSchedule": ""},
    {"RegistryExportSchedule": ""},
    {"SecondTopicFilter": "asset/tracker"},
    {"CreateDatabase": "false", "AlarmEmail": "someone@example.org"},
    {
        "ExistingRawZoneBucket": "their-raw",
        "ExistingRejectedZoneBucket": "their-raw",
        "ExistingFailedZoneBucket": "their-failed",
        "ExistingCuratedZoneBucket": "their-curated",
    },
    {"RawRetentionDays": "30", "RejectedRetentionDays": "30", "FailedRetentionDays": "30"},
]


def mapping(stack: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = stack["IngestTelemetryFunctionTelemetry"]["Properties"]
    return properties


@pytest.mark.parametrize("parameters", SETS_OF_PARAMETERS, ids=str)
def test_stack_resolves_whatever_is_chosen(
    make_stack: MakeStack, parameters: dict[str, str]
) -> None:
    # A reference to something that does not come to be raises.
    assert make_stack(**parameters)


# ---- intake


def test_rule_has_a_legal_name(stack: dict[str, Any]) -> None:
    # Letters, digits and underscores; without one CloudFormation makes a legal one.
    name = stack["TelemetryRule"]["Properties"].get("RuleName", "left_to_CloudFormation")
    assert re.fullmatch(r"[a-zA-Z0-9_]+", name)


def test_rule_s_version_is_pinned_and_the_rule_is_on(stack: dict[str, Any]) -> None:
    payload = stack["TelemetryRule"]["Properties"]["TopicRulePayload"]
    assert payload["AwsIotSqlVersion"] == "2016-03-23"
    assert payload["RuleDisabled"] is False


def test_rule_keeps_the_payload_s_bytes(stack: dict[str, Any]) -> None:
    sql = stack["TelemetryRule"]["Properties"]["TopicRulePayload"]["Sql"]
    assert sql.startswith("SELECT encode(*, 'base64') AS payload_b64,")
    assert sql.endswith("FROM 'dt/+/+/telemetry'")
    assert "\n" not in sql


def test_rule_partitions_by_the_thing(stack: dict[str, Any]) -> None:
    (action,) = stack["TelemetryRule"]["Properties"]["TopicRulePayload"]["Actions"]
    assert action["Kinesis"]["PartitionKey"] == "${topic(3)}"


def test_failed_messages_do_not_overwrite_each_other(stack: dict[str, Any]) -> None:
    payload = stack["TelemetryRule"]["Properties"]["TopicRulePayload"]
    assert payload["ErrorAction"]["S3"]["Key"] == (
        'iot/${parse_time("yyyy/MM/dd/HH", timestamp())}/${newuuid()}.json'
    )


def test_second_rule_is_the_first_but_for_its_topics_and_its_partition_key(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(SecondTopicFilter="asset/+/state")
    first, second = (
        dict(stack[name]["Properties"]["TopicRulePayload"])
        for name in ("TelemetryRule", "SecondTelemetryRule")
    )
    assert second.pop("Sql") == first.pop("Sql").replace("dt/+/+/telemetry", "asset/+/state")
    ((action,), (other,)) = first.pop("Actions"), second.pop("Actions")
    assert action["Kinesis"] | {"PartitionKey": "${clientid()}"} == other["Kinesis"]
    assert first.pop("Description") != second.pop("Description")
    assert first == second
    assert "SecondTelemetryRule" not in make_stack()


@pytest.mark.parametrize(
    ("topic_filter", "is_taken"),
    [
        ("asset/tracker", True),
        ("asset/+/state", True),
        ("plant/#", True),
        ("tracker", True),
        ("dtx/+", True),
        # Who may publish there could speak as another device.
        ("dt/fleet/+/telemetry", False),
        ("dt/#", False),
        ("dt", False),
        ("+/tracker", False),
        ("#", False),
        ("$aws/rules/x", False),
        ("a/*/b", False),
        ("a/#/b", False),
        ("a/b#", False),
        ("a'b", False),
        ("a/${iot:ClientId}", False),
    ],
)
def test_second_topic_filter_never_reaches_topics_that_say_who_speaks(
    template: dict[str, Any], topic_filter: str, is_taken: bool
) -> None:
    pattern = template["Parameters"]["SecondTopicFilter"]["AllowedPattern"]
    assert bool(re.search(pattern, topic_filter)) is is_taken
    if is_taken:
        assert identity_of("any", topic_filter.replace("+", "x"), Limits()) == ("claimed", ())


def test_shard_count_is_given_to_provisioned_streams_only(make_stack: MakeStack) -> None:
    on_demand = make_stack(StreamMode="ON_DEMAND", ShardCount="4")
    provisioned = make_stack(StreamMode="PROVISIONED", ShardCount="4")
    assert "ShardCount" not in on_demand["TelemetryStream"]["Properties"]
    assert provisioned["TelemetryStream"]["Properties"]["ShardCount"] == "4"


# ---- ingestion


def test_batches_of_more_than_ten_have_a_window(template: dict[str, Any]) -> None:
    # Lambda refuses a batch size above 10 with no window.
    window = template["Parameters"]["MaxBatchingWindowSeconds"]
    assert window["MinValue"] >= 1
    assert window["MaxValue"] <= 300
    assert template["Parameters"]["BatchSize"]["MaxValue"] <= 10_000
    assert template["Parameters"]["ParallelizationFactor"]["MaxValue"] <= 10


def test_mapping_takes_what_its_parameters_say(make_stack: MakeStack) -> None:
    stack = make_stack(BatchSize="7", MaxBatchingWindowSeconds="8", ParallelizationFactor="9")
    properties = mapping(stack)
    assert properties["BatchSize"] == "7"
    assert properties["MaximumBatchingWindowInSeconds"] == "8"
    assert properties["ParallelizationFactor"] == "9"


def test_mapping_starts_at_the_oldest_record(stack: dict[str, Any]) -> None:
    assert mapping(stack)["StartingPosition"] == "TRIM_HORIZON"


def test_no_record_is_acknowledged_by_a_filter_or_a_response(stack: dict[str, Any]) -> None:
    # A filter drops what is not JSON; a wrong or empty partial response acknowledges the batch.
    assert not {"FilterCriteria", "FunctionResponseTypes", "TumblingWindowInSeconds"} & set(
        mapping(stack)
    )


def test_retries_outlast_a_day_of_outage(stack: dict[str, Any]) -> None:
    # An attempt ends as soon as the next pause would reach into the reserve.
    timeout = stack["IngestTelemetryFunction"]["Properties"]["Timeout"]
    shortest_attempt = timeout - RESERVE_SECONDS - LONGEST_PAUSE_SECONDS
    assert mapping(stack)["MaximumRetryAttempts"] * shortest_attempt > DAY


@pytest.mark.parametrize(
    "path", ["docs/operations.md", "functions/ingest_telemetry/patience.py", "template.yaml"]
)
def test_number_of_retries_is_the_same_wherever_it_is_said(
    stack: dict[str, Any], path: str
) -> None:
    said = set(re.findall(r"(\d+) (?:retries|attempts)", (ROOT / path).read_text()))
    assert said == {str(mapping(stack)["MaximumRetryAttempts"])}


def test_record_is_given_up_before_the_stream_forgets_it(
    template: dict[str, Any], stack: dict[str, Any]
) -> None:
    age = mapping(stack)["MaximumRecordAgeInSeconds"]
    retention = template["Parameters"]["StreamRetentionHours"]
    assert DAY < age <= 7 * DAY
    assert age + DAY <= retention["MinValue"] * HOUR
    assert retention["MinValue"] <= retention["Default"] <= retention["MaxValue"] <= 8760


def test_crashing_batch_is_halved(stack: dict[str, Any]) -> None:
    assert mapping(stack)["BisectBatchOnFunctionError"] is True


def test_what_is_given_up_keeps_its_payload(stack: dict[str, Any]) -> None:
    # SQS and SNS destinations are sent positions in the stream, not records.
    destination = mapping(stack)["DestinationConfig"]["OnFailure"]["Destination"]
    assert destination == "arn:aws:s3:::FailedZoneBucket"


def test_mapping_counts_what_becomes_of_records(stack: dict[str, Any]) -> None:
    assert mapping(stack)["MetricsConfig"] == {"Metrics": ["EventCount"]}


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_function_and_layers_are_of_one_architecture(
    make_stack: MakeStack, architecture: str
) -> None:
    stack = make_stack(Architecture=architecture)
    layers = [each for each in stack.values() if each["Type"] == "AWS::Lambda::LayerVersion"]
    assert len(layers) == 2
    for layer in layers:
        assert layer["Properties"]["CompatibleArchitectures"] == [architecture]
    functions = [each for each in stack.values() if each["Type"] == "AWS::Lambda::Function"]
    assert len(functions) == 4
    for function in functions:
        assert function["Properties"]["Architectures"] == [architecture]


def test_artifacts_are_built_for_the_architecture_of_the_function(
    template: dict[str, Any],
) -> None:
    built = {
        name: each
        for name, each in template["Resources"].items()
        if each["Type"] in ("AWS::Serverless::Function", "AWS::Serverless::LayerVersion")
    }
    assert len(built) == 7
    for resource in built.values():
        metadata = resource["Metadata"]
        assert metadata["BuildMethod"] == "makefile"
        assert metadata["ContextPath"] == {"Fn::Sub": "packaging/${Architecture}"}
    for architecture in template["Parameters"]["Architecture"]["AllowedValues"]:
        assert (ROOT / "packaging" / architecture / "Makefile").is_file()


def test_runtime_is_the_one_that_everything_is_built_for(stack: dict[str, Any]) -> None:
    version = (ROOT / ".python-version").read_text().strip()
    assert stack["IngestTelemetryFunction"]["Properties"]["Runtime"] == f"python{version}"
    for each in stack.values():
        if each["Type"] == "AWS::Lambda::LayerVersion":
            assert each["Properties"]["CompatibleRuntimes"] == [f"python{version}"]


# ---- catalogue and curation


def test_crawler_of_new_folders_changes_no_schema(stack: dict[str, Any]) -> None:
    # The API refuses anything but LOG/LOG beside it.
    crawler = stack["RawZoneCrawler"]["Properties"]
    assert crawler["RecrawlPolicy"] == {"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"}
    assert crawler["SchemaChangePolicy"] == {"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"}


def test_crawler_makes_one_table_named_raw_data(stack: dict[str, Any]) -> None:
    crawler = stack["RawZoneCrawler"]["Properties"]
    (target,) = crawler["Targets"]["S3Targets"]
    assert target["Path"].rstrip("/").split("/")[-1] == "raw_data"
    assert "TablePrefix" not in crawler
    configuration = json.loads(crawler["Configuration"])
    assert configuration["Version"] == 1.0
    # The bucket is level 1.
    levels = len(RAW_PREFIX.strip("/").split("/")) + 1
    assert configuration["Grouping"] == {
        "TableGroupingPolicy": "CombineCompatibleSchemas",
        "TableLevelConfiguration": levels,
    }
    partitions = configuration["CrawlerOutput"]["Partitions"]
    assert partitions == {"AddOrUpdateBehavior": "InheritFromTable"}


def test_crawler_is_started_by_the_workflow_alone(stack: dict[str, Any]) -> None:
    # A conditional trigger does not fire for a crawler that runs on a schedule of its own.
    assert "Schedule" not in stack["RawZoneCrawler"]["Properties"]


@pytest.mark.parametrize("parameters", SETS_OF_PARAMETERS, ids=str)
def test_triggers_start_and_belong_to_the_workflow(
    make_stack: MakeStack, parameters: dict[str, str]
) -> None:
    stack = make_stack(**parameters)
    triggers = [each for each in stack.values() if each["Type"] == "AWS::Glue::Trigger"]
    for trigger in triggers:
        assert trigger["Properties"]["StartOnCreation"] is True
        if trigger is not stack["MaintenanceScheduleTrigger"]:
            assert trigger["Properties"]["WorkflowName"] == "CurationWorkflow"
    started = [action for trigger in triggers for action in trigger["Properties"]["Actions"]]
    assert {"JobName": "CurateTelemetryJob"} in started
    assert ({"CrawlerName": "RawZoneCrawler"} in started) == ("RawZoneCrawler" in stack)


def test_maintenance_has_a_schedule_of_its_own(stack: dict[str, Any]) -> None:
    trigger = stack["MaintenanceScheduleTrigger"]["Properties"]
    assert trigger["Type"] == "SCHEDULED"
    assert "WorkflowName" not in trigger
    assert trigger["Actions"] == [{"JobName": "MaintainTablesJob"}]
    assert stack["MaintainTablesJob"]["Properties"]["ExecutionProperty"] == {"MaxConcurrentRuns": 1}


def test_no_job_can_run_so_long_that_its_files_are_taken_for_orphans(
    stack: dict[str, Any],
) -> None:
    jobs = [each["Properties"] for each in stack.values() if each["Type"] == "AWS::Glue::Job"]
    longest = max(job["Timeout"] for job in jobs) / 60
    age = int(stack["MaintainTablesJob"]["Properties"]["DefaultArguments"]["--orphan_age_hours"])
    assert age >= max(longest + 24, 72)


def test_job_runs_however_the_crawl_ended(stack: dict[str, Any]) -> None:
    trigger = stack["CurateAfterCrawlTrigger"]["Properties"]
    assert trigger["Type"] == "CONDITIONAL"
    assert trigger["Predicate"]["Logical"] == "ANY"
    conditions = trigger["Predicate"]["Conditions"]
    assert {each["CrawlState"] for each in conditions} == {"SUCCEEDED", "FAILED", "CANCELLED"}
    assert {each["CrawlerName"] for each in conditions} == {"RawZoneCrawler"}
    assert {each["LogicalOperator"] for each in conditions} == {"EQUALS"}
    assert trigger["Actions"] == [{"JobName": "CurateTelemetryJob"}]


def test_summaries_follow_a_curation_that_succeeded(stack: dict[str, Any]) -> None:
    trigger = stack["SummariseAfterCurationTrigger"]["Properties"]
    assert (trigger["Type"], trigger["WorkflowName"]) == ("CONDITIONAL", "CurationWorkflow")
    assert trigger["Predicate"]["Conditions"] == [
        {"LogicalOperator": "EQUALS", "JobName": "CurateTelemetryJob", "State": "SUCCEEDED"}
    ]
    assert trigger["Actions"] == [{"JobName": "SummariseDevicesJob"}]
    job = stack["SummariseDevicesJob"]["Properties"]
    assert job["ExecutionProperty"] == {"MaxConcurrentRuns": 1}


def test_without_crawler_the_schedule_starts_the_job(make_stack: MakeStack) -> None:
    stack = make_stack(CrawlRawZone="false")
    crawling = {name for name in stack if "Crawl" in name}
    assert not crawling
    trigger = stack["CurationScheduleTrigger"]["Properties"]
    assert trigger["Type"] == "SCHEDULED"
    assert trigger["Actions"] == [{"JobName": "CurateTelemetryJob"}]


def test_job_runs_alone_and_is_not_retried_by_glue(stack: dict[str, Any]) -> None:
    job = stack["CurateTelemetryJob"]["Properties"]
    assert job["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
    assert stack["CurationWorkflow"]["Properties"]["MaxConcurrentRuns"] == 1


def test_glue_version_is_pinned(stack: dict[str, Any]) -> None:
    assert stack["CurateTelemetryJob"]["Properties"]["GlueVersion"] == "6.0"


def test_job_s_script_is_a_file_that_sam_uploads(stack: dict[str, Any]) -> None:
    location = stack["CurateTelemetryJob"]["Properties"]["Command"]["ScriptLocation"]
    assert (ROOT / location).is_file()


def test_chained_settings_of_spark_are_as_glue_takes_them(stack: dict[str, Any]) -> None:
    # One argument: the first pair bare, every other one behind its own --conf.
    arguments = stack["CurateTelemetryJob"]["Properties"]["DefaultArguments"]
    conf = arguments["--conf"]
    assert "\n" not in conf
    pairs = [each.split("=", 1) for each in conf.split(" --conf ")]
    assert all(len(pair) == 2 and " " not in "".join(pair) for pair in pairs)
    settings = dict(pairs)
    catalog = f"spark.sql.catalog.{arguments['--catalog']}"
    assert settings["spark.sql.session.timeZone"] == "UTC"
    assert settings[catalog] == "org.apache.iceberg.spark.SparkCatalog"
    assert settings[f"{catalog}.warehouse"] == "s3://CuratedZoneBucket/curated/"
    assert arguments["--datalake-formats"] == "iceberg"


def test_table_of_rejected_records_needs_no_registered_partitions(stack: dict[str, Any]) -> None:
    parameters = stack["RejectedDataTable"]["Properties"]["TableInput"]["Parameters"]
    assert parameters["projection.enabled"] == "true"
    for key in ("ingest_date", "ingest_hour"):
        assert f"projection.{key}.type" in parameters
        assert f"projection.{key}.range" in parameters
    assert parameters["projection.ingest_hour.digits"] == "2"


# ---- audit


def test_audit_is_started_by_its_schedule_in_a_role_that_may(stack: dict[str, Any]) -> None:
    schedule = stack["AuditLakeFunctionSchedule"]
    assert schedule["Type"] == "AWS::Scheduler::Schedule"
    assert schedule["Properties"]["ScheduleExpression"] == "rate(1 hour)"
    target = schedule["Properties"]["Target"]
    assert (target["Arn"], target["RoleArn"]) == ("AuditLakeFunction.Arn", "AuditScheduleRole.Arn")
    [policy] = stack["AuditScheduleRole"]["Properties"]["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == target["Arn"]


def test_without_a_schedule_nothing_audits(make_stack: MakeStack) -> None:
    left = {name for name in make_stack(AuditSchedule="") if name.startswith("Audit")}
    assert left == {"AuditFindingsAlarm", "AuditStaleAlarm"}


def test_audit_takes_no_more_than_lambda_gives(stack: dict[str, Any]) -> None:
    audit = stack["AuditLakeFunction"]["Properties"]
    assert audit["Timeout"] <= 900
    assert audit["EphemeralStorage"]["Size"] <= 10_240


# ---- registry and provisioning


def test_export_is_started_by_its_schedule_in_a_role_that_may(stack: dict[str, Any]) -> None:
    schedule = stack["ExportRegistryFunctionSchedule"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 hour)"
    target = schedule["Target"]
    assert target["Arn"] == "ExportRegistryFunction.Arn"
    assert target["RoleArn"] == "RegistryExportScheduleRole.Arn"
    [policy] = stack["RegistryExportScheduleRole"]["Properties"]["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == target["Arn"]


def test_without_a_schedule_nothing_is_exported(make_stack: MakeStack) -> None:
    left = {name for name in make_stack(RegistryExportSchedule="") if "Registry" in name}
    assert left == {"RegistryExportStaleAlarm"}


def test_nobody_is_provisioned_past_the_hook(stack: dict[str, Any]) -> None:
    template = stack["DeviceProvisioningTemplate"]["Properties"]
    assert template["TemplateType"] == "FLEET_PROVISIONING"
    assert template["PreProvisioningHook"] == {
        "TargetArn": "AdmitDeviceFunction.Arn",
        "PayloadVersion": "2020-04-01",
    }
    permission = stack["AdmitDevicePermission"]["Properties"]
    assert permission["FunctionName"] == "AdmitDeviceFunction"
    assert permission["Principal"] == "iot.amazonaws.com"
    # https://docs.aws.amazon.com/iot/latest/developerguide/cross-service-confused-deputy-prevention.html
    assert permission["SourceAccount"] == "THE-ACCOUNT"
    assert permission["SourceArn"] == "DeviceProvisioningTemplate.TemplateArn"
    # IoT waits for five seconds: https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
    assert stack["AdmitDeviceFunction"]["Properties"]["Timeout"] <= 5


def test_template_gives_a_certificate_the_fleets_policy_and_nothing_else(
    stack: dict[str, Any],
) -> None:
    body = json.loads(stack["DeviceProvisioningTemplate"]["Properties"]["TemplateBody"])
    assert set(body["Parameters"]) == {THING_NAME, "AWS::IoT::Certificate::Id"}
    kinds = {each["Type"]: each["Properties"] for each in body["Resources"].values()}
    assert kinds == {
        "AWS::IoT::Thing": {"ThingName": {"Ref": THING_NAME}},
        "AWS::IoT::Certificate": {
            "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"},
            "Status": "Active",
        },
        "AWS::IoT::Policy": {"PolicyName": "DevicePolicy"},
    }


# ---- what is kept, and what may live side by side


def test_zones_and_database_outlive_the_stack(expanded: dict[str, Any]) -> None:
    kept = {"AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::Glue::Database"}
    for name, resource in expanded["Resources"].items():
        if resource["Type"] in kept:
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert resource["UpdateReplacePolicy"] == "Retain", name
        elif resource["Type"] != "AWS::Lambda::LayerVersion":
            assert "DeletionPolicy" not in resource, name


def test_layers_leave_no_old_versions_behind(expanded: dict[str, Any]) -> None:
    layers = [
        each for each in expanded["Resources"].values() if each["Type"].endswith("LayerVersion")
    ]
    assert [each["DeletionPolicy"] for each in layers] == ["Delete", "Delete"]


@pytest.mark.parametrize("days", ["0", "45"])
def test_retention_of_zero_keeps_objects(make_stack: MakeStack, days: str) -> None:
    stack = make_stack(RawRetentionDays=days, RejectedRetentionDays=days, FailedRetentionDays=days)
    for name in ("RawZoneBucket", "RejectedZoneBucket", "FailedZoneBucket"):
        rules = stack[name]["Properties"]["LifecycleConfiguration"]["Rules"]
        expiries = [rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule]
        assert expiries == ([] if days == "0" else [days])


def test_curated_files_never_expire_by_age(make_stack: MakeStack) -> None:
    # Iceberg's tables would point to files that are gone.
    stack = make_stack(RawRetentionDays="45")
    rules = stack["CuratedZoneBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert not [rule for rule in rules if "ExpirationInDays" in rule]


def test_buckets_are_versioned_and_forget_abandoned_uploads(stack: dict[str, Any]) -> None:
    for resource in stack.values():
        if resource["Type"] != "AWS::S3::Bucket":
            continue
        properties = resource["Properties"]
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        rules = properties["LifecycleConfiguration"]["Rules"]
        assert [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
        assert [rule for rule in rules if "NoncurrentVersionExpiration" in rule]
        assert len({rule["Id"] for rule in rules}) == len(rules)


NAMES_OF_THINGS = (
    "BucketName",
    "DashboardName",
    "FunctionName",
    "LogGroupName",
    "Name",
    "PolicyName",
    "RoleName",
    "TopicName",
    "AlarmName",
)
# Named within something of the stack's own, or not unique at all.
NAMES_WITHIN = {
    "AWS::Lambda::Permission",
    "AWS::Athena::NamedQuery",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Logs::MetricFilter",
    "AWS::CloudWatch::Alarm",
}


def names(stack: dict[str, Any]) -> set[tuple[str, str]]:
    found = {
        (resource["Type"], resource["Properties"][key])
        for resource in stack.values()
        for key in NAMES_OF_THINGS
        if resource["Type"] not in NAMES_WITHIN and key in resource.get("Properties", {})
    }
    database = stack["TelemetryDatabase"]["Properties"]["DatabaseInput"]["Name"]
    return found | {("AWS::Glue::Database", database)}


def test_two_stacks_of_one_account_share_no_name(make_stack: MakeStack) -> None:
    one = names(make_stack(StackName="one", DatabaseName="one"))
    other = names(make_stack(StackName="other", DatabaseName="other"))
    assert one
    assert not one & other


def test_two_stacks_of_one_account_share_no_metric(make_stack: MakeStack) -> None:
    def namespace(stack: dict[str, Any]) -> str:
        variables = stack["IngestTelemetryFunction"]["Properties"]["Environment"]["Variables"]
        return str(variables["POWERTOOLS_METRICS_NAMESPACE"])

    assert namespace(make_stack(StackName="one")) != namespace(make_stack(StackName="other"))


@pytest.mark.parametrize("zone", ["Raw", "Rejected", "Failed", "Curated"])
def test_existing_bucket_takes_the_place_of_our_own_everywhere(
    make_stack: MakeStack, zone: str
) -> None:
    stack = make_stack(**{f"Existing{zone}ZoneBucket": "their-bucket"})
    assert f"{zone}ZoneBucket" not in stack
    assert f"{zone}ZoneBucketPolicy" not in stack
    text = json.dumps(stack)
    assert f"{zone}ZoneBucket" not in text
    assert "their-bucket" in text


def test_existing_database_takes_the_place_of_our_own(make_stack: MakeStack) -> None:
    stack = make_stack(CreateDatabase="false", DatabaseName="their_database")
    assert "TelemetryDatabase" not in json.dumps(stack)
    assert stack["RawZoneCrawler"]["Properties"]["DatabaseName"] == "their_database"


def test_every_function_and_job_logs_where_retention_is_set(stack: dict[str, Any]) -> None:
    groups = {
        each["Properties"].get("LogGroupName", name)
        for name, each in stack.items()
        if each["Type"] == "AWS::Logs::LogGroup"
    }
    functions = [each for each in stack.values() if each["Type"] == "AWS::Lambda::Function"]
    assert functions
    for function in functions:
        assert function["Properties"]["LoggingConfig"]["LogGroup"] in groups
    jobs = [each for each in stack.values() if each["Type"] == "AWS::Glue::Job"]
    assert jobs
    for job in jobs:
        prefix = job["Properties"]["DefaultArguments"]["--custom-logGroup-prefix"]
        assert {f"{prefix}/output", f"{prefix}/error"} <= groups
    for each in stack.values():
        if each["Type"] == "AWS::Logs::LogGroup":
            assert each["Properties"]["RetentionInDays"]
