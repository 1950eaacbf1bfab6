"""A template as the local cloud reads it: parsed, checked, expanded by AWS's own SAM translator.

Guarantee: what is not understood (a resource type, a property, an attribute of a resource, an
intrinsic function, a parameter's value) is refused by its name before anything is made.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-anatomy.html
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import boto3
import yaml
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.utils.py27hash_fix import (
    to_py27_compatible_template,
    undo_mark_unicode_str_in_template,
)

from local.api import REGION, ApiError

SAM_TRANSFORM: Final = "AWS::Serverless-2016-10-31"

_SECTIONS = {
    "AWSTemplateFormatVersion",
    "Description",
    "Metadata",
    "Parameters",
    "Mappings",
    "Conditions",
    "Transform",
    "Globals",
    "Resources",
    "Outputs",
}
_RESOURCE_ATTRIBUTES = {
    "Type",
    "Properties",
    "Condition",
    "DependsOn",
    "DeletionPolicy",
    "UpdateReplacePolicy",
    "Metadata",
}


@dataclass(frozen=True)
class Template:
    """An expanded template: no transform, no globals, no short forms of functions."""

    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    mappings: Mapping[str, Any]
    conditions: Mapping[str, Any]
    resources: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]


def validation_error(message: str) -> ApiError:
    """CloudFormation's answer to a template or parameters that can't be deployed."""
    return ApiError("ValidationError", message)


class _Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions; dates stay as they are written."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)  # noqa: S101 - there is no fourth kind of node
        value = loader.construct_mapping(node, deep=True)
    if suffix in ("Ref", "Condition"):
        return {suffix: value}
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)
# `Version: 2012-10-17` in a policy is a word, not a date.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: node.value)


def parse(text: str) -> dict[str, Any]:
    """The template in `text`, JSON or YAML."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader with CloudFormation's tags
    except yaml.YAMLError as error:
        raise validation_error(f"Template format error: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise validation_error(
            "Template format error: At least one Resources member must be defined."
        )
    if unknown := document.keys() - _SECTIONS:
        raise validation_error(f"Template format error: unsupported sections {sorted(unknown)}")
    return document


def parameter_values(
    declared: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, str | None],
    previous: Mapping[str, str],
) -> dict[str, str]:
    """Every parameter's value: as given, or (None) as it was, or its default.

    ApiError if one is missing, unknown, or not what its declaration allows.
    """
    if unknown := given.keys() - declared.keys():
        raise validation_error(f"Parameters: {sorted(unknown)} do not exist in the template")
    values = {}
    for name, declaration in declared.items():
        value = given.get(name)
        if value is None and name in given:
            value = previous.get(name)
        if value is None and "Default" in declaration:
            value = _text(declaration["Default"])
        if value is None:
            raise validation_error(f"Parameters: [{name}] must have values")
        if problem := _problem(declaration, value):
            raise validation_error(f"Parameter '{name}' {problem}")
        values[name] = value
    return values


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _problem(declaration: Mapping[str, Any], value: str) -> str | None:
    allowed = declaration.get("AllowedValues")
    if allowed is not None and value not in [_text(one) for one in allowed]:
        return f"must be one of AllowedValues {allowed}, not {value!r}"
    if (pattern := declaration.get("AllowedPattern")) and not re.fullmatch(pattern, value):
        return f"must match pattern {pattern}, not {value!r}"
    kind = declaration.get("Type")
    if kind == "Number":
        try:
            number = float(value)
        except ValueError:
            return f"must be a number, not {value!r}"
        if number < float(declaration.get("MinValue", "-inf")):
            return f"must be a number not less than {declaration['MinValue']}"
        if number > float(declaration.get("MaxValue", "inf")):
            return f"must be a number not greater than {declaration['MaxValue']}"
    elif kind != "String":
        return f"has a type that the local cloud does not have: {kind}"
    return None


def _managed_policies() -> dict[str, str]:
    """The translator asks IAM for the ARNs of managed policies; they follow from their names."""
    names = ("AWSLambdaBasicExecutionRole", "AWSLambdaKinesisExecutionRole")
    return {name: f"arn:aws:iam::aws:policy/service-role/{name}" for name in names}


def _translated(document: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    # As samtranslator's `transform`, which would take the Region from the environment.
    translator = Translator(None, Parser(), boto_session=boto3.Session(region_name=REGION))
    copied, parameters = json.loads(json.dumps(document)), dict(values)
    to_py27_compatible_template(copied, parameters)
    translated: dict[str, Any] = undo_mark_unicode_str_in_template(
        translator.translate(
            copied, parameter_values=parameters, get_managed_policy_map=_managed_policies
        )
    )
    return translated


def expand(document: dict[str, Any], values: Mapping[str, str]) -> Template:
    """`document` after its transform, with its structure checked."""
    transforms = document.get("Transform") or []
    transforms = [transforms] if isinstance(transforms, str) else transforms
    if any(name != SAM_TRANSFORM for name in transforms):
        raise validation_error(f"No transform but {SAM_TRANSFORM}, not {transforms}")
    if transforms:
        try:
            document = _translated(document, values)
        except InvalidDocumentException as error:
            causes = "; ".join(cause.message for cause in error.causes)
            raise validation_error(f"Transform {SAM_TRANSFORM} failed: {causes}") from None
    resources: dict[str, dict[str, Any]] = document["Resources"]
    for logical_id, resource in resources.items():
        if unknown := resource.keys() - _RESOURCE_ATTRIBUTES:
            raise validation_error(f"{logical_id} has unsupported attributes {sorted(unknown)}")
    return Template(
        description=str(document.get("Description", "")),
        parameters=document.get("Parameters") or {},
        mappings=document.get("Mappings") or {},
        conditions=document.get("Conditions") or {},
        resources=resources,
        outputs=document.get("Outputs") or {},
    )


def references(node: object) -> Iterator[str]:
    """The logical ids (and parameters) that `node` refers to."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                yield str(value)
            elif key == "Fn::GetAtt":
                yield str(value[0] if isinstance(value, list) else value.split(".")[0])
            elif key == "Fn::Sub":
                text = value[0] if isinstance(value, list) else value
                yield from (name.split(".")[0] for _, name in SUBSTITUTION.findall(text))
                yield from references(value[1] if isinstance(value, list) else None)
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


SUBSTITUTION: Final = re.compile(r"\$\{(!?)\s*([^}]+?)\s*\}")


def dependency_order(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The logical ids, each after what it refers to or depends on; ApiError on a circle."""
    order: list[str] = []
    visiting: set[str] = set()

    def visit(logical_id: str) -> None:
        if logical_id in order:
            return
        if logical_id in visiting:
            raise validation_error(f"Circular dependency between resources: {sorted(visiting)}")
        visiting.add(logical_id)
        resource = resources[logical_id]
        depends_on = resource.get("DependsOn") or []
        depends_on = [depends_on] if isinstance(depends_on, str) else depends_on
        for name in [*depends_on, *references(resource.get("Properties"))]:
            if name in resources and name != logical_id:
                visit(name)
        visiting.discard(logical_id)
        order.append(logical_id)

    for logical_id in resources:
        visit(logical_id)
    return order
