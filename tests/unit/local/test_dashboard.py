"""Dashboards: bodies as CloudWatch documents them, numbers as CloudWatch computes them."""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.cloudwatch.models import CloudWatchBackend

from local.api import ApiError
from local.dashboards.body import BodyError, Math, Metric, Search, widgets
from local.dashboards.dashboard import Dashboards, stored_data
from local.dashboards.resources import dashboard_provider
from local.dashboards.series import Datum, Values, drawn
from local.deployment.provider import DeploymentError
from local.logs import LogEvent

NOW = 1_764_000_000.0
ARN = "arn:aws:cloudwatch:us-east-1:123456789012:alarm"


def datum(name: str, value: float, at: float = NOW, **dimensions: str) -> Datum:
    return Datum("Lake", name, dimensions, at, value)


def metric_widget(*metrics: list[Any], **properties: Any) -> dict[str, Any]:
    return {
        "type": "metric",
        "x": 12,
        "y": 0,
        "width": 12,
        "height": 6,
        "properties": {"title": "Readings", "metrics": list(metrics), **properties},
    }


def body(*entries: dict[str, Any]) -> str:
    return json.dumps({"widgets": list(entries)})


def lines_of(*metrics: list[Any], data: Iterable[Datum] = (), **properties: Any) -> dict[str, Any]:
    (widget,) = widgets(body(metric_widget(*metrics, **properties)))
    found = drawn(widget, Values(data), (NOW - 600, NOW))
    return {line.label: list(line.points) for line in found}


