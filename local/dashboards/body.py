"""What a CloudWatch dashboard body says, parsed once: at deployment to refuse it, later to draw it.

Understood is what the template uses: metric widgets (lines, stacked, numbers) with metrics, their
shorthand, metric math and SEARCH over one metric name; text, alarm and log table widgets. Anything
else is refused by name, never left out.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from local.dashboards.log_query import LogQueryError, parse_query
from local.dashboards.markdown import MarkdownError, html_of
from local.metric_math import Expression, MetricMathError, is_statistic, parse

COLUMNS: Final = 24
_WIDGET: Final = frozenset({"type", "x", "y", "width", "height", "properties"})
_PROPERTIES: Final = {
    "metric": frozenset(
        {"title", "region", "view", "stat", "period", "metrics", "stacked", "yAxis"}
        | {"annotations", "setPeriodToTimeRange"}
    ),
    "text": frozenset({"markdown"}),
    "log": frozenset({"title", "region", "view", "query"}),
    "alarm": frozenset({"title", "alarms"}),
}
_OPTIONS: Final = frozenset(
    {"stat", "period", "label", "yAxis", "id", "visible", "expression", "region"}
)
_AXIS: Final = frozenset({"label", "min", "max", "showUnits"})
_LIMIT: Final = frozenset({"label", "value"})
_ID: Final = re.compile(r"[a-z]\w*")
_SEARCH: Final = re.compile(
    r"""SEARCH\('\{(?P<schema>[^}]+)\}\s+MetricName="(?P<name>[^"]+)"',\s*'(?P<stat>\w+)'"""
    r"""(?:,\s*(?P<period>\d+))?\)"""
)


class BodyError(Exception):
    """A body that is wrong or has something in it that can't be drawn here; all of it is named."""


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
    id: str = ""
    is_visible: bool = True


@dataclass(frozen=True)
class Math:
    """A line that is computed from other lines of its widget."""

    expression: Expression
    period: int
    label: str
    is_right: bool = False
    id: str = ""
    is_visible: bool = True


@dataclass(frozen=True)
class Search:
    """A line for each set of values that a metric has for exactly these dimensions."""

    namespace: str
    name: str
    dimensions: tuple[str, ...]
    stat: str
    period: int
    is_visible: bool = True


type Line = Metric | Math | Search


@dataclass(frozen=True)
class Limit:
    """A horizontal line, drawn at a value that matters."""

    label: str
    value: float


@dataclass(frozen=True)
class Axis:
    """What a widget says of an axis. A bound that is None follows the values."""

    label: str = ""
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Widget:
    """One widget on the 24-column grid."""

    kind: str
    title: str
    x: int
    y: int
    width: int
    height: int
    properties: Mapping[str, Any]
    lines: tuple[Line, ...] = ()
    limits: tuple[Limit, ...] = ()
    left: Axis = Axis()
    right: Axis = Axis()

    @property
    def is_number(self) -> bool:
        return self.kind == "metric" and self.properties.get("view") == "singleValue"

    @property
    def is_over_whole_range(self) -> bool:
        """Whether a number is that of the whole time that is shown, not of its last period."""
        return bool(self.properties.get("setPeriodToTimeRange", False))


def widgets(body: str) -> list[Widget]:
    """A dashboard body's widgets; BodyError names everything in it that is not understood."""
    try:
        document = json.loads(body)
        described = document["widgets"]
    except (ValueError, KeyError, TypeError) as error:
        raise BodyError(f"it is no JSON object with widgets: {error!r}") from None
    problems = [f"{name} is not known here" for name in document if name != "widgets"]
    parsed = []
    for at, widget in enumerate(described):
        found = list(_problems(widget))
        problems += [f"widget {at} ({_name_of(widget)}): {one}" for one in found]
        if not found:
            parsed.append(_widget(widget))
    if problems:
        raise BodyError("; ".join(problems))
    return parsed


def _name_of(widget: Mapping[str, Any]) -> str:
    return str(widget.get("properties", {}).get("title") or widget.get("type", "?"))


