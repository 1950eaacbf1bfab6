"""The template reads in the order in which data flows, and says what an operator may choose."""

import re
import tomllib
from typing import Any

import pytest

from tests.template.expand import ROOT, TEMPLATE

BANNERS = [
    "1 ZONES",
    "2 INTAKE",
    "3 INGESTION",
    "4 CATALOGUE AND CURATION",
    "5 ALARMS",
    "6 DASHBOARDS",
]

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
    "CurateTelemetryJobName",
    "SummariseDevicesJobName",
    "MaintainTablesJobName",
    "DevicePolicyName",
    "DeviceProvisioningTemplateName",
    "ClaimPolicyName",
    "TelemetryRuleName",
    "AlarmTopicArn",
    "QueryWorkGroupName",
    "ReaderPolicyArn",
}

SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = ("default", "prod", "local")


def overrides(environment: str) -> dict[str, str]:
    pairs = SAMCONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    return dict(pair.split("=", 1) for pair in pairs)


def test_banners_follow_the_data() -> None:
    found = re.findall(r"^  # (\d [A-Z ]+):", TEMPLATE.read_text(), re.MULTILINE)
    assert found == BANNERS


def test_outputs_have_the_names_that_people_and_tools_read(template: dict[str, Any]) -> None:
    assert set(template["Outputs"]) == OUTPUTS
    assert all(each["Description"] for each in template["Outputs"].values())


def test_every_parameter_is_described_and_bounded(template: dict[str, Any]) -> None:
    for name, parameter in template["Parameters"].items():
        assert len(parameter["Description"]) > 20, name
        assert "Default" in parameter, name
        if parameter["Type"] == "Number":
            bounded = {"MinValue", "AllowedValues"} & set(parameter)
            assert bounded, name
        else:
            assert {"AllowedValues", "AllowedPattern"} & set(parameter), name


@pytest.mark.parametrize("unit", ["Days", "Hours", "Minutes", "Seconds", "Bytes"])
def test_units_in_names_are_said_again(template: dict[str, Any], unit: str) -> None:
    named = {name: each for name, each in template["Parameters"].items() if name.endswith(unit)}
    assert named
    for name, parameter in named.items():
        assert unit.lower() in parameter["Description"].lower(), name


def test_every_default_obeys_its_own_bounds(template: dict[str, Any]) -> None:
    for name, parameter in template["Parameters"].items():
        default = parameter["Default"]
        assert default in parameter.get("AllowedValues", [default]), name
        assert re.search(parameter.get("AllowedPattern", ""), str(default)), name
        if "MinValue" in parameter:
            assert parameter["MinValue"] <= default <= parameter.get("MaxValue", default), name


def test_every_parameter_is_in_the_console_s_form_and_of_use(template: dict[str, Any]) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]
    assert sorted(shown) == sorted(template["Parameters"])
    rest = TEMPLATE.read_text().split("\nConditions:\n")[1]
    for name in template["Parameters"]:
        assert re.search(rf"!Ref {name}\b|\$\{{{name}\}}", rest), name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_deploying_asks_nothing(environment: str) -> None:
    parameters = SAMCONFIG[environment]["deploy"]["parameters"]
    assert parameters["resolve_s3"] is True
    assert parameters["confirm_changeset"] is False
    assert parameters["capabilities"] == "CAPABILITY_IAM"
    assert SAMCONFIG[environment]["global"]["parameters"]["stack_name"]


def test_stacks_of_one_account_have_their_own_names_and_databases() -> None:
    stacks = {SAMCONFIG[each]["global"]["parameters"]["stack_name"] for each in ENVIRONMENTS}
    databases = {overrides(each)["DatabaseName"] for each in ENVIRONMENTS}
    assert len(stacks) == len(databases) == len(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_overrides_are_parameters_within_their_bounds(
    template: dict[str, Any], environment: str
) -> None:
    for name, value in overrides(environment).items():
        parameter = template["Parameters"][name]
        assert value in parameter.get("AllowedValues", [value])
        assert re.search(parameter.get("AllowedPattern", ""), value)
        if "MinValue" in parameter:
            assert parameter["MinValue"] <= int(value) <= parameter["MaxValue"]


def test_local_stack_is_quick_and_has_two_shards() -> None:
    assert overrides("local").items() >= {
        ("StreamMode", "PROVISIONED"),
        ("ShardCount", "2"),
        ("MaxBatchingWindowSeconds", "1"),
    }
