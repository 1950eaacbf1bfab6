"""EventBridge's rules at work, as far as alarms need them: what a service tells reaches topics.

Rules are kept by moto, which delivers to no topic. Guarantee: an event is published to each topic
of each enabled rule whose pattern it matches, once.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from local.api import ACCOUNT_ID, REGION
from local.event_input import made_of
from local.metrics import Datum

_log = logging.getLogger(__name__)

# Tells an event: its detail-type and its detail.
TellEvent = Callable[[str, Mapping[str, Any]], None]


class EventBus:
    """The default event bus. `backend` is moto's EventBridge, `sns` a boto3 client; `add_metrics`
    takes how often each rule was triggered."""

    def __init__(
        self,
        backend: Any,
        sns: Any,
        now: Callable[[], datetime],
        add_metrics: Callable[..., None] = lambda *_data: None,
    ) -> None:
        self._backend = backend
        self._sns = sns
        self._now = now
        self._add_metrics = add_metrics

    def tell(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Publish an event of a service to whom its rules say."""
        event = {
            "version": "0",
            "id": str(uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": ACCOUNT_ID,
            "time": self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": [],
            "detail": dict(detail),
        }
        for rule in list(self._backend.describe_event_bus("default").rules.values()):
            if rule.state == "ENABLED" and rule.event_pattern.matches_event(event):
                self._add_metrics(self._triggered(rule.name))
                for target in rule.targets:
                    self._deliver(rule.name, target, event)

    def _triggered(self, rule: str) -> Datum:
        """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html"""
        at = self._now().timestamp()
        return Datum("AWS/Events", "TriggeredRules", (1.0,), at, "Count", {"RuleName": rule})

    def _deliver(self, rule: str, target: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        arn = target["Arn"]
        if ":sns:" not in arn:
            _log.warning("event rule %s: no event is delivered to %s here", rule, arn)
            return
        try:
            self._sns.publish(TopicArn=arn, Message=made_of(event, target, rule))
        except Exception:  # noqa: BLE001 - whatever it raises, the service that told goes on
            _log.exception("event rule %s: %s did not take an event", rule, arn)