# ---- what is refused ---------------------------------------------------------------------------
def _problems(widget: Mapping[str, Any]) -> Iterator[str]:
    kind, properties = widget.get("type"), widget.get("properties", {})
    if kind not in _PROPERTIES:
        yield f"type {kind} is not known here"
        return
    yield from _unknown("", widget, _WIDGET)
    yield from _unknown("", properties, _PROPERTIES[kind])
    if widget.get("x", 0) + widget.get("width", 6) > COLUMNS:
        yield f"it ends beyond column {COLUMNS}"
    view = properties.get("view", "timeSeries")
    if view not in ({"table"} if kind == "log" else {"timeSeries", "singleValue"}) and kind in (
        "metric",
        "log",
    ):
        yield f"view {view} is not known here"
    try:
        if kind == "text":
            html_of(properties.get("markdown", ""))
        elif kind == "log":
            parse_query(properties.get("query", ""))
        elif kind == "metric":
            yield from _problems_of_lines(properties)
    except (MarkdownError, LogQueryError, MetricMathError) as error:
        yield str(error)


def _problems_of_lines(properties: Mapping[str, Any]) -> Iterator[str]:
    if not properties.get("metrics"):
        yield "it has no metrics"
    for side, axis in properties.get("yAxis", {}).items():
        yield from _unknown(f"yAxis {side}: ", axis, _AXIS)
    annotations = properties.get("annotations", {})
    yield from _unknown("annotations: ", annotations, frozenset({"horizontal"}))
    for limit in annotations.get("horizontal", []):
        yield from _unknown("annotation: ", limit, _LIMIT)
    for entry in properties.get("metrics", []):
        if isinstance(entry[-1], dict):
            yield from _unknown("metric: ", entry[-1], _OPTIONS)
    lines = _lines(properties)
    given = [line.id for line in lines if not isinstance(line, Search) and line.id]
    ids = set(given)
    yield from (f"id {one} is given twice" for one in sorted(ids) if given.count(one) > 1)
    yield from (f"id {one} is no id" for one in sorted(ids) if not _ID.fullmatch(one))
    for line in lines:
        if isinstance(line, Math):
            for missing in sorted(set(line.expression.ids) - ids):
                yield f"expression {line.expression.text}: there is no id {missing}"
        elif not is_statistic(line.stat):
            yield f"statistic {line.stat} is not known here"


def _unknown(where: str, given: Mapping[str, Any], known: frozenset[str]) -> Iterable[str]:
    return [f"{where}{name} is not known here" for name in given if name not in known]


# ---- what is read ------------------------------------------------------------------------------
def _widget(widget: Mapping[str, Any]) -> Widget:
    properties = widget["properties"]
    axes = properties.get("yAxis", {})
    return Widget(
        kind=widget["type"],
        title=properties.get("title", ""),
        x=int(widget.get("x", 0)),
        y=int(widget.get("y", 0)),
        width=int(widget.get("width", 6)),
        height=int(widget.get("height", 6)),
        properties=properties,
        lines=tuple(_lines(properties)),
        limits=tuple(
            Limit(limit.get("label", ""), float(limit["value"]))
            for limit in properties.get("annotations", {}).get("horizontal", [])
        ),
        left=_axis(axes.get("left", {})),
        right=_axis(axes.get("right", {})),
    )


def _axis(given: Mapping[str, Any]) -> Axis:
    return Axis(given.get("label", ""), given.get("min"), given.get("max"))


def _lines(properties: Mapping[str, Any]) -> list[Line]:
    lines: list[Line] = []
    before: list[str] = []
    for entry in properties.get("metrics", []):
        options = entry[-1] if isinstance(entry[-1], dict) else {}
        names = [part for part in entry if isinstance(part, str)]
        if names:
            before = _written_out(names, before)
            lines.append(_metric(before, properties, options))
        else:
            lines.append(_computed(options, properties))
    return lines


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
        id=options.get("id", ""),
        is_visible=options.get("visible", True),
    )


def _computed(options: Mapping[str, Any], properties: Mapping[str, Any]) -> Line:
    text = options.get("expression", "")
    period = int(options.get("period", properties.get("period", 300)))
    if search := _SEARCH.fullmatch(text):
        namespace, *dimensions = search["schema"].split(",")
        return Search(
            namespace=namespace,
            name=search["name"],
            dimensions=tuple(dimensions),
            stat=search["stat"],
            period=int(search["period"] or period),
            is_visible=options.get("visible", True),
        )
    return Math(
        expression=parse(text),
        period=period,
        label=options.get("label", text),
        is_right=options.get("yAxis") == "right",
        id=options.get("id", ""),
        is_visible=options.get("visible", True),
    )
