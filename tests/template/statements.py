"""What the roles of a stack allow, and which AWS operations a folder of code calls."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name


@dataclass(frozen=True)
class Permission:
    """One action on one resource in one role, with the statement's condition."""

    role: str
    action: str
    resource: str
    condition: str


def permissions(stack: dict[str, Any]) -> Iterator[Permission]:
    """Everything that the stack's inline policies allow. A role without one allows nothing."""
    for role, resource in stack.items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        for policy in resource["Properties"]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                for action in listed(statement["Action"]):
                    for target in listed(statement["Resource"]):
                        yield Permission(role, action, target, str(statement.get("Condition", "")))


def listed(value: Any) -> list[Any]:
    """IAM takes a single value where a list may stand."""
    return value if isinstance(value, list) else [value]


def operations_called(*sources: Path) -> set[tuple[str, str]]:
    """(service, operation) of every AWS call in these folders or modules, as boto3 spells it.

    Found by name: a client is made by a call with the service's name as first argument, and an
    operation is an attribute, or a paginator's name, that one of these services has.
    """
    nodes = _nodes(sources)
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    session = botocore.session.get_session()
    return {
        (service, xform_name(operation))
        for service in services_called(*sources)
        for operation in session.get_service_model(service).operation_names
        if xform_name(operation) in names
    }


def services_called(*sources: Path) -> set[str]:
    """The services for which these folders or modules make a client."""
    return {
        node.args[0].value
        for node in _nodes(sources)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("client", "create_client", "resource")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def _nodes(sources: Iterable[Path]) -> list[ast.AST]:
    modules = [
        module
        for source in sources
        for module in (sorted(source.rglob("*.py")) if source.is_dir() else [source])
    ]
    return [node for module in modules for node in ast.walk(ast.parse(module.read_text()))]
