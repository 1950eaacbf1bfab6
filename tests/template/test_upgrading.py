"""What docs/upgrading.md says of parameters and of what stays, held to the template itself.

Whether a changed property replaces a resource is read from CloudFormation's own schemas.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.template.conftest import KEY_ARN
from tests.template.expand import ROOT
from tests.template.resolve import resolve

PAGE = (ROOT / "docs" / "upgrading.md").read_text()

# Another value that the parameter takes, where the declaration does not give one.
OTHER = {
    "KmsKeyArn": KEY_ARN,
    "EarliestEventTime": "2010-01-01T00:00:00Z",
    "EndpointUrl": "http://localhost:1",
    "DatabaseName": "other_db",
    "CurationSchedule": "cron(0 1 * * ? *)",
    "MaintenanceSchedule": "cron(0 1 * * ? *)",
    "AuditSchedule": "",
    "RegistryExportSchedule": "",
    "AlarmEmail": "ours@fleet.example",
    "SecondTopicFilter": "asset/tracker",
}
# Never may one of these go or be made anew because somebody changed a setting.
KEPT = {
    "AWS::Kinesis::Stream",
    "AWS::Lambda::EventSourceMapping",
    "AWS::IoT::Policy",
    "AWS::Glue::Job",
    "AWS::Glue::Workflow",
    "AWS::Athena::WorkGroup",
    "AWS::SNS::Topic",
}


def other_value(name: str, declared: dict[str, Any]) -> str:
    default = str(declared.get("Default", ""))
    if name in OTHER:
        return OTHER[name]
    if "AllowedValues" in declared:
        return next(str(each) for each in declared["AllowedValues"] if str(each) != default)
    if declared["Type"] == "Number":
        at_most = declared.get("MaxValue", int(default) + 1)
        return str(int(default) + 1 if int(default) < at_most else int(default) - 1)
    return "ours"


def fixed_properties(kind: str) -> list[str]:
    """Paths of properties whose change makes the resource anew."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return [path.removeprefix("/properties/") for path in schema.get("createOnlyProperties", [])]


def at(properties: Any, path: str) -> Any:
    for step in path.split("/"):
        properties = properties.get(step) if isinstance(properties, dict) else None
    return properties


def effects(template: dict[str, Any]) -> dict[str, set[str]]:
    """By parameter: the logical ids of what comes, goes or is made anew when it is changed."""
    before = resolve(template)["Resources"]
    found: dict[str, set[str]] = {}
    for name, declared in template["Parameters"].items():
        after = resolve(template, **{name: other_value(name, declared)})["Resources"]
        touched = set(before) ^ set(after)
        for logical_id in set(before) & set(after):
            old, new = (stack[logical_id].get("Properties", {}) for stack in (before, after))
            for path in fixed_properties(before[logical_id]["Type"]):
                # A reference to the database is its name, whoever made it.
                values = (
                    {"TelemetryDatabase": "iot_data_db"}.get(str(v), v)
                    for v in (at(old, path), at(new, path))
                )
                if len({str(value) for value in values}) > 1:
                    touched.add(logical_id)
        if touched:
            found[name] = touched
    return found


def _named(value: Any) -> Any:
    """A reference to the database stands for its name, whoever made it."""
    return "iot_data_db" if value == "TelemetryDatabase" else value


@pytest.fixture(scope="module")
def touched(expanded: dict[str, Any]) -> dict[str, set[str]]:
    return effects(expanded)


def rows() -> dict[str, str]:
    """Of the page's table: what it says of each parameter."""
    section = PAGE.partition("## Parameters that make or remove resources")[2].partition("\n## ")[0]
    told: dict[str, str] = {}
    for names, text in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|$", section, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            told[name] = text
    return told


def test_the_page_names_every_parameter_that_makes_or_removes_resources(
    touched: dict[str, set[str]], template: dict[str, Any]
) -> None:
    told = set(rows())
    assert told <= set(template["Parameters"])
    # The database's name is in its resource's input, which the schemas do not call fixed.
    assert told - {"DatabaseName"} >= set(touched)
    assert told - {"DatabaseName"} <= set(touched)


def test_no_parameter_replaces_what_holds_data_or_a_position(
    touched: dict[str, set[str]], expanded: dict[str, Any]
) -> None:
    resources = expanded["Resources"]
    for name, logical_ids in touched.items():
        for logical_id in logical_ids:
            resource = resources[logical_id]
            assert resource["Type"] not in KEPT, f"{name} replaces {logical_id}"
            if resource["Type"] in ("AWS::S3::Bucket", "AWS::Glue::Database"):
                assert resource["DeletionPolicy"] == "RetainExceptOnCreate", logical_id


def test_what_stays_is_what_the_template_retains(expanded: dict[str, Any]) -> None:
    retained = {
        resource["Type"]
        for resource in expanded["Resources"].values()
        if resource.get("DeletionPolicy", "").startswith("Retain")
    }
    assert retained == {"AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::Glue::Database"}
    assert "four buckets with their policies and the database" in PAGE
    buckets = [
        resource
        for resource in expanded["Resources"].values()
        if resource["Type"] == "AWS::S3::Bucket"
    ]
    assert len(buckets) == 4


def test_the_mapping_has_the_name_that_the_page_warns_of(expanded: dict[str, Any]) -> None:
    [mapping] = [
        logical_id
        for logical_id, resource in expanded["Resources"].items()
        if resource["Type"] == "AWS::Lambda::EventSourceMapping"
    ]
    assert f"`{mapping}`" in PAGE


def test_what_stayed_is_adopted_without_making_it_again(expanded: dict[str, Any]) -> None:
    command = PAGE.partition("## Adopt what stayed")[2].partition("```\n")[0]
    given = dict(re.findall(r"(\w+)=(<\w+>|\w+)", command))
    adopted = resolve(
        expanded,
        **{name: value.strip("<>").replace("database", "lake_db") for name, value in given.items()},
    )["Resources"]
    kinds = {resource["Type"] for resource in adopted.values()}
    assert not kinds & {"AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::Glue::Database"}
