"""Metric math in alarms, as far as the template speaks it: one number per period, or none.

Understood are numbers, the ids of other queries, + - * /, comparisons, AND and OR, IF and FILL with
a number. Anything else is refused when the alarm is deployed.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

_ARITHMETIC: Final[Mapping[type, Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Final[Mapping[type, Callable[[float, float], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_WORDS: Final = ((r"\bAND\b|&&", " and "), (r"\bOR\b|\|\|", " or "))


class ExpressionError(Exception):
    """An expression that the local cloud does not speak; the message names the part."""


class Expression:
    """A parsed expression; `names` are the ids of the queries that it refers to."""

    def __init__(self, text: str) -> None:
        """Raises ExpressionError for what is not understood."""
        self.text = text
        spelled = text
        for pattern, word in _WORDS:
            spelled = re.sub(pattern, word, spelled)
        try:
            self._root = ast.parse(spelled.strip(), mode="eval").body
        except SyntaxError:
            raise ExpressionError(f"{text!r} is no expression that is understood here") from None
        self.names: frozenset[str] = frozenset(_names(self._root))

    def value(self, values: Mapping[str, float | None]) -> float | None:
        """The result for one period, from the values of the queries in it (None: no datapoint)."""
        return _value(self._root, values)


def _names(node: ast.expr) -> set[str]:
    """The ids below `node`; ExpressionError for the first part that is not understood."""
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return set()
        case ast.Name(id=name):
            return {name}
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _names(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _names(left) | _names(right)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return _names(left) | _names(right)
        case ast.BoolOp(values=parts):
            return set().union(*map(_names, parts))
        case ast.Call(func=ast.Name(id="IF"), args=[condition, yes, no], keywords=[]):
            return _names(condition) | _names(yes) | _names(no)
        case ast.Call(
            func=ast.Name(id="FILL"),
            args=[series, ast.Constant(value=int() | float())],
            keywords=[],
        ):
            return _names(series)
    raise ExpressionError(f"{ast.unparse(node)} is not understood in a metric math expression")


def _value(node: ast.expr, values: Mapping[str, float | None]) -> float | None:
    match node:
        case ast.Constant(value=number):
            return float(number)  # type: ignore[arg-type] # `_names` has let numbers in only
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(operand=inner):
            found = _value(inner, values)
            return None if found is None else -found
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(_ARITHMETIC[type(op)], _value(left, values), _value(right, values))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _combined(_COMPARISONS[type(op)], _value(left, values), _value(right, values))
        case ast.BoolOp(op=op, values=parts):
            found_parts = [_value(part, values) for part in parts]
            if any(part is None for part in found_parts):
                return None
            decide = all if isinstance(op, ast.And) else any
            return float(decide(found_parts))
        case ast.Call(func=ast.Name(id="IF"), args=[condition, yes, no]):
            decision = _value(condition, values)
            return None if decision is None else _value(yes if decision else no, values)
        case ast.Call(args=[series, filling]):
            found = _value(series, values)
            return _value(filling, values) if found is None else found
    raise AssertionError(f"{ast.unparse(node)} was let in and can't be computed")


def _combined(
    call: Callable[[float, float], float | bool], left: float | None, right: float | None
) -> float | None:
    """No datapoint on either side, or a division by zero, gives no datapoint."""
    if left is None or right is None:
        return None
    try:
        return float(call(left, right))
    except ZeroDivisionError:
        return None
