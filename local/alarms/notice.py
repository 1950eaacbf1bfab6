"""What CloudWatch says of a changed alarm: to a topic, to a function, and in the alarm's history.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.alarms.definition import Alarm, MetricQuery
from local.alarms.evaluation import Verdict
from local.api import ACCOUNT_ID, REGION


@dataclass(frozen=True)
class Change:
    """One change of an alarm's state; `before` is the old state's reason, its data and its time."""

    alarm: Alarm
    old: str
    before: tuple[str, str, datetime]
    verdict: Verdict
    at: datetime

    def history(self) -> dict[str, Any]:
        """The change as HistoryData has it."""
        reason, data, _ = self.before
        return {
            "version": "1.0",
            "oldState": {
                "stateValue": self.old,
                "stateReason": reason,
                "stateReasonData": json.loads(data or "{}"),
            },
            "newState": {
                "stateValue": self.verdict.state,
                "stateReason": self.verdict.reason,
                "stateReasonData": json.loads(self.verdict.reason_data),
            },
        }


def topic_message(change: Change) -> tuple[str, str]:
    """Subject and message of the notification."""
    alarm = change.alarm
    message = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": ACCOUNT_ID,
        "NewStateValue": change.verdict.state,
        "NewStateReason": change.verdict.reason,
        "StateChangeTime": _moment(change.at),
        "Region": REGION,
        "AlarmArn": alarm.arn,
        "OldStateValue": change.old,
        **{kind: list(arns) for kind, arns in alarm.actions.items()},
        "Trigger": {
            "Period": alarm.period,
            "EvaluationPeriods": alarm.evaluation_periods,
            "DatapointsToAlarm": alarm.datapoints_to_alarm,
            "ComparisonOperator": alarm.comparison,
            "Threshold": alarm.threshold,
            "TreatMissingData": alarm.missing,
            "Metrics": _metrics(alarm),
        },
    }
    return f'{change.verdict.state}: "{alarm.name}" in {REGION}', json.dumps(message)


def lambda_event(change: Change) -> dict[str, Any]:
    """The event that a function is invoked with."""
    reason, data, since = change.before
    return {
        "source": "aws.cloudwatch",
        "alarmArn": change.alarm.arn,
        "accountId": ACCOUNT_ID,
        "time": _moment(change.at),
        "region": REGION,
        "alarmData": {
            "alarmName": change.alarm.name,
            "state": {
                "value": change.verdict.state,
                "reason": change.verdict.reason,
                "reasonData": change.verdict.reason_data,
                "timestamp": _moment(change.at),
            },
            "previousState": {
                "value": change.old,
                "reason": reason,
                "reasonData": data,
                "timestamp": _moment(since),
            },
            "configuration": {
                "description": change.alarm.description,
                "metrics": _metrics(change.alarm),
            },
        },
    }


def _metrics(alarm: Alarm) -> list[dict[str, Any]]:
    shown = [_metric(id_, query, alarm) for id_, query in alarm.queries.items()]
    if alarm.expression is not None:
        shown.insert(0, {"expression": alarm.expression.text, "returnData": True})
    return shown


def _metric(id_: str, query: MetricQuery, alarm: Alarm) -> dict[str, Any]:
    metric = {
        "namespace": query.namespace,
        "name": query.name,
        "dimensions": dict(query.dimensions),
    }
    return {
        "id": id_,
        "metricStat": {"metric": metric, "period": alarm.period, "stat": query.statistic},
        "returnData": alarm.expression is None,
    }


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"
