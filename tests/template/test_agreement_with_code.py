"""The template and the code say the same: variables, arguments, prefixes, columns, metrics."""

import ast
import dataclasses
import re
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from admit_device.settings import Settings as AdmitSettings
from audit_lake.metrics import Metric as AuditMetric
from audit_lake.settings import Settings as AuditSettings
from export_registry.metrics import Metric as ExportMetric
from export_registry.registry_table import SCHEMA as REGISTRY_SCHEMA
from export_registry.settings import Settings as ExportSettings
from ingest_telemetry.metrics import REASON_DIMENSION, Metric
from ingest_telemetry.settings import Settings
from pause_ingestion.pausing import GIVEN_UP_AFTER
from pause_ingestion.settings import Settings as PauseSettings
from telemetry_contract import decoding
from telemetry_contract.limit_variables import LIMIT_VARIABLES
from telemetry_contract.limits import Limits
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX
from tests.template.conftest import MakeStack
from tests.template.expand import ROOT

JOB_SCRIPT = ROOT / "glue" / "curate_telemetry.py"

# For tests and replays, never for the schedule.
ARGUMENTS_OF_A_SINGLE_RUN = {
    *("--run_id", "--now", "--dry_run"),
    *("--replay_days", "--replay_device", "--replay_objects", "--replay_late"),
    *("--exchange", "--erase"),
}

# https://docs.aws.amazon.com/glue/latest/dg/aws-glue-programming-etl-glue-arguments.html
ARGUMENTS_OF_GLUE = {
    "--conf",
    "--custom-logGroup-prefix",
    "--datalake-formats",
    "--enable-auto-scaling",
    "--enable-metrics",
    "--enable-observability-metrics",
    "--job-bookmark-option",
    "--job-language",
}

_ATHENA_TYPES = {
    pa.string(): "string",
    pa.binary(): "binary",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("us", "UTC"): "timestamp",
}


def environment(stack: dict[str, Any], function: str = "IngestTelemetryFunction") -> dict[str, str]:
    variables: dict[str, str] = stack[function]["Properties"]["Environment"]["Variables"]
    return variables


def job_arguments(stack: dict[str, Any]) -> dict[str, str]:
    arguments: dict[str, str] = stack["CurateTelemetryJob"]["Properties"]["DefaultArguments"]
    return arguments


