"""`ops pause` and `ops resume`: what they stop, what they say of it, and what they refuse."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import batched
from typing import Any

import boto3
import pytest

from ops.__main__ import run
from ops.errors import OperationError
from ops.pause.parts import Clients, pause, resume
from ops.stack import Stack

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
STACK = Stack(
    name="lake",
    stream_name="lake-telemetry",
    stream_arn="arn:aws:kinesis:eu-west-1:111122223333:stream/lake-telemetry",
    function_name="ingest",
    raw_zone_bucket="raw",
    rejected_zone_bucket="rejected",
    failed_zone_bucket="failed",
    curated_zone_bucket="curated",
    database_name="lake",
    curation_job_name="curate",
)


class Service:
    """Every service that a pause speaks to: one mapping, one stream, one trigger, two rules."""

    class exceptions:  # noqa: N801 - a client's attribute of that name
        class EntityNotFoundException(Exception):  # noqa: N818 - Glue's name
            pass

    def __init__(self, mappings: int = 1) -> None:
        self.state = "Enabled"
        self.later: list[str] = []
        self.stuck = False
        self.mappings = mappings
        self.record_age = 518_400
        self.triggers = ["lake-curation-schedule", "lake-maintenance-schedule"]
        # The second rule comes after more resources than DescribeStackResources returns.
        kinds = ["AWS::IoT::TopicRule", *["A::B::C"] * 109, "AWS::IoT::TopicRule"]
        names = ["telemetry", *(f"r{number}" for number in range(109)), "second"]
        self.resources = [
            {"PhysicalResourceId": name, "ResourceType": kind}
            for name, kind in zip(names, kinds, strict=True)
        ]
        self.did: list[str] = []

    def list_event_source_mappings(self, EventSourceArn: str, FunctionName: str) -> dict[str, Any]:
        assert (EventSourceArn, FunctionName) == (STACK.stream_arn, "ingest")
        return {"EventSourceMappings": [self.mapping()] * self.mappings}

    def get_event_source_mapping(self, UUID: str) -> dict[str, Any]:
        if self.later:
            self.state = self.later.pop(0)
        return self.mapping()

    def mapping(self) -> dict[str, Any]:
        return {"UUID": "m", "State": self.state, "MaximumRecordAgeInSeconds": self.record_age}

    def update_event_source_mapping(self, UUID: str, Enabled: bool) -> None:
        if self.stuck:
            return
        self.did.append(f"enabled={Enabled}")
        self.state = "Enabling" if Enabled else "Disabling"
        self.later = [self.state, "Enabled" if Enabled else "Disabled"]

    def describe_stream_summary(self, StreamName: str) -> dict[str, Any]:
        return {"StreamDescriptionSummary": {"RetentionPeriodHours": 168}}

    def get_paginator(self, operation_name: str) -> "Service":
        assert operation_name == "list_stack_resources"
        return self

    def paginate(self, StackName: str) -> Iterator[dict[str, Any]]:
        for page in batched(self.resources, 100, strict=False):
            yield {"StackResourceSummaries": list(page)}

    def get_trigger(self, Name: str) -> dict[str, Any]:
        if Name not in self.triggers:
            raise self.exceptions.EntityNotFoundException
        return {"Trigger": {"Name": Name}}

    def stop_trigger(self, Name: str) -> None:
        self.did.append(f"stopped {Name}")

    def start_trigger(self, Name: str) -> None:
        self.did.append(f"started {Name}")

    def disable_topic_rule(self, ruleName: str) -> None:
        self.did.append(f"disabled {ruleName}")

    def enable_topic_rule(self, ruleName: str) -> None:
        self.did.append(f"enabled {ruleName}")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def clients(service: Service) -> Clients:
    return Clients(service, service, service, service, service, wait=lambda _: None)


def test_pausing_ingestion_disables_the_mapping_and_says_until_when_nothing_is_lost(
    service: Service, clients: Clients
) -> None:
    lines = pause("ingestion", STACK, clients, NOW)
    assert service.did == ["enabled=False"]
    assert service.state == "Disabled"
    assert lines[0] == (
        "ingestion: paused. Nothing is lost: the stream keeps what arrives for 7 days."
    )
    assert "Resume before 2026-12-02 12:00 UTC" in lines[1]


def test_without_a_record_age_the_streams_retention_is_the_limit(
    service: Service, clients: Clients
) -> None:
    service.record_age = -1
    assert "Resume before 2026-12-03 12:00 UTC" in pause("ingestion", STACK, clients, NOW)[1]


def test_pausing_and_resuming_twice_is_no_harm(service: Service, clients: Clients) -> None:
    for _ in range(2):
        pause("ingestion", STACK, clients, NOW)
    for _ in range(2):
        resume("ingestion", STACK, clients)
    assert service.did == ["enabled=False", "enabled=True"]


def test_mapping_that_does_not_stop_is_told(service: Service, clients: Clients) -> None:
    service.stuck = True
    with pytest.raises(OperationError, match="still Enabled, not Disabled"):
        pause("ingestion", STACK, clients, NOW)


@pytest.mark.parametrize("number", [0, 2])
def test_another_number_of_mappings_than_one_is_told(number: int) -> None:
    service = Service(mappings=number)
    clients = Clients(service, service, service, service, service, wait=lambda _: None)
    with pytest.raises(OperationError, match=f"has {number} mappings"):
        pause("ingestion", STACK, clients, NOW)


def test_pausing_curation_stops_its_schedule_only(service: Service, clients: Clients) -> None:
    pause("curation", STACK, clients, NOW)
    resume("curation", STACK, clients)
    assert service.did == ["stopped lake-curation-schedule", "started lake-curation-schedule"]


def test_schedule_that_a_parameter_has_taken_away_is_told(
    service: Service, clients: Clients
) -> None:
    service.triggers = []
    with pytest.raises(OperationError, match="CurationEnabled=true"):
        resume("curation", STACK, clients)


def test_stopping_the_rule_stops_every_rule_and_says_what_is_lost(
    service: Service, clients: Clients
) -> None:
    assert "LOST" in "\n".join(pause("rule", STACK, clients, NOW))
    resume("rule", STACK, clients)
    assert service.did == [
        "disabled telemetry",
        "disabled second",
        "enabled telemetry",
        "enabled second",
    ]


def test_stack_in_which_no_rule_is_found_is_told(service: Service, clients: Clients) -> None:
    service.resources = service.resources[1:-1]
    with pytest.raises(OperationError, match="the stack lake has no rule"):
        resume("rule", STACK, clients)


def test_rule_is_not_stopped_without_a_word_that_messages_may_be_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(boto3, "Session", lambda: pytest.fail("AWS was asked"))
    with pytest.raises(SystemExit) as exit_:
        run(["pause", "rule", "--stack-name", "lake"])
    assert exit_.value.code == 2
    assert "--lose-messages" in capsys.readouterr().err
