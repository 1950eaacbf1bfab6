"""What the expanded template becomes for given parameters: conditions decided, functions applied.

Knows the functions that the template uses and refuses any other. A resource stands for itself by
its logical id (`Ref`) and by `<logical id>.<attribute>` (`Fn::GetAtt`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PSEUDO_PARAMETERS = {
    "AWS::AccountId": "THE-ACCOUNT",
    "AWS::Partition": "aws",
    "AWS::Region": "THE-REGION",
    "AWS::StackName": "lake",
}

_NO_VALUE = object()
_VARIABLE = re.compile(r"\$\{([^!][^}]*)\}")


def resolve(template: dict[str, Any], **parameters: str) -> dict[str, Any]:
    """The template with `parameters` (others by default): Resources and Outputs that come to be.

    A parameter `StackName` names the stack. Raises ValueError for a function that is not known
    and KeyError for a reference that leads nowhere.
    """
    stack_name = parameters.pop("StackName", PSEUDO_PARAMETERS["AWS::StackName"])
    declared = template["Parameters"]
    unknown = parameters.keys() - declared.keys()
    if unknown:
        raise ValueError(f"no such parameter: {sorted(unknown)}")
    values = {name: str(each["Default"]) for name, each in declared.items()} | parameters
    stack = _Stack(template, {**PSEUDO_PARAMETERS, "AWS::StackName": stack_name, **values})
    return {
        "Resources": {
            name: stack.value(resource)
            for name, resource in template["Resources"].items()
            if stack.exists(name)
        },
        "Outputs": stack.value(template["Outputs"]),
    }


@dataclass(frozen=True)
class _Stack:
    template: dict[str, Any]
    parameters: Mapping[str, str]

    def exists(self, logical_id: str) -> bool:
        condition = self.template["Resources"][logical_id].get("Condition")
        return condition is None or self.holds(condition)

    def holds(self, condition: str) -> bool:
        return self._truth(self.template["Conditions"][condition])

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            values = [self.value(each) for each in node]
            return [each for each in values if each is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._apply(name, argument)
        values_by_key = {key: self.value(each) for key, each in node.items() if key != "Condition"}
        if isinstance(node.get("Condition"), dict):  # of a policy statement, not of a resource
            values_by_key["Condition"] = self.value(node["Condition"])
        return {key: each for key, each in values_by_key.items() if each is not _NO_VALUE}

    def _apply(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._reference(argument)
            case "Fn::GetAtt":
                parts = argument.split(".") if isinstance(argument, str) else argument
                return self._attribute(*parts)
            case "Fn::If":
                condition, yes, no = argument
                return self.value(yes if self.holds(condition) else no)
            case "Fn::Sub":
                return self._substitute(argument)
            case "Fn::Join":
                separator, parts = argument[0], self.value(argument[1])
                return separator.join(parts)
            case "Fn::Split":
                return self.value(argument[1]).split(argument[0])
            case "Fn::FindInMap":
                table, key, entry = (self.value(each) for each in argument)
                return self.template["Mappings"][table][key][entry]
        raise ValueError(f"{name} is not known here")

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self.parameters:
            return self.parameters[name]
        if not self.exists(name):
            raise KeyError(f"{name} does not come to be, but is referred to")
        return name

    def _attribute(self, name: str, attribute: str) -> str:
        self._reference(name)
        return f"{name}.{attribute}"

    def _substitute(self, argument: Any) -> str:
        text, given = (argument, {}) if isinstance(argument, str) else argument
        own = {key: self.value(each) for key, each in given.items()}

        def replacement(match: re.Match[str]) -> str:
            name = match[1]
            if name in own:
                return str(own[name])
            if name in self.parameters or "." not in name:
                return str(self._reference(name))
            return self._attribute(*name.split(".", 1))

        return _VARIABLE.sub(replacement, text).replace("${!", "${")

    def _truth(self, condition: Any) -> bool:
        ((name, argument),) = condition.items()
        match name:
            case "Fn::Equals":
                left, right = (str(self.value(each)) for each in argument)
                return left == right
            case "Fn::Not":
                return not self._truth(argument[0])
        raise ValueError(f"{name} is not known here")