def columns_of_job(name: str) -> list[str]:
    """Names of the columns in a literal of the job's script, read without importing Spark."""
    for node in ast.parse(JOB_SCRIPT.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            literal = ast.literal_eval(node.value)
            # A type's own commas (map<string,double>) are no ends of columns.
            columns = literal if isinstance(literal, dict) else re.sub("<.*?>", "", literal)
            return (
                list(columns)
                if isinstance(columns, dict)
                else [column.split()[0] for column in columns.split(",")]
            )
    raise LookupError(name)


def typed_columns_of_job(name: str) -> list[tuple[str, str]]:
    """Names and types of a plain literal of columns, whose types' commas have no space behind."""
    for node in ast.parse(JOB_SCRIPT.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            columns = [each.split() for each in re.split(r",\s", ast.literal_eval(node.value))]
            return [(column, kind) for column, kind in columns]
    raise LookupError(name)


def test_variables_of_the_function_are_the_fields_of_its_settings(stack: dict[str, Any]) -> None:
    fields = {field.name.upper() for field in dataclasses.fields(Settings)} - {"LIMITS"}
    assert set(environment(stack)) == fields | set(LIMIT_VARIABLES)


def test_variables_of_the_audit_are_the_fields_of_its_settings(stack: dict[str, Any]) -> None:
    variables = environment(stack, "AuditLakeFunction")
    fields = {field.name.upper() for field in dataclasses.fields(AuditSettings)}
    assert set(variables) == fields
    settings = AuditSettings.from_environment(variables)
    assert settings.look_back_minutes == int(job_arguments(stack)["--look_back_minutes"])
    namespace = environment(stack)["POWERTOOLS_METRICS_NAMESPACE"]
    assert settings.powertools_metrics_namespace == namespace


def test_variables_of_the_pause_are_the_fields_of_its_settings(make_stack: MakeStack) -> None:
    stack = make_stack(DisableMappingOnRejectedShare="true")
    variables = environment(stack, "PauseIngestionFunction")
    assert set(variables) == {field.name.upper() for field in dataclasses.fields(PauseSettings)}
    settings = PauseSettings.from_environment(variables)
    mapping = stack[settings.mapping_uuid]["Properties"]
    assert mapping["MaximumRecordAgeInSeconds"] == GIVEN_UP_AFTER.total_seconds()


def test_schedule_has_the_name_that_pausing_looks_for(stack: dict[str, Any]) -> None:
    # `ops.pause.parts`, and docs/operations.md.
    assert stack["CurationScheduleTrigger"]["Properties"]["Name"] == "lake-curation-schedule"


def test_variables_of_the_export_are_the_fields_of_its_settings(stack: dict[str, Any]) -> None:
    variables = environment(stack, "ExportRegistryFunction")
    assert set(variables) == {field.name.upper() for field in dataclasses.fields(ExportSettings)}
    settings = ExportSettings.from_environment(variables)
    conf = job_arguments(stack)["--conf"]
    (warehouse,) = re.findall(r"\.warehouse=(\S+)", conf)
    database = job_arguments(stack)["--database"]
    location = f"{warehouse}{database}.db/device_registry"
    assert settings.table_location == location
    namespace = environment(stack)["POWERTOOLS_METRICS_NAMESPACE"]
    assert settings.powertools_metrics_namespace == namespace


def test_variables_of_the_hook_are_the_fields_of_its_settings(stack: dict[str, Any]) -> None:
    variables = environment(stack, "AdmitDeviceFunction")
    assert set(variables) == {field.name.upper() for field in dataclasses.fields(AdmitSettings)}
    AdmitSettings.from_environment(variables)


def test_export_writes_the_columns_that_the_job_joins() -> None:
    kinds = {
        "string": pa.string(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "map<string,string>": pa.map_(pa.string(), pa.string()),
    }
    written = [(field.name, field.type) for field in REGISTRY_SCHEMA]
    assert written == [
        (name, kinds[kind]) for name, kind in typed_columns_of_job("REGISTRY_COLUMNS")
    ]


def test_defaults_of_the_template_are_those_of_the_contract(stack: dict[str, Any]) -> None:
    assert Settings.from_environment(environment(stack)).limits == Limits()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"IdentityMismatchPolicy": "flag", "MissingTimestampPolicy": "arrival_time"},
        {"EarliestEventTime": "2020-02-29T12:00:00Z", "EndpointUrl": "http://localhost:5000"},
    ],
)
def test_settings_accept_what_the_template_gives_them(
    make_stack: MakeStack, parameters: dict[str, str]
) -> None:
    Settings.from_environment(environment(make_stack(**parameters)))


@pytest.mark.parametrize("parameter", ["IdentityMismatchPolicy", "MissingTimestampPolicy"])
def test_settings_accept_every_value_that_a_policy_parameter_allows(
    template: dict[str, Any], make_stack: MakeStack, parameter: str
) -> None:
    for value in template["Parameters"][parameter]["AllowedValues"]:
        Settings.from_environment(environment(make_stack(**{parameter: value})))


def test_variables_fit_into_what_lambda_takes(stack: dict[str, Any]) -> None:
    assert sum(len(name) + len(str(value)) for name, value in environment(stack).items()) < 4096


@pytest.mark.parametrize(
    "name",
    [
        "IngestTelemetryFunction",
        "AuditLakeFunction",
        "ExportRegistryFunction",
        "AdmitDeviceFunction",
    ],
)
def test_handler_exists_where_the_template_says(stack: dict[str, Any], name: str) -> None:
    package, module, function = stack[name]["Properties"]["Handler"].split(".")
    path = ROOT / "functions" / package / f"{module}.py"
    defined = {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }
    assert function in defined


