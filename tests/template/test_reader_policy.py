"""The policy for readers: everything that a query needs, on the curated tables, and no more."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from ops import erasures, exchange
from tests.template.conftest import KEY_ARN, MakeStack
from tests.template.expand import ROOT
from tests.template.statements import listed

OPERATIONS = ROOT / "docs" / "operations.md"
TABLES = "curated/iot_data_db.db/*"
IN_GLUE = "arn:aws:glue:THE-REGION:THE-ACCOUNT:"

# What each reader calls, by its documentation; Athena acts with the rights of who asks.
# https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html
# https://docs.aws.amazon.com/athena/latest/ug/example-policies-workgroup.html
NEEDED = {
    "PyIceberg, Spark and DuckDB": {"glue:GetDatabase", "glue:GetTable", "s3:GetObject"},
    "PyIceberg, listing": {"glue:GetTables"},
    "Athena": {
        "athena:StartQueryExecution",
        "athena:GetQueryExecution",
        "athena:GetQueryResults",
        "athena:GetQueryResultsStream",
        "athena:GetWorkGroup",
        "athena:GetDataCatalog",
        "glue:GetDatabase",
        "glue:GetDatabases",
        "glue:GetTable",
        "s3:GetObject",
        "s3:GetBucketLocation",
        "s3:ListBucket",
    },
    "QuickSight": {"athena:ListWorkGroups", "athena:ListDataCatalogs", "athena:ListDatabases"},
    "saved queries": {"athena:ListNamedQueries", "athena:GetNamedQuery"},
}


def statements(stack: dict[str, Any]) -> list[dict[str, Any]]:
    document = stack["ReaderPolicy"]["Properties"]["PolicyDocument"]
    found: list[dict[str, Any]] = document["Statement"]
    return found


def allowed(stack: dict[str, Any]) -> set[tuple[str, str]]:
    """(action, resource) of every statement."""
    return {
        (action, resource)
        for statement in statements(stack)
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


@pytest.mark.parametrize("reader", NEEDED)
def test_reader_is_allowed_what_it_calls(stack: dict[str, Any], reader: str) -> None:
    assert {action for action, _ in allowed(stack)} >= NEEDED[reader]


def test_readers_change_nothing_but_start_and_stop_their_queries(stack: dict[str, Any]) -> None:
    reading = re.compile(r"\w+:(Get|List|BatchGet)\w+")
    changing = {action for action, _ in allowed(stack) if not reading.fullmatch(action)}
    assert changing == {"athena:StartQueryExecution", "athena:StopQueryExecution"}


def test_readers_see_the_curated_zone_the_database_and_the_workgroup_only(
    stack: dict[str, Any],
) -> None:
    by_service: dict[str, set[str]] = {}
    for action, resource in allowed(stack):
        by_service.setdefault(action.partition(":")[0], set()).add(resource)
    assert by_service == {
        "s3": {f"arn:aws:s3:::CuratedZoneBucket/{TABLES}", "arn:aws:s3:::CuratedZoneBucket"},
        "glue": {
            f"{IN_GLUE}catalog",
            f"{IN_GLUE}database/default",
            f"{IN_GLUE}database/iot_data_db",
            f"{IN_GLUE}table/iot_data_db/*",
        },
        "athena": {
            "arn:aws:athena:THE-REGION:THE-ACCOUNT:workgroup/TelemetryWorkGroup",
            "arn:aws:athena:THE-REGION:THE-ACCOUNT:datacatalog/AwsDataCatalog",
            "*",
        },
    }


@pytest.mark.parametrize("prefix", [erasures.PREFIX, exchange.PREFIX])
def test_readers_see_no_tombstones_and_nothing_else_beside_the_tables(
    stack: dict[str, Any], prefix: str
) -> None:
    paths = [resource for _, resource in allowed(stack) if resource.startswith("arn:aws:s3:::")]
    paths += [
        f"/{statement['Condition']['StringLike']['s3:prefix']}"
        for statement in statements(stack)
        if "StringLike" in statement.get("Condition", {})
    ]
    shapes = [path.partition("/")[2] for path in paths if "/" in path]
    assert len(shapes) == 2
    assert not any(fnmatchcase(f"{prefix}iot_data_db/x.json", shape) for shape in shapes)


def test_only_lists_of_names_are_allowed_everywhere(stack: dict[str, Any]) -> None:
    everywhere = {action for action, resource in allowed(stack) if resource == "*"}
    assert everywhere == {"athena:ListWorkGroups", "athena:ListDataCatalogs"}


def test_the_bucket_is_reached_in_this_account_and_listed_under_the_tables_only(
    stack: dict[str, Any],
) -> None:
    for statement in statements(stack):
        actions = listed(statement["Action"])
        if not actions[0].startswith("s3:"):
            continue
        condition = statement["Condition"]
        assert condition["StringEquals"] == {"s3:ResourceAccount": "THE-ACCOUNT"}
        listing = actions == ["s3:ListBucket"]
        assert condition.get("StringLike") == ({"s3:prefix": TABLES} if listing else None)


def test_readers_may_use_a_key_of_ones_own_and_hear_of_none_else(
    make_stack: MakeStack, stack: dict[str, Any]
) -> None:
    assert not [action for action, _ in allowed(stack) if action.startswith("kms:")]
    encrypted = allowed(make_stack(KmsKeyArn=KEY_ARN))
    assert {each for each in encrypted if each[0].startswith("kms:")} == {
        ("kms:Decrypt", KEY_ARN),
        ("kms:GenerateDataKey", KEY_ARN),
    }


def test_readers_of_an_existing_bucket_and_database_are_allowed_these(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(
        ExistingCuratedZoneBucket="ours", DatabaseName="lake_db", CreateDatabase="false"
    )
    resources = {resource for _, resource in allowed(stack)}
    assert {"arn:aws:s3:::ours/curated/lake_db.db/*", f"{IN_GLUE}table/lake_db/*"} <= resources


def test_no_name_is_given_so_that_capability_iam_is_enough(stack: dict[str, Any]) -> None:
    assert "ManagedPolicyName" not in stack["ReaderPolicy"]["Properties"]


def test_operations_say_how_to_attach_it_and_to_detach_it_before_an_uninstall() -> None:
    text = OPERATIONS.read_text()
    query = text.partition("## Query")[2].partition("\n## ")[0]
    assert "attach-role-policy" in query
    assert "output ReaderPolicyArn" in query
    uninstall = text.partition("## Uninstall")[2].partition("\n## ")[0]
    assert "detach-role-policy" in uninstall
    assert "output ReaderPolicyArn" in uninstall
