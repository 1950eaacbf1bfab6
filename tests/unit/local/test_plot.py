"""Plots: marks stand where the numbers say, and every number can be had without seeing them."""

import re
from xml.etree import ElementTree as ET

from local.dashboards.plot import Plot, PlotAxis, PlotLine, short, time_plot

SPAN = (0.0, 600.0)


def drawing(plot: Plot) -> ET.Element:
    svg = re.search(r"<svg.*?</svg>", time_plot(plot))
    assert svg is not None
    return ET.fromstring(svg.group())  # noqa: S314 - our own text


def paths(plot: Plot, kind: str) -> list[str]:
    return [
        path.get("d", "")
        for path in drawing(plot).iter("path")
        if path.get("class", "").startswith(kind)
    ]


def test_a_line_runs_from_corner_to_corner() -> None:
    plot = Plot("up", [PlotLine("a", [(0, 0), (600, 8)])], SPAN)
    assert paths(plot, "line") == ["M0.0,1000.0 L1000.0,0.0"]


def test_a_line_breaks_where_periods_are_missing() -> None:
    points = [(0.0, 4.0), (60.0, 4.0), (300.0, 4.0)]
    whole, broken = (Plot("x", [PlotLine("a", points, period)], SPAN) for period in (0, 60))
    assert [path.count("L") for path in paths(whole, "line")] == [2]
    assert [path.count("L") for path in paths(broken, "line")] == [1]
    assert len(paths(broken, "dot")) == 3


def test_a_point_alone_is_seen_among_many() -> None:
    points = [(float(at), 1.0) for at in range(100)] + [(500.0, 1.0)]
    assert len(paths(Plot("x", [PlotLine("a", points, 1)], SPAN), "dot")) == 1


def test_a_line_on_the_right_axis_has_a_scale_of_its_own() -> None:
    lines = [
        PlotLine("bytes", [(0, 0), (600, 8e6)]),
        PlotLine("objects", [(0, 0), (600, 4)], is_right=True),
    ]
    plot = Plot("two", lines, SPAN, left=PlotAxis("bytes"), right=PlotAxis("objects"))
    assert paths(plot, "line") == ["M0.0,1000.0 L1000.0,0.0"] * 2
    html = time_plot(plot)
    assert 'class="plot two"' in html
    assert '<div class="unit right">objects</div>' in html


def test_stacked_bars_stand_on_each_other_and_are_as_wide_as_their_period() -> None:
    lines = [
        PlotLine("a", [(0, 4), (300, 0)], 300),
        PlotLine("b", [(0, 4), (300, 2)], 300),
    ]
    bars = drawing(Plot("sum", lines, SPAN, is_stacked=True)).findall("rect")
    assert [float(bar.get("height", "")) for bar in bars] == [500, 500, 250]
    assert [float(bar.get("y", "")) for bar in bars] == [500, 0, 750]
    assert {bar.get("width") for bar in bars} == {"430.0"}


def test_a_first_bar_that_begins_within_its_period_does_not_cover_the_second() -> None:
    line = PlotLine("a", [(200, 4), (300, 4)], 300)
    bars = drawing(Plot("sum", [line], SPAN, is_stacked=True)).findall("rect")
    first, second = [(float(bar.get("x", "")), float(bar.get("width", ""))) for bar in bars]
    assert first[0] + first[1] <= second[0]


def test_the_legend_has_the_last_value_and_of_stacked_ones_the_sum() -> None:
    lines = [PlotLine("a", [(0, 4), (300, 3)], 300)]
    assert "a <b>3</b>" in time_plot(Plot("x", lines, SPAN))
    assert "a <b>7</b>" in time_plot(Plot("x", lines, SPAN, is_stacked=True))


def test_limits_are_within_the_picture_and_have_their_names() -> None:
    plot = Plot("x", [PlotLine("a", [(0, 1)])], SPAN, limits=[("retention", 168)])
    (limit,) = paths(plot, "limit")
    y = float(limit.split(",")[1].split()[0])
    assert 0 <= y < 1000
    assert ">retention</span>" in time_plot(plot)


def test_one_point_equal_values_and_zero_are_drawn() -> None:
    for points in ([(300.0, 5.0)], [(0.0, 5.0), (600.0, 5.0)], [(0.0, 0.0)], [(0.0, -3.0)]):
        assert paths(Plot("x", [PlotLine("a", points)]), "dot")


def test_an_axis_begins_where_it_is_told() -> None:
    plot = Plot("x", [PlotLine("a", [(0, 90), (600, 100)])], SPAN, left=PlotAxis("%", 0, 100))
    assert paths(plot, "line") == ["M0.0,100.0 L1000.0,0.0"]


def test_the_numbers_stand_in_a_table_the_latest_first_and_in_words() -> None:
    lines = [PlotLine("a", [(0, 1_234), (60, 7)]), PlotLine("b", [])]
    html = time_plot(Plot("Readings", lines, SPAN))
    assert re.findall(r"<td class=number>([^<]*)</td>", html) == ["7", "", "1,234", ""]
    assert "Readings. a: last 7, highest 1,234." in html
    assert "<b>7</b>" in html
    assert "<b>none</b>" in html


def test_names_from_devices_can_not_break_out_of_the_page() -> None:
    name = "<script>alert('x')</script>"
    plot = Plot(name, [PlotLine(name, [(0, 1)])], limits=[(name, 2)], left=PlotAxis(name))
    assert "<script" not in time_plot(plot)


def test_ticks_are_short() -> None:
    assert [short(n) for n in (0, 0.25, 500, 1_500, 20_000, 3e6, 4e9)] == [
        *("0", "0.25", "500", "1.5k", "20k", "3M", "4G"),
    ]
