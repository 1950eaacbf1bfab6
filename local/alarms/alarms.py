"""The deployed alarms at work: evaluated each minute, changes kept, actions carried out.

Guarantees: an alarm's state, reason and history are what DescribeAlarms and DescribeAlarmHistory
tell; an action is carried out once for each change of state, and what came of it is in the history.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from local.alarms.definition import Alarm, AlarmNotSupportedError, alarm_of
from local.alarms.evaluation import (
    ALARM,
    INSUFFICIENT_DATA,
    OK,
    Verdict,
    datapoints,
    judge,
    window_end,
)
from local.alarms.notice import Change, lambda_event, topic_message
from local.metrics import Datum

_ACTIONS_OF: Final = {
    ALARM: "AlarmActions",
    OK: "OKActions",
    INSUFFICIENT_DATA: "InsufficientDataActions",
}
_INVOKER: Final = "lambda.alarms.cloudwatch.amazonaws.com"
_POLL_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class AlarmStore(Protocol):
    """Where the alarms are kept (`local.alarms.moto_store`)."""

    def requests(self) -> list[dict[str, Any]]:
        """Every alarm as the PutMetricAlarm request that made it."""

    def state(self, name: str) -> str:
        """The alarm's state."""

    def reason(self, name: str) -> tuple[str, str, datetime]:
        """Why it is in that state, the same as JSON, and since when."""

    def actions_enabled(self, name: str) -> bool:
        """Whether its changes carry out actions."""

    def change(self, name: str, verdict: Verdict, at: datetime) -> None:
        """Put the alarm into another state."""

    def record(self, name: str, kind: str, summary: str, data: object, at: datetime) -> None:
        """Add an item to its history."""


class Alarms:
    """Evaluates what `store` keeps. Thread-safe. `sns` and `functions` are boto3 clients (sns,
    lambda); `data` gives all values put to CloudWatch so far; `now` is in epoch seconds."""

    def __init__(
        self,
        store: AlarmStore,
        data: Callable[[], Iterable[Datum]],
        sns: Any,
        functions: Any,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._data = data
        self._sns = sns
        self._functions = functions
        self._now = now
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def evaluate(self) -> dict[str, str]:
        """Look at every alarm once, at the present minute; their states by name."""
        with self._lock:
            end = window_end(self._now())
            data = defaultdict[tuple[str, str], list[Datum]](list)
            for datum in self._data():
                data[datum.namespace, datum.name].append(datum)
            for request in self._store.requests():
                try:
                    alarm = alarm_of(request)
                except AlarmNotSupportedError as error:
                    self._tell_once(str(error))
                    continue
                metrics = {(query.namespace, query.name) for query in alarm.queries.values()}
                self._evaluate(alarm, [datum for key in metrics for datum in data[key]], end)
            return self.states()

    def states(self) -> dict[str, str]:
        """The alarms' states by name, as they were found last."""
        names = [request["AlarmName"] for request in self._store.requests()]
        return {name: self._store.state(name) for name in names}

    def start(self, before: Callable[[], object]) -> None:
        """Evaluate once a minute of the clock until `stop`, each time after calling `before`."""
        self._thread = threading.Thread(
            target=self._run, args=(before,), name="alarms", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, before: Callable[[], object]) -> None:
        evaluated = window_end(self._now())
        while not self._ended.wait(_POLL_SECONDS):
            # A clock that jumps, to either side, begins another minute too.
            if window_end(self._now()) == evaluated:
                continue
            evaluated = window_end(self._now())
            try:
                before()
                self.evaluate()
            except Exception:  # noqa: BLE001 - a bug of ours must not end all alarms silently
                _log.exception("the alarms could not be evaluated")

    def _tell_once(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            _log.warning("%s: it is not evaluated", problem)

    def _evaluate(self, alarm: Alarm, data: Iterable[Datum], end: int) -> None:
        old = self._store.state(alarm.name)
        verdict = judge(alarm, datapoints(alarm, data, end), old, end)
        if verdict.state == old:
            return
        at = datetime.fromtimestamp(self._now(), UTC)
        change = Change(alarm, old, self._store.reason(alarm.name), verdict, at)
        self._store.change(alarm.name, verdict, at)
        _log.info("alarm %s: %s -> %s. %s", alarm.name, old, verdict.state, verdict.reason)
        self._store.record(
            alarm.name,
            "StateUpdate",
            f"Alarm updated from {old} to {verdict.state}",
            change.history(),
            at,
        )
        if self._store.actions_enabled(alarm.name):
            for arn in alarm.actions[_ACTIONS_OF[verdict.state]]:
                self._act(arn, change)

    def _act(self, arn: str, change: Change) -> None:
        """Carry out one action; what is wrong with it is the history's to tell, as on AWS."""
        problem: str | None = None
        try:
            if ":lambda:" in arn:
                self._invoke(arn, change)
            else:
                self._publish(arn, change)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the others have to be done
            _log.warning("alarm %s: the action %s failed: %s", change.alarm.name, arn, error)
            problem = str(error)
        told = "Failed to execute" if problem else "Successfully executed"
        data = {
            "actionState": "Failed" if problem else "Succeeded",
            "stateUpdateTimestamp": round(change.at.timestamp() * 1000),
            "notificationResource": arn,
            "error": problem,
        }
        self._store.record(change.alarm.name, "Action", f"{told} action {arn}", data, change.at)

    def _publish(self, arn: str, change: Change) -> None:
        subject, message = topic_message(change)
        self._sns.publish(TopicArn=arn, Subject=subject[:100], Message=message)
        for subscription in self._sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]:
            # No mail leaves this machine.
            _log.info("%s to %s: %s", subscription["Protocol"], subscription["Endpoint"], subject)

    def _invoke(self, arn: str, change: Change) -> None:
        if not self._may_invoke(arn, change):
            raise PermissionError(f"the function's policy does not let {_INVOKER} invoke it")
        self._functions.invoke(
            FunctionName=arn, InvocationType="Event", Payload=json.dumps(lambda_event(change))
        )

    def _may_invoke(self, arn: str, change: Change) -> bool:
        """Whether the function's policy has a statement for this alarm.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
        """
        try:
            policy = json.loads(self._functions.get_policy(FunctionName=arn)["Policy"])
        except self._functions.exceptions.ResourceNotFoundException:
            return False
        return any(
            statement["Principal"].get("Service") == _INVOKER
            and change.alarm.arn in str(statement.get("Condition", change.alarm.arn))
            for statement in policy["Statement"]
        )
