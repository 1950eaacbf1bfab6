"""The functions of rule SQL that the local cloud knows, by name.

A function that isn't in `FUNCTIONS`, or is called with a wrong number of arguments, refuses the
rule when it is loaded: AWS answers Undefined at run time, which here would be a silent null.
https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-functions.html
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from local.api import ACCOUNT_ID
from local.rules.values import UNDEFINED, to_number, to_text, whole


class Context(Protocol):
    """What a function may ask about the message that is being evaluated."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def client_id(self) -> str | None: ...
    @property
    def principal(self) -> str | None: ...
    @property
    def trace_id(self) -> str: ...
    @property
    def source_ip(self) -> str: ...


class _Whole:
    """The `*` of `encode(*, 'base64')`: the payload's bytes, JSON or not."""


WHOLE_PAYLOAD: Final = _Whole()


@dataclass(frozen=True)
class Function:
    """A function's implementation and how many arguments it takes."""

    call: Callable[..., Any]
    least: int
    most: int


class Patterns:
    """Date patterns in Joda's letters, compiled once: what `parse_time` prints."""

    _LETTERS: Final[Mapping[str, Callable[[datetime], str]]] = {
        "yyyy": lambda at: f"{at.year:04}",
        "yy": lambda at: f"{at.year % 100:02}",
        "MM": lambda at: f"{at.month:02}",
        "M": lambda at: str(at.month),
        "dd": lambda at: f"{at.day:02}",
        "d": lambda at: str(at.day),
        "HH": lambda at: f"{at.hour:02}",
        "H": lambda at: str(at.hour),
        "mm": lambda at: f"{at.minute:02}",
        "ss": lambda at: f"{at.second:02}",
        "SSS": lambda at: f"{at.microsecond // 1000:03}",
        "G": lambda at: "AD",
        "z": lambda at: at.strftime("%Z"),
        "Z": lambda at: at.strftime("%z"),
    }
    _TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+")

    @classmethod
    def compile(cls, pattern: str) -> Callable[[datetime], str]:
        """A function that prints a time in `pattern`; ValueError for letters that aren't known."""
        parts: list[Callable[[datetime], str]] = []
        end = 0
        for token in cls._TOKEN.finditer(pattern):
            if token.start() != end:
                break
            end = token.end()
            parts.append(cls._part(token))
        if end != len(pattern):
            raise ValueError(f"a date pattern that can't be read: {pattern!r}")
        return lambda at: "".join(part(at) for part in parts)

    @classmethod
    def _part(cls, token: re.Match[str]) -> Callable[[datetime], str]:
        if token[1] is not None:
            text = token[1].replace("''", "'") or "'"
            return lambda _: text
        if token[2] is None:
            literal = token[0]
            return lambda _: literal
        if token[0] not in cls._LETTERS:
            raise ValueError(f"date pattern letters {token[0]!r} are not known")
        return cls._LETTERS[token[0]]


def parse_time(print_time: Callable[[datetime], str], time_ms: Any, zone: Any = "UTC") -> Any:
    """The time `time_ms` (epoch ms) printed in a compiled pattern; Undefined if it can't be."""
    number = to_number(time_ms)
    if number is UNDEFINED or not isinstance(zone, str):
        return UNDEFINED
    try:
        at = datetime.fromtimestamp(float(number) / 1000, UTC)
        return print_time(at.astimezone(ZoneInfo(zone)))
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        return UNDEFINED


def _topic(context: Context, level: Any = None) -> Any:
    if level is None:
        return context.topic
    levels = context.topic.split("/")
    number = to_number(level)
    if isinstance(number, int) and 1 <= number <= len(levels):
        return levels[number - 1]
    return UNDEFINED


def _encode(context: Context, value: Any, scheme: Any) -> Any:
    if scheme != "base64":
        return UNDEFINED
    if value is WHOLE_PAYLOAD:
        return base64.b64encode(context.payload).decode("ascii")
    text = to_text(value)
    return base64.b64encode(text.encode()).decode("ascii") if isinstance(text, str) else UNDEFINED


def _decode(_: Context, value: Any, scheme: Any) -> Any:
    if scheme != "base64" or not isinstance(value, str):
        return None
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _get(_: Context, value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key, UNDEFINED) if isinstance(key, str) else UNDEFINED
    index = to_number(key)
    if isinstance(value, list | str) and isinstance(index, int | float):
        position = int(index)
        return value[position] if 0 <= position < len(value) else UNDEFINED
    return UNDEFINED


