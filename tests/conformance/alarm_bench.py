"""CloudWatch with alarms of ours over moto's services in this process; tests move the clock."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import boto3
from moto import mock_aws
from moto.cloudwatch.models import cloudwatch_backends

from local.alarms.alarms import Alarms
from local.alarms.moto_store import MotoAlarms, alarm_provider, serve_history, stored_data
from local.api import ACCOUNT_ID, REGION

# A quarter past the minute: what is evaluated are the periods until the minute.
START: Final = datetime(2026, 11, 26, 12, 0, 15, tzinfo=UTC).timestamp()
NAMESPACE: Final = "Bench"
DIMENSIONS: Final = [{"Name": "Stack", "Value": "bench"}]


class NoSuchPolicyError(Exception):
    """What Lambda answers for a function without a policy."""


class Functions:
    """The part of Lambda that alarms use; `policies` by function ARN."""

    class exceptions:  # noqa: N801 - as boto3 spells it
        ResourceNotFoundException = NoSuchPolicyError

    def __init__(self) -> None:
        self.policies: dict[str, dict[str, Any]] = {}
        self.invoked: list[tuple[str, str, dict[str, Any]]] = []

    def get_policy(self, FunctionName: str) -> dict[str, str]:
        if FunctionName not in self.policies:
            raise NoSuchPolicyError(FunctionName)
        return {"Policy": json.dumps(self.policies[FunctionName])}

    def invoke(self, FunctionName: str, InvocationType: str, Payload: str) -> None:
        self.invoked.append((FunctionName, InvocationType, json.loads(Payload)))


@dataclass
class AlarmBench:
    """`now` is the clock. `topic` is an SNS topic that a queue listens to."""

    alarms: Alarms
    store: MotoAlarms
    functions: Functions
    cloudwatch: Any
    sns: Any
    sqs: Any
    topic: str
    queue: str
    now: list[float] = field(default_factory=list)

    def alarm(self, name: str = "alarm", **settings: Any) -> str:
        """Deploy an alarm on the sum of `Errors` a minute, above 0, but for `settings`."""
        properties: dict[str, Any] = {
            "AlarmName": name,
            "Namespace": NAMESPACE,
            "MetricName": "Errors",
            "Dimensions": DIMENSIONS,
            "Statistic": "Sum",
            "Period": 60,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 0,
            "EvaluationPeriods": 1,
            "AlarmActions": [self.topic],
            "OKActions": [self.topic],
        }
        wanted = {key: value for key, value in (properties | settings).items() if value is not None}
        return alarm_provider(self.cloudwatch, self.store).put(name, wanted).attributes["Arn"]

    def measure(self, value: float, name: str = "Errors", seconds_ago: float = 60) -> None:
        """Put one value; a minute ago, so that the period it is in is over."""
        at = datetime.fromtimestamp(self.now[0] - seconds_ago, UTC)
        datum = {"MetricName": name, "Dimensions": DIMENSIONS, "Timestamp": at, "Value": value}
        self.cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[datum])

    def later(self, seconds: float) -> str:
        """Let time pass and evaluate; the state of the only alarm."""
        self.now[0] += seconds
        (state,) = self.alarms.evaluate().values()
        return state

    def messages(self) -> list[dict[str, Any]]:
        """What the topic has told since the last call."""
        found = []
        while received := self.sqs.receive_message(QueueUrl=self.queue).get("Messages"):
            for message in received:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def history(self, **wanted: Any) -> list[dict[str, Any]]:
        """The alarms' history, the newest first."""
        items: list[dict[str, Any]] = self.cloudwatch.describe_alarm_history(**wanted)[
            "AlarmHistoryItems"
        ]
        return items


@contextmanager
def running_alarm_bench() -> Iterator[AlarmBench]:
    """Everything in this process, with no network."""
    with mock_aws():

        def client(service: Any) -> Any:
            return boto3.client(
                service,
                region_name=REGION,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )

        backend = cloudwatch_backends[ACCOUNT_ID][REGION]
        now, store, functions = [START], MotoAlarms(backend), Functions()
        serve_history(store)
        sns, sqs = client("sns"), client("sqs")
        topic = sns.create_topic(Name="alarms")["TopicArn"]
        queue = sqs.create_queue(QueueName="told")["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:told"
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        alarms = Alarms(store, stored_data(backend), sns, functions, lambda: now[0])
        yield AlarmBench(
            alarms, store, functions, client("cloudwatch"), sns, sqs, topic, queue, now
        )