def test_every_job_is_given_the_arguments_that_its_script_declares(stack: dict[str, Any]) -> None:
    jobs = [each["Properties"] for each in stack.values() if each["Type"] == "AWS::Glue::Job"]
    assert len(jobs) >= 2
    for job in jobs:
        script = ROOT / job["Command"]["ScriptLocation"]
        declared = {
            node.args[0].value
            for node in ast.walk(ast.parse(script.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "add_argument"
            and isinstance(node.args[0], ast.Constant)
        }
        given = set(job["DefaultArguments"])
        assert given - ARGUMENTS_OF_GLUE == declared - ARGUMENTS_OF_A_SINGLE_RUN, script.name
        assert given >= ARGUMENTS_OF_GLUE


def test_raw_prefix_is_the_contract_s_everywhere(stack: dict[str, Any]) -> None:
    assert job_arguments(stack)["--raw_prefix"] == RAW_PREFIX
    (target,) = stack["RawZoneCrawler"]["Properties"]["Targets"]["S3Targets"]
    assert target["Path"] == f"s3://RawZoneBucket/{RAW_PREFIX}"


def test_rejected_table_lies_where_rejected_records_do(stack: dict[str, Any]) -> None:
    table = stack["RejectedDataTable"]["Properties"]["TableInput"]
    location = f"s3://RejectedZoneBucket/{REJECTED_PREFIX}"
    assert table["StorageDescriptor"]["Location"] == location
    folder = "ingest_date=${ingest_date}/ingest_hour=${ingest_hour}"
    assert table["Parameters"]["storage.location.template"] == location + folder
    assert [key["Name"] for key in table["PartitionKeys"]] == ["ingest_date", "ingest_hour"]


def test_rejected_table_has_the_columns_of_the_rejected_schema(stack: dict[str, Any]) -> None:
    table = stack["RejectedDataTable"]["Properties"]["TableInput"]
    columns = [(each["Name"], each["Type"]) for each in table["StorageDescriptor"]["Columns"]]
    assert columns == [(field.name, _ATHENA_TYPES[field.type]) for field in REJECTED_SCHEMA]


def test_rule_names_what_the_contract_reads(stack: dict[str, Any]) -> None:
    sql = stack["TelemetryRule"]["Properties"]["TopicRulePayload"]["Sql"]
    selected = set(re.findall(r" AS (\w+)", sql))
    broker_columns = {"ingest_id", "broker_time", "client_id", "principal", "topic"}
    assert selected - {"trace_id"} == {decoding.PAYLOAD_KEY, *broker_columns}
    assert broker_columns <= set(RAW_SCHEMA.names)


def own_metrics(stack: dict[str, Any], namespace: str) -> dict[str, str]:
    """Metrics that the stack makes of the job's account: name -> where in the account."""
    return {
        transformation["MetricName"]: transformation["MetricValue"]
        for each in stack.values()
        if each["Type"] == "AWS::Logs::MetricFilter"
        for transformation in each["Properties"]["MetricTransformations"]
        if transformation["MetricNamespace"] == namespace
    }


def test_alarms_watch_metrics_that_someone_emits(stack: dict[str, Any]) -> None:
    namespace = environment(stack)["POWERTOOLS_METRICS_NAMESPACE"]
    emitted = (
        set(Metric) | set(AuditMetric) | set(ExportMetric) | set(own_metrics(stack, namespace))
    )
    watched = set()
    for resource in stack.values():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        properties = resource["Properties"]
        single = [properties] if "MetricName" in properties else []
        several = [
            each["MetricStat"]["Metric"]
            for each in properties.get("Metrics", [])
            if "MetricStat" in each
        ]
        watched |= {
            each["MetricName"] for each in single + several if each["Namespace"] == namespace
        }
    assert {"ReadingsRejected", "ObjectsSetAside", "CurationRuns", *AuditMetric} <= watched
    assert watched <= emitted


def test_metrics_of_a_run_are_figures_of_its_account(stack: dict[str, Any]) -> None:
    namespace = environment(stack)["POWERTOOLS_METRICS_NAMESPACE"]
    account = columns_of_job("ACCOUNT_COLUMNS")
    metrics = set(own_metrics(stack, namespace).values())
    values = {value for value in metrics if value.startswith("$.account.")}
    summary = {f"$.summary.{figure}" for figure in SUMMARY_FIGURES}
    assert metrics - values - summary == {"1", *(f"$.maintenance.{name}" for name in FIGURES)}
    assert summary <= metrics
    assert values == {
        f"$.account.{name}"
        for name in (
            *("seconds", "curated", "duplicates", "dropped", "late", "too_old"),
            *("objects_set_aside", "complete_through_epoch"),
        )
    }
    # Epoch seconds are only printed: the table has a timestamp.
    stored = {value.removeprefix("$.account.").removesuffix("_epoch") for value in values}
    assert stored <= set(account)
    assert 'print(json.dumps({"account":' in JOB_SCRIPT.read_text()


def test_an_hour_is_closed_only_when_the_function_can_write_to_it_no_more(
    stack: dict[str, Any], template: dict[str, Any]
) -> None:
    (closes_after,) = re.findall(
        r"^HOUR_CLOSES_AFTER: Final = timedelta\(minutes=(\d+)\)$", JOB_SCRIPT.read_text(), re.M
    )
    timeout = stack["IngestTelemetryFunction"]["Properties"]["Timeout"]
    assert 60 * int(closes_after) >= 2 * timeout
    # What is looked for again reaches behind that.
    assert template["Parameters"]["LookBackMinutes"]["MinValue"] >= int(closes_after)


# Whose presence in the printed line tests/spark/test_summarise.py proves.
SUMMARY_FIGURES = ("active", "silent", "seconds")
# Whose presence in the printed line tests/spark/test_maintain_on_s3_and_glue.py proves.
FIGURES = {
    *("seconds", "conflicts", "days_left", "snapshots_expired", "orphan_files_removed"),
    *(f"tables.readings.{name}" for name in ("files_per_day", "bytes_per_file", "snapshots")),
}


def test_rejections_are_searched_by_the_dimension_that_counts_them(stack: dict[str, Any]) -> None:
    body = stack["PipelineDashboard"]["Properties"]["DashboardBody"]
    namespace = environment(stack)["POWERTOOLS_METRICS_NAMESPACE"]
    assert f"{{{namespace},service,{REASON_DIMENSION}}}" in body
    assert Metric.READINGS_REJECTED in body


TABLES = {
    "readings": {*columns_of_job("RAW_COLUMNS"), *columns_of_job("DERIVED_COLUMNS")},
    "curation_runs": set(columns_of_job("ACCOUNT_COLUMNS")),
    "curation_ledger": set(columns_of_job("LEDGER_COLUMNS")),
    "rejected_data": {*REJECTED_SCHEMA.names, "ingest_date", "ingest_hour"},
}


def test_saved_queries_name_tables_and_columns_that_exist(stack: dict[str, Any]) -> None:
    queries = [each for each in stack.values() if each["Type"] == "AWS::Athena::NamedQuery"]
    assert len(queries) >= 5
    for query in queries:
        parsed = sqlglot.parse_one(query["Properties"]["QueryString"], read="athena")
        (table,) = {each.name for each in parsed.find_all(exp.Table)} - {"device_features"}
        if table in ("device_hours", "device_latest"):
            continue  # their columns follow the contract's: tests/spark/test_queries.py asks them
        own_names = {each.alias for each in parsed.find_all(exp.Alias)}
        own_names |= {name for each in parsed.find_all(exp.TableAlias) for name in each.columns}
        own_names |= {
            column.name for each in parsed.find_all(exp.TableAlias) for column in each.columns
        }
        columns = {each.name for each in parsed.find_all(exp.Column)}
        assert columns - own_names <= TABLES[table], query["Properties"]["Name"]
