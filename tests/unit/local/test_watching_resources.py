"""Budgets and functions' policies as a deployment makes them; what AWS would refuse is refused."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.api import ACCOUNT_ID, REGION
from local.deployment.monitoring_resources import monitoring_providers
from local.deployment.provider import DeploymentError, ReplacementNeeded, ResourceProvider
from local.functions.resources import permission_provider

TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:alarms"


def client(service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload] # the stubs know services by their literal names
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.fixture
def budgets() -> Iterator[ResourceProvider]:
    with mock_aws():
        (provider,) = [
            one
            for one in monitoring_providers(client)
            if one.resource_type == "AWS::Budgets::Budget"
        ]
        yield provider


def budget(amount: str = "50", *subscribers: str) -> dict[str, Any]:
    notification = {
        "NotificationType": "ACTUAL",
        "ComparisonOperator": "GREATER_THAN",
        # As text, as a template's parameters are.
        "Threshold": "80",
    }
    told = [{"SubscriptionType": one, "Address": TOPIC} for one in subscribers or ("SNS",)]
    limit = {"Amount": amount, "Unit": "USD"}
    return {
        "Budget": {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": limit},
        "NotificationsWithSubscribers": [{"Notification": notification, "Subscribers": told}],
    }


def kept() -> list[tuple[str, str]]:
    found = client("budgets").describe_budgets(AccountId=ACCOUNT_ID)["Budgets"]
    return [(one["BudgetName"], one["BudgetLimit"]["Amount"]) for one in found]


def test_budget_is_kept_changed_in_place_and_deleted(budgets: ResourceProvider) -> None:
    made = budgets.create("MonthlyBudget", "stack-MonthlyBudget-1", budget())
    assert kept() == [("stack-MonthlyBudget-1", "50")]

    budgets.update(made.physical_id, budget(), budget("80"))
    assert kept() == [("stack-MonthlyBudget-1", "80")]

    budgets.delete(made.physical_id, budget("80"))
    assert kept() == []


def test_other_notifications_make_another_budget(budgets: ResourceProvider) -> None:
    with pytest.raises(ReplacementNeeded):
        budgets.update("a", budget(), budget("50", "SNS", "EMAIL"))


def test_notification_has_one_topic_at_most(budgets: ResourceProvider) -> None:
    with pytest.raises(DeploymentError, match="one SNS subscriber"):
        budgets.create("MonthlyBudget", "b", budget("50", "SNS", "SNS"))


def test_budgets_member_that_there_is_not_is_refused(budgets: ResourceProvider) -> None:
    wrong = budget()
    wrong["Budget"]["Colour"] = "red"
    with pytest.raises(DeploymentError, match="Colour"):
        budgets.create("MonthlyBudget", "b", wrong)


def test_permission_is_a_statement_of_the_functions_policy_until_it_is_deleted() -> None:
    with mock_aws():
        functions, name = client("lambda"), "answer"
        role = client("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")
        functions.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=role["Role"]["Arn"],
            Handler="a.b",
            Code={"ZipFile": b""},
        )
        permission = {
            "FunctionName": name,
            "Action": "lambda:InvokeFunction",
            "Principal": "lambda.alarms.cloudwatch.amazonaws.com",
            "SourceArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:a",
        }
        provider = permission_provider(functions)
        provider.create("Permission", "stack-Permission-1", permission)

        (statement,) = json.loads(functions.get_policy(FunctionName=name)["Policy"])["Statement"]
        assert statement["Principal"] == {"Service": "lambda.alarms.cloudwatch.amazonaws.com"}
        assert permission["SourceArn"] in json.dumps(statement["Condition"])

        provider.delete("stack-Permission-1", permission)
        provider.delete("stack-Permission-1", permission)
        with pytest.raises(functions.exceptions.ResourceNotFoundException):
            functions.get_policy(FunctionName=name)


def test_rule_for_events_whose_message_the_local_cloud_could_not_make_is_refused() -> None:
    with mock_aws():
        (rules,) = [
            one for one in monitoring_providers(client) if one.resource_type == "AWS::Events::Rule"
        ]
        target = {"Id": "topic", "Arn": TOPIC, "InputTransformer": {"InputTemplate": '"failed"'}}
        refused = {"EventPattern": {"source": ["aws.glue"]}, "Targets": [target]}
        with pytest.raises(DeploymentError, match="Failed: InputTemplate: emulated is a JSON"):
            rules.create("Failed", "Failed", refused)
        assert client("events").list_rules()["Rules"] == []
