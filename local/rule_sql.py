"""The SQL of IoT rules: what turns a device's message into what a rule's actions get.

A statement is parsed when its rule is loaded and refused there if the local cloud doesn't know a
clause, an operator, a function or a date pattern in it, so that a rule never yields a silent null
that AWS would not. Version 2016-03-23 of
https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-reference.html.
"""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local.rule_functions import FUNCTIONS, WHOLE_PAYLOAD, Patterns, parse_time, remainder
from local.rule_values import (
    UNDEFINED,
    parse_document,
    to_boolean,
    to_json,
    to_number,
    to_text,
    whole,
)

SQL_VERSION: Final = "2016-03-23"


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


@dataclass(frozen=True)
class Statement:
    """A parsed `SELECT ... FROM ... WHERE ...`; without FROM (Basic Ingest) no `topic_filter`."""

    topic_filter: str | None
    columns: tuple[tuple[str | None, Expression], ...]
    where: Expression | None

    def evaluate(self, message: Evaluation) -> bytes | None:
        """What the actions get, or None if WHERE isn't true. `SELECT *` alone keeps the bytes.

        Raises PayloadError where AWS has a parse error:
        https://docs.aws.amazon.com/iot/latest/developerguide/binary-payloads.html
        """
        if self.where is not None and self.where(message) is not True:
            return None
        if len(self.columns) == 1 and self.columns[0][0] is None:
            return message.payload
        output: dict[str, Any] = {}
        for name, value_of in self.columns:
            value = value_of(message)
            if name is not None:
                output[name] = value
            elif isinstance(value, dict):
                output.update(value)
            else:
                raise PayloadError("`*` beside other columns needs a JSON object as the payload")
        return to_json(output).encode()


def parse_statement(sql: str) -> Statement:
    """Parse a rule's SQL; RuleSqlError names what can't be run."""
    select = _parse(sql)
    clauses = {name for name, value in select.args.items() if value}
    unknown = clauses - {"expressions", "from_", "where"}
    if unknown:
        raise RuleSqlError(f"clause not supported: {', '.join(sorted(unknown)).upper()} in {sql!r}")
    where = select.args.get("where")
    columns = tuple(_column(expression) for expression in select.expressions)
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        raise RuleSqlError(f"two columns of one name in {sql!r}")
    return Statement(
        topic_filter=_topic_filter(select.args.get("from_")),
        columns=columns,
        where=None if where is None else _compile(where.this),
    )


def topic_matches(topic_filter: str, topic: str) -> bool:
    """MQTT's rule: `+` is one level, `#` at the end any number of levels, none included."""
    levels = topic.split("/")
    for position, level in enumerate(topic_filter.split("/")):
        if level == "#":
            return True
        if position >= len(levels) or level not in ("+", levels[position]):
            return False
    return position + 1 == len(levels)


@dataclass(frozen=True)
class Template:
    """A text with `${expression}` parts, as in an action's fields."""

    parts: tuple[str | Expression, ...]

    def render(self, message: Evaluation) -> str:
        """The text for a message; an Undefined part is empty, as AWS serialises it by itself."""
        return "".join(
            part if isinstance(part, str) else _rendered(part(message)) for part in self.parts
        )


def parse_template(text: str) -> Template:
    """Parse a substitution template; RuleSqlError for an expression that can't be run.

    https://docs.aws.amazon.com/iot/latest/developerguide/iot-substitution-templates.html
    """
    parts: list[str | Expression] = []
    rest = text
    while (start := rest.find("${")) >= 0:
        end = _closing_brace(rest, start + 2)
        if start:
            parts.append(rest[:start])
        parts.append(_compile(_parse(f"SELECT {rest[start + 2 : end]}").expressions[0]))
        rest = rest[end + 1 :]
    return Template((*parts, rest) if rest else tuple(parts))


def _rendered(value: Any) -> str:
    text = to_text(value)
    return text if isinstance(text, str) else ""


def _closing_brace(text: str, start: int) -> int:
    quote = ""
    for position in range(start, len(text)):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "}":
            return position
    raise RuleSqlError(f"'${{' without its '}}' in {text!r}")


# sqlglot gives many function names a meaning of its own (encode, timestamp, round), so every call
# is renamed before it parses. Strings may have double quotes in this dialect, identifiers not.
_LEXEME = re.compile(r"""'(?:[^']|'')*'|"([^"]*)"|([A-Za-z_]\w*)(\s*\()""")
_PREFIX: Final = "iot_function_"
_KEYWORDS_BEFORE_PARENTHESIS = frozenset(
    {"select", "from", "where", "and", "or", "not", "in", "exists", "case", "when", "then"}
    | {"else", "as", "cast", "value"}
)


