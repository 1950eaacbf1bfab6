"""Each kind of widget as HTML, and, where there is nothing to draw, why not."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from local.dashboards.body import Axis, Widget
from local.dashboards.charts import number
from local.dashboards.log_query import parse_query
from local.dashboards.markdown import html_of
from local.dashboards.page import figures
from local.dashboards.plot import Plot, PlotAxis, PlotLine, time_plot
from local.dashboards.series import Drawn, Span, Values, drawn
from local.logs import LogEvent

_STATES: Final = {"ALARM": "in alarm", "INSUFFICIENT_DATA": "no data yet", "OK": "ok"}
_NOT_DEPLOYED: Final = "not deployed"
_LONGEST_CELL: Final = 400

type ReadLogs = Callable[[Sequence[str], Span], list[LogEvent]]


@dataclass(frozen=True)
class Sources:
    """What widgets show: metric values, alarms by ARN as DescribeAlarms has them, and logs."""

    values: Values
    alarms: Mapping[str, Mapping[str, Any]]
    logs: ReadLogs


def card(widget: Widget, sources: Sources, span: Span) -> str:
    """A widget in its place on the grid."""
    draw = {"text": _text, "alarm": _alarms, "log": _log_table, "metric": _metrics}[widget.kind]
    title = f"<h2>{escape(widget.title)}</h2>" if widget.title else ""
    place = (
        f"grid-column:{widget.x + 1}/span {widget.width};"
        f"grid-row:{widget.y + 1}/span {widget.height}"
    )
    kind = "numbers" if widget.is_number else widget.kind
    return (
        f'<section class="card {kind}" style="{place}">{title}'
        f"{draw(widget, sources, span)}</section>"
    )


def _text(widget: Widget, _: Sources, __: Span) -> str:
    return html_of(widget.properties["markdown"])


# ---- metrics -----------------------------------------------------------------------------------
def _metrics(widget: Widget, sources: Sources, span: Span) -> str:
    lines = drawn(widget, sources.values, span)
    if widget.is_number:
        return _numbers(lines)
    if not any(line.points for line in lines):
        return _nothing(_why_empty(widget, sources.values))
    is_stacked = bool(widget.properties.get("stacked", False))
    plot = Plot(
        label=widget.title,
        lines=[
            PlotLine(one.label, one.points, one.period, one.is_right)
            for one in (_with_same_times(lines) if is_stacked else lines)
        ],
        span=span,
        is_stacked=is_stacked,
        limits=[(limit.label, limit.value) for limit in widget.limits],
        left=_axis(widget.left),
        right=_axis(widget.right),
    )
    return time_plot(plot)


def _numbers(lines: Sequence[Drawn]) -> str:
    return figures(
        [(line.label, number(line.points[-1][1]) if line.points else None) for line in lines]
    )


def _axis(axis: Axis) -> PlotAxis:
    return PlotAxis(axis.label, axis.minimum, axis.maximum)


def _with_same_times(lines: Sequence[Drawn]) -> list[Drawn]:
    """Stacked, a line without a value is one of zero."""
    times = sorted({at for line in lines for at, _ in line.points})
    return [
        Drawn(line.label, [(at, dict(line.points).get(at, 0.0)) for at in times], line.period)
        for line in lines
    ]


def _why_empty(widget: Widget, values: Values) -> str:
    latest = max(
        (at for line in widget.lines if (at := values.last(line)) is not None), default=None
    )
    if latest is None:
        return "Nothing yet: none of its metrics has had a value since the local cloud started."
    when = datetime.fromtimestamp(latest, UTC).strftime("%Y-%m-%d %H:%M")
    return f"Nothing in the shown time. The latest value is of {when} UTC: choose a longer time."


def _nothing(why: str) -> str:
    return f'<p class="nothing">{escape(why)}</p>'


# ---- alarms ------------------------------------------------------------------------------------
def _alarms(widget: Widget, sources: Sources, _: Span) -> str:
    arns: Sequence[str] = widget.properties.get("alarms", [])
    names = [arn.rpartition(":alarm:")[2] for arn in arns]
    states = [sources.alarms.get(arn, {}).get("StateValue", _NOT_DEPLOYED) for arn in arns]
    order = {state: at for at, state in enumerate(_STATES)}
    tiles = [
        (order.get(state, -1), _tile(name, state, sources.alarms.get(arn, {})))
        for arn, name, state in zip(arns, _without_stack(names), states, strict=True)
    ]
    counted = ", ".join(
        f"{states.count(state)} {text}" for state, text in _STATES.items() if state in states
    )
    items = "".join(tile for _, tile in sorted(tiles, key=lambda one: one[0]))
    return f'<p class="quiet">{counted}</p><ul class="alarms">{items}</ul>'


def _tile(name: str, state: str, alarm: Mapping[str, Any]) -> str:
    meaning = escape(alarm.get("AlarmDescription", ""))
    return (
        f'<li class="{state.lower()}" title="{meaning}"><span class="name">{escape(name)}</span>'
        f'<span class="state">{_STATES.get(state, state)}</span>'
        f'<span class="{"meaning" if state == "ALARM" else "unseen"}">{meaning}</span></li>'
    )


def _without_stack(names: Sequence[str]) -> list[str]:
    """The names in the template: without the stack's before and CloudFormation's letters after."""
    parts = [re.sub(r"-[A-Za-z0-9]{12,13}$", "", name).split("-") for name in names]
    shared = _shared(parts) if len(parts) > 1 else 0
    return ["-".join(part[shared:] or part) for part in parts]


def _shared(names: Sequence[Sequence[str]]) -> int:
    """How many parts all of them begin with."""
    return next(
        (at for at, parts in enumerate(zip(*names, strict=False)) if len(set(parts)) > 1),
        min(len(name) for name in names),
    )


# ---- logs --------------------------------------------------------------------------------------
def _log_table(widget: Widget, sources: Sources, span: Span) -> str:
    query = parse_query(widget.properties["query"])
    events = sources.logs(query.sources, span)
    rows = query.run(events)
    if not rows:
        logs = f"{len(query.sources)} logs"
        return _nothing(
            f"Nothing: of the {len(events):,} lines that the {logs} have in the shown time, none "
            "is what this looks for."
        )
    head = "".join(f"<th>{escape(field.removeprefix('@'))}</th>" for field in query.fields)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell[:_LONGEST_CELL])}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="log"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