def _concat(_: Context, *values: Any) -> Any:
    if len(values) == 1:
        return values[0]
    if any(isinstance(value, list) for value in values):
        return [
            item for value in values for item in (value if isinstance(value, list) else [value])
        ]
    if not any(isinstance(value, str) for value in values):
        return UNDEFINED
    texts = [to_text(value) for value in values]
    return UNDEFINED if UNDEFINED in texts else "".join(str(text) for text in texts)


def _substring(_: Context, value: Any, start: Any, end: Any = None) -> Any:
    text, first = to_text(value), to_number(start)
    last = 0 if end is None else to_number(end)
    if text is UNDEFINED or first is UNDEFINED or last is UNDEFINED:
        return UNDEFINED
    # Decimals are rounded down to an Int, and indices outside the text are moved to its ends.
    begin, stop = (max(math.floor(index), 0) for index in (first, last))
    return text[begin : None if end is None else stop]


def _nanvl(_: Context, value: Any, otherwise: Any) -> Any:
    return otherwise if value is None or value is UNDEFINED else value


def _mod(_: Context, left: Any, right: Any) -> Any:
    return remainder(to_number(left), to_number(right))


def remainder(left: Any, right: Any) -> Any:
    """`left % right` with the sign of `left`, as in Java; Undefined for zero and for no numbers."""
    if left is UNDEFINED or right is UNDEFINED or right == 0:
        return UNDEFINED
    value = math.fmod(left, right)
    return whole(value) if isinstance(left, int) and isinstance(right, int) else value


def _on_text(function: Callable[..., Any], arguments: int = 1) -> Function:
    def call(_: Context, *values: Any) -> Any:
        texts = [to_text(value) for value in values]
        return UNDEFINED if UNDEFINED in texts else function(*texts)

    return Function(call, arguments, arguments)


def _on_number(function: Callable[..., Any], arguments: int = 1) -> Function:
    def call(_: Context, *values: Any) -> Any:
        numbers = [to_number(value) for value in values]
        if UNDEFINED in numbers:
            return UNDEFINED
        try:
            return function(*numbers)
        except (ValueError, OverflowError, ZeroDivisionError):
            return UNDEFINED

    return Function(call, arguments, arguments)


def _regexp_matches(text: str, pattern: str) -> Any:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return UNDEFINED


FUNCTIONS: Final[Mapping[str, Function]] = {
    # About the message.
    "topic": Function(_topic, 0, 1),
    "timestamp": Function(lambda context: context.time_ms, 0, 0),
    "clientid": Function(lambda context: context.client_id or UNDEFINED, 0, 0),
    "principal": Function(lambda context: context.principal or UNDEFINED, 0, 0),
    "sourceip": Function(lambda context: context.source_ip, 0, 0),
    "traceid": Function(lambda context: context.trace_id, 0, 0),
    "accountid": Function(lambda _: ACCOUNT_ID, 0, 0),
    "newuuid": Function(lambda _: str(uuid4()), 0, 0),
    # About values. `parse_time` and `cast` are compiled with the statement, since a pattern or a
    # type that isn't known must refuse the rule.
    "encode": Function(_encode, 2, 2),
    "decode": Function(_decode, 2, 2),
    "get": Function(_get, 2, 2),
    "isnull": Function(lambda _, value: value is None, 1, 1),
    "isundefined": Function(lambda _, value: value is UNDEFINED, 1, 1),
    "nanvl": Function(_nanvl, 2, 2),
    "concat": Function(_concat, 1, 100),
    "substring": Function(_substring, 2, 3),
    "lower": _on_text(str.lower),
    "upper": _on_text(str.upper),
    "trim": _on_text(lambda text: text.strip(" \t")),
    "ltrim": _on_text(lambda text: text.lstrip(" \t")),
    "rtrim": _on_text(lambda text: text.rstrip(" \t")),
    "length": _on_text(len),
    "numbytes": _on_text(lambda text: len(text.encode())),
    "startswith": _on_text(str.startswith, 2),
    "endswith": _on_text(str.endswith, 2),
    "indexof": _on_text(str.find, 2),
    "regexp_matches": _on_text(_regexp_matches, 2),
    "abs": _on_number(abs),
    "ceil": _on_number(math.ceil),
    "floor": _on_number(math.floor),
    # Halves go away from zero: `Round(-1.5)` is -2.
    "round": _on_number(lambda number: int(math.copysign(math.floor(abs(number) + 0.5), number))),
    "sqrt": _on_number(lambda number: whole(math.sqrt(number))),
    "power": _on_number(lambda number, power: whole(math.pow(number, power)), 2),
    "mod": Function(_mod, 2, 2),
}
