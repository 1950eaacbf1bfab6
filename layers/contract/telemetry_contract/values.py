"""Validation of single values: a bad one becomes null and is named, its neighbours stay.

Conversions that lose nothing are taken without a flag: a number as text in JSON's own notation
(`"52.1"`), a whole number with a fraction of zero for an integer, 0 and 1 for a boolean. A boolean
is no number. Numbers too large for a double are out of range.
"""

import re
from typing import Final

from telemetry_contract.fields import Field
from telemetry_contract.json_text import UnrepresentableNumber

type Value = int | float | str | bool

_JSON_NUMBER: Final = re.compile(
    r"-?(?:0|[1-9]\d{0,30})(?:\.\d{1,60})?(?:[eE][+-]?\d{1,3})?", re.ASCII
)


def value_of(field: Field, value: object) -> tuple[Value | None, str | None]:
    """The value as the field's column holds it, or None and the quality flag that says why not."""
    match field.kind:
        case "number":
            return _number_of(field, value)
        case "integer":
            return _integer_of(field, value)
        case "text":
            return _text_of(field, value)
        case "boolean":
            return _boolean_of(field, value)


def _number_of(field: Field, value: object) -> tuple[Value | None, str | None]:
    number = _as_number(value)
    if number is None:
        return None, field.wrong_type_flag
    try:
        number = float(number)
    except (OverflowError, ValueError):  # an integer, or the text of one, beyond a double
        return None, field.out_of_range_flag
    return _within_bounds(field, number)


def _integer_of(field: Field, value: object) -> tuple[Value | None, str | None]:
    number = _as_number(value)
    if number is None:
        return None, field.wrong_type_flag
    if isinstance(number, UnrepresentableNumber):
        return None, field.out_of_range_flag
    if isinstance(number, float):
        if not number.is_integer():
            # Infinity, from text such as "1e999", is no integer either; it is out of range.
            beyond = abs(number) == float("inf")
            return None, field.out_of_range_flag if beyond else field.wrong_type_flag
        number = int(number)
    return _within_bounds(field, number)


def _within_bounds(field: Field, number: float) -> tuple[Value | None, str | None]:
    is_below = field.minimum is not None and number < field.minimum
    is_above = field.maximum is not None and number > field.maximum
    if is_below or is_above or number in (float("inf"), float("-inf")):
        return None, field.out_of_range_flag
    return number, None


def _text_of(field: Field, value: object) -> tuple[Value | None, str | None]:
    # A lone surrogate is valid JSON and no Unicode: no column can hold it.
    if not isinstance(value, str) or isinstance(value, UnrepresentableNumber):
        return None, field.wrong_type_flag
    if has_surrogates(value):
        return None, field.wrong_type_flag
    if field.maximum is not None and len(value) > field.maximum:
        return None, field.out_of_range_flag
    return value, None


def _boolean_of(field: Field, value: object) -> tuple[Value | None, str | None]:
    if isinstance(value, bool):
        return value, None
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value), None
    return None, field.wrong_type_flag


def _as_number(value: object) -> int | float | UnrepresentableNumber | None:
    match value:
        case bool():
            return None
        case int() | float() | UnrepresentableNumber():
            return value
        case str() if _JSON_NUMBER.fullmatch(value):
            return float(value) if set(value) & set(".eE") else int(value)
        case _:
            return None


def has_surrogates(text: str) -> bool:
    """Whether a text cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
