"""The alarms as moto's CloudWatch keeps them, and the history that it does not.

moto keeps what PutMetricAlarm says, whatever it is; here are an alarm's state and its history. Its
own first state is OK, AWS's INSUFFICIENT_DATA; it forgets the state when an alarm is put again,
AWS does not.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from local.alarms.definition import alarm_of
from local.alarms.evaluation import INSUFFICIENT_DATA, Verdict
from local.deployment.provider import (
    ApiResource,
    Created,
    Properties,
    shaped,
    without,
)
from local.metrics import Datum

_INITIAL: Final = Verdict(INSUFFICIENT_DATA, "Unchecked: Initial alarm creation", "{}")
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
_MAX_HISTORY: Final = 10_000


class MotoAlarms:
    """`local.alarms.alarms.AlarmStore` over moto's backend."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._history: list[dict[str, Any]] = []

    def requests(self) -> list[dict[str, Any]]:
        """Every metric alarm as the request that made it."""
        alarms = list(self._backend.alarms.values())
        return [_request(alarm) for alarm in alarms if alarm.rule is None]

    def state(self, name: str) -> str:
        """The alarm's state."""
        alarm = self._backend.alarms[name]
        # What moto says of an alarm that was never looked at.
        is_new = alarm.state_reason == _INITIAL.reason
        return INSUFFICIENT_DATA if is_new else str(alarm.state_value)

    def reason(self, name: str) -> tuple[str, str, datetime]:
        """The state's reason, its data and its time."""
        alarm = self._backend.alarms[name]
        since = alarm.state_updated_timestamp
        return alarm.state_reason, alarm.state_reason_data or "{}", since.replace(tzinfo=UTC)

    def actions_enabled(self, name: str) -> bool:
        """Whether its changes carry out actions."""
        return bool(self._backend.alarms[name].actions_enabled)

    def change(self, name: str, verdict: Verdict, at: datetime) -> None:
        """Put the alarm into another state."""
        alarm = self._backend.alarms[name]
        alarm.update_state(verdict.reason, verdict.reason_data, verdict.state)
        alarm.state_updated_timestamp = at.replace(tzinfo=None)

    def record(self, name: str, kind: str, summary: str, data: object, at: datetime) -> None:
        """Add an item to an alarm's history."""
        item = {
            "AlarmName": name,
            "AlarmType": "MetricAlarm",
            "Timestamp": at,
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps(data),
        }
        self._history = [*self._history[-_MAX_HISTORY + 1 :], item]

    def history(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The items that a DescribeAlarmHistory request asks for, the newest first."""
        name, kind = wanted.get("AlarmName"), wanted.get("HistoryItemType")
        found = [
            item
            for item in self._history
            if name in (None, item["AlarmName"]) and kind in (None, item["HistoryItemType"])
        ]
        if wanted.get("ScanBy") != "TimestampAscending":
            found.reverse()
        return found[: int(wanted.get("MaxRecords") or 100)]

    def put(self, name: str, put: Callable[[], object]) -> None:
        """Create or change an alarm with `put`, which leaves the state of one that was there."""
        old = self._backend.alarms.get(name)
        put()
        alarm = self._backend.alarms[name]
        if old is None:
            self.change(name, _INITIAL, alarm.state_updated_timestamp)
            return
        for attribute in ("state_value", "state_reason", "state_reason_data"):
            setattr(alarm, attribute, getattr(old, attribute))
        alarm.state_updated_timestamp = old.state_updated_timestamp


def serve_history(store: MotoAlarms) -> None:
    """Give moto's CloudWatch the operation DescribeAlarmHistory, which it has not."""

    def describe_alarm_history(response: Any) -> ActionResult:
        members = ("AlarmName", "HistoryItemType", "ScanBy", "MaxRecords")
        wanted = {member: response._get_param(member) for member in members}
        return ActionResult({"AlarmHistoryItems": store.history(wanted)})

    CloudWatchResponse.describe_alarm_history = describe_alarm_history


def stored_data(backend: Any) -> Callable[[], Iterable[Datum]]:
    """The values in moto's CloudWatch backend."""

    def read() -> Iterable[Datum]:
        for one in list(backend.metric_data):
            value = getattr(one, "value", None)
            if value is not None:
                yield Datum(
                    namespace=one.namespace,
                    name=one.name,
                    values=(float(value),),
                    # moto's times are UTC and do not say so.
                    at=one.timestamp.replace(tzinfo=UTC).timestamp(),
                    dimensions={dimension.name: dimension.value for dimension in one.dimensions},
                )

    return read


def alarm_provider(cloudwatch: Any, store: MotoAlarms) -> ApiResource:
    """AWS::CloudWatch::Alarm; one that could not be evaluated here is refused."""
    shape = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape

    def put(name: str, properties: Properties) -> Created:
        name = properties.get("AlarmName", name)
        arguments = shaped(cloudwatch, "PutMetricAlarm", without(properties, "AlarmName"))
        request = {"AlarmName": name, **arguments}
        arn = alarm_of(request).arn
        store.put(name, lambda: cloudwatch.put_metric_alarm(**request))
        return Created(name, {"Arn": arn})

    return ApiResource(
        "AWS::CloudWatch::Alarm",
        frozenset(shape.members),
        put,
        lambda name, _: cloudwatch.delete_alarms(AlarmNames=[name]),
        frozenset({"AlarmName"}),
    )


def _request(alarm: Any) -> dict[str, Any]:
    """moto's alarm as the PutMetricAlarm request that made it."""
    request = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "Namespace": alarm.namespace,
        "MetricName": alarm.metric_name,
        "Dimensions": _dimensions(alarm.dimensions),
        "Statistic": alarm.statistic,
        "ExtendedStatistic": alarm.extended_statistic,
        "Period": alarm.period,
        "Unit": alarm.unit,
        "Metrics": [_metric(query) for query in alarm.metric_data_queries],
        "ComparisonOperator": alarm.comparison_operator,
        "Threshold": alarm.threshold,
        "ThresholdMetricId": alarm.threshold_metric_id,
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.datapoints_to_alarm,
        "EvaluateLowSampleCountPercentile": alarm.evaluate_low_sample_count_percentile,
        "TreatMissingData": alarm.treat_missing_data,
        "AlarmActions": alarm.alarm_actions,
        "OKActions": alarm.ok_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
    }
    return {name: value for name, value in request.items() if value is not None}


def _metric(query: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"Id": query.id}
    if query.return_data is not None:
        shown["ReturnData"] = str(query.return_data).lower() == "true"
    if query.metric_stat is None:
        return shown | {"Expression": query.expression, "Period": query.period}
    stat = query.metric_stat
    metric = {
        "Namespace": stat.metric.namespace,
        "MetricName": stat.metric.metric_name,
        "Dimensions": _dimensions(stat.metric.dimensions),
    }
    return shown | {
        "MetricStat": {
            "Metric": metric,
            "Period": stat.period,
            "Stat": stat.stat,
            "Unit": stat.unit,
        }
    }


def _dimensions(dimensions: Iterable[Any]) -> list[dict[str, str]]:
    return [{"Name": one.name, "Value": one.value} for one in dimensions]
