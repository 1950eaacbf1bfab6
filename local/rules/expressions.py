"""Expressions of rule SQL: from sqlglot's syntax tree to functions of a message.

Guarantee: a kind of node that has no case here refuses the rule; operators follow their tables in
https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-operators.html.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sqlglot import exp

from local.rules.functions import FUNCTIONS, WHOLE_PAYLOAD, Patterns, parse_time, remainder
from local.rules.values import (
    UNDEFINED,
    parse_document,
    to_boolean,
    to_number,
    to_text,
    whole,
)

# Calls are renamed before they are parsed (`rule_sql`), so that sqlglot gives them no meaning.
CALL_PREFIX: Final = "iot_function_"


class RuleSqlError(Exception):
    """A statement or template that the local cloud can't run; refuses the rule."""


class PayloadError(Exception):
    """The statement reads the payload's fields and the payload is not JSON."""


@dataclass
class Evaluation:
    """One message while rules are evaluated on it; `time_ms`: when the broker had it (epoch ms)."""

    topic: str
    payload: bytes
    time_ms: int
    trace_id: str
    client_id: str | None = None
    principal: str | None = None
    source_ip: str = "127.0.0.1"

    @cached_property
    def document(self) -> Any:
        """The payload as JSON, parsed when first needed; PayloadError if it isn't."""
        try:
            return parse_document(self.payload)
        except ValueError as error:
            raise PayloadError(f"the payload is not JSON: {error}") from None


Expression = Callable[[Evaluation], Any]


def in_words(node: exp.Expression) -> str:
    """A node as the user wrote it, more or less."""
    return str(node.sql().replace(CALL_PREFIX.upper(), "").replace(CALL_PREFIX, ""))


def compile_expression(node: exp.Expression) -> Expression:  # noqa: C901 - one branch per kind of node
    match node:
        case exp.Paren():
            return compile_expression(node.this)
        case exp.Literal():
            return _constant(node.this if node.is_string else _literal_number(node.this))
        case exp.Boolean():
            return _constant(node.this)
        case exp.Null():
            return _constant(None)
        case exp.Column():
            return _path([part.name for part in node.parts])
        case exp.Dot():
            return _member(compile_expression(node.this), node.expression)
        case exp.Bracket() if len(node.expressions) == 1:
            return _call("get", [node.this, node.expressions[0]])
        case exp.Array():
            items = [compile_expression(item) for item in node.expressions]
            return lambda message: [item(message) for item in items]
        case exp.Neg():
            return _arithmetic(operator.sub, _constant(0), compile_expression(node.this))
        case exp.Not():
            return _not(compile_expression(node.this))
        case exp.In() if node.expressions:
            return _in(
                compile_expression(node.this),
                [compile_expression(item) for item in node.expressions],
            )
        case exp.Case():
            return _case(node)
        case exp.Cast():
            return _cast(node)
        case exp.Anonymous():
            return _call(node.name.lower().removeprefix(CALL_PREFIX), node.expressions)
        case exp.Binary() if type(node) in _BINARY:
            return _BINARY[type(node)](
                compile_expression(node.this), compile_expression(node.expression)
            )
    raise RuleSqlError(f"not supported: {in_words(node)}")


def _constant(value: Any) -> Expression:
    return lambda _: value


def _literal_number(text: str) -> int | float:
    return whole(float(text)) if set(text) & set(".eE") else int(text)


def _path(names: list[str]) -> Expression:
    def read(message: Evaluation) -> Any:
        value = message.document
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return UNDEFINED
            value = value[name]
        return value

    return read


def _member(owner: Expression, name: exp.Expression) -> Expression:
    if not isinstance(name, exp.Identifier):
        raise RuleSqlError(f"not supported: .{in_words(name)}")

    def read(message: Evaluation) -> Any:
        value = owner(message)
        return value.get(name.name, UNDEFINED) if isinstance(value, dict) else UNDEFINED

    return read


def _call(name: str, arguments: list[exp.Expression]) -> Expression:
    if name == "parse_time":
        return _parse_time(arguments)
    function = FUNCTIONS.get(name)
    if function is None:
        raise RuleSqlError(f"function not supported: {name}()")
    if not function.least <= len(arguments) <= function.most:
        raise RuleSqlError(f"{name}() takes another number of arguments than {len(arguments)}")
    values = [
        _constant(WHOLE_PAYLOAD)
        if name == "encode" and position == 0 and isinstance(argument, exp.Star)
        else compile_expression(argument)
        for position, argument in enumerate(arguments)
    ]
    call = function.call
    if name in ("encode", "decode") and getattr(arguments[1], "name", "") != "base64":
        raise RuleSqlError(f"{name}() knows only the scheme 'base64'")
    return lambda message: call(message, *[value(message) for value in values])


def _parse_time(arguments: list[exp.Expression]) -> Expression:
    if not 2 <= len(arguments) <= 3 or not arguments[0].is_string:
        raise RuleSqlError("parse_time() takes a pattern as text, a time and perhaps a time zone")
    try:
        print_time = Patterns.compile(arguments[0].name)
    except ValueError as error:
        raise RuleSqlError(f"parse_time(): {error}") from None
    rest = [compile_expression(argument) for argument in arguments[1:]]
    return lambda message: parse_time(print_time, *[value(message) for value in rest])


