"""From the values that were put to CloudWatch to what a widget draws in a stretch of time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from local.dashboards.body import Line, Math, Metric, Search, Widget
from local.metric_math import statistic

# More points than this in one line say no more; CloudWatch takes longer periods then, too.
_MOST_POINTS: Final = 200
_PERIODS: Final = (60, 300, 900, 3600, 6 * 3600, 86_400)

type Span = tuple[float, float]  # from, until, in epoch seconds
type _Key = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Datum:
    """One value that was put to CloudWatch; `at` in epoch seconds."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    at: float
    value: float


@dataclass(frozen=True)
class Drawn:
    """One line as it is drawn: (start of the period, value), in order."""

    label: str
    points: Sequence[tuple[float, float]]
    period: float
    is_right: bool = False


class Values:
    """All values, by metric."""

    def __init__(self, data: Iterable[Datum]) -> None:
        self._values: dict[_Key, list[tuple[float, float]]] = defaultdict(list)
        for datum in data:
            key = datum.namespace, datum.name, frozenset(datum.dimensions.items())
            self._values[key].append((datum.at, datum.value))

    def first(self) -> float | None:
        """When the oldest value was put."""
        return min((at for values in self._values.values() for at, _ in values), default=None)

    def last(self, line: Line) -> float | None:
        """When a line had its latest value, whatever time is shown."""
        if isinstance(line, Math):
            return None
        found = [self.last(one) for one in self.found(line)] if isinstance(line, Search) else []
        if isinstance(line, Metric):
            found = [at for at, _ in self._of(line)]
        return max((at for at in found if at is not None), default=None)

    def points(self, metric: Metric, span: Span, period: float) -> dict[float, float]:
        """The metric's statistic by the start of each period in the span that has data."""
        periods: dict[float, list[float]] = defaultdict(list)
        for at, value in self._of(metric):
            if span[0] <= at <= span[1]:
                periods[_start(at, period, span)].append(value)
        return {at: statistic(metric.stat, values) for at, values in sorted(periods.items())}

    def found(self, search: Search) -> list[Metric]:
        """What a search finds, in the order of the dimensions' values."""
        sets = sorted(
            tuple(dict(dimensions)[name] for name in search.dimensions)
            for namespace, name, dimensions in self._values
            if (namespace, name) == (search.namespace, search.name)
            and {key for key, _ in dimensions} == set(search.dimensions)
        )
        return [
            Metric(
                namespace=search.namespace,
                name=search.name,
                dimensions=dict(zip(search.dimensions, values, strict=True)),
                stat=search.stat,
                period=search.period,
                label=values[-1],
            )
            for values in sets
        ]

    def _of(self, metric: Metric) -> list[tuple[float, float]]:
        key = metric.namespace, metric.name, frozenset(metric.dimensions.items())
        return self._values.get(key, [])


def drawn(widget: Widget, values: Values, span: Span) -> list[Drawn]:
    """The visible lines of a widget; those without a point too."""
    known: dict[str, dict[float, float]] = {}
    lines: list[Drawn] = []
    plain = [line for line in widget.lines if not isinstance(line, Math)]
    for line in plain:
        for metric in values.found(line) if isinstance(line, Search) else [line]:
            period = _period(widget, metric.period, span)
            points = values.points(metric, span, period)
            if metric.id:
                known[metric.id] = points
            if metric.is_visible:
                lines.append(Drawn(metric.label, [*points.items()], period, metric.is_right))
    for computed in (line for line in widget.lines if isinstance(line, Math)):
        period = _period(widget, computed.period, span)
        points = dict(computed.expression.over(known, _starts(span, period)))
        if computed.id:
            known[computed.id] = points
        if computed.is_visible:
            told = sorted(points.items())
            lines.append(Drawn(computed.label, told, period, computed.is_right))
    return lines


def _period(widget: Widget, period: float, span: Span) -> float:
    length = span[1] - span[0]
    if widget.is_number and widget.is_over_whole_range:
        return length
    longer = [p for p in _PERIODS if p >= period and length / p <= _MOST_POINTS]
    return period if length / period <= _MOST_POINTS else next(iter(longer), _PERIODS[-1])


def _start(at: float, period: float, span: Span) -> float:
    """Where the period begins that a moment is in; none begins before the span."""
    return span[0] if period >= span[1] - span[0] else max(at // period * period, span[0])


def _starts(span: Span, period: float) -> list[float]:
    if period >= span[1] - span[0]:
        return [span[0]]
    numbers = range(int(span[0] // period), int(span[1] // period) + 1)
    return [_start(number * period, period, span) for number in numbers]
