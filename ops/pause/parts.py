"""What can be paused: each part says what piles up meanwhile, until when, and what it costs.

Guarantee: pausing ingestion or curation loses nothing before the time that is told. The rule has
nothing behind it that would keep messages, so it is stopped only by who says that they may be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ops.errors import OperationError

if TYPE_CHECKING:
    from ops.stack import Stack

PARTS = ("ingestion", "curation", "rule")
_POLLS = 120
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Clients:
    """boto3 clients, and how to wait."""

    stacks: Any
    functions: Any
    streams: Any
    glue: Any
    iot: Any
    wait: Callable[[float], None]


def pause(part: str, stack: Stack, clients: Clients, now: datetime) -> list[str]:
    """Stop a part; lines that say what that means."""
    match part:
        case "ingestion":
            return _pause_ingestion(stack, clients, now)
        case "curation":
            clients.glue.stop_trigger(Name=_schedule(stack, clients))
            return [
                "curation: its schedule is stopped; a run that is going on ends by itself.",
                "  The raw zone goes on filling, and the next run takes all of it. "
                "CurationStaleAlarm goes off after a day.",
            ]
        case _:
            for rule in _rules(stack, clients):
                clients.iot.disable_topic_rule(ruleName=rule)
            return [
                "rule: disabled. What devices publish from now on is LOST: the broker acknowledges",
                "  it and keeps nothing. Devices that keep what they sent may send it again later.",
            ]


def resume(part: str, stack: Stack, clients: Clients) -> list[str]:
    """Let a part go on; lines that say what that means."""
    match part:
        case "ingestion":
            _enable_mapping(stack, clients, enabled=True)
            return ["ingestion: goes on where it stopped."]
        case "curation":
            clients.glue.start_trigger(Name=_schedule(stack, clients))
            return ["curation: runs by its schedule again; the next run takes what piled up."]
        case _:
            for rule in _rules(stack, clients):
                clients.iot.enable_topic_rule(ruleName=rule)
            return ["rule: takes messages again. What was published meanwhile is lost."]


def _pause_ingestion(stack: Stack, clients: Clients, now: datetime) -> list[str]:
    mapping = _enable_mapping(stack, clients, enabled=False)
    summary = clients.streams.describe_stream_summary(StreamName=stack.stream_name)
    kept = timedelta(hours=summary["StreamDescriptionSummary"]["RetentionPeriodHours"])
    # -1: records are retried as long as the stream has them.
    age = mapping["MaximumRecordAgeInSeconds"]
    deadline = now + (kept if age < 0 else min(kept, timedelta(seconds=age)))
    return [
        "ingestion: paused. Nothing is lost: the stream keeps what arrives for "
        f"{kept / timedelta(days=1):g} days.",
        f"  Resume before {deadline:%Y-%m-%d %H:%M} UTC: what is {(deadline - now).days} days old "
        "by then goes to the failed zone instead",
        "  of the raw zone, and whatever had not been read when you paused is older than that.",
        "  StreamNotConsumedAlarm goes off after half an hour.",
    ]


def _enable_mapping(stack: Stack, clients: Clients, *, enabled: bool) -> dict[str, Any]:
    """Enable or disable the stream's mapping and wait until it is; its description."""
    mappings = clients.functions.list_event_source_mappings(
        EventSourceArn=stack.stream_arn, FunctionName=stack.function_name
    )["EventSourceMappings"]
    if len(mappings) != 1:
        raise OperationError(
            f"{stack.function_name} has {len(mappings)} mappings of {stack.stream_name}, not one"
        )
    mapping: dict[str, Any] = mappings[0]
    wanted = "Enabled" if enabled else "Disabled"
    if mapping["State"] != wanted:
        clients.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
    for _ in range(_POLLS):
        mapping = clients.functions.get_event_source_mapping(UUID=mapping["UUID"])
        if mapping["State"] == wanted:
            return mapping
        clients.wait(_POLL_SECONDS)
    raise OperationError(
        f"the mapping {mapping['UUID']} is still {mapping['State']}, not {wanted}: look at "
        "LastProcessingResult of `aws lambda get-event-source-mapping`"
    )


def _rules(stack: Stack, clients: Clients) -> list[str]:
    """Every rule of the stack: `SecondTopicFilter` makes another.

    From the listing in pages: DescribeStackResources returns 100 resources, and the stack has more.
    """
    pages = clients.stacks.get_paginator("list_stack_resources").paginate(StackName=stack.name)
    rules = [
        one["PhysicalResourceId"]
        for page in pages
        for one in page["StackResourceSummaries"]
        if one["ResourceType"] == "AWS::IoT::TopicRule"
    ]
    if not rules:
        raise OperationError(
            f"the stack {stack.name} has no rule: look at its AWS::IoT::TopicRule in "
            "`aws cloudformation list-stack-resources`"
        )
    return rules


def _schedule(stack: Stack, clients: Clients) -> str:
    """The trigger that starts the workflow; OperationError where a parameter has taken it away."""
    name = f"{stack.name}-curation-schedule"
    try:
        clients.glue.get_trigger(Name=name)
    except clients.glue.exceptions.EntityNotFoundException as error:
        raise OperationError(
            f"there is no trigger {name}: the stack was deployed with CurationEnabled=false. "
            "Deploy it with CurationEnabled=true"
        ) from error
    return name
