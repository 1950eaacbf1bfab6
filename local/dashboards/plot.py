"""Lines and stacked bars over time as HTML around an SVG that stretches: no script, no library.

The SVG holds lines and areas only and fits any width, strokes keep their thickness, and all text
is HTML beside it, so that it is as large on a phone as on a desk. Colours are classes (`c0` to
`c11`) of the page's style sheet. Each plot has its numbers as a table, for who can't see or point.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Final

from local.dashboards.charts import COLOURS, number, round_step, time_ticks

_SIDE: Final = 1000  # of the SVG's own square, whatever its size on the page
_MOST_DOTS: Final = 60
_MOST_ROWS: Final = 120  # of the table, the latest
_GAP: Final = 1.5  # periods without a value that break a line

type Position = Callable[[float], float]


@dataclass(frozen=True)
class PlotLine:
    """A named line or set of bars: (x, y) in order of x, x in epoch seconds.

    `period` is how far apart points are; a line breaks where some are missing, if it is not 0.
    """

    name: str
    points: Sequence[tuple[float, float]]
    period: float = 0.0
    is_right: bool = False


@dataclass(frozen=True)
class PlotAxis:
    """What an axis measures, and where it begins or ends whatever the values."""

    label: str = ""
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Plot:
    """What is drawn. `limits` are horizontal lines: (label, value) on the left axis."""

    label: str
    lines: Sequence[PlotLine]
    span: tuple[float, float] | None = None
    is_stacked: bool = False
    limits: Sequence[tuple[str, float]] = ()
    left: PlotAxis = PlotAxis()
    right: PlotAxis = PlotAxis()


def time_plot(plot: Plot) -> str:
    """The plot with its legend and its table. Give it lines with at least one point."""
    first, last = plot.span or _span(plot.lines)
    across = _positions(first, last)
    left = [line for line in plot.lines if not line.is_right]
    right = [line for line in plot.lines if line.is_right]
    values = _heights(left, is_stacked=plot.is_stacked) + [value for _, value in plot.limits]
    low, high, marks = _scale(values, plot.left)
    up = _positions(low, high)
    axes = _ticks_of(marks, up, "left", plot.left.label)
    drawing = "".join(_rule(up(mark)) for mark in marks)
    up_right: Position = up
    if any(line.points for line in right):
        bounds = _scale(_heights(right, is_stacked=False), plot.right)
        up_right = _positions(bounds[0], bounds[1])
        axes += _ticks_of(bounds[2], up_right, "right", plot.right.label)
    if plot.is_stacked:
        drawing += _stacked(plot.lines, across, up)
    else:
        for at, line in enumerate(plot.lines):
            drawing += _line(line, f"c{at % COLOURS}", across, up_right if line.is_right else up)
    has_right = " two" if any(line.points for line in right) else ""
    return (
        f'<div class="plot{has_right}">{axes}<div class="area">'
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(_in_words(plot), quote=True)}">'
        f"{drawing}{''.join(_limit(up(value)) for _, value in plot.limits)}</svg>"
        f"{''.join(_limit_label(name, up(value)) for name, value in plot.limits)}</div>"
        f"{_times(first, last, across)}</div>{_legend(plot)}{_table(plot)}"
    )


# ---- scales ------------------------------------------------------------------------------------
def _span(lines: Sequence[PlotLine]) -> tuple[float, float]:
    times = [x for line in lines for x, _ in line.points]
    first, last = min(times), max(times)
    return (first, last) if first < last else (first - 30, last + 30)


def _positions(low: float, high: float) -> Position:
    """From a value to its place between 0 and 1."""
    return lambda value: (value - low) / (high - low)


def _heights(lines: Sequence[PlotLine], *, is_stacked: bool) -> list[float]:
    if not is_stacked:
        return [y for line in lines for _, y in line.points]
    totals: dict[float, float] = {}
    for line in lines:
        for x, y in line.points:
            totals[x] = totals.get(x, 0) + y
    return list(totals.values())


def _scale(values: Sequence[float], axis: PlotAxis) -> tuple[float, float, list[float]]:
    """Lowest and highest value to show, both round numbers, and the marks between them."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low >= 0 and (low < high / 2 or low == high):
        low = 0.0
    low = axis.minimum if axis.minimum is not None else low
    high = max(axis.maximum if axis.maximum is not None else high, low)
    if high == low:
        high = low + 1
    step = round_step((high - low) / 4)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return low, high, [low + n * step for n in range(round((high - low) / step) + 1)]


# ---- marks -------------------------------------------------------------------------------------
def _line(line: PlotLine, colour: str, across: Position, up: Position) -> str:
    parts, dots = [], []
    has_all_dots = len(line.points) <= _MOST_DOTS
    for stretch in _stretches(line):
        places = [f"{_SIDE * across(x):.1f},{_SIDE * (1 - up(y)):.1f}" for x, y in stretch]
        if len(stretch) > 1:
            parts.append(f"M{' L'.join(places)}")
        if has_all_dots or len(stretch) == 1:
            dots += [
                f'<path class="dot {colour}" d="M{place} h0"><title>{escape(line.name)}, '
                f"{_moment(x)}: {number(y)}</title></path>"
                for place, (x, y) in zip(places, stretch, strict=True)
            ]
    drawn = f'<path class="line {colour}" d="{" ".join(parts)}"/>' if parts else ""
    return drawn + "".join(dots)