# ---- bodies ------------------------------------------------------------------------------------
def test_shorthand_repeats_what_stood_above() -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html"""
    (widget,) = widgets(
        body(
            metric_widget(
                ["Lake", "Accepted", "service", "ingest"],
                [".", "Rejected", ".", "."],
                ["...", "other"],
                stat="Sum",
                period=60,
            )
        )
    )
    metrics = [line for line in widget.lines if isinstance(line, Metric)]
    assert [(m.namespace, m.name, m.dimensions) for m in metrics] == [
        ("Lake", "Accepted", {"service": "ingest"}),
        ("Lake", "Rejected", {"service": "ingest"}),
        ("Lake", "Rejected", {"service": "other"}),
    ]
    assert {(m.stat, m.period) for m in metrics} == {("Sum", 60)}


def test_a_lines_own_options_go_before_the_widgets() -> None:
    options = {"stat": "p99", "period": 300, "label": "slowest", "yAxis": "right"}
    (widget,) = widgets(body(metric_widget(["Lake", "Delay", options], stat="Sum", period=60)))
    (metric,) = widget.lines
    assert isinstance(metric, Metric)
    assert (metric.stat, metric.period, metric.label, metric.is_right) == (
        *("p99", 300, "slowest", True),
    )


def test_expressions_searches_limits_and_axes_are_read() -> None:
    (widget,) = widgets(
        body(
            metric_widget(
                ["Lake", "A", {"id": "a", "visible": False}],
                [{"expression": "a / 2", "label": "half", "id": "h"}],
                [{"expression": "SEARCH('{Lake,b,c} MetricName=\"D\"', 'Sum', 300)", "id": "s"}],
                yAxis={"left": {"label": "hours", "min": 0, "max": 9, "showUnits": False}},
                annotations={"horizontal": [{"label": "lost", "value": 8}]},
            )
        )
    )
    _, half, search = widget.lines
    assert isinstance(half, Math)
    assert (half.label, half.expression.ids) == ("half", ("a",))
    assert isinstance(search, Search)
    assert (search.namespace, search.dimensions, search.name) == ("Lake", ("b", "c"), "D")
    assert (widget.left.label, widget.left.minimum, widget.left.maximum) == ("hours", 0, 9)
    assert [(limit.label, limit.value) for limit in widget.limits] == [("lost", 8)]


@pytest.mark.parametrize(
    ("widget", "named"),
    [
        ({"type": "explorer", "properties": {}}, "type explorer"),
        ({"type": "text", "properties": {"markdown": "| a |"}}, "markdown"),
        (
            {"type": "log", "properties": {"query": "SOURCE 'a' | stats x", "view": "table"}},
            "stats",
        ),
        ({"type": "log", "properties": {"query": "SOURCE 'a'", "view": "pie"}}, "view pie"),
        ({"type": "alarm", "x": 20, "properties": {"alarms": []}}, "column 24"),
        ({"type": "alarm", "z": 1, "properties": {"alarms": []}}, "z is not known"),
        (metric_widget(), "no metrics"),
        (metric_widget(["Lake", "A"], view="pie"), "view pie"),
        (metric_widget(["Lake", "A"], stat="TM(1%:2%)"), "TM"),
        (metric_widget(["Lake", "A"], liveData=True), "liveData"),
        (metric_widget(["Lake", "A", {"color": "#fff"}]), "color"),
        (metric_widget(["Lake", "A"], annotations={"vertical": []}), "vertical"),
        (metric_widget(["Lake", "A"], yAxis={"left": {"scale": "log"}}), "scale"),
        (metric_widget([{"expression": "RATE(m1)", "id": "a"}]), "RATE"),
        (metric_widget([{"expression": "100 * b", "id": "a"}]), "no id b"),
        (metric_widget(["L", "A", {"id": "a"}], [".", "B", {"id": "a"}]), "a is given twice"),
        (metric_widget(["Lake", "A", {"id": "Upper"}]), "Upper is no id"),
    ],
)
def test_what_can_not_be_drawn_is_refused_by_name(widget: dict[str, Any], named: str) -> None:
    fine = {"type": "text", "properties": {"markdown": "text"}}
    with pytest.raises(BodyError, match=re.escape(named)) as refused:
        widgets(body(fine, widget))
    assert "widget 1 (" in str(refused.value)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    wrong = json.dumps({"start": "-PT3H", "widgets": [{"type": "x"}, {"type": "y"}]})
    with pytest.raises(BodyError, match=r"start.*type x.*type y"):
        widgets(wrong)
    for text in ("", "[]", "{}"):
        with pytest.raises(BodyError, match="no JSON object with widgets"):
            widgets(text)


def test_a_dashboard_that_could_not_be_drawn_is_not_deployed() -> None:
    cloudwatch = FakeCloudWatch({})
    provider = dashboard_provider(cloudwatch)
    fine = body(metric_widget(["Lake", "A"]))
    provider.create("Dashboard", "stack-Name", {"DashboardName": "fine", "DashboardBody": fine})
    pie = body(metric_widget(["Lake", "A"], view="pie"))
    with pytest.raises(DeploymentError, match=r"DashboardBody: widget 0 \(Readings\): view pie"):
        provider.create("Dashboard", "stack-Name", {"DashboardName": "x", "DashboardBody": pie})
    assert cloudwatch.bodies == {"fine": fine}


# ---- numbers -----------------------------------------------------------------------------------
def test_a_search_finds_each_set_of_exactly_its_dimensions() -> None:
    search = "SEARCH('{Lake,service,Reason} MetricName=\"Rejected\"', 'Sum', 300)"
    data = [
        datum("Rejected", 1, service="ingest", Reason="not_json"),
        datum("Rejected", 1, service="ingest", Reason="too_deep"),
        datum("Rejected", 2, service="ingest"),
        datum("Accepted", 2, service="ingest", Reason="none"),
    ]
    found = lines_of([{"expression": search, "id": "a"}], data=data)
    assert list(found) == ["not_json", "too_deep"]


def test_periods_are_aligned_and_dimensions_must_match_exactly() -> None:
    data = [
        datum("Accepted", 1, NOW - 61, service="ingest"),
        datum("Accepted", 2, NOW - 60, service="ingest"),
        datum("Accepted", 3, NOW - 1, service="ingest"),
        datum("Accepted", 8, NOW - 601, service="ingest"),
        datum("Accepted", 9, NOW - 60, service="ingest", Reason="x"),
        datum("Accepted", 9, NOW - 60),
    ]
    found = lines_of(["Lake", "Accepted", "service", "ingest"], data=data, stat="Sum", period=60)
    assert found == {"Accepted": [(NOW - 120, 1), (NOW - 60, 5)]}


def test_math_is_computed_over_metrics_that_are_not_shown() -> None:
    data = [datum("Received", 50), datum("Rejected", 5), datum("Received", 4, NOW - 60)]
    found = lines_of(
        ["Lake", "Received", {"id": "all", "visible": False}],
        ["Lake", "Rejected", {"id": "bad", "visible": False}],
        [{"expression": "100 * FILL(bad, 0) / all", "label": "share", "id": "s"}],
        data=data,
        stat="Sum",
        period=60,
    )
    assert found == {"share": [(NOW - 60, 0), (NOW, 10)]}


def test_the_age_of_what_came_last_grows_while_nothing_comes() -> None:
    found = lines_of(
        ["Lake", "Through", {"id": "t", "visible": False}],
        [{"expression": "(EPOCH(t) - FILL(t, REPEAT)) / 60", "label": "behind", "id": "b"}],
        data=[datum("Through", NOW - 420, NOW - 300)],
        stat="Maximum",
        period=60,
    )
    assert found["behind"] == [(NOW - 300 + 60 * n, 2 + n) for n in range(6)]


def test_a_number_of_the_whole_range_is_one() -> None:
    data = [datum("Accepted", 1, NOW - 500), datum("Accepted", 2, NOW)]
    options = {"stat": "Sum", "period": 60, "view": "singleValue", "setPeriodToTimeRange": True}
    found = lines_of(["Lake", "Accepted"], data=data, **options)
    assert found == {"Accepted": [(NOW - 600, 3)]}


def test_long_ranges_have_longer_periods() -> None:
    (widget,) = widgets(body(metric_widget(["Lake", "A"], stat="Sum", period=60)))
    data = [datum("A", 1, NOW - 60 * n) for n in range(10_000)]
    (line,) = drawn(widget, Values(data), (NOW - 7 * 86_400, NOW))
    assert line.period == 3600
    assert sum(value for _, value in line.points) == 10_000


def test_values_are_of_the_moment_at_which_they_were_put_whatever_the_machines_zone() -> None:
    backend = CloudWatchBackend("us-east-1", "123456789012")
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    named = {"MetricName": "A", "Dimensions": [{"Name": "b", "Value": "c"}]}
    backend.put_metric_data(
        "Lake", [named | {"Values": [2, 3], "Timestamp": at.replace(tzinfo=None)}]
    )
    assert list(stored_data(backend)()) == [
        Datum("Lake", "A", {"b": "c"}, at.timestamp(), value) for value in (2, 3)
    ]


# ---- the page ----------------------------------------------------------------------------------
class FakeCloudWatch:
    """Two deployed dashboards and three alarms."""

    def __init__(self, bodies: dict[str, str]) -> None:
        self.bodies = bodies

    def get_paginator(self, operation: str) -> "FakeCloudWatch":
        self.operation = operation
        return self

    def paginate(self) -> Iterable[dict[str, Any]]:
        if self.operation == "list_dashboards":
            yield {"DashboardEntries": [{"DashboardName": name} for name in self.bodies]}
        else:
            states = {"Behind": "ALARM", "Fine": "OK", "Young": "INSUFFICIENT_DATA"}
            yield {
                "MetricAlarms": [
                    {
                        "AlarmArn": f"{ARN}:my-lake-{name}-0A1b2C3d4E5f",
                        "StateValue": state,
                        "AlarmDescription": f"{name} <is> this.",
                    }
                    for name, state in states.items()
                ]
            }

    def put_dashboard(self, DashboardName: str, DashboardBody: str) -> None:
        self.bodies[DashboardName] = DashboardBody

    def get_dashboard(self, DashboardName: str) -> dict[str, str]:
        return {"DashboardBody": self.bodies[DashboardName]}


def dashboards(
    deployed: dict[str, str], data: Iterable[Datum] = (), logs: Iterable[LogEvent] = ()
) -> Dashboards:
    def read(groups: Iterable[str], span: tuple[float, float]) -> list[LogEvent]:
        return [one for one in logs if one.group in groups and span[0] <= one.at <= span[1]]

    return Dashboards(FakeCloudWatch(deployed), lambda: data, read, lambda: NOW)


def show(shown: Dashboards, path: str, query: str = "") -> str:
    (route,) = shown.routes()
    match = re.fullmatch(route.path, path)
    assert match is not None
    return route.handler(match, {":query": query}, b"").body.decode()


def test_shows_every_widget_in_its_place_with_its_numbers() -> None:
    deployed = {
        "lake-operations": body({"type": "text", "properties": {"markdown": "# <b>"}}),
        "lake-pipeline": body(
            metric_widget(["Lake", "Accepted"], view="singleValue", stat="Sum", period=300),
            metric_widget(["Lake", "Accepted"], stat="Sum", period=60, stacked=True),
            metric_widget(["Lake", "Accepted"], stat="Sum", period=60),
        ),
    }
    shown = dashboards(deployed, [datum("Accepted", 1_234)])
    first = show(shown, "/_local/dashboards")
    assert "<h1>lake-pipeline</h1>" in first
    assert "<dd>1,234</dd>" in first
    assert first.count("<svg") == 2
    assert first.count("grid-column:13/span 12;grid-row:1/span 6") == 3
    operations = show(shown, "/_local/dashboards/lake-operations")
    assert "<h2>&lt;b&gt;</h2>" in operations
    assert "http-equiv" in operations


def test_alarms_stand_by_urgency_under_the_names_of_the_runbook() -> None:
    alarms = [f"{ARN}:my-lake-{name}-0A1b2C3d4E5f" for name in ("Fine", "Young", "Behind", "Gone")]
    widget = {"type": "alarm", "properties": {"title": "Alarms", "alarms": alarms}}
    html = show(dashboards({"x": body(widget)}), "/_local/dashboards")
    assert re.findall(r'class="name">([^<]*)<', html) == ["Gone", "Behind", "Young", "Fine"]
    assert re.findall(r'class="state">([^<]*)<', html) == [
        *("not deployed", "in alarm", "no data yet", "ok"),
    ]
    assert '<span class="meaning">Behind &lt;is&gt; this.</span>' in html
    assert "1 in alarm, 1 no data yet, 1 ok" in html


def test_log_tables_show_what_the_query_finds() -> None:
    query = "SOURCE '/job' | fields @message | filter @message like /ERROR/"
    widget = {"type": "log", "properties": {"title": "Errors", "view": "table", "query": query}}
    events = [LogEvent("/job", "x", NOW - 5, "ERROR <one>"), LogEvent("/job", "x", NOW, "INFO two")]
    html = show(dashboards({"x": body(widget)}, logs=events), "/_local/dashboards")
    assert "<td>ERROR &lt;one&gt;</td>" in html
    assert "INFO two" not in html
    none = show(dashboards({"x": body(widget)}, logs=events[1:]), "/_local/dashboards")
    assert "Nothing: of the 1 lines that the 1 logs have in the shown time" in none


def test_what_is_empty_says_why() -> None:
    widget = metric_widget(["Lake", "Accepted"], stat="Sum", period=60)
    number = metric_widget(["Lake", "Accepted"], stat="Sum", period=60, view="singleValue")
    deployed = {"x": body(widget, number)}
    never = show(dashboards(deployed), "/_local/dashboards")
    assert "Nothing yet: none of its metrics has had a value" in never
    assert "none yet" in never
    data = [datum("Accepted", 1, NOW - 7200)]
    before = show(dashboards(deployed, data), "/_local/dashboards", "range=1h")
    assert "The latest value is of 2025-11-24 14:00 UTC" in before


def test_the_shown_time_is_chosen_or_as_long_as_there_is_something() -> None:
    deployed = {"x": body(metric_widget(["Lake", "A"], stat="Sum", period=60))}

    def chosen(age: float, query: str = "") -> list[str]:
        html = show(dashboards(deployed, [datum("A", 1, NOW - age)]), "/_local/dashboards", query)
        return re.findall(r'aria-current="page">(\w+)<', html)[1:]

    shown = {60: "15m", 1800: "30m", 1801: "1h", 9000: "3h", 900_000: "3h"}
    assert [chosen(age) for age in shown] == [[name] for name in shown.values()]
    assert chosen(60, "range=1w") == ["1w"]
    with pytest.raises(ApiError, match="range is one of 15m, 30m, 1h"):
        chosen(60, "range=forever")


def test_says_so_when_nothing_is_deployed_and_refuses_unknown_names() -> None:
    assert "No dashboard is deployed" in show(dashboards({}), "/_local/dashboards")
    with pytest.raises(ApiError, match="there is no dashboard x"):
        show(dashboards({}), "/_local/dashboards/x")
