"""Who may claim a certificate: an announced thing, once, and only on a clear answer."""

from types import SimpleNamespace
from typing import Any

import pytest

from admit_device.admission import refusal
from admit_device.settings import Settings, SettingsError


class NotFound(Exception):  # noqa: N818 - the name that AWS gives it
    pass


class Registry:
    """Things and their principals; `broken` answers nothing."""

    exceptions = SimpleNamespace(ResourceNotFoundException=NotFound)

    def __init__(self, broken: bool = False, **things: list[str]) -> None:
        self.things = {name.replace("_", "-"): principals for name, principals in things.items()}
        self.broken = broken
        self.asked: list[str] = []

    def describe_thing(self, *, thingName: str) -> dict[str, str]:
        self.asked.append(thingName)
        if self.broken:
            raise TimeoutError
        if thingName not in self.things:
            raise NotFound
        return {"thingName": thingName}

    def list_thing_principals(self, *, thingName: str) -> dict[str, Any]:
        return {"principals": self.things[thingName]}


@pytest.mark.parametrize(
    ("thing_name", "reason"),
    [
        ("announced-1", None),
        ("taken-1", "has_a_certificate"),
        ("invented-1", "not_on_the_list"),
        ("", "no_thing_name"),
        (None, "no_thing_name"),
        (7, "no_thing_name"),
        ("a/b", "no_thing_name"),
        ("announced-1\n", "no_thing_name"),
        ("x" * 129, "no_thing_name"),
    ],
)
def test_a_name_is_given_once_and_only_to_who_was_announced(
    thing_name: object, reason: str | None
) -> None:
    registry = Registry(announced_1=[], taken_1=["arn:aws:iot:r:1:cert/c"])
    assert refusal(registry, thing_name) == reason
    assert registry.asked == ([] if reason == "no_thing_name" else [thing_name])


def test_an_unanswered_question_admits_nobody() -> None:
    with pytest.raises(TimeoutError):
        refusal(Registry(broken=True, announced_1=[]), "announced-1")


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="POWERTOOLS_SERVICE_NAME"):
        Settings.from_environment({"POWERTOOLS_LOG_LEVEL": "INFO"})
