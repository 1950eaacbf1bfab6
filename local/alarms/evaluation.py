"""When an alarm changes its state: decisions only, from the datapoints of its periods.

Guarantee: nothing here reads a clock or calls anything. The rules, and the tables that the tests
repeat: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from local.alarms.definition import COMPARISONS, Alarm, MetricQuery
from local.metric_math import statistic
from local.metrics import Datum

OK: Final = "OK"
ALARM: Final = "ALARM"
INSUFFICIENT_DATA: Final = "INSUFFICIENT_DATA"
# "CloudWatch attempts to retrieve a higher number of data points"; its example takes 5 for 3.
EXTRA_PERIODS: Final = 2

_STEP_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that datapoints mean, and why, in CloudWatch's words."""

    state: str
    reason: str
    reason_data: str


def window_end(now: float) -> int:
    """The end of the newest period at `now`: an alarm is evaluated once a minute."""
    return int(now) // _STEP_SECONDS * _STEP_SECONDS


def datapoints(alarm: Alarm, data: Iterable[Datum], end: int) -> list[float | None]:
    """A value, or None, for each period of the evaluation range that ends at `end`; oldest first.

    The periods move with the minutes: five minutes at 12:03 begin at 11:58.
    """
    count = alarm.evaluation_periods + EXTRA_PERIODS
    start = end - count * alarm.period
    values: dict[str, list[list[float]]] = {
        id_: [[] for _ in range(count)] for id_ in alarm.queries
    }
    for datum in data:
        if not start <= datum.at < end:
            continue
        for id_, query in alarm.queries.items():
            if _is_of(query, datum):
                values[id_][int(datum.at - start) // alarm.period].extend(datum.values)
    starts: list[float] = [start + at * alarm.period for at in range(count)]
    series = {
        id_: {
            begins: statistic(query.statistic, of_period)
            for begins, of_period in zip(starts, values[id_], strict=True)
            if of_period
        }
        for id_, query in alarm.queries.items()
    }
    (only, *_) = series.values()
    found = only if alarm.expression is None else alarm.expression.over(series, starts)
    return [found.get(begins) for begins in starts]


def _is_of(query: MetricQuery, datum: Datum) -> bool:
    if (datum.name, datum.namespace) != (query.name, query.namespace):
        return False
    if query.any_values:
        return datum.dimensions.keys() == query.dimensions.keys()
    return datum.dimensions == query.dimensions


def judge(alarm: Alarm, points: Sequence[float | None], current: str, end: int) -> Verdict:
    """What `points` (`datapoints`) mean for an alarm that is in the state `current`."""
    starts = [end - (len(points) - at) * alarm.period for at in range(len(points))]
    real = [
        _Point(start, value)
        for start, value in zip(starts, points, strict=True)
        if value is not None
    ]
    used = real[-alarm.evaluation_periods :]
    breaching = sum(alarm.is_breaching(point.value) for point in used)
    lacking = alarm.evaluation_periods - len(used)
    if breaching >= alarm.datapoints_to_alarm:
        state = ALARM
    elif lacking == 0 or alarm.missing == "notBreaching":
        state = OK
    elif alarm.missing == "breaching":
        state = ALARM if breaching + lacking >= alarm.datapoints_to_alarm else OK
    elif breaching < len(used):
        state = OK
    else:
        state = _of_too_few(alarm, used, current, end)
    first = used[0].start if used else starts[-alarm.evaluation_periods]
    reason = _reason(alarm, used, state, current)
    return Verdict(state, reason, json.dumps(_reason_data(alarm, used, first, end)))


@dataclass(frozen=True, slots=True)
class _Point:
    """A datapoint; `start` of its period in epoch seconds."""

    start: int
    value: float


def _of_too_few(alarm: Alarm, used: Sequence[_Point], current: str, end: int) -> str:
    """Nothing but breaching datapoints, fewer than it takes, and the rest is missing."""
    if alarm.missing == "ignore":
        return current
    if not used:
        return INSUFFICIENT_DATA
    # "Avoiding premature transitions": the oldest is old enough for the rest to have come.
    age_in_periods = (end - used[0].start) // alarm.period
    return ALARM if age_in_periods >= alarm.datapoints_to_alarm else current


def _reason_data(alarm: Alarm, used: Sequence[_Point], first: int, end: int) -> dict[str, object]:
    (query, *_) = alarm.queries.values()
    data: dict[str, object] = {
        "version": "1.0",
        "queryDate": _moment(end),
        "startDate": _moment(first),
        "period": alarm.period,
        "recentDatapoints": [point.value for point in used],
        "threshold": alarm.threshold,
        "evaluatedDatapoints": [
            {"timestamp": _moment(point.start), "value": point.value} for point in reversed(used)
        ],
    }
    return data if alarm.expression else data | {"statistic": query.statistic}


def _moment(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def _reason(alarm: Alarm, used: Sequence[_Point], state: str, current: str) -> str:
    lacking = alarm.evaluation_periods - len(used)
    if state == INSUFFICIENT_DATA:
        return f"Insufficient Data: {_counted(lacking, 'datapoint')} unknown."
    treated = {"breaching": "Breaching", "notBreaching": "NonBreaching"}.get(alarm.missing)
    filled = f"{_counted(lacking, 'missing datapoint')} treated as [{treated}]"
    if not used:
        periods = _plural(alarm.evaluation_periods, "period")
        return f"Threshold Crossed: no datapoints were received for {periods} and {filled}."
    # Those that decide; where missing ones do, all that there are.
    deciding = [point for point in used if alarm.is_breaching(point.value) == (state == ALARM)]
    shown = ", ".join(
        f"{point.value} ({datetime.fromtimestamp(point.start, UTC):%d/%m/%y %H:%M:%S})"
        for point in reversed(deciding or used)
    )
    was = "was" if len(deciding or used) == 1 else "were"
    breaching = alarm.is_breaching((deciding or used)[0].value)
    relation = f"{was} {'' if breaching else 'not '}{COMPARISONS[alarm.comparison][1]}"
    least = alarm.datapoints_to_alarm
    if state == OK:
        least = alarm.evaluation_periods - alarm.datapoints_to_alarm + 1
    return (
        f"Threshold Crossed: {len(deciding or used)} out of the last "
        f"{_plural(len(used), 'datapoint')} [{shown}] {relation} the threshold "
        f"({alarm.threshold})"
        + (f" and {filled}" if lacking and treated else "")
        + f" (minimum {_plural(least, 'datapoint')} for {current} -> {state} transition)."
    )


def _plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _counted(number: int, what: str) -> str:
    return f"{_plural(number, what)} {'was' if number == 1 else 'were'}"
