"""The function's environment, read and checked once; the only reader of `os.environ`.

A missing or wrong variable fails the start, and records wait in the stream until it is mended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from os import environ
from typing import Self

from telemetry_contract.event_time import microseconds_of
from telemetry_contract.limits import (
    MICROSECONDS_PER_SECOND,
    IdentityMismatchPolicy,
    Limits,
    MissingTimestampPolicy,
)


class SettingsError(Exception):
    """The environment does not say what the function has to know."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable, by the same name in capitals.

    The `powertools_*` fields are read by Powertools itself under these names; they are here so that
    the list is complete. `aws_endpoint_url` is empty on AWS.
    """

    raw_zone_bucket: str
    rejected_zone_bucket: str
    earliest_event_time: datetime
    max_event_time_ahead_seconds: int
    clock_skew_flag_seconds: int
    identity_mismatch_policy: IdentityMismatchPolicy
    missing_timestamp_policy: MissingTimestampPolicy
    powertools_service_name: str
    powertools_metrics_namespace: str
    powertools_log_level: str
    aws_endpoint_url: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = environ) -> Self:
        """Raises SettingsError naming the variable that is missing or wrong."""
        return cls(
            raw_zone_bucket=_text(variables, "RAW_ZONE_BUCKET"),
            rejected_zone_bucket=_text(variables, "REJECTED_ZONE_BUCKET"),
            earliest_event_time=_time(variables, "EARLIEST_EVENT_TIME"),
            max_event_time_ahead_seconds=_seconds(variables, "MAX_EVENT_TIME_AHEAD_SECONDS"),
            clock_skew_flag_seconds=_seconds(variables, "CLOCK_SKEW_FLAG_SECONDS"),
            identity_mismatch_policy=_identity_mismatch_policy(variables),
            missing_timestamp_policy=_missing_timestamp_policy(variables),
            powertools_service_name=_text(variables, "POWERTOOLS_SERVICE_NAME"),
            powertools_metrics_namespace=_text(variables, "POWERTOOLS_METRICS_NAMESPACE"),
            powertools_log_level=_text(variables, "POWERTOOLS_LOG_LEVEL"),
            aws_endpoint_url=variables.get("AWS_ENDPOINT_URL", ""),
        )

    @property
    def limits(self) -> Limits:
        """The operator's choices as the contract takes them."""
        return Limits(
            earliest_event_time=microseconds_of(self.earliest_event_time),
            max_event_time_ahead=self.max_event_time_ahead_seconds * MICROSECONDS_PER_SECOND,
            clock_skew_flag=self.clock_skew_flag_seconds * MICROSECONDS_PER_SECOND,
            identity_mismatch_policy=self.identity_mismatch_policy,
            missing_timestamp_policy=self.missing_timestamp_policy,
        )


def is_sam_local(variables: Mapping[str, str] = environ) -> bool:
    """Whether `sam local invoke` runs the function: SAM CLI sets this, Lambda never does."""
    return variables.get("AWS_SAM_LOCAL") == "true"


def _text(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _seconds(variables: Mapping[str, str], name: str) -> int:
    value = _text(variables, name)
    if not (value.isascii() and value.isdigit()):
        raise SettingsError(f"{name} has to be a number of seconds, not {value!r}")
    return int(value)


def _time(variables: Mapping[str, str], name: str) -> datetime:
    value = _text(variables, name)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise SettingsError(f"{name} has to be an ISO 8601 time, not {value!r}") from None
    if moment.tzinfo is None:
        raise SettingsError(f"{name} has to have an offset, not {value!r}")
    return moment


def _identity_mismatch_policy(variables: Mapping[str, str]) -> IdentityMismatchPolicy:
    match _text(variables, "IDENTITY_MISMATCH_POLICY"):
        case "reject":
            return "reject"
        case "flag":
            return "flag"
        case other:
            raise SettingsError(f"IDENTITY_MISMATCH_POLICY is reject or flag, not {other!r}")


def _missing_timestamp_policy(variables: Mapping[str, str]) -> MissingTimestampPolicy:
    match _text(variables, "MISSING_TIMESTAMP_POLICY"):
        case "reject":
            return "reject"
        case "arrival_time":
            return "arrival_time"
        case other:
            raise SettingsError(
                f"MISSING_TIMESTAMP_POLICY is reject or arrival_time, not {other!r}"
            )
