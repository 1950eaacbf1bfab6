"""Intrinsic functions: how a template's `!Ref`, `!Sub`, `!If` and the like become values.

Guarantee: a function or a name that is not known is refused, never left standing in a property.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from local.api import ACCOUNT_ID, REGION
from local.deployment.template import SUBSTITUTION, Template, validation_error

# Stands for `!Ref AWS::NoValue`: whatever has it as its value is left out.
_NO_VALUE: Final = object()


class Resources(Protocol):
    """What a template can refer to among the resources that exist so far."""

    def ref(self, logical_id: str) -> str:
        """The physical id."""

    def attribute(self, logical_id: str, name: str) -> str:
        """One of the resource's attributes."""


class Resolver:
    """Resolves a template's values for one stack, its parameters and its resources."""

    def __init__(
        self,
        template: Template,
        parameters: Mapping[str, str],
        stack_name: str,
        stack_id: str,
        resources: Resources,
    ) -> None:
        self._template = template
        self._resources = resources
        self._names = {
            **parameters,
            "AWS::AccountId": ACCOUNT_ID,
            "AWS::Region": REGION,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": stack_name,
            "AWS::StackId": stack_id,
        }
        self._conditions: dict[str, bool] = {}
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_attribute,
            "Fn::Sub": self._substitute,
            "Fn::If": self._if,
            "Fn::Join": self._join,
            "Fn::Split": self._split,
            "Fn::Select": self._select,
            "Fn::FindInMap": self._find_in_map,
        }

    def condition(self, name: str) -> bool:
        """Whether the template's condition `name` holds."""
        if name not in self._conditions:
            if name not in self._template.conditions:
                raise validation_error(f"Template error: unresolved condition dependency {name}")
            self._conditions[name] = self._holds(self._template.conditions[name])
        return self._conditions[name]

    def is_wanted(self, part: Mapping[str, Any]) -> bool:
        """Whether a resource or output has no condition, or one that holds."""
        return "Condition" not in part or self.condition(part["Condition"])

    def resolve(self, node: Any) -> Any:
        """`node` with every function replaced by its value."""
        value = self._resolve(node)
        return None if value is _NO_VALUE else value

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            values = [self._resolve(item) for item in node]
            return [value for value in values if value is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, argument),) = node.items()
            if function := self._functions.get(key):
                return function(argument)
            if str(key).startswith("Fn::"):
                raise validation_error(f"Template error: the local cloud has no function {key}")
        values_by_key = {key: self._resolve(item) for key, item in node.items()}
        return {key: value for key, value in values_by_key.items() if value is not _NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self._names:
            return self._names[name]
        if name in self._template.resources:
            return self._resources.ref(name)
        raise validation_error(f"Template error: unresolved resource dependency [{name}]")

    def _get_attribute(self, argument: list[str] | str) -> str:
        logical_id, _, name = (
            argument if isinstance(argument, str) else ".".join(map(str, argument))
        ).partition(".")
        if logical_id not in self._template.resources:
            raise validation_error(
                f"Template error: Fn::GetAtt references undefined resource {logical_id}"
            )
        return self._resources.attribute(logical_id, name)

    def _substitute(self, argument: list[Any] | str) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else (argument[0], argument[1])
        values = {name: self._resolve(value) for name, value in own.items()}

        def replace(literal: str, name: str) -> str:
            if literal:
                return f"${{{name}}}"
            if name in values:
                return _as_text(values[name])
            return _as_text(self._get_attribute(name) if "." in name else self._ref(name))

        return SUBSTITUTION.sub(lambda match: replace(match[1], match[2]), text)

    def _if(self, argument: list[Any]) -> Any:
        name, when_true, when_false = argument
        return self._resolve(when_true if self.condition(name) else when_false)

    def _join(self, argument: list[Any]) -> str:
        separator, parts = argument
        return str(separator).join(_as_text(part) for part in self._resolve(parts))

    def _split(self, argument: list[Any]) -> list[str]:
        separator, text = argument
        return str(self._resolve(text)).split(separator)

    def _select(self, argument: list[Any]) -> Any:
        index, values = argument
        return self._resolve(values)[int(self._resolve(index))]

    def _find_in_map(self, argument: list[Any]) -> Any:
        value: Any = self._template.mappings
        for key in self._resolve(argument):
            if key not in value:
                raise validation_error(f"Template error: no {key} for Fn::FindInMap {argument}")
            value = value[key]
        return value

    def _holds(self, node: Any) -> bool:
        ((key, argument),) = node.items()
        match key:
            case "Fn::Equals":
                left, right = (_as_text(self._resolve(side)) for side in argument)
                return left == right
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::And":
                return all(self._holds(one) for one in argument)
            case "Fn::Or":
                return any(self._holds(one) for one in argument)
            case "Condition":
                return self.condition(argument)
        raise validation_error(f"Template error: {key} is no condition")


def _as_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
