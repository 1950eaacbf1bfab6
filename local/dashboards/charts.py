"""Bars, maps and scales as inline SVG, for the demo's report: no script, no network.

Colours are CSS classes (`c0` to `c11`), so a page decides them for light and dark; every chart has
a label that a screen reader reads, and every mark says its value when pointed at.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

COLOURS = 12
_BAR = 24  # the height of a horizontal bar with its gap
_TIME_STEPS = (
    [1, 2, 5, 10, 15, 30]  # seconds
    + [60 * n for n in (1, 2, 5, 10, 15, 30)]
    + [3600 * n for n in (1, 2, 3, 6, 12)]
    + [86400 * n for n in (1, 2, 7, 14, 30, 90, 180, 365)]
)


@dataclass(frozen=True)
class Track:
    """Where a device was: (latitude, longitude) in degrees, oldest first."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """A drawing area in SVG units, with the space that axis labels take."""

    width: int = 640
    height: int = 260
    left: int = 56
    right: int = 20
    top: int = 10
    bottom: int = 26

    @property
    def inner_width(self) -> int:
        return self.width - self.left - self.right

    @property
    def inner_height(self) -> int:
        return self.height - self.top - self.bottom


def bar_chart(label: str, bars: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars, each with its name and its value written out."""
    longest = max((len(name) for name, _ in bars), default=0)
    frame = Frame(
        height=8 + _BAR * max(len(bars), 1),
        left=20 + round(6.4 * longest),
        right=70,
        top=4,
        bottom=4,
    )
    if not bars:
        return _svg(label, frame, _empty(frame))
    scale = frame.inner_width / (max(value for _, value in bars) or 1)
    marks = []
    for row, (name, value) in enumerate(bars):
        y = frame.top + _BAR * row + 2
        width = max(value * scale, 1)
        marks.append(
            f"<g><title>{escape(name)}: {number(value)}</title>"
            f'<text class="axis" x="{frame.left - 8}" y="{y + 13}" text-anchor="end">'
            f"{escape(name)}</text>"
            f'<rect class="fill c0" x="{frame.left}" y="{y}" width="{width:.1f}" height="18"/>'
            f'<text class="value" x="{frame.left + width + 6:.1f}" y="{y + 13}">'
            f"{number(value)}</text></g>"
        )
    return _svg(label, frame, "".join(marks))


def track_map(label: str, tracks: Sequence[Track], frame: Frame | None = None) -> str:
    """Tracks on a plain map: a grid of degrees, no tiles, longitudes narrowed as at that place."""
    frame = frame or Frame(height=420, left=56, right=20, top=10, bottom=26)
    points = [point for track in tracks for point in track.points]
    if not points:
        return _svg(label, frame, _empty(frame))
    south, north = _padded(min(p[0] for p in points), max(p[0] for p in points))
    west, east = _padded(min(p[1] for p in points), max(p[1] for p in points))
    narrowing = max(math.cos(math.radians((south + north) / 2)), 0.1)
    unit = min(
        frame.inner_width / ((east - west) * narrowing), frame.inner_height / (north - south)
    )
    # The shorter direction gets more of the world, so that a degree is as long both ways.
    missing_width = frame.inner_width / unit / narrowing - (east - west)
    missing_height = frame.inner_height / unit - (north - south)
    west, east = west - missing_width / 2, east + missing_width / 2
    south, north = south - missing_height / 2, north + missing_height / 2

    def x(longitude: float) -> float:
        return frame.left + (longitude - west) * narrowing * unit

    def y(latitude: float) -> float:
        return frame.top + (north - latitude) * unit

    grid = [
        _vertical(frame, x(tick), f"{_degrees(tick, step)}°") for tick, step in ticks(west, east, 6)
    ] + [
        _horizontal(frame, y(tick), f"{_degrees(tick, step)}°")
        for tick, step in ticks(south, north, 5)
    ]
    marks = []
    for index, track in enumerate(tracks):
        colour = f"c{index % COLOURS}"
        path = " ".join(f"{x(lon):.1f},{y(lat):.1f}" for lat, lon in track.points)
        end_latitude, end_longitude = track.points[-1]
        marks.append(
            f"<g><title>{escape(track.name)}: {len(track.points):,} positions</title>"
            f'<polyline class="line {colour}" points="{path}"/>'
            f'<circle class="fill {colour}" cx="{x(end_longitude):.1f}" cy="{y(end_latitude):.1f}"'
            ' r="4"/></g>'
        )
    return _svg(label, frame, "".join(grid) + "".join(marks))


def legend(names: Sequence[str]) -> str:
    """What each colour stands for, in words."""
    items = "".join(
        f'<li><span class="swatch c{index % COLOURS}"></span>{escape(name)}</li>'
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def number(value: float) -> str:
    """A number as people read it: thousands separated, at most three significant decimals."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if 0 < value < 0.001:
        return "< 0.001"
    return f"{value:.3g}"


def _svg(label: str, frame: Frame, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{content}</svg>'
    )


def _empty(frame: Frame) -> str:
    x, y = frame.width / 2, frame.height / 2
    return f'<text class="axis" x="{x}" y="{y}" text-anchor="middle">no data</text>'


def _horizontal(frame: Frame, y: float, text: str) -> str:
    end = frame.width - frame.right
    return (
        f'<line class="grid" x1="{frame.left}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _vertical(frame: Frame, x: float, text: str) -> str:
    bottom = frame.height - frame.bottom
    return f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{bottom}"/>' + (
        f'<text class="axis" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>'
    )


def round_step(rough: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= rough * (1 - 1e-9))


def ticks(low: float, high: float, wanted: int) -> list[tuple[float, float]]:
    """About `wanted` round numbers from `low` to `high`, each with the step between them."""
    step = round_step((high - low) / wanted)
    first = math.ceil(low / step)
    return [(n * step, step) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def time_ticks(first: float, last: float) -> list[tuple[float, str]]:
    """Up to six round moments between two, with how they are written."""
    step = next((s for s in _TIME_STEPS if (last - first) / s <= 5), _TIME_STEPS[-1])
    pattern = "%Y-%m-%d" if step >= 86400 else "%H:%M:%S" if step < 60 else "%H:%M"
    start = math.ceil(first / step)
    moments = [n * step for n in range(start, math.floor(last / step) + 1)]
    return [(at, datetime.fromtimestamp(at, UTC).strftime(pattern)) for at in moments]


def _padded(low: float, high: float) -> tuple[float, float]:
    room = max((high - low) * 0.06, 0.0005)
    return low - room, high + room


def _degrees(value: float, step: float) -> str:
    return f"{value:.{max(0, -math.floor(math.log10(step)))}f}"
