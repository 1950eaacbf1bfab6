"""The function's environment, read and checked once; the only reader of `os.environ`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import environ
from typing import Self


class SettingsError(Exception):
    """The environment does not say what the function has to know."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable, by the same name in capitals. These names of the stack's parts are
    what the audit asks of a stack.

    The `powertools_*` fields are read by Powertools itself under these names, and
    `aws_endpoint_url`, which is empty on AWS, by the SDK; they are here so that the list is
    complete.
    """

    stream_name: str
    raw_zone_bucket: str
    rejected_zone_bucket: str
    failed_zone_bucket: str
    curated_zone_bucket: str
    database_name: str
    look_back_minutes: int
    powertools_service_name: str
    powertools_metrics_namespace: str
    powertools_log_level: str
    aws_endpoint_url: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = environ) -> Self:
        """Raises SettingsError naming the variable that is missing or wrong."""
        texts = {each.name: variables.get(each.name.upper(), "") for each in fields(cls)}
        for name, text in texts.items():
            if not text and name != "aws_endpoint_url":
                raise SettingsError(f"{name.upper()} is not set")
        try:
            minutes = int(texts.pop("look_back_minutes"))
        except ValueError as error:
            raise SettingsError("LOOK_BACK_MINUTES is no whole number") from error
        return cls(**texts, look_back_minutes=minutes)