def _stretches(line: PlotLine) -> list[list[tuple[float, float]]]:
    """The points between which there is no gap."""
    stretches: list[list[tuple[float, float]]] = []
    for at, point in enumerate(line.points):
        gap = point[0] - line.points[at - 1][0] if at else math.inf
        if gap > (_GAP * line.period or math.inf) or not stretches:
            stretches.append([])
        stretches[-1].append(point)
    return stretches


def _stacked(lines: Sequence[PlotLine], across: Position, up: Position) -> str:
    times = sorted({x for line in lines for x, _ in line.points})
    apart = min((b - a for a, b in pairwise(times)), default=60.0)
    period = next((line.period for line in lines if line.period), apart)
    # The first period of a span may have begun before it, so its bar is narrower.
    ends = {
        x: min(x + period, after) for x, after in zip(times, [*times[1:], math.inf], strict=True)
    }
    base: dict[float, float] = {}
    marks = []
    for at, line in enumerate(lines):
        for x, y in line.points:
            bottom = base.get(x, 0.0)
            base[x] = bottom + y
            if y:
                begin, end = across(x), min(across(ends[x]), 1.0)
                marks.append(
                    f'<rect class="fill c{at % COLOURS}" x="{_SIDE * begin:.1f}" '
                    f'y="{_SIDE * (1 - up(bottom + y)):.1f}" '
                    f'width="{_SIDE * (end - begin) * 0.86:.1f}" '
                    f'height="{_SIDE * (up(bottom + y) - up(bottom)):.1f}">'
                    f"<title>{escape(line.name)}, {_moment(x)}: {number(y)}</title></rect>"
                )
    return "".join(marks)


def _rule(up: float) -> str:
    y = _SIDE * (1 - up)
    return f'<path class="grid" d="M0,{y:.1f} H{_SIDE}"/>'


def _limit(up: float) -> str:
    y = _SIDE * (1 - up)
    return f'<path class="limit" d="M0,{y:.1f} H{_SIDE}"/>'


def _limit_label(name: str, up: float) -> str:
    # Below the line in the upper half, so that it stays in the picture.
    side = "below" if up > 0.5 else "above"
    return f'<span class="limit-label {side}" style="bottom:{100 * up:.2f}%">{escape(name)}</span>'


# ---- text around it ----------------------------------------------------------------------------
def _ticks_of(marks: Sequence[float], up: Position, side: str, label: str) -> str:
    shown = marks if len(marks) <= 6 else marks[::2]
    texts = "".join(
        f'<span style="bottom:{100 * up(mark):.2f}%">{short(mark)}</span>' for mark in shown
    )
    return f'<div class="unit {side}">{escape(label)}</div><div class="ticks {side}">{texts}</div>'


def _times(first: float, last: float, across: Position) -> str:
    texts = []
    for at, text in time_ticks(first, last):
        place = across(at)
        edge = " start" if place < 0.04 else " end" if place > 0.96 else ""
        texts.append(f'<span class="tick{edge}" style="left:{100 * place:.2f}%">{text}</span>')
    return f'<div class="times">{"".join(texts)}</div>'


def _legend(plot: Plot) -> str:
    """Each line's name with its last value; stacked, with its sum."""

    def told(line: PlotLine) -> str:
        values = [y for _, y in line.points]
        return number(math.fsum(values) if plot.is_stacked else values[-1]) if values else "none"

    items = "".join(
        f'<li><span class="swatch c{at % COLOURS}"></span>{escape(line.name)} '
        f"<b>{told(line)}</b></li>"
        for at, line in enumerate(plot.lines)
    )
    return f'<ul class="legend">{items}</ul>'


def _table(plot: Plot) -> str:
    times = sorted({x for line in plot.lines for x, _ in line.points})[-_MOST_ROWS:]
    columns = [dict(line.points) for line in plot.lines]
    head = "".join(f"<th class=number>{escape(line.name)}</th>" for line in plot.lines)
    rows = "".join(
        f"<tr><td>{_moment(x)}</td>"
        + "".join(
            f"<td class=number>{number(column[x]) if x in column else ''}</td>"
            for column in columns
        )
        + "</tr>"
        for x in reversed(times)
    )
    return (
        f"<details><summary>Table<span class=unseen> of {escape(plot.label)}</span></summary>"
        f'<div class="scroll" tabindex="0"><table><thead><tr><th>UTC</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _in_words(plot: Plot) -> str:
    told = [
        f"{line.name}: last {number(line.points[-1][1])}, "
        f"highest {number(max(y for _, y in line.points))}"
        for line in plot.lines
        if line.points
    ]
    return f"{plot.label}. {'; '.join(told)}. The table below has all values."


def short(value: float) -> str:
    """A tick's number, as short as it can be."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _moment(x: float) -> str:
    return datetime.fromtimestamp(x, UTC).strftime("%Y-%m-%d %H:%M:%S")