def _parse(sql: str) -> exp.Select:
    def rewritten(lexeme: re.Match[str]) -> str:
        if lexeme[1] is not None:
            return "'" + lexeme[1].replace("'", "''") + "'"
        if lexeme[2] is None or lexeme[2].lower() in _KEYWORDS_BEFORE_PARENTHESIS:
            return lexeme[0]
        return f"{_PREFIX}{lexeme[2].lower()}{lexeme[3]}"

    try:
        tree = sqlglot.parse_one(_LEXEME.sub(rewritten, sql), read="duckdb")
    except SqlglotError as error:
        details = getattr(error, "errors", None) or [{"description": str(error)}]
        raise RuleSqlError(f"can't be read: {sql!r}: {details[0]['description']}") from None
    if not isinstance(tree, exp.Select) or not tree.expressions:
        raise RuleSqlError(f"not a SELECT statement: {sql!r}")
    return tree


def _topic_filter(clause: exp.Expression | None) -> str | None:
    if clause is None:
        return None
    source = clause.this
    name = source.this if isinstance(source, exp.Table) else source
    quoted = isinstance(name, exp.Identifier) and name.quoted
    if not quoted or source.alias:
        raise RuleSqlError(f"FROM takes one topic filter in quotes, not {clause.sql()!r}")
    levels = name.name.split("/")
    if "#" in "/".join(levels[:-1]) or any(
        level != wildcard and wildcard in level for level in levels for wildcard in "+#"
    ):
        raise RuleSqlError(f"not a topic filter: {name.name!r}")
    return str(name.name)


def _column(expression: exp.Expression) -> tuple[str | None, Expression]:
    if isinstance(expression, exp.Star):
        _refuse_star_options(expression)
        return None, lambda message: message.document
    if isinstance(expression, exp.Alias):
        return expression.alias, _compile(expression.this)
    if isinstance(expression, exp.Column | exp.Dot):
        return expression.name, _compile(expression)
    raise RuleSqlError(f"give it a name with AS: {_original(expression)}")


def _refuse_star_options(star: exp.Star) -> None:
    if any(star.args.values()):
        raise RuleSqlError(f"not supported: {star.sql()}")


def _original(expression: exp.Expression) -> str:
    return expression.sql(dialect="duckdb").replace(_PREFIX.upper(), "").replace(_PREFIX, "")


def _compile(node: exp.Expression) -> Expression:  # noqa: C901 - one branch per kind of node
    match node:
        case exp.Paren():
            return _compile(node.this)
        case exp.Literal():
            return _constant(node.this if node.is_string else _literal_number(node.this))
        case exp.Boolean():
            return _constant(node.this)
        case exp.Null():
            return _constant(None)
        case exp.Column():
            return _path([part.name for part in node.parts])
        case exp.Dot():
            return _member(_compile(node.this), node.expression)
        case exp.Bracket() if len(node.expressions) == 1:
            return _call("get", [node.this, node.expressions[0]])
        case exp.Array():
            items = [_compile(item) for item in node.expressions]
            return lambda message: [item(message) for item in items]
        case exp.Neg():
            return _arithmetic(operator.sub, _constant(0), _compile(node.this))
        case exp.Not():
            return _not(_compile(node.this))
        case exp.In() if node.expressions:
            return _in(_compile(node.this), [_compile(item) for item in node.expressions])
        case exp.Case():
            return _case(node)
        case exp.Cast():
            return _cast(node)
        case exp.Anonymous():
            return _call(node.name.lower().removeprefix(_PREFIX), node.expressions)
        case exp.Binary() if type(node) in _BINARY:
            return _BINARY[type(node)](_compile(node.this), _compile(node.expression))
    raise RuleSqlError(f"not supported: {_original(node)}")


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
        raise RuleSqlError(f"not supported: .{_original(name)}")

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
        else _compile(argument)
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
    rest = [_compile(argument) for argument in arguments[1:]]
    return lambda message: parse_time(print_time, *[value(message) for value in rest])


def _cast(node: exp.Cast) -> Expression:
    value_of, kind = _compile(node.this), node.to.sql().lower()
    if kind in ("text", "varchar", "nvarchar"):
        return lambda message: to_text(value_of(message))
    if kind in ("int", "double", "decimal"):
        return lambda message: _cast_number(value_of(message), whole_only=kind == "int")
    raise RuleSqlError(f"cast to {kind} is not supported")


def _cast_number(value: Any, whole_only: bool) -> Any:
    number = int(value) if isinstance(value, bool) else to_number(value)
    return math.floor(number) if whole_only and isinstance(number, float) else number


def _case(node: exp.Case) -> Expression:
    if node.this is None:
        raise RuleSqlError("CASE needs a value to compare: CASE value WHEN ... THEN ... END")
    subject = _compile(node.this)
    branches = [
        (_compile(branch.this), _compile(branch.args["true"])) for branch in node.args["ifs"]
    ]
    default = node.args.get("default")
    otherwise = _constant(UNDEFINED) if default is None else _compile(default)

    def choose(message: Evaluation) -> Any:
        value = subject(message)
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
        return UNDEFINED if one is UNDEFINED or two is UNDEFINED else one + two  # type: ignore[operator]

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
