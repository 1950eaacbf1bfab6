"""What a deployed alarm says: a PutMetricAlarm request, checked and parsed.

Guarantee: a setting that would not be evaluated here as CloudWatch evaluates it is refused by its
name, at deployment.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from local.api import ACCOUNT_ID, REGION
from local.deployment.provider import DeploymentError
from local.metric_math import Expression, MetricMathError, is_statistic, parse

COMPARISONS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
MISSING: Final = ("missing", "notBreaching", "breaching", "ignore")
_NOT_EMULATED: Final = (
    "ThresholdMetricId",
    "EvaluateLowSampleCountPercentile",
    "EvaluationCriteria",
    "EvaluationInterval",
    "Unit",
)
_ACTIONS: Final = ("AlarmActions", "OKActions", "InsufficientDataActions")
_ACTION: Final = re.compile(
    r"arn:[\w-]+:(sns:[\w-]+:\d{12}:[\w-]+|lambda:[\w-]+:\d{12}:function:[\w-]+)"
)
# Metrics Insights over a whole schema; GROUP BY, WHERE and the rest are not spoken here.
_INSIGHTS: Final = re.compile(
    r"""SELECT\s+(?P<stat>SUM|AVG|MIN|MAX|COUNT)\((?P<name>[\w.]+)\)\s+FROM\s+"""
    r"""SCHEMA\("(?P<namespace>[^"]+)"\s*(?P<dimensions>(?:,\s*\w+)*)\s*\)""",
    re.IGNORECASE,
)
_INSIGHTS_STATISTICS: Final = {
    "SUM": "Sum",
    "AVG": "Average",
    "MIN": "Minimum",
    "MAX": "Maximum",
    "COUNT": "SampleCount",
}
_LONGEST_LOOK_SECONDS: Final = 7 * 86_400


class AlarmNotSupportedError(DeploymentError):
    """An alarm that can't be evaluated here, or that CloudWatch would refuse."""


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """One metric and its statistic. `any_values` looks at all metrics that have the dimensions of
    these names, whatever their values (Metrics Insights); otherwise both have to be the same."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    statistic: str
    any_values: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """A metric alarm. `queries` by id; `expression` combines them, or there is one query only."""

    name: str
    description: str
    queries: Mapping[str, MetricQuery]
    expression: Expression | None
    period: int
    comparison: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    missing: str
    actions: Mapping[str, tuple[str, ...]]

    @property
    def arn(self) -> str:
        """The alarm's ARN."""
        return f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:{self.name}"

    def is_breaching(self, value: float) -> bool:
        """Whether a datapoint is beyond the threshold."""
        return COMPARISONS[self.comparison][0](value, self.threshold)


def alarm_of(request: Mapping[str, Any]) -> Alarm:
    """The alarm of a PutMetricAlarm request; AlarmNotSupportedError says what is wrong with it."""
    name = str(request["AlarmName"])
    try:
        return _parsed(name, request)
    except MetricMathError as error:
        raise AlarmNotSupportedError(f"alarm {name}: {error}") from None


def _parsed(name: str, request: Mapping[str, Any]) -> Alarm:
    for setting in _NOT_EMULATED:
        _check(request.get(setting) is None, name, f"{setting} is not emulated")
    comparison = str(request.get("ComparisonOperator"))
    _check(comparison in COMPARISONS, name, f"ComparisonOperator {comparison} is not emulated")
    _check(request.get("Threshold") is not None, name, "Threshold is missing")
    missing = request.get("TreatMissingData") or "missing"
    _check(missing in MISSING, name, f"TreatMissingData {missing!r} is none of {MISSING}")
    queries, expression, period = (
        _from_metrics(name, request["Metrics"])
        if request.get("Metrics")
        else _from_one_metric(name, request)
    )
    periods = int(request["EvaluationPeriods"])
    to_alarm = int(request.get("DatapointsToAlarm") or periods)
    _check(period > 0 and period % 60 == 0, name, f"Period {period} is no multiple of 60 seconds")
    _check(1 <= to_alarm <= periods, name, "DatapointsToAlarm is from 1 to EvaluationPeriods")
    longest = _LONGEST_LOOK_SECONDS if period >= 3600 else 86_400
    _check(period * periods <= longest, name, f"it looks back further than {longest} seconds")
    return Alarm(
        name=name,
        description=str(request.get("AlarmDescription") or ""),
        queries=queries,
        expression=expression,
        period=period,
        comparison=comparison,
        threshold=float(request["Threshold"]),
        evaluation_periods=periods,
        datapoints_to_alarm=to_alarm,
        missing=missing,
        actions={kind: _actions(name, request.get(kind)) for kind in _ACTIONS},
    )


