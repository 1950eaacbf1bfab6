"""What a CloudWatch dashboard body says, and the numbers behind it.

Read from the deployed body, so that a browser shows locally what the console shows on AWS.
Understood is what the template uses: metric widgets with metrics, their shorthand and SEARCH
over one metric name; alarm, text and log widgets. Anything else is said in the widget's place,
never left out.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SEARCH = re.compile(
    r"""SEARCH\('\{(?P<schema>[^}]+)\}\s+MetricName="(?P<name>[^"]+)"',\s*'(?P<stat>\w+)'"""
    r"""(?:,\s*(?P<period>\d+))?\)"""
)


_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "Sum": math.fsum,
    "Average": lambda values: math.fsum(values) / len(values),
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
}


@dataclass(frozen=True)
class Datum:
    """One value that was put to CloudWatch; `at` in epoch seconds."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    at: float
    value: float


@dataclass(frozen=True)
class Metric:
    """One line of a widget: which values, and how they become one per period."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    stat: str
    period: int
    label: str
    is_right: bool = False  # measured on the right axis


@dataclass(frozen=True)
class Widget:
    """One widget on the 24-column grid. `unknown` says what of it can't be shown here."""

    kind: str
    title: str
    x: int
    y: int
    width: int
    height: int
    view: str = "timeSeries"
    stacked: bool = False
    metrics: tuple[Metric, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def widgets(body: str, data: Iterable[Datum]) -> list[Widget]:
    """A dashboard body's widgets; `data` answers its searches."""
    known = list(data)
    return [_widget(widget, known) for widget in json.loads(body)["widgets"]]


def points(metric: Metric, data: Iterable[Datum], since: float) -> list[tuple[float, float]]:
    """(start of the period, statistic) for each period after `since` that has data."""
    periods: dict[float, list[float]] = defaultdict(list)
    for datum in data:
        if (
            datum.at >= since
            and datum.name == metric.name
            and datum.namespace == metric.namespace
            and datum.dimensions == metric.dimensions
        ):
            periods[datum.at // metric.period * metric.period].append(datum.value)
    return [(start, statistic(metric.stat, values)) for start, values in sorted(periods.items())]


def statistic(name: str, values: Sequence[float]) -> float:
    """A CloudWatch statistic of values; raises ValueError for one that is not known here."""
    if name in _STATISTICS:
        return float(_STATISTICS[name](values))
    if match := re.fullmatch(r"p(\d{1,2}(?:\.\d+)?|100)", name):
        rank = math.ceil(float(match.group(1)) / 100 * len(values))
        return sorted(values)[max(rank, 1) - 1]
    raise ValueError(f"statistic {name} is not known here")


def _widget(widget: Mapping[str, Any], data: list[Datum]) -> Widget:
    properties = widget.get("properties", {})
    metrics: list[Metric] = []
    unknown: list[str] = []
    before: list[str] = []
    for entry in properties.get("metrics", []):
        options = entry[-1] if isinstance(entry[-1], dict) else {}
        if not options.get("visible", True):
            continue
        names = [part for part in entry if isinstance(part, str)]
        if names:
            before = _written_out(names, before)
            metrics.append(_metric(before, properties, options))
        elif match := _SEARCH.fullmatch(options.get("expression", "")):
            metrics += _found(match, data)
        else:
            unknown.append(str(options.get("expression", entry)))
    kind = widget["type"]
    if kind not in ("metric", "alarm", "text", "log"):
        unknown.append(f"widget type {kind}")
    view = properties.get("view", "timeSeries")
    if view not in ("timeSeries", "singleValue", "bar"):
        unknown.append(f"view {view}")
    return Widget(
        kind=kind,
        title=properties.get("title", ""),
        x=int(widget.get("x", 0)),
        y=int(widget.get("y", 0)),
        width=int(widget.get("width", 6)),
        height=int(widget.get("height", 6)),
        view=view,
        stacked=bool(properties.get("stacked", False)),
        metrics=tuple(metrics),
        properties=properties,
        unknown=tuple(unknown),
    )


def _written_out(names: Sequence[str], before: Sequence[str]) -> list[str]:
    """A metric line with its shorthand replaced: `.` repeats what stood there, `...` all of it."""
    if names[0] == "...":
        kept = before[: len(before) - len(names) + 1]
        return [*kept, *names[1:]]
    return [before[i] if name == "." else name for i, name in enumerate(names)]


def _metric(
    names: Sequence[str], properties: Mapping[str, Any], options: Mapping[str, Any]
) -> Metric:
    namespace, name, *pairs = names
    return Metric(
        namespace=namespace,
        name=name,
        dimensions=dict(zip(pairs[::2], pairs[1::2], strict=True)),
        stat=options.get("stat", properties.get("stat", "Average")),
        period=int(options.get("period", properties.get("period", 300))),
        label=options.get("label", name),
        is_right=options.get("yAxis") == "right",
    )


def _found(search: re.Match[str], data: Iterable[Datum]) -> list[Metric]:
    namespace, *names = search["schema"].split(",")
    sets = sorted(
        {
            tuple(datum.dimensions[name] for name in names)
            for datum in data
            if datum.namespace == namespace
            and datum.name == search["name"]
            and set(datum.dimensions) == set(names)
        }
    )
    return [
        Metric(
            namespace=namespace,
            name=search["name"],
            dimensions=dict(zip(names, values, strict=True)),
            stat=search["stat"],
            period=int(search["period"] or 300),
            label=values[-1],
        )
        for values in sets
    ]
