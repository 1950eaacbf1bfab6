"""An operator's bounds and policies as environment variables, for the consumer and for its tools.

Read in one place, so that a tool that reads a deployed function's variables decides as it does.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from telemetry_contract.event_time import microseconds_of
from telemetry_contract.limits import (
    MICROSECONDS_PER_SECOND,
    IdentityMismatchPolicy,
    Limits,
    MissingTimestampPolicy,
)
from telemetry_contract.record import Microseconds

EARLIEST_EVENT_TIME: Final = "EARLIEST_EVENT_TIME"
MAX_EVENT_TIME_AHEAD_SECONDS: Final = "MAX_EVENT_TIME_AHEAD_SECONDS"
CLOCK_SKEW_FLAG_SECONDS: Final = "CLOCK_SKEW_FLAG_SECONDS"
IDENTITY_MISMATCH_POLICY: Final = "IDENTITY_MISMATCH_POLICY"
MISSING_TIMESTAMP_POLICY: Final = "MISSING_TIMESTAMP_POLICY"

LIMIT_VARIABLES: Final = (
    EARLIEST_EVENT_TIME,
    MAX_EVENT_TIME_AHEAD_SECONDS,
    CLOCK_SKEW_FLAG_SECONDS,
    IDENTITY_MISMATCH_POLICY,
    MISSING_TIMESTAMP_POLICY,
)


class LimitVariableError(Exception):
    """A variable is missing or wrong; the message names it and says what it has to be."""


def limits_from(variables: Mapping[str, str]) -> Limits:
    """Nothing is assumed for a variable: each has to be there. Raises LimitVariableError."""
    return Limits(
        earliest_event_time=_time(variables, EARLIEST_EVENT_TIME),
        max_event_time_ahead=_seconds(variables, MAX_EVENT_TIME_AHEAD_SECONDS),
        clock_skew_flag=_seconds(variables, CLOCK_SKEW_FLAG_SECONDS),
        identity_mismatch_policy=_identity_mismatch_policy(variables),
        missing_timestamp_policy=_missing_timestamp_policy(variables),
    )


def _text(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name, "")
    if not value:
        raise LimitVariableError(f"{name} is not set")
    return value


def _seconds(variables: Mapping[str, str], name: str) -> Microseconds:
    value = _text(variables, name)
    if not (value.isascii() and value.isdigit()):
        raise LimitVariableError(f"{name} has to be a number of seconds, not {value!r}")
    return int(value) * MICROSECONDS_PER_SECOND


def _time(variables: Mapping[str, str], name: str) -> Microseconds:
    value = _text(variables, name)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise LimitVariableError(f"{name} has to be an ISO 8601 time, not {value!r}") from None
    if moment.tzinfo is None:
        raise LimitVariableError(f"{name} has to have an offset, not {value!r}")
    return microseconds_of(moment)


def _identity_mismatch_policy(variables: Mapping[str, str]) -> IdentityMismatchPolicy:
    match _text(variables, IDENTITY_MISMATCH_POLICY):
        case "reject":
            return "reject"
        case "flag":
            return "flag"
        case other:
            raise LimitVariableError(f"{IDENTITY_MISMATCH_POLICY} is reject or flag, not {other!r}")


def _missing_timestamp_policy(variables: Mapping[str, str]) -> MissingTimestampPolicy:
    match _text(variables, MISSING_TIMESTAMP_POLICY):
        case "reject":
            return "reject"
        case "arrival_time":
            return "arrival_time"
        case other:
            raise LimitVariableError(
                f"{MISSING_TIMESTAMP_POLICY} is reject or arrival_time, not {other!r}"
            )
