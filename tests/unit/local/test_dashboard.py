"""Dashboards: bodies as CloudWatch documents them, numbers as CloudWatch computes them."""

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest

from local.api import ApiError
from local.dashboards.body import Datum, Metric, points, statistic, widgets
from local.dashboards.dashboard import Dashboards

NOW = 1_764_000_000.0


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
        ),
        [],
    )
    assert [(m.namespace, m.name, m.dimensions) for m in widget.metrics] == [
        ("Lake", "Accepted", {"service": "ingest"}),
        ("Lake", "Rejected", {"service": "ingest"}),
        ("Lake", "Rejected", {"service": "other"}),
    ]
    assert {(m.stat, m.period) for m in widget.metrics} == {("Sum", 60)}


def test_a_lines_own_options_go_before_the_widgets() -> None:
    options = {"stat": "p99", "period": 300, "label": "slowest"}
    line = ["Lake", "Delay", options]
    hidden = ["Lake", "Other", {"visible": False}]
    (widget,) = widgets(body(metric_widget(line, hidden, stat="Sum", period=60)), [])
    (metric,) = widget.metrics
    assert (metric.stat, metric.period, metric.label) == ("p99", 300, "slowest")


def test_a_search_finds_each_set_of_exactly_its_dimensions() -> None:
    search = "SEARCH('{Lake,service,Reason} MetricName=\"Rejected\"', 'Sum', 300)"
    data = [
        datum("Rejected", 1, service="ingest", Reason="not_json"),
        datum("Rejected", 1, service="ingest", Reason="too_deep"),
        datum("Rejected", 2, service="ingest"),
        datum("Accepted", 2, service="ingest", Reason="none"),
    ]
    (widget,) = widgets(body(metric_widget([{"expression": search, "id": "a"}])), data)
    assert [m.label for m in widget.metrics] == ["not_json", "too_deep"]
    assert widget.unknown == ()


def test_an_expression_that_is_not_understood_is_named() -> None:
    (widget,) = widgets(body(metric_widget([{"expression": "RATE(m1)", "id": "a"}])), [])
    assert widget.unknown == ("RATE(m1)",)


def test_periods_are_aligned_and_dimensions_must_match_exactly() -> None:
    data = [
        datum("Accepted", 1, 119, service="ingest"),
        datum("Accepted", 2, 120, service="ingest"),
        datum("Accepted", 3, 179, service="ingest"),
        datum("Accepted", 9, 120, service="ingest", Reason="x"),
        datum("Accepted", 9, 120),
    ]
    metric = Metric("Lake", "Accepted", {"service": "ingest"}, "Sum", 60, "accepted")
    assert points(metric, data, since=0) == [(60, 1), (120, 5)]
    assert points(metric, data, since=120) == [(120, 5)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sum", 10),
        ("Average", 2.5),
        ("Maximum", 4),
        ("Minimum", 1),
        ("SampleCount", 4),
        ("p50", 2),
        ("p99", 4),
        ("p100", 4),
        ("p0.1", 1),
    ],
)
def test_statistics(name: str, expected: float) -> None:
    assert statistic(name, [3, 1, 4, 2]) == expected


def test_an_unknown_statistic_is_refused() -> None:
    with pytest.raises(ValueError, match="TM"):
        statistic("TM(10%:90%)", [1])


class FakeCloudWatch:
    """Two deployed dashboards and one alarm."""

    def __init__(self, bodies: dict[str, str]) -> None:
        self.bodies = bodies

    def get_paginator(self, operation: str) -> "FakeCloudWatch":
        self.operation = operation
        return self

    def paginate(self) -> Iterable[dict[str, Any]]:
        if self.operation == "list_dashboards":
            yield {"DashboardEntries": [{"DashboardName": name} for name in self.bodies]}
        else:
            arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:behind"
            yield {"MetricAlarms": [{"AlarmArn": arn, "StateValue": "ALARM"}]}

    def get_dashboard(self, DashboardName: str) -> dict[str, str]:
        return {"DashboardBody": self.bodies[DashboardName]}


def show(dashboards: Dashboards, path: str) -> str:
    (route,) = dashboards.routes()
    match = re.fullmatch(route.path, path)
    assert match is not None
    return route.handler(match, {}, b"").body.decode()


def test_shows_every_widget_in_its_place_with_its_numbers() -> None:
    alarms = ["arn:aws:cloudwatch:us-east-1:123456789012:alarm:behind", "arn:x:alarm:other"]
    deployed = {
        "lake-operations": body(
            {"type": "alarm", "properties": {"title": "Alarms", "alarms": alarms}},
            {"type": "text", "properties": {"markdown": "# <b>"}},
            {"type": "log", "properties": {"query": "fields @message"}},
        ),
        "lake-pipeline": body(
            metric_widget(["Lake", "Accepted"], view="singleValue", stat="Sum", period=300),
            metric_widget(["Lake", "Accepted"], stat="Sum", period=60, stacked=True),
            metric_widget(["Lake", "Accepted"], stat="Sum", period=60),
            metric_widget(["Lake", "Accepted"], stat="Sum", period=60, view="pie"),
        ),
    }
    data = [datum("Accepted", 1_234)]
    dashboards = Dashboards(FakeCloudWatch(deployed), lambda: data, lambda: NOW)
    first = show(dashboards, "/_local/dashboards")
    assert "<h1>lake-pipeline</h1>" in first
    assert "<b>1,234</b>" in first
    assert first.count("<svg") == 3
    assert "grid-column: 13 / span 12" in first
    assert "Not shown locally: view pie" in first
    operations = show(dashboards, "/_local/dashboards/lake-operations")
    assert "ALARM" in operations
    assert "not deployed" in operations
    assert "# &lt;b&gt;" in operations
    assert "Log queries are not run locally" in operations
    assert "http-equiv" in operations


def test_says_so_when_nothing_is_deployed_and_refuses_unknown_names() -> None:
    dashboards = Dashboards(FakeCloudWatch({}), list, lambda: NOW)
    assert "No dashboard is deployed" in show(dashboards, "/_local/dashboards")
    with pytest.raises(ApiError, match="there is no dashboard x"):
        show(dashboards, "/_local/dashboards/x")
