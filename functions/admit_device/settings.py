"""The function's environment, read and checked once; the only reader of `os.environ`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import environ
from typing import Self


class SettingsError(Exception):
    """The environment does not say what the function has to know."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable, by the same name in capitals: all are read by Powertools or the SDK
    itself under these names, and are here so that the list is complete and checked."""

    powertools_service_name: str
    powertools_log_level: str
    aws_endpoint_url: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = environ) -> Self:
        """Raises SettingsError naming the variable that is missing."""
        texts = {each.name: variables.get(each.name.upper(), "") for each in fields(cls)}
        for name, text in texts.items():
            if not text and name != "aws_endpoint_url":
                raise SettingsError(f"{name.upper()} is not set")
        return cls(**texts)