def _from_one_metric(
    alarm: str, request: Mapping[str, Any]
) -> tuple[dict[str, MetricQuery], Expression | None, int]:
    statistic = request.get("Statistic") or request.get("ExtendedStatistic") or ""
    _check(is_statistic(statistic), alarm, f"statistic {statistic!r} is not emulated")
    for member in ("Namespace", "MetricName", "Period"):
        _check(bool(request.get(member)), alarm, f"{member} is missing")
    query = MetricQuery(
        request["Namespace"], request["MetricName"], _dimensions(request), statistic
    )
    return {"m": query}, None, int(request["Period"])


def _from_metrics(
    alarm: str, metrics: list[Mapping[str, Any]]
) -> tuple[dict[str, MetricQuery], Expression | None, int]:
    queries: dict[str, MetricQuery] = {}
    expressions: dict[str, Expression] = {}
    periods = set()
    for metric in metrics:
        id_ = str(metric["Id"])
        if "MetricStat" in metric:
            stat = metric["MetricStat"]
            _check(stat.get("Unit") is None, alarm, "Unit is not emulated")
            _check(is_statistic(stat["Stat"]), alarm, f"statistic {stat['Stat']!r} is not emulated")
            what = stat["Metric"]
            queries[id_] = MetricQuery(
                what["Namespace"], what["MetricName"], _dimensions(what), stat["Stat"]
            )
            periods.add(int(stat["Period"]))
        elif str(metric["Expression"]).lstrip().upper().startswith("SELECT"):
            queries[id_] = _insights(alarm, metric["Expression"])
            periods.add(int(metric.get("Period") or 0))
        else:
            expressions[id_] = parse(metric["Expression"])
    returned = [str(metric["Id"]) for metric in metrics if metric.get("ReturnData", True)]
    _check(len(returned) == 1, alarm, f"{len(returned)} of its Metrics return data, not one")
    _check(len(periods) == 1, alarm, f"its Metrics have the periods {sorted(periods)}, not one")
    _check(
        set(expressions) <= set(returned), alarm, "expressions over expressions are not emulated"
    )
    expression = expressions.get(returned[0])
    if expression is None:
        return {returned[0]: queries[returned[0]]}, None, periods.pop()
    unknown = sorted(set(expression.ids) - queries.keys())
    _check(not unknown, alarm, f"{expression.text!r} names {', '.join(unknown)}, which is no Id")
    return queries, expression, periods.pop()


def _insights(alarm: str, text: str) -> MetricQuery:
    found = _INSIGHTS.fullmatch(text.strip())
    if found is None:
        raise AlarmNotSupportedError(f"alarm {alarm}: the query {text!r} is not emulated")
    names = [name.strip() for name in found["dimensions"].split(",") if name.strip()]
    return MetricQuery(
        found["namespace"],
        found["name"],
        dict.fromkeys(names, ""),
        _INSIGHTS_STATISTICS[found["stat"].upper()],
        any_values=True,
    )


def _dimensions(metric: Mapping[str, Any]) -> dict[str, str]:
    return {one["Name"]: one["Value"] for one in metric.get("Dimensions") or ()}


def _actions(alarm: str, arns: Any) -> tuple[str, ...]:
    for arn in arns or ():
        told = f"the action {arn} is neither an SNS topic nor a Lambda function"
        _check(_ACTION.fullmatch(str(arn)) is not None, alarm, told)
    return tuple(arns or ())


def _check(is_right: bool, alarm: str, otherwise: str) -> None:
    if not is_right:
        raise AlarmNotSupportedError(f"alarm {alarm}: {otherwise}")
