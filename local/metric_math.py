"""CloudWatch's arithmetic: statistics of values, and metric math over series.

Understood is what the template's dashboards and alarms use; anything else is refused by name when
it is parsed, never computed wrongly.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

type Points = Mapping[float, float]  # the start of a period to its value; what is absent is missing
type Value = Points | float

_STATISTICS: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "Sum": math.fsum,
    "Average": lambda values: math.fsum(values) / len(values),
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
}
_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
_OPERATORS: Final[dict[type, Callable[[Any, Any], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: lambda a, b: float(a > b),
    ast.GtE: lambda a, b: float(a >= b),
    ast.Lt: lambda a, b: float(a < b),
    ast.LtE: lambda a, b: float(a <= b),
    ast.Eq: lambda a, b: float(a == b),
    ast.NotEq: lambda a, b: float(a != b),
    ast.And: lambda a, b: float(bool(a) and bool(b)),
    ast.Or: lambda a, b: float(bool(a) or bool(b)),
}


class MetricMathError(ValueError):
    """An expression or statistic that is wrong or not understood here; the message names it."""


def is_statistic(name: str) -> bool:
    """Whether `statistic` knows it."""
    return name in _STATISTICS or _PERCENTILE.fullmatch(name) is not None


def statistic(name: str, values: Sequence[float]) -> float:
    """A CloudWatch statistic of values."""
    if name in _STATISTICS:
        return float(_STATISTICS[name](values))
    if match := _PERCENTILE.fullmatch(name):
        rank = math.ceil(float(match.group(1)) / 100 * len(values))
        return sorted(values)[max(rank, 1) - 1]
    raise MetricMathError(f"statistic {name} is not known here")


@dataclass(frozen=True)
class Expression:
    """A parsed expression; `ids` are the metrics and expressions that it is made of."""

    text: str
    ids: tuple[str, ...]
    _tree: ast.expr

    def over(self, series: Mapping[str, Points], periods: Sequence[float]) -> Points:
        """Its values at the starts of `periods`; a number alone has its value at each."""
        value = _value(self._tree, series, periods)
        return value if isinstance(value, Mapping) else dict.fromkeys(periods, value)


def parse(text: str) -> Expression:
    """Numbers, ids, + - * /, comparisons, AND, OR, and the functions FILL, IF, EPOCH."""
    # Python's grammar, but for how the two words are written.
    words = re.sub(r"\b(AND|OR)\b", lambda word: word.group().lower(), text)
    try:
        tree = ast.parse(words.strip().replace("&&", " and ").replace("||", " or "), mode="eval")
    except SyntaxError as error:
        raise MetricMathError(f"expression {text} can't be read: {error.msg}") from None
    ids = tuple(dict.fromkeys(_checked(tree.body, text)))
    return Expression(text, ids, tree.body)


def _checked(node: ast.expr, text: str) -> Iterator[str]:
    """The ids in an expression; MetricMathError if there is something else in it than is known."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Constant(value=int() | float()):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield from _checked(operand, text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            yield from _checked(left, text)
            yield from _checked(right, text)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            yield from _checked(left, text)
            yield from _checked(right, text)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _checked(value, text)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if _takes(
            name, arguments
        ):
            given = arguments[:1] if name == "FILL" else arguments
            for argument in given:
                yield from _checked(argument, text)
        case _:
            raise MetricMathError(f"expression {text}: {ast.unparse(node)} is not known here")


def _takes(name: str, arguments: Sequence[ast.expr]) -> bool:
    """Whether there is such a function with so many arguments."""
    match name, arguments:
        # True is an int to Python.
        case "FILL", [_, ast.Constant(value=int() | float() as filling)]:
            return not isinstance(filling, bool)
        case "FILL", [_, ast.Name(id="REPEAT")]:
            return True
        case ("IF", [_, _] | [_, _, _]) | ("EPOCH", [_]):
            return True
    return False


def _value(node: ast.expr, series: Mapping[str, Points], periods: Sequence[float]) -> Value:
    def of(part: ast.expr) -> Value:
        return _value(part, series, periods)

    match node:
        case ast.Name(id=name):
            return series.get(name, {})
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(operand=operand):
            return _pairwise(operator.sub, 0.0, of(operand))
        case (
            ast.BinOp(left=left, op=op, right=right)
            | ast.Compare(left=left, ops=[op], comparators=[right])
        ):
            return _pairwise(_OPERATORS[type(op)], of(left), of(right))
        case ast.BoolOp(op=op, values=[first, *others]):
            value = of(first)
            for other in others:
                value = _pairwise(_OPERATORS[type(op)], value, of(other))
            return value
        case ast.Call(func=ast.Name(id="FILL"), args=[filled, filling]):
            return _filled(of(filled), filling, periods)
        case ast.Call(func=ast.Name(id="IF"), args=arguments):
            return _chosen([of(argument) for argument in arguments], periods)
        case ast.Call(func=ast.Name(id="EPOCH")):
            return {period: period for period in periods}
    raise TypeError(f"{ast.dump(node)} was not checked")


def _pairwise(of: Callable[[Any, Any], float], left: Value, right: Value) -> Value:
    """`of` at each period where both sides have a value; nothing where it is a division by zero."""
    if isinstance(left, Mapping):
        at = [p for p in left if not isinstance(right, Mapping) or p in right]
    elif isinstance(right, Mapping):
        at = list(right)
    else:
        return of(left, right)
    found = {}
    for period in at:
        try:
            found[period] = of(_at(left, period), _at(right, period))
        except ZeroDivisionError:
            continue
    return found


def _at(value: Value, period: float) -> float | None:
    return value.get(period) if isinstance(value, Mapping) else value


def _filled(value: Value, filling: ast.expr, periods: Sequence[float]) -> Value:
    if not isinstance(value, Mapping):
        return value
    if isinstance(filling, ast.Constant):
        return {period: value.get(period, float(str(filling.value))) for period in periods}
    found: dict[float, float] = {}
    last: float | None = None
    for period in periods:
        last = value.get(period, last)
        if last is not None:
            found[period] = last
    return found


def _chosen(arguments: Sequence[Value], periods: Sequence[float]) -> Points:
    """IF: where the condition has a value, the value of the branch that it takes."""
    condition, *branches = arguments
    found = {}
    for period in periods:
        holds = _at(condition, period)
        if holds is None:
            continue
        branch = 0 if holds else 1
        chosen = _at(branches[branch], period) if branch < len(branches) else None
        if chosen is not None:
            found[period] = chosen
    return found
