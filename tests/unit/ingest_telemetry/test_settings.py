"""The environment is read once, completely, and a wrong one fails the start."""

from dataclasses import fields

import pytest

from ingest_telemetry.settings import Settings, SettingsError
from telemetry_contract.limit_variables import LIMIT_VARIABLES
from telemetry_contract.limits import Limits
from tests.unit.ingest_telemetry.effects import ENVIRONMENT

VARIABLES = {name: value for name, value in ENVIRONMENT.items() if name != "AWS_DEFAULT_REGION"}


def test_reads_every_variable_by_the_name_of_its_field() -> None:
    settings = Settings.from_environment(VARIABLES)
    others = {field.name.upper() for field in fields(Settings)} - {"LIMITS"}
    assert others | set(LIMIT_VARIABLES) == VARIABLES.keys()
    assert settings.raw_zone_bucket == "raw-zone"
    assert settings.limits == Limits()


def test_takes_the_operators_choices() -> None:
    limits = Settings.from_environment(
        {
            **VARIABLES,
            "IDENTITY_MISMATCH_POLICY": "flag",
            "MISSING_TIMESTAMP_POLICY": "arrival_time",
            "CLOCK_SKEW_FLAG_SECONDS": "7",
        }
    ).limits
    assert limits.identity_mismatch_policy == "flag"
    assert limits.missing_timestamp_policy == "arrival_time"
    assert limits.clock_skew_flag == 7_000_000


@pytest.mark.parametrize("name", sorted(VARIABLES.keys() - {"AWS_ENDPOINT_URL"}))
def test_names_the_variable_that_is_missing(name: str) -> None:
    without = {other: value for other, value in VARIABLES.items() if other != name}
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(without)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_EVENT_TIME_AHEAD_SECONDS", "-1"),
        ("CLOCK_SKEW_FLAG_SECONDS", "1h"),
        ("EARLIEST_EVENT_TIME", "2000-01-01"),
        ("EARLIEST_EVENT_TIME", "long ago"),
        ("IDENTITY_MISMATCH_POLICY", "ignore"),
        ("MISSING_TIMESTAMP_POLICY", "now"),
    ],
)
def test_names_the_variable_that_is_wrong(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({**VARIABLES, name: value})
