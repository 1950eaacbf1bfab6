"""Device time: what is recognised as one, and how doubts about it are marked.

A wrong clock is flagged or rejected, never corrected. Recognised are:

- ISO 8601 date and time, `2026-11-23T10:00:00.123456+01:00`: a `T` or a space between, minutes,
  seconds and fraction optional (cut to microseconds), offset `Z`, `+HH`, `+HHMM` or `+HH:MM`.
  Without an offset it is read as UTC and flagged. Dates alone, dates without hyphens, week and
  ordinal dates, leap seconds and hour 24 are no times here.
- A number since 1970, whole or not, or the same as text. Its size says its unit: below 10^11
  seconds, below 10^14 milliseconds, below 10^17 microseconds. (10^11 seconds is the year 5138 and
  10^11 milliseconds 1973, so no accepted time has two readings.)
"""

import re
from datetime import UTC, datetime
from typing import Final

from telemetry_contract.json_text import UnrepresentableNumber
from telemetry_contract.limits import MICROSECONDS_PER_SECOND, Limits
from telemetry_contract.record import Microseconds
from telemetry_contract.rejection import ContractViolation, Reason

OFFSET_ASSUMED: Final = "event_time_offset_assumed"
FAR_FROM_ARRIVAL: Final = "event_time_far_from_arrival"
FROM_ARRIVAL: Final = "event_time_from_arrival"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TOO_LARGE: Final = "too large for microseconds since 1970"

SECONDS_BELOW: Final = 10**11
MILLISECONDS_BELOW: Final = 10**14
MICROSECONDS_BELOW: Final = 10**17

_NUMBER: Final = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?", re.ASCII)


def event_time_of(
    value: object, arrival_time: Microseconds, limits: Limits
) -> tuple[Microseconds, tuple[str, ...]]:
    """The event time that `value` says, and the quality flags it earns.

    Raises ContractViolation: timestamp_invalid or timestamp_out_of_range.
    """
    event_time, is_offset_assumed = instant_of(value)
    refuse_out_of_range(event_time, arrival_time, limits)
    return event_time, time_flags(event_time - arrival_time, is_offset_assumed, limits)


def refuse_out_of_range(
    event_time: Microseconds, arrival_time: Microseconds, limits: Limits
) -> None:
    """Raises ContractViolation: timestamp_out_of_range."""
    if event_time < limits.earliest_event_time:
        raise ContractViolation(Reason.TIMESTAMP_OUT_OF_RANGE, "before the earliest accepted")
    if event_time > arrival_time + limits.max_event_time_ahead:
        raise ContractViolation(Reason.TIMESTAMP_OUT_OF_RANGE, "too far after the arrival")


def time_flags(from_arrival: int, is_offset_assumed: bool, limits: Limits) -> tuple[str, ...]:
    """The quality flags of an accepted event time, so many microseconds after the arrival."""
    flags = (OFFSET_ASSUMED,) if is_offset_assumed else ()
    if abs(from_arrival) > limits.clock_skew_flag:
        return (*flags, FAR_FROM_ARRIVAL)
    return flags


def microseconds_of_number(number: float) -> Microseconds:
    """Microseconds since 1970 of a number whose size says its unit. Raises ContractViolation."""
    if -SECONDS_BELOW < number < SECONDS_BELOW:
        microseconds = number * MICROSECONDS_PER_SECOND
    elif -MILLISECONDS_BELOW < number < MILLISECONDS_BELOW:
        microseconds = number * 1_000
    elif -MICROSECONDS_BELOW < number < MICROSECONDS_BELOW:
        microseconds = number
    else:
        raise ContractViolation(Reason.TIMESTAMP_OUT_OF_RANGE, _TOO_LARGE)
    return round(microseconds)


def microseconds_of(moment: datetime) -> Microseconds:
    """Microseconds since 1970 of an aware datetime, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS_PER_SECOND + since.microseconds


def instant_of(value: object) -> tuple[Microseconds, bool]:
    """Microseconds since 1970 that a device's value means, and whether an offset was assumed.

    Raises ContractViolation: timestamp_invalid or timestamp_out_of_range.
    """
    # `type() is` is faster than isinstance here, but does not narrow the type for mypy.
    kind = type(value)
    if kind is str:
        return _instant_of_text(value)  # type: ignore[arg-type]  # it is text
    if kind is int or kind is float:
        return microseconds_of_number(value), False  # type: ignore[arg-type]  # a number
    if kind is UnrepresentableNumber:
        raise ContractViolation(Reason.TIMESTAMP_OUT_OF_RANGE, _TOO_LARGE)
    raise ContractViolation(Reason.TIMESTAMP_INVALID, f"neither text nor a number: {kind.__name__}")


def _instant_of_text(text: str) -> tuple[Microseconds, bool]:
    if text[10:11] not in ("T", " ") or text[4] != "-" or text[7] != "-":
        if _NUMBER.fullmatch(text):
            return microseconds_of_number(float(text) if "." in text else int(text)), False
        raise ContractViolation(Reason.TIMESTAMP_INVALID, "neither ISO 8601 nor a number")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ContractViolation(Reason.TIMESTAMP_INVALID, "no such date or time") from None
    if moment.tzinfo is None:
        return microseconds_of(moment.replace(tzinfo=UTC)), True
    return microseconds_of(moment), False
