"""Checks of whole columns: the same decisions as value by value, for a tenth of the cost.

Each function takes one column of values as they were parsed and returns it as Arrow holds it, with
the places of the values that are not plainly good. Where a column is not plain as a whole, it is
gone through with the very functions that the slow path uses.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

# `pyarrow.compute` makes a Python function for each of 300 kernels: 60 ms of every cold start.
from pyarrow._compute import CastOptions, RoundOptions, call_function

from telemetry_contract.event_time import (
    MICROSECONDS_BELOW,
    MILLISECONDS_BELOW,
    SECONDS_BELOW,
    instant_of,
)
from telemetry_contract.fields import Field, Kind
from telemetry_contract.raw_schema import ARROW_TYPES
from telemetry_contract.rejection import ContractViolation
from telemetry_contract.values import value_of

type Column = Sequence[Any]
type Places = set[int]

_OWN_TYPE: Final[dict[Kind, Any]] = {
    "number": float,
    "integer": int,
    "text": str,
    "boolean": bool,
}
# Arrow refuses what has no place in a column, but takes True for 1.0 and cuts 5.5 to 5.
_NUMERIC: Final[dict[Kind, frozenset[type]]] = {
    "number": frozenset({float, int, type(None)}),
    "integer": frozenset({int, type(None)}),
}
_NOT_PLAIN: Final = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError)
_SHORTEST_TIME: Final = len("2026-11-23T10")


def checked_field(field: Field, column: Column) -> tuple[pa.Array, Places]:
    """A field's column; the places of values that would be flagged."""
    values = _plain_values(field, column)
    if values is not None:
        return values, set()
    taken = list(column)
    bad: Places = set()
    for place in _odd_places(field, column):
        taken[place], flag = value_of(field, column[place])
        if flag is not None:
            bad.add(place)
    return pa.array(taken, ARROW_TYPES[field.kind]), bad


def _plain_values(field: Field, column: Column) -> pa.Array | None:
    """The column if all of it is plainly good, else None."""
    numeric = _NUMERIC.get(field.kind)
    if numeric is not None and not numeric.issuperset(map(type, column)):
        return None
    try:
        values = pa.array(column, ARROW_TYPES[field.kind])
    except _NOT_PLAIN:
        return None
    return values if _is_within_bounds(field, column, values) else None


def _odd_places(field: Field, column: Column) -> list[int]:
    """Where a value is not already as the column holds it, or out of its bounds."""
    own = _OWN_TYPE[field.kind]
    odd = [
        place for place, value in enumerate(column) if value is not None and type(value) is not own
    ]
    if field.kind == "boolean":
        return odd
    low = -math.inf if field.minimum is None else field.minimum
    high = math.inf if field.maximum is None else field.maximum
    if field.kind == "text":
        return odd + [
            place for place, value in enumerate(column) if type(value) is own and len(value) > high
        ]
    return odd + [
        place
        for place, value in enumerate(column)
        if type(value) is own and not low <= value <= high
    ]


def checked_instants(column: Column) -> tuple[pa.Array, Sequence[bool], Places]:
    """Microseconds since 1970 as integers; whether each offset was assumed; what is no time."""
    kinds = set(map(type, column))
    try:
        if kinds == {str} and min(map(len, column)) >= _SHORTEST_TIME:
            return *_instants_of_texts(column), set()
        if kinds in ({int}, {float}):
            factor = _factor(min(column), max(column))
            if factor is not None:
                return _scaled(column, factor), (False,) * len(column), set()
    except _NOT_PLAIN:
        pass
    return _instants_one_by_one(column)


def smallest_and_largest(values: pa.Array) -> tuple[Any, Any]:
    """Both None if there are no values."""
    found = call_function("min_max", [values])
    return found["min"].as_py(), found["max"].as_py()


def difference(values: pa.Array, others: pa.Array) -> pa.Array:
    """The first less the second, value by value."""
    return call_function("subtract", [values, others])


def rows_at(values: pa.Array, places: pa.Array) -> pa.Array:
    """The values at these places."""
    return call_function("take", [values, places])


def _is_within_bounds(field: Field, column: Column, values: pa.Array) -> bool:
    if field.kind == "text":
        longest = max(map(len, filter(None, column)), default=0)
        return field.maximum is None or longest <= field.maximum
    if field.minimum is None and field.maximum is None:
        return True
    smallest, largest = smallest_and_largest(values)
    if smallest is None:
        return True
    return (field.minimum is None or smallest >= field.minimum) and (
        field.maximum is None or largest <= field.maximum
    )


def _instants_of_texts(column: Column) -> tuple[pa.Array, Sequence[bool]]:
    texts = pa.array(column, pa.string())
    try:
        # Fails unless every text has an offset.
        instants = _cast(texts, pa.timestamp("us", "UTC"))
        is_assumed = False
    except pa.ArrowInvalid:
        instants = _cast(texts, pa.timestamp("us"))  # fails unless none has
        is_assumed = True
    return instants.view(pa.int64()), (is_assumed,) * len(column)


def _factor(smallest: float, largest: float) -> int | None:
    """What all numbers of a column are to be multiplied with, if it is the same for all."""
    if smallest > -SECONDS_BELOW and largest < SECONDS_BELOW:
        return 1_000_000
    if smallest >= SECONDS_BELOW and largest < MILLISECONDS_BELOW:
        return 1_000
    if smallest >= MILLISECONDS_BELOW and largest < MICROSECONDS_BELOW:
        return 1
    return None


def _scaled(column: Column, factor: int) -> pa.Array:
    if type(column[0]) is int:
        return call_function("multiply", [pa.array(column, pa.int64()), pa.scalar(factor)])
    products = call_function("multiply", [pa.array(column, pa.float64()), pa.scalar(float(factor))])
    return _cast(call_function("round", [products], RoundOptions(0, "half_to_even")), pa.int64())


def _cast(values: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    return call_function("cast", [values], CastOptions.safe(arrow_type))


def _instants_one_by_one(column: Column) -> tuple[pa.Array, Sequence[bool], Places]:
    instants: list[int] = []
    is_assumed: list[bool] = []
    bad: Places = set()
    for place, value in enumerate(column):
        try:
            instant, assumed = instant_of(value)
        except ContractViolation:
            instant, assumed = 0, False
            bad.add(place)
        instants.append(instant)
        is_assumed.append(assumed)
    return pa.array(instants, pa.int64()), is_assumed, bad
