"""The dashboards in a browser: GET /_local/dashboards draws the deployed CloudWatch dashboards.

Drawn on the server from the local CloudWatch's values, alarms and logs, as HTML and inline SVG.
The page asks for itself again every few seconds and changes nothing but what moved; its policy
lets it reach nothing else. Without JavaScript the browser reloads it instead.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote

from local.api import ApiError, Response, Route
from local.dashboards.body import widgets
from local.dashboards.page import page
from local.dashboards.series import Datum, Span, Values
from local.dashboards.widgets import ReadLogs, Sources, card

PATH: Final = "/_local/dashboards"
REFRESH_SECONDS: Final = 10
RANGES: Final = {
    "15m": 900.0,
    "30m": 1800.0,
    "1h": 3600.0,
    "3h": 3 * 3600.0,
    "12h": 12 * 3600.0,
    "1d": 86_400.0,
    "1w": 7 * 86_400.0,
}
LONGEST_FIRST_RANGE: Final = 3 * 3600.0  # what the console shows first

_SCRIPT: Final = Path(__file__).with_name("live.js").read_text(encoding="utf-8")
_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    ),
}


class Dashboards:
    """Draws the dashboards that are deployed at the moment of the request."""

    def __init__(
        self,
        cloudwatch: Any,
        data: Callable[[], Iterable[Datum]],
        logs: ReadLogs,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`cloudwatch` is a boto3 client; `data` gives all values put so far, since percentiles
        can't be had from the emulated GetMetricData."""
        self._cloudwatch = cloudwatch
        self._data = data
        self._logs = logs
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
        chosen = parse_qs(headers.get(":query", "")).get("range", [""])[0]
        if chosen and chosen not in RANGES:
            known = ", ".join(RANGES)
            raise ApiError("InvalidParameterValue", f"range is one of {known}, not {chosen}", 400)
        now, values = self._clock(), Values(self._data())
        shown = chosen or _first_range(values, now)
        content = (
            self._board(name, values, (now - RANGES[shown], now))
            if name
            else '<p class="quiet">No dashboard is deployed.</p>'
        )
        bar = _navigation(names, name, shown, is_chosen=bool(chosen), now=now)
        # Without an icon a browser asks for /favicon.ico.
        head = (
            '<link rel="icon" href="data:,">'
            f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>'
        )
        script = f'<script data-seconds="{REFRESH_SECONDS}">{_SCRIPT}</script>'
        html = page(name or "Dashboards", f"{bar}{content}{script}", head, "wide")
        return Response(200, _HEADERS, html.encode())

    def _board(self, name: str, values: Values, span: Span) -> str:
        body = self._cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate()
        alarms = {one["AlarmArn"]: one for answer in pages for one in answer["MetricAlarms"]}
        sources = Sources(values, alarms, self._logs)
        # The order of reading, and that of a phone's one column.
        cards = [
            card(widget, sources, span)
            for widget in sorted(widgets(body), key=lambda one: (one.y, one.x))
        ]
        return f'<div class="board" id="board">{"".join(cards)}</div>'


def _first_range(values: Values, now: float) -> str:
    """The shortest time that shows everything, as long as the console's own at most."""
    first = values.first()
    age = LONGEST_FIRST_RANGE if first is None else min(now - first, LONGEST_FIRST_RANGE)
    return next(name for name, seconds in RANGES.items() if seconds >= age)


def _navigation(names: list[str], shown: str, span: str, *, is_chosen: bool, now: float) -> str:
    query = f"?range={span}" if is_chosen else ""
    pages = "".join(
        f'<a href="{PATH}/{quote(name)}{query}"{_current(name == shown)}>'
        f"{escape(name.rpartition('-')[2] or name)}</a>"
        for name in names
    )
    spans = "".join(
        f'<a href="{PATH}/{quote(shown)}?range={name}"{_current(name == span)}>{name}</a>'
        for name in RANGES
    )
    at = datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S")
    return (
        f"<header><h1>{escape(shown or 'Dashboards')}</h1>"
        f'<nav aria-label="Dashboards">{pages}</nav>'
        f'<nav aria-label="Shown time">{spans}</nav>'
        f'<p class="quiet" id="live" role="status">{at} UTC</p></header>'
    )


def _current(is_current: bool) -> str:
    return ' aria-current="page"' if is_current else ""


def stored_data(backend: Any) -> Callable[[], Iterable[Datum]]:
    """The values in moto's CloudWatch backend."""

    def read() -> Iterable[Datum]:
        for one in list(backend.metric_data):
            value = getattr(one, "value", None)
            if value is not None:
                yield Datum(
                    namespace=one.namespace,
                    name=one.name,
                    dimensions={dimension.name: dimension.value for dimension in one.dimensions},
                    # moto's times are UTC and do not say so.
                    at=one.timestamp.replace(tzinfo=UTC).timestamp(),
                    value=float(value),
                )

    return read