def _cast(node: exp.Cast) -> Expression:
    value_of, kind = compile_expression(node.this), node.to.sql().lower()
    if kind in ("text", "varchar", "nvarchar"):
        return lambda message: to_text(value_of(message))
    if kind in ("int", "double", "decimal"):
        return lambda message: _cast_number(value_of(message), whole_only=kind == "int")
    if kind in ("bool", "boolean"):
        return lambda message: _cast_boolean(value_of(message))
    raise RuleSqlError(f"cast to {kind} is not supported")


def _cast_boolean(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value != 0
    return to_boolean(value)


def _cast_number(value: Any, whole_only: bool) -> Any:
    number = int(value) if isinstance(value, bool) else to_number(value)
    return math.floor(number) if whole_only and isinstance(number, float) else number


def _case(node: exp.Case) -> Expression:
    if node.this is None:
        raise RuleSqlError("CASE needs a value to compare: CASE value WHEN ... THEN ... END")
    subject = compile_expression(node.this)
    branches = [
        (compile_expression(branch.this), compile_expression(branch.args["true"]))
        for branch in node.args["ifs"]
    ]
    default = node.args.get("default")
    otherwise = _constant(UNDEFINED) if default is None else compile_expression(default)

    def choose(message: Evaluation) -> Any:
        value = subject(message)
        if value is UNDEFINED:
            return UNDEFINED
        for candidate, result in branches:
            if _equal(value, candidate(message)) is True:
                return result(message)
        return otherwise(message)

    return choose


def _equal(left: Any, right: Any) -> Any:
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _not(value_of: Expression) -> Expression:
    def negate(message: Evaluation) -> Any:
        value = to_boolean(value_of(message))
        return UNDEFINED if value is UNDEFINED else not value

    return negate


def _in(value_of: Expression, items: list[Expression]) -> Expression:
    return lambda message: any(_equal(value_of(message), item(message)) is True for item in items)


def _logical(
    combine: Callable[[bool, bool], bool],
) -> Callable[[Expression, Expression], Expression]:
    def build(left: Expression, right: Expression) -> Expression:
        def evaluate(message: Evaluation) -> Any:
            one, two = to_boolean(left(message)), to_boolean(right(message))
            if isinstance(one, bool) and isinstance(two, bool):
                return combine(one, two)
            return UNDEFINED

        return evaluate

    return build


def _comparison(
    compare: Callable[[Any, Any], bool],
) -> Callable[[Expression, Expression], Expression]:
    def build(left: Expression, right: Expression) -> Expression:
        def evaluate(message: Evaluation) -> Any:
            one, two = to_number(left(message)), to_number(right(message))
            return UNDEFINED if one is UNDEFINED or two is UNDEFINED else compare(one, two)

        return evaluate

    return build


def _equality(equal: bool) -> Callable[[Expression, Expression], Expression]:
    def build(left: Expression, right: Expression) -> Expression:
        def evaluate(message: Evaluation) -> Any:
            value = _equal(left(message), right(message))
            return value if value is UNDEFINED else value is equal

        return evaluate

    return build


def _arithmetic(
    compute: Callable[[Any, Any], Any], left: Expression, right: Expression
) -> Expression:
    def evaluate(message: Evaluation) -> Any:
        one, two = to_number(left(message)), to_number(right(message))
        return UNDEFINED if one is UNDEFINED or two is UNDEFINED else compute(one, two)

    return evaluate


def _plus(left: Expression, right: Expression) -> Expression:
    def evaluate(message: Evaluation) -> Any:
        one, two = left(message), right(message)
        if isinstance(one, str) or isinstance(two, str):
            texts = (to_text(one), to_text(two))
            return UNDEFINED if UNDEFINED in texts else f"{texts[0]}{texts[1]}"
        one, two = to_number(one), to_number(two)
        return UNDEFINED if one is UNDEFINED or two is UNDEFINED else one + two

    return evaluate


def _divide(left: Any, right: Any) -> Any:
    if right == 0:
        return UNDEFINED
    # "Int / Int = Int value": Java's division, towards zero.
    return int(left / right) if isinstance(left, int) and isinstance(right, int) else left / right


_BINARY: Final[dict[type[exp.Expression], Callable[[Expression, Expression], Expression]]] = {
    exp.And: _logical(operator.and_),
    exp.Or: _logical(operator.or_),
    exp.GT: _comparison(operator.gt),
    exp.GTE: _comparison(operator.ge),
    exp.LT: _comparison(operator.lt),
    exp.LTE: _comparison(operator.le),
    exp.EQ: _equality(True),
    exp.NEQ: _equality(False),
    exp.Add: _plus,
    exp.Sub: lambda left, right: _arithmetic(operator.sub, left, right),
    exp.Mul: lambda left, right: _arithmetic(operator.mul, left, right),
    exp.Div: lambda left, right: _arithmetic(_divide, left, right),
    exp.Mod: lambda left, right: _arithmetic(remainder, left, right),
}
