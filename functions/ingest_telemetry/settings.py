"""The function's environment, read and checked once; the only reader of `os.environ`.

A missing or wrong variable fails the start, and records wait in the stream until it is mended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import environ
from typing import Self

from telemetry_contract.limit_variables import LimitVariableError, limits_from
from telemetry_contract.limits import Limits


class SettingsError(Exception):
    """The environment does not say what the function has to know."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable, by the same name in capitals; `limits` are `LIMIT_VARIABLES`.

    The `powertools_*` fields are read by Powertools itself under these names; they are here so that
    the list is complete. `aws_endpoint_url` is empty on AWS.
    """

    raw_zone_bucket: str
    rejected_zone_bucket: str
    limits: Limits
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
            limits=_limits(variables),
            powertools_service_name=_text(variables, "POWERTOOLS_SERVICE_NAME"),
            powertools_metrics_namespace=_text(variables, "POWERTOOLS_METRICS_NAMESPACE"),
            powertools_log_level=_text(variables, "POWERTOOLS_LOG_LEVEL"),
            aws_endpoint_url=variables.get("AWS_ENDPOINT_URL", ""),
        )


def is_sam_local(variables: Mapping[str, str] = environ) -> bool:
    """Whether `sam local invoke` runs the function: SAM CLI sets this, Lambda never does."""
    return variables.get("AWS_SAM_LOCAL") == "true"


def _text(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _limits(variables: Mapping[str, str]) -> Limits:
    try:
        return limits_from(variables)
    except LimitVariableError as error:
        raise SettingsError(str(error)) from error
