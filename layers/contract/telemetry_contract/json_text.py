"""Reading JSON that may be hostile: nothing it can hold crashes the consumer or goes unnoticed.

Strict by RFC 8259 (NaN, Infinity and trailing commas are refused), yet complete: what the fast
parser cannot represent although it is JSON, numbers beyond a double and lone surrogates, is read
by the standard library, so that one such value does not cost the reading its neighbours.
"""

import json
import math
import re
from typing import Final, NoReturn

import msgspec

from telemetry_contract.rejection import ContractViolation, Reason

UTF8_BOM: Final = b"\xef\xbb\xbf"
_WHITESPACE: Final = " \t\n\r"
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS: Final = re.compile(r"[\[\]{}]")
# int() refuses more digits than this, to bound its quadratic cost; no double reaches 400.
_MOST_DIGITS: Final = 400


class UnrepresentableNumber(str):
    """The text of a JSON number that neither a double nor a Python integer should hold."""

    __slots__ = ()


def text_of(payload: bytes) -> str:
    """The payload as text, without a byte order mark. Raises ContractViolation: not_utf8."""
    try:
        return payload.removeprefix(UTF8_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractViolation(Reason.NOT_UTF8, f"{error.reason} at byte {error.start}") from None


def refuse_deep_nesting(text: str, max_depth: int) -> None:
    """Raise ContractViolation, too_deep, before any parser recurses."""
    # Almost always enough: with this few brackets no nesting can be too deep.
    if text.count("{") + text.count("[") <= max_depth:
        return
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > max_depth:
            raise ContractViolation(Reason.TOO_DEEP, f"deeper than {max_depth}")


def parse(text: str) -> object:
    """The value of a JSON text that passed `refuse_deep_nesting`.

    Raises ContractViolation, not_json. Numbers that overflow a double, and integers of hundreds of
    digits, come as UnrepresentableNumber; strings may hold lone surrogates.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return _parse_completely(text)


def cut_elements(text: str) -> list[bytes]:
    """The elements of a JSON array, each as its own verbatim bytes, without the space around it.

    The text has to be a valid array: call `parse` first.
    """
    try:
        return [bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeError):
        return _cut_completely(text)


def json_of(value: object) -> str:
    """JSON text of a parsed value, as kept in `attributes`. It is always valid Unicode."""
    try:
        return msgspec.json.encode(value, enc_hook=_refuse).decode()
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        return _json_completely(value)


def _refuse(value: object) -> NoReturn:
    raise TypeError(type(value).__name__)


def _parse_completely(text: str) -> object:
    try:
        return json.loads(
            text, parse_int=_integer, parse_float=_number, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        # The message of the standard library quotes none of the payload.
        raise ContractViolation(Reason.NOT_JSON, f"{error.msg} at character {error.pos}") from None


def _cut_completely(text: str) -> list[bytes]:
    decoder = json.JSONDecoder(
        parse_int=_integer, parse_float=_number, parse_constant=_refuse_constant
    )
    elements: list[bytes] = []
    at = _skip_whitespace(text, 0) + 1
    while text[at := _skip_whitespace(text, at)] != "]":
        _, end = decoder.raw_decode(text, at)
        elements.append(text[at:end].encode())
        at = _skip_whitespace(text, end)
        if text[at] == ",":
            at += 1
    return elements


def _skip_whitespace(text: str, at: int) -> int:
    while text[at] in _WHITESPACE:
        at += 1
    return at


def _integer(digits: str) -> int | UnrepresentableNumber:
    return int(digits) if len(digits) <= _MOST_DIGITS else UnrepresentableNumber(digits)


def _number(digits: str) -> float | UnrepresentableNumber:
    number = float(digits)
    return number if math.isfinite(number) else UnrepresentableNumber(digits)


def _refuse_constant(constant: str) -> NoReturn:
    raise ContractViolation(Reason.NOT_JSON, f"{constant} is not JSON")


def _json_completely(value: object) -> str:
    """As `json.dumps`, but numbers beyond a double keep their own text. Escapes surrogates."""
    match value:
        case UnrepresentableNumber():
            return str(value)
        case dict():
            pairs = (f"{json.dumps(key)}:{_json_completely(item)}" for key, item in value.items())
            return f"{{{','.join(pairs)}}}"
        case list():
            return f"[{','.join(_json_completely(item) for item in value)}]"
        case _:
            return json.dumps(value)
