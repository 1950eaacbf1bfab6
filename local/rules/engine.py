"""Rules at work: a message from the broker becomes a record of the stream, or its fate is known.

Guarantee: `handle` returns only when every matching rule's action has succeeded, its error action
has taken the message, or the loss is counted as AWS would count it; so a caller that acknowledges
afterwards loses nothing that AWS would have kept. As on AWS, an error of the SQL never reaches the
error action.

https://docs.aws.amazon.com/iot/latest/developerguide/iot-rules.html
"""

import base64
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

from local.api import ApiError
from local.metrics import Datum
from local.rules.sql import Evaluation, PayloadError, Statement, Template, topic_matches

# "Maximum payload size" in https://docs.aws.amazon.com/general/latest/gr/iot-core.html; that it
# holds for what the SQL makes of the payload too is inferred, and the worst that AWS might do.
MAX_PAYLOAD_BYTES: Final = 128 * 1024
BASIC_INGEST_PREFIX: Final = "$aws/rules/"
NAMESPACE: Final = "AWS/IoT"

_RETRIED_CODES: Final = frozenset(
    {
        "InternalFailure",
        "InternalFailureException",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottlingException",
    }
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KinesisAction:
    """PutRecord of what the statement yields.

    https://docs.aws.amazon.com/iot/latest/developerguide/kinesis-rule-action.html
    """

    stream_name: Template
    partition_key: Template
    name: str = "Kinesis"


@dataclass(frozen=True)
class S3Action:
    """PutObject: https://docs.aws.amazon.com/iot/latest/developerguide/s3-rule-action.html"""

    bucket_name: Template
    key: Template
    name: str = "S3"


@dataclass(frozen=True)
class Rule:
    """A deployed rule, parsed."""

    name: str
    statement: Statement
    actions: tuple[KinesisAction, ...]
    error_action: S3Action | None = None
    disabled: bool = False


@dataclass(frozen=True)
class Inbound:
    """A message from the broker; `client_id` and `principal` are the publisher's, if known."""

    topic: str
    payload: bytes
    client_id: str | None = None
    principal: str | None = None


@dataclass(frozen=True)
class Retry:
    """How long an action is tried again: `attempts` calls, waiting twice as long after each."""

    attempts: int = 8
    first_wait_seconds: float = 0.05
    longest_wait_seconds: float = 2.0


class RuleEngine:
    """The deployed rules and what they did. `handle` is for one thread, the rest for any.

    `kinesis` and `s3` are boto3 clients or things with the same methods.
    """

    def __init__(
        self,
        kinesis: Any,
        s3: Any,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        retry: Retry = Retry(),
    ) -> None:
        self._kinesis = kinesis
        self._s3 = s3
        self._now = now
        self._sleep = sleep
        self._retry = retry
        # Asked before a rule runs; ApiError: the account may not run more (a fault's way in).
        self.admit: Callable[[str], object] = lambda _rule: None
        self._rules: dict[str, Rule] = {}
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._metrics: Counter[tuple[str, str, str]] = Counter()

    def enable(self, name: str, *, enabled: bool) -> None:
        """Let a deployed rule run, or leave it out; one that isn't there is no error."""
        with self._lock:
            if name in self._rules:
                changed = replace(self._rules[name], disabled=not enabled)
                self._rules = {**self._rules, name: changed}

    def put(self, rule: Rule) -> None:
        """Deploy `rule`, in the place of one of its name."""
        with self._lock:
            self._rules = {**self._rules, rule.name: rule}

    def remove(self, name: str) -> None:
        """Remove a rule; one that isn't there is no error."""
        with self._lock:
            self._rules = {key: rule for key, rule in self._rules.items() if key != name}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The deployed rules by name."""
        return self._rules

    def counts(self) -> dict[str, int]:
        """Messages so far: received, matched, put, failed_over, lost, parse_errors,
        dropped_too_large, rule_not_found, unmatched, filtered (WHERE was not true), throttled."""
        with self._lock:
            return dict(self._counts)

    def take_metrics(self) -> list[Datum]:
        """What CloudWatch would have got since the last call, summed per metric and dimensions."""
        with self._lock:
            taken, self._metrics = self._metrics, Counter()
        at = self._now()
        return [
            Datum(
                NAMESPACE,
                name,
                (float(count),),
                at,
                "Count",
                {"RuleName": rule} | ({"ActionType": action} if action else {}),
            )
            for (name, rule, action), count in taken.items()
        ]

    def handle(self, message: Inbound) -> None:
        """Run the rules that `message` is for; see the module's guarantee."""
        self._count("received")
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            self._count("dropped_too_large")
            return
        topic, rules = self._rules_for(message.topic)
        if not rules:
            return
        evaluation = Evaluation(
            topic=topic,
            payload=message.payload,
            time_ms=int(self._now() * 1000),
            trace_id=str(uuid4()),
            client_id=message.client_id,
            principal=message.principal,
        )
        for rule in rules:
            try:
                self.admit(rule.name)
            except ApiError as error:
                # https://docs.aws.amazon.com/iot/latest/developerguide/metrics_dimensions.html
                _log.warning("rule %s is throttled, a message is lost: %s", rule.name, error)
                self._count("throttled")
                self._measure("RuleExecutionThrottled", rule.name)
                continue
            self._run(rule, evaluation)

    def _rules_for(self, topic: str) -> tuple[str, list[Rule]]:
        rules = self._rules
        if not topic.startswith(BASIC_INGEST_PREFIX):
            matching = [
                rule
                for rule in rules.values()
                if not rule.disabled
                and rule.statement.topic_filter is not None
                and topic_matches(rule.statement.topic_filter, topic)
            ]
            if not matching:
                self._count("unmatched")
            return topic, matching
        # "An inactive rule is the same as a missing one", and FROM is not looked at:
        # https://docs.aws.amazon.com/iot/latest/developerguide/iot-basic-ingest.html
        name, _, rest = topic.removeprefix(BASIC_INGEST_PREFIX).partition("/")
        rule = rules.get(name)
        if rule is None or rule.disabled:
            self._count("rule_not_found")
            self._measure("RuleNotFound", name)
            return rest, []
        return rest, [rule]

    def _run(self, rule: Rule, message: Evaluation) -> None:
        self._count("matched")
        self._measure("TopicMatch", rule.name)
        try:
            output = rule.statement.evaluate(message)
        except PayloadError as error:
            self._parse_error(rule, "parse_errors", str(error))
            return
        if output is None:
            self._count("filtered")
            return
        if len(output) > MAX_PAYLOAD_BYTES:
            self._parse_error(rule, "dropped_too_large", f"{len(output)} bytes of output")
            return
        failures = [
            failure
            for action in rule.actions
            if (failure := self._put_record(rule, action, message, output)) is not None
        ]
        if failures:
            self._fail_over(rule, message, failures)

    def _parse_error(self, rule: Rule, counter: str, reason: str) -> None:
        _log.warning("rule %s dropped a message: %s", rule.name, reason)
        self._count(counter)
        self._measure("ParseError", rule.name)

    def _put_record(
        self, rule: Rule, action: KinesisAction, message: Evaluation, output: bytes
    ) -> dict[str, str] | None:
        """None when the stream has acknowledged, else the failure for the error action."""
        stream = ""
        try:
            stream = action.stream_name.render(message)
            key = action.partition_key.render(_spoken_for(message))
            self._call(
                lambda: self._kinesis.put_record(StreamName=stream, Data=output, PartitionKey=key)
            )
        except Exception as error:  # noqa: BLE001 - whatever it raises is the action's failure
            self._measure("Failure", rule.name, action.name)
            return {
                "failedAction": "KinesisAction",
                "failedResource": stream,
                "errorMessage": f"Failed to put record. {error}. Message arrived on: "
                f"{message.topic}, Action: kinesis, Name: {stream}",
            }
        self._count("put")
        self._measure("Success", rule.name, action.name)
        return None

    def _fail_over(self, rule: Rule, message: Evaluation, failures: list[dict[str, str]]) -> None:
        # https://docs.aws.amazon.com/iot/latest/developerguide/rule-error-handling.html
        action = rule.error_action
        if action is None:
            self._count("lost")
            return
        record = {
            "ruleName": rule.name,
            "topic": message.topic,
            "cloudwatchTraceId": message.trace_id,
            "clientId": message.client_id or "N/A",
            "sourceIp": message.source_ip,
            "base64OriginalPayload": base64.b64encode(message.payload).decode("ascii"),
            "failures": failures,
        }
        try:
            bucket, key = action.bucket_name.render(message), action.key.render(message)
            body = json.dumps(record).encode()
            self._call(lambda: self._s3.put_object(Bucket=bucket, Key=key, Body=body))
        except Exception:  # noqa: BLE001 - lost as it is on AWS: counted, logged, alarmed
            _log.exception("rule %s: the error action failed, a message is lost", rule.name)
            self._count("lost")
            self._measure("ErrorActionFailure", rule.name)
            return
        self._count("failed_over")
        self._measure("ErrorActionSuccess", rule.name)

    def _call(self, call: Callable[[], object]) -> None:
        wait = self._retry.first_wait_seconds
        for attempt in range(1, self._retry.attempts + 1):
            try:
                call()
            except Exception as error:
                if attempt == self._retry.attempts or not _is_transient(error):
                    raise
                self._sleep(wait)
                wait = min(2 * wait, self._retry.longest_wait_seconds)
            else:
                return

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _measure(self, name: str, rule: str, action: str = "") -> None:
        with self._lock:
            self._metrics[name, rule, action] += 1


def _spoken_for(message: Evaluation) -> Evaluation:
    """On AWS whatever came over MQTT has a client id. Where several devices may publish on a topic,
    this broker does not tell which one did: the topic stands for it in the partition key, so that
    the order of each is kept."""
    return message if message.client_id else replace(message, client_id=message.topic)


def _is_transient(error: Exception) -> bool:
    """Whether trying again may help: AWS's throttles and faults, and no answer at all."""
    response = getattr(error, "response", None)
    code = getattr(error, "code", None)
    if isinstance(response, dict):
        code = response.get("Error", {}).get("Code")
    if code is None:
        return not isinstance(error, ValueError | TypeError)
    return code in _RETRIED_CODES
