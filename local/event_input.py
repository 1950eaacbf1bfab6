"""What a rule's target gets of an event: the event, or what its input transformer makes of it.

Guarantee: understood are paths of names and templates that are JSON objects; anything else of a
target's input is refused by name when it is deployed, never delivered wrongly.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_PATH: Final = re.compile(r"\$(?:\.[\w-]+)+")
_PLACEHOLDER: Final = re.compile(r"<([\w.-]+)>")
# A string of the template, or a placeholder that stands for a whole value.
_STRING_OR_PLACEHOLDER: Final = re.compile(r'"(?:[^"\\]|\\.)*"|<[\w.-]+>')
_WHOLE_EVENT: Final = "aws.events.event.json"
_RULE_NAME: Final = "aws.events.rule-name"


class EventInputError(ValueError):
    """A target's input is not understood here, or makes no JSON of an event."""


def check(target: Mapping[str, Any]) -> None:
    """EventInputError if `made_of` could not make of an event what AWS would."""
    if named := {"Input", "InputPath"} & set(target):
        raise EventInputError(f"not emulated: {', '.join(sorted(named))} of an event's target")
    if "InputTransformer" not in target:
        return
    paths, template = _transformer(target)
    for path in paths.values():
        if not _PATH.fullmatch(path):
            raise EventInputError(f"InputPathsMap: not emulated: {path}")
    values: dict[str, Any] = {**dict.fromkeys([*paths, _RULE_NAME], "x"), _WHOLE_EVENT: {}}
    for name in _PLACEHOLDER.findall(template):
        if name not in values:
            raise EventInputError(f"InputTemplate: <{name}> is not in InputPathsMap")
    if not isinstance(_filled(template, values), dict):
        raise EventInputError("InputTemplate: emulated is a JSON object only")


def made_of(event: Mapping[str, Any], target: Mapping[str, Any], rule: str) -> str:
    """The text that the target gets. EventInputError if it would be no JSON."""
    if "InputTransformer" not in target:
        return json.dumps(event)
    paths, template = _transformer(target)
    values = {name: _at(event, path) for name, path in paths.items()}
    return json.dumps(_filled(template, values | {_RULE_NAME: rule, _WHOLE_EVENT: event}))


def _transformer(target: Mapping[str, Any]) -> tuple[Mapping[str, str], str]:
    transformer = target["InputTransformer"]
    return transformer.get("InputPathsMap", {}), transformer["InputTemplate"]


def _at(event: Any, path: str) -> Any:
    for name in path.split(".")[1:]:
        event = event.get(name) if isinstance(event, Mapping) else None
    return event


def _filled(template: str, values: Mapping[str, Any]) -> Any:
    """Within a string a value is inserted as it is; alone it is JSON. What is not in the event
    leaves nothing behind."""

    def text(placeholder: re.Match[str]) -> str:
        value = values[placeholder[1]]
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)

    def part(found: re.Match[str]) -> str:
        if found[0].startswith('"'):
            return _PLACEHOLDER.sub(text, found[0])
        value = values[found[0][1:-1]]
        return "" if value is None else json.dumps(value)

    filled = _STRING_OR_PLACEHOLDER.sub(part, template)
    try:
        return json.loads(filled)
    except json.JSONDecodeError as error:
        raise EventInputError(f"InputTemplate makes no JSON: {error}: {filled}") from error
