"""Charts are well-formed SVG whose marks stand where the numbers say."""

import re
from xml.etree import ElementTree as ET

import pytest

from local.dashboards.charts import (
    Track,
    bar_chart,
    legend,
    number,
    track_map,
)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own text


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
    for svg in (bar_chart("x", []), track_map("x", [])):
        assert "no data" in svg
        parsed(svg)


def test_one_point_is_drawn() -> None:
    parsed(track_map("x", [Track("a", [(1.0, 1.0)])]))


def test_names_from_devices_can_not_break_out_of_the_page() -> None:
    name = "<script>alert('x')</script>"
    for html in (
        bar_chart(name, [(name, 1)]),
        track_map(name, [Track(name, [(1, 1)])]),
        legend([name]),
    ):
        assert not re.search("<script", html)


def test_numbers_read_as_people_write_them() -> None:
    assert [number(n) for n in (1_234_567, 1234.5, 0.12345, 3.0, 0.00004)] == [
        "1,234,567",
        "1,234" if f"{1234.5:,.0f}" == "1,234" else "1,235",
        "0.123",
        "3",
        "< 0.001",
    ]
