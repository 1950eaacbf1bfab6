"""The dashboards in a browser: GET /_local/dashboards draws the deployed CloudWatch dashboards.

Drawn on the server from the local CloudWatch's data, as plain HTML with inline SVG that reloads
itself: no script, no library, nothing from the network.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote, unquote

from local.api import ApiError, Response, Route
from local.dashboards.body import Datum, Metric, Widget, points, widgets
from local.dashboards.charts import (
    Frame,
    Series,
    bar_chart,
    bar_chart_over_time,
    legend,
    line_chart,
    number,
)
from local.dashboards.page import html_table, page

PATH = "/_local/dashboards"
REFRESH_SECONDS = 10
WINDOW_SECONDS = 3 * 3600.0  # what the console shows first
LEAST_WINDOW_SECONDS = 900.0

Span = tuple[float, float]  # from, until, in epoch seconds


class Dashboards:
    """Draws the dashboards that are deployed at the moment of the request."""

    def __init__(
        self,
        cloudwatch: Any,
        data: Callable[[], Iterable[Datum]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`cloudwatch` is a boto3 client; `data` gives all values put so far, since percentiles
        can't be had from the emulated GetMetricData."""
        self._cloudwatch = cloudwatch
        self._data = data
        self._clock = clock

    def routes(self) -> list[Route]:
        """The pages: the first dashboard under the path itself, each under its name."""
        return [Route("GET", re.compile(rf"{PATH}(?:/(?P<name>[^/]+))?/?"), self._show)]

    def _names(self) -> list[str]:
        pages = self._cloudwatch.get_paginator("list_dashboards").paginate()
        names = [e["DashboardName"] for answer in pages for e in answer["DashboardEntries"]]
        # "Is data flowing?" comes before "is the machinery well?"
        return sorted(names, key=lambda name: (not name.endswith("pipeline"), name))

    def _show(self, match: re.Match[str], headers: Mapping[str, str], body: bytes) -> Response:
        names = self._names()
        name = unquote(match["name"]) if match["name"] else next(iter(names), "")
        if match["name"] and name not in names:
            raise ApiError("ResourceNotFound", f"there is no dashboard {name}", 404)
        content = self._draw(name) if name else '<p class="quiet">No dashboard is deployed.</p>'
        links = " ".join(
            f"<b>{escape(one)}</b>" if one == name else f'<a href="{PATH}/{quote(one)}">{one}</a>'
            for one in names
        )
        heading = f'<h1>{escape(name or "Dashboards")}</h1><p class="lead">{links}</p>'
        refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        html = page(name or "Dashboards", heading + content, refresh)
        return Response(200, {"Content-Type": "text/html; charset=utf-8"}, html.encode())

    def _draw(self, name: str) -> str:
        data = list(self._data())
        body = self._cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]
        now = self._clock()
        recent = [datum.at for datum in data if datum.at >= now - WINDOW_SECONDS]
        span = (min(min(recent, default=now), now - LEAST_WINDOW_SECONDS), now)
        cards = [
            f'<section class="card" style="grid-column: {widget.x + 1} / span {widget.width}">'
            f"<h2>{escape(widget.title)}</h2>{self._content(widget, data, span)}</section>"
            for widget in sorted(widgets(body, data), key=lambda one: (one.y, one.x))
        ]
        return f'<div class="cards">{"".join(cards)}</div>'

    def _content(self, widget: Widget, data: list[Datum], span: Span) -> str:
        notes = "".join(
            f'<p class="quiet">Not shown locally: {escape(what)}</p>' for what in widget.unknown
        )
        if widget.kind == "text":
            return f"<pre>{escape(widget.properties.get('markdown', ''))}</pre>"
        if widget.kind == "log":
            return f"<pre>{escape(widget.properties.get('query', ''))}</pre>" + (
                '<p class="quiet">Log queries are not run locally.</p>'
            )
        if widget.kind == "alarm":
            return self._alarms(widget.properties.get("alarms", []))
        return _metric_content(widget, data, span) + notes

    def _alarms(self, arns: Sequence[str]) -> str:
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate()
        alarms = {a["AlarmArn"]: a for answer in pages for a in answer["MetricAlarms"]}
        rows: list[list[object]] = [
            [
                arn.rpartition(":alarm:")[2],
                alarms[arn]["StateValue"] if arn in alarms else "not deployed",
                alarms[arn].get("AlarmDescription", "") if arn in alarms else "",
            ]
            for arn in arns
        ]
        note = (
            '<p class="quiet">Alarms are not evaluated locally: the state is that of creation.</p>'
        )
        return html_table(["alarm", "state", "what it means"], rows) + note


def _metric_content(widget: Widget, data: list[Datum], span: Span) -> str:
    since = span[0]
    if widget.view == "singleValue":
        shown = "".join(
            f'<div class="figure"><b>{_last(metric, data, since)}</b>'
            f"<span>{escape(metric.label)}</span></div>"
            for metric in widget.metrics
        )
        return f'<div class="figures">{shown}</div>'
    series = [Series(m.label, points(m, data, since), m.is_right) for m in widget.metrics]
    if widget.view == "bar":
        bars = [(one.name, one.points[-1][1]) for one in series if one.points]
        return bar_chart(widget.title, bars)
    frame = Frame(width=53 * widget.width, height=42 * widget.height)
    if widget.stacked:
        chart = bar_chart_over_time(widget.title, _same_times(series), frame, span)
    else:
        chart = line_chart(widget.title, series, frame, span)
    return chart + legend([one.name for one in series])


def _last(metric: Metric, data: list[Datum], since: float) -> str:
    found = points(metric, data, since)
    return number(found[-1][1]) if found else "-"


def _same_times(series: Sequence[Series]) -> list[Series]:
    times = sorted({at for one in series for at, _ in one.points})
    return [
        Series(one.name, [(at, dict(one.points).get(at, 0.0)) for at in times]) for one in series
    ]


def stored_data(backend: Any) -> Callable[[], Iterable[Datum]]:
    """The values in moto's CloudWatch backend."""

    def read() -> Iterable[Datum]:
        for one in backend.get_all_metrics():
            value = getattr(one, "value", None)
            if value is not None:
                yield Datum(
                    namespace=one.namespace,
                    name=one.name,
                    dimensions={dimension.name: dimension.value for dimension in one.dimensions},
                    at=one.timestamp.timestamp(),
                    value=float(value),
                )

    return read
