"""The values of rule SQL: JSON's types, and Undefined for what isn't there.

Undefined is a value of its own inside a statement and vanishes from its output; conversions follow
the tables of https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-data-types.html.
"""

import json
import re
from enum import Enum
from typing import Any, Final


class Undefined(Enum):
    """The one value that stands for "no value"; compare with `is UNDEFINED`.

    As the only member of an enum, for then a type checker knows what such a comparison leaves.
    """

    UNDEFINED = "Undefined"

    def __repr__(self) -> str:
        return self.value


UNDEFINED: Final = Undefined.UNDEFINED

_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

# AWS converts exactly these strings to numbers ("To Decimal" in the page above).
_DECIMAL = re.compile(r"-?\d+(\.\d+)?(E-?\d+)?", re.IGNORECASE)


def to_number(value: Any) -> int | float | Undefined:
    """`value` as Int or Decimal; Undefined for other types and other strings."""
    if isinstance(value, bool):
        return UNDEFINED
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return whole(float(value)) if set(value) & set(".eE") else int(value)
    return UNDEFINED


def to_text(value: Any) -> str | Undefined:
    """`value` as String: JSON for arrays and objects, Undefined for null and Undefined."""
    if isinstance(value, str):
        return value
    if value is None or value is UNDEFINED:
        return UNDEFINED
    return to_json(value)


def to_boolean(value: Any) -> bool | Undefined:
    """`value` as Boolean: only booleans and the strings "true" and "false" in any case."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return UNDEFINED


def whole(value: float) -> int | float:
    """SQL version 2016-03-23 takes a decimal without a fraction for an Int: 10.0 is 10."""
    return int(value) if value.is_integer() else value


def to_json(value: Any) -> str:
    """`value` as compact JSON; members that are Undefined are left out."""
    return _encode(_defined(value))


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items() if item is not UNDEFINED}
    if isinstance(value, list):
        return [_defined(item) for item in value if item is not UNDEFINED]
    return value


def parse_document(payload: bytes) -> Any:
    """The JSON document of a payload, `{}` for an empty one; ValueError if it is not JSON."""
    if not payload:
        return {}
    try:
        return json.loads(payload, parse_float=_parse_float, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _parse_float(text: str) -> int | float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return whole(value)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
