"""The SQL of IoT rules: what turns a device's message into what a rule's actions get.

A statement is parsed when its rule is loaded and refused there if the local cloud doesn't know a
clause, an operator, a function or a date pattern in it, so that a rule never yields a silent null
that AWS would not. Version 2016-03-23 of
https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-reference.html.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local.rules.expressions import (
    CALL_PREFIX,
    Evaluation,
    Expression,
    PayloadError,
    RuleSqlError,
    compile_expression,
    in_words,
)
from local.rules.values import to_json, to_text

SQL_VERSION: Final = "2016-03-23"

__all__ = [
    "SQL_VERSION",
    "Evaluation",
    "PayloadError",
    "RuleSqlError",
    "Statement",
    "Template",
    "parse_statement",
    "parse_template",
    "topic_matches",
]


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
        where=None if where is None else compile_expression(where.this),
    )


def topic_matches(topic_filter: str, topic: str) -> bool:
    """MQTT's rule: `+` is one level, `#` at the end any number of levels, none included.

    A wildcard in the first place leaves out the reserved topics, those that begin with `$`.
    """
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
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
        parts.append(compile_expression(_parse(f"SELECT {rest[start + 2 : end]}").expressions[0]))
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


# sqlglot gives many names a meaning of their own (encode, timestamp, list), so before it parses
# every call is renamed and every field quoted. Strings may have double quotes in this dialect.
_LEXEME: Final = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|"(?P<quoted>[^"]*)"|(?P<plain>\bas\s+[a-z]+\s*\)|\bfrom\s+\w+"""
    r"""|\b\d+(?:\.\d+)?e[+-]?\d+)"""
    r"""|(?P<dot>\.\s*)?(?P<name>[a-z_]\w*)(?P<call>\s*\()?""",
    re.IGNORECASE,
)
_RESERVED: Final = frozenset(
    {"select", "from", "where", "as", "and", "or", "not", "in", "exists", "null", "true", "false"}
    | {"case", "when", "then", "else", "end", "cast", "set"}
    # Not of this dialect: left as they are, or a quoted one would pass for a column.
    | {"distinct", "all", "group", "by", "having", "order", "limit", "offset", "join", "on"}
    | {"using", "union", "intersect", "except", "is", "like", "between", "with", "delete"}
)


def _rewritten(lexeme: re.Match[str]) -> str:
    if lexeme["quoted"] is not None:
        return "'" + lexeme["quoted"].replace("'", "''") + "'"
    name = lexeme["name"]
    if name is None or (lexeme["dot"] is None and name.lower() in _RESERVED):
        return lexeme[0]
    if lexeme["call"] is not None:
        return f"{lexeme['dot'] or ''}{CALL_PREFIX}{name.lower()}{lexeme['call']}"
    return f'{lexeme["dot"] or ""}"{name}"'


def _parse(sql: str) -> exp.Select:
    try:
        tree = sqlglot.parse_one(_LEXEME.sub(_rewritten, sql))
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
        return expression.alias, compile_expression(expression.this)
    if isinstance(expression, exp.Column | exp.Dot):
        return expression.name, compile_expression(expression)
    raise RuleSqlError(f"give it a name with AS: {in_words(expression)}")


def _refuse_star_options(star: exp.Star) -> None:
    if any(star.args.values()):
        raise RuleSqlError(f"not supported: {star.sql()}")
