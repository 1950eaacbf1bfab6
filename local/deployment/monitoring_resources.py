"""The resource types of the template that watch over the pipeline: logs, topics, schedules.

As in `local.deployment.account_resources`: a few calls each to what moto keeps.
"""

import json
from typing import Any

from local.api import ACCOUNT_ID, REGION
from local.deployment.provider import (
    ApiResource,
    Clients,
    Created,
    DeploymentError,
    Properties,
    ResourceProvider,
    shaped,
    tags_of,
    without,
)
from local.event_input import EventInputError
from local.event_input import check as check_event_input

# https://docs.aws.amazon.com/general/latest/gr/aws-cost-management.html
_MAX_NOTIFICATIONS = 10


def monitoring_providers(clients: Clients) -> list[ResourceProvider]:
    """Log groups, metric filters, topics, rules for events, schedules and budgets."""
    return [
        _log_group(clients("logs")),
        _metric_filter(clients("logs")),
        _topic(clients("sns")),
        _subscription(clients("sns")),
        _topic_policy(clients("sns")),
        _events_rule(clients("events")),
        _schedule(clients("scheduler")),
        _budget(clients("budgets")),
    ]


def _log_group(logs: Any) -> ApiResource:
    known = frozenset({"LogGroupName", "RetentionInDays", "KmsKeyId", "Tags"})

    def retain(name: str, properties: Properties) -> Created:
        if "RetentionInDays" in properties:
            logs.put_retention_policy(
                logGroupName=name, retentionInDays=int(properties["RetentionInDays"])
            )
        else:
            logs.delete_retention_policy(logGroupName=name)
        return Created(name, {"Arn": f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{name}:*"})

    def create(name: str, properties: Properties) -> Created:
        name = properties.get("LogGroupName", name)
        arguments: Properties = {"logGroupName": name}
        if "KmsKeyId" in properties:
            arguments["kmsKeyId"] = properties["KmsKeyId"]
        logs.create_log_group(**arguments, tags=tags_of(properties))
        return retain(name, properties)

    return ApiResource(
        "AWS::Logs::LogGroup",
        known,
        create,
        lambda name, _: logs.delete_log_group(logGroupName=name),
        frozenset({"LogGroupName", "KmsKeyId"}),
        change=retain,
    )


def _metric_filter(logs: Any) -> ApiResource:
    known = frozenset({"FilterName", "FilterPattern", "LogGroupName", "MetricTransformations"})

    def put(name: str, properties: Properties) -> Created:
        name = properties.get("FilterName", name)
        arguments = without(properties, "FilterName")
        logs.put_metric_filter(filterName=name, **shaped(logs, "PutMetricFilter", arguments))
        return Created(name)

    def delete(name: str, properties: Properties) -> None:
        logs.delete_metric_filter(filterName=name, logGroupName=properties["LogGroupName"])

    return ApiResource(
        "AWS::Logs::MetricFilter",
        known,
        put,
        delete,
        frozenset({"FilterName", "LogGroupName"}),
    )


def _topic(sns: Any) -> ApiResource:
    known = frozenset({"TopicName", "DisplayName", "KmsMasterKeyId", "Tags"})
    attributes = ("DisplayName", "KmsMasterKeyId")

    def described(arn: str) -> Created:
        return Created(arn, {"TopicArn": arn, "TopicName": arn.rpartition(":")[2]})

    def create(name: str, properties: Properties) -> Created:
        topic = sns.create_topic(
            Name=properties.get("TopicName", name),
            Attributes={key: str(properties[key]) for key in attributes if key in properties},
            Tags=[{"Key": key, "Value": value} for key, value in tags_of(properties).items()],
        )
        return described(topic["TopicArn"])

    def change(arn: str, properties: Properties) -> Created:
        for key in attributes:
            value = str(properties.get(key, ""))
            sns.set_topic_attributes(TopicArn=arn, AttributeName=key, AttributeValue=value)
        return described(arn)

    return ApiResource(
        "AWS::SNS::Topic",
        known,
        create,
        lambda arn, _: sns.delete_topic(TopicArn=arn),
        frozenset({"TopicName"}),
        change=change,
    )


def _subscription(sns: Any) -> ApiResource:
    known = frozenset({"TopicArn", "Protocol", "Endpoint"})

    def create(_: str, properties: Properties) -> Created:
        arguments = shaped(sns, "Subscribe", properties)
        return Created(sns.subscribe(**arguments, ReturnSubscriptionArn=True)["SubscriptionArn"])

    return ApiResource(
        "AWS::SNS::Subscription",
        known,
        create,
        lambda arn, _: sns.unsubscribe(SubscriptionArn=arn),
        replaced=True,
    )


def _topic_policy(sns: Any) -> ApiResource:
    def put(name: str, properties: Properties) -> Created:
        for topic in properties["Topics"]:
            sns.set_topic_attributes(
                TopicArn=topic,
                AttributeName="Policy",
                AttributeValue=json.dumps(properties["PolicyDocument"]),
            )
        return Created(name)

    known = frozenset({"Topics", "PolicyDocument"})
    # A topic always has a policy; when this one goes, its topic usually goes too.
    return ApiResource("AWS::SNS::TopicPolicy", known, put, lambda *_: None)


def _events_rule(events: Any) -> ApiResource:
    known = frozenset(
        {"Name", "Description", "EventPattern", "ScheduleExpression", "State", "Targets"}
    )

    def put(name: str, properties: Properties) -> Created:
        name = properties.get("Name", name)
        arguments = without(properties, "Name", "Targets")
        if "EventPattern" in arguments:
            arguments["EventPattern"] = json.dumps(arguments["EventPattern"])
        for target in properties.get("Targets", []):
            try:
                check_event_input(target)
            except EventInputError as error:
                raise DeploymentError(f"{name}: {error}") from error
        rule = events.put_rule(Name=name, **shaped(events, "PutRule", arguments))
        remove_targets(name)
        if targets := properties.get("Targets"):
            events.put_targets(Rule=name, **shaped(events, "PutTargets", {"Targets": targets}))
        return Created(name, {"Arn": rule["RuleArn"]})

    def remove_targets(name: str) -> None:
        ids = [target["Id"] for target in events.list_targets_by_rule(Rule=name)["Targets"]]
        if ids:
            events.remove_targets(Rule=name, Ids=ids)

    def delete(name: str, _: Properties) -> None:
        remove_targets(name)
        events.delete_rule(Name=name)

    return ApiResource("AWS::Events::Rule", known, put, delete, frozenset({"Name"}))


def _schedule(scheduler: Any) -> ApiResource:
    shape = scheduler.meta.service_model.operation_model("CreateSchedule").input_shape

    def create(name: str, properties: Properties) -> Created:
        arguments = shaped(scheduler, "CreateSchedule", {"Name": name, **properties})
        made = scheduler.create_schedule(**arguments)
        return Created(arguments["Name"], {"Arn": made["ScheduleArn"]})

    def change(name: str, properties: Properties) -> Created:
        arguments = shaped(scheduler, "UpdateSchedule", {**properties, "Name": name})
        return Created(name, {"Arn": scheduler.update_schedule(**arguments)["ScheduleArn"]})

    # Kept and told, and started by nobody: the local cloud does nothing by the clock.
    return ApiResource(
        "AWS::Scheduler::Schedule",
        frozenset(shape.members) - {"ClientToken"},
        create,
        lambda name, _: scheduler.delete_schedule(Name=name),
        frozenset({"Name", "GroupName"}),
        change=change,
    )


def _budget(budgets: Any) -> ApiResource:
    def create(name: str, properties: Properties) -> Created:
        budget = {"BudgetName": name, **properties["Budget"]}
        request = {"AccountId": ACCOUNT_ID, **properties, "Budget": budget}
        arguments = shaped(budgets, "CreateBudget", request)
        _check_subscribers(arguments.get("NotificationsWithSubscribers", []))
        budgets.create_budget(**arguments)
        return Created(budget["BudgetName"])

    def remove(name: str, _: Properties) -> None:
        budgets.delete_budget(AccountId=ACCOUNT_ID, BudgetName=name)

    def change(name: str, properties: Properties) -> Created:
        # moto has no UpdateBudget.
        remove(name, properties)
        return create(name, properties)

    # Kept and told, and never exceeded: nothing costs anything here.
    return ApiResource(
        "AWS::Budgets::Budget",
        frozenset({"Budget", "NotificationsWithSubscribers"}),
        create,
        remove,
        frozenset({"NotificationsWithSubscribers"}),
        change=change,
    )


def _check_subscribers(notifications: list[Properties]) -> None:
    """https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_CreateBudget.html"""
    if len(notifications) > _MAX_NOTIFICATIONS:
        raise DeploymentError(f"a budget has up to {_MAX_NOTIFICATIONS} notifications")
    for notification in notifications:
        kinds = [one["SubscriptionType"] for one in notification["Subscribers"]]
        if kinds.count("SNS") > 1 or kinds.count("EMAIL") > 10 or not kinds:
            raise DeploymentError("a notification has up to one SNS subscriber and 10 addresses")
        told = notification["Notification"]
        if told.get("ThresholdType", "PERCENTAGE") not in ("PERCENTAGE", "ABSOLUTE_VALUE"):
            raise DeploymentError(f"ThresholdType {told['ThresholdType']!r}")
