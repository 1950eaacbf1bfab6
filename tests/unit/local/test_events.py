"""Events of services reach the topics of the rules that match them, and nobody else."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.events.models import events_backends

from local.api import ACCOUNT_ID, REGION
from local.events import EventBus
from local.metrics import Datum

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
PATTERN = {
    "source": ["aws.glue"],
    "detail-type": ["Glue Job State Change"],
    "detail": {"jobName": ["curate"], "state": ["FAILED", "STOPPED"]},
}


class Topics:
    """SNS; `broken` takes nothing."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.measured: list[Datum] = []
        self.broken = False

    def publish(self, TopicArn: str, Message: str) -> None:
        if self.broken:
            raise ConnectionError("no SNS")
        self.told.append((TopicArn, json.loads(Message)))


@pytest.fixture
def topics() -> Topics:
    return Topics()


@pytest.fixture
def bus(topics: Topics) -> Iterator[EventBus]:
    """With one rule, `failed`, whose target is the topic `alarms`."""
    with mock_aws():
        events = boto3.client("events", region_name=REGION)
        events.put_rule(Name="failed", EventPattern=json.dumps(PATTERN))
        arn = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:alarms"
        events.put_targets(Rule="failed", Targets=[{"Id": "topic", "Arn": arn}])
        yield EventBus(
            events_backends[ACCOUNT_ID][REGION], topics, lambda: NOW, topics.measured.append
        )


def test_event_that_matches_reaches_the_topic(bus: EventBus, topics: Topics) -> None:
    detail = {"jobName": "curate", "state": "FAILED", "jobRunId": "jr_1", "message": "no rows"}
    bus.tell("aws.glue", "Glue Job State Change", detail)

    ((topic, event),) = topics.told
    assert topic.endswith(":alarms")
    assert event["detail"] == detail
    assert (event["source"], event["time"]) == ("aws.glue", "2026-11-26T12:00:00Z")
    assert topics.measured == [
        Datum(
            "AWS/Events", "TriggeredRules", (1.0,), NOW.timestamp(), "Count", {"RuleName": "failed"}
        )
    ]


@pytest.mark.parametrize(
    ("source", "detail_type", "detail"),
    [
        ("aws.glue", "Glue Job State Change", {"jobName": "curate", "state": "SUCCEEDED"}),
        ("aws.glue", "Glue Job State Change", {"jobName": "other", "state": "FAILED"}),
        ("aws.glue", "Glue Crawler State Change", {"jobName": "curate", "state": "FAILED"}),
        ("ours", "Glue Job State Change", {"jobName": "curate", "state": "FAILED"}),
    ],
)
def test_any_other_event_reaches_nobody(
    bus: EventBus, topics: Topics, source: str, detail_type: str, detail: dict[str, str]
) -> None:
    bus.tell(source, detail_type, detail)
    assert (topics.told, topics.measured) == ([], [])


def test_topic_gets_what_the_targets_input_transformer_makes_of_the_event(
    bus: EventBus, topics: Topics
) -> None:
    transformer = {
        "InputPathsMap": {"job": "$.detail.jobName"},
        "InputTemplate": '{"said": "<aws.events.rule-name>: <job>"}',
    }
    arn = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:alarms"
    target: Any = {"Id": "topic", "Arn": arn, "InputTransformer": transformer}
    boto3.client("events", region_name=REGION).put_targets(Rule="failed", Targets=[target])
    bus.tell("aws.glue", "Glue Job State Change", {"jobName": "curate", "state": "FAILED"})
    assert [message for _, message in topics.told] == [{"said": "failed: curate"}]


def test_disabled_rule_tells_nobody(bus: EventBus, topics: Topics) -> None:
    boto3.client("events", region_name=REGION).disable_rule(Name="failed")
    bus.tell("aws.glue", "Glue Job State Change", {"jobName": "curate", "state": "FAILED"})
    assert topics.told == []


def test_topic_that_takes_nothing_does_not_stop_who_told(
    bus: EventBus, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    topics.broken = True
    bus.tell("aws.glue", "Glue Job State Change", {"jobName": "curate", "state": "FAILED"})
    assert "event rule failed" in caplog.text
