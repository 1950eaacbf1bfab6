"""Charts are well-formed SVG whose marks stand where the numbers say."""

import re
from xml.etree import ElementTree as ET

import pytest

from local.dashboards.charts import (
    Frame,
    Series,
    Track,
    bar_chart,
    bar_chart_over_time,
    legend,
    line_chart,
    number,
    track_map,
)

FRAME = Frame(width=200, height=100, left=50, right=0, top=0, bottom=0)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own text


def test_a_line_runs_from_corner_to_corner() -> None:
    root = parsed(line_chart("up", [Series("a", [(0, 0), (60, 10)])], FRAME))
    line = root.find("polyline")
    assert line is not None
    assert line.get("points") == "50.0,100.0 200.0,0.0"
    assert root.get("aria-label") == "up"


def test_lines_without_points_keep_their_colours_place_in_the_legend() -> None:
    series = [Series("empty", []), Series("full", [(0, 1), (60, 2)])]
    svg = line_chart("two", series, FRAME)
    assert 'class="line c1"' in svg
    assert legend([one.name for one in series]).index("c0") < legend(["a", "b"]).index("c1")


def test_a_line_on_the_right_axis_has_a_scale_of_its_own() -> None:
    series = [Series("bytes", [(0, 0), (60, 1e6)]), Series("objects", [(0, 0), (60, 4)], True)]
    lines = parsed(line_chart("two", series, FRAME)).findall("polyline")
    assert [line.get("points") for line in lines] == ["50.0,100.0 200.0,0.0"] * 2


def test_charts_side_by_side_can_share_a_span() -> None:
    line = parsed(line_chart("x", [Series("a", [(60, 5)])], FRAME, (0, 120))).find("polyline")
    assert line is not None
    assert line.get("points") == "125.0,0.0"


def test_stacked_bars_stand_on_each_other() -> None:
    series = [Series("a", [(0, 4), (60, 0)]), Series("b", [(0, 6), (60, 5)])]
    bars = parsed(bar_chart_over_time("sum", series, FRAME)).findall("rect")
    heights = [float(bar.get("height", "")) for bar in bars]
    tops = [float(bar.get("y", "")) for bar in bars]
    assert heights == [40, 60, 50]
    assert tops == [60, 0, 50]


def test_horizontal_bars_are_as_long_as_their_share_of_the_longest() -> None:
    bars = parsed(bar_chart("rejects", [("not_json", 40), ("too_deep", 10)])).iter("rect")
    widths = [float(bar.get("width", "")) for bar in bars]
    assert widths[0] == pytest.approx(4 * widths[1], abs=1)


def test_a_map_keeps_directions_and_the_shape_of_the_ground() -> None:
    square = [(60.0, 10.0), (60.0, 10.2), (60.1, 10.2), (60.1, 10.0)]
    line = parsed(track_map("map", [Track("a", square)])).find(".//polyline")
    assert line is not None
    (ax, ay), (bx, by), (cx, cy), _ = [
        tuple(map(float, p.split(","))) for p in line.get("points", "").split()
    ]
    assert (bx > ax, abs(by - ay) < 0.2) == (True, True)  # east is right
    assert (cy < by, abs(cx - bx) < 0.2) == (True, True)  # north is up
    # At 60 degrees a degree of longitude is half as long as one of latitude.
    assert abs((bx - ax) / (by - cy) - 1) < 0.02


def test_charts_without_data_say_so() -> None:
    for svg in (line_chart("x", []), bar_chart("x", []), track_map("x", [])):
        assert "no data" in svg
        parsed(svg)


def test_one_point_and_equal_values_are_drawn() -> None:
    parsed(line_chart("x", [Series("a", [(1_764_000_000, 5.0)])]))
    parsed(line_chart("x", [Series("a", [(0, 5.0), (60, 5.0)])]))
    parsed(track_map("x", [Track("a", [(1.0, 1.0)])]))


def test_names_from_devices_can_not_break_out_of_the_page() -> None:
    name = "<script>alert('x')</script>"
    for html in (
        line_chart(name, [Series(name, [(0, 1)])]),
        bar_chart(name, [(name, 1)]),
        track_map(name, [Track(name, [(1, 1)])]),
        legend([name]),
    ):
        assert not re.search("<script", html)


def test_numbers_read_as_people_write_them() -> None:
    assert [number(n) for n in (1_234_567, 1234.5, 0.12345, 3.0)] == [
        "1,234,567",
        "1,234" if f"{1234.5:,.0f}" == "1,234" else "1,235",
        "0.123",
        "3",
    ]
