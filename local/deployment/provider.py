"""What a resource type of CloudFormation is made of, where moto has none or a wrong one.

A `ResourceProvider` creates, updates and deletes the resources of one type when a stack is
deployed. Guarantee: a property that the provider does not name is refused at deployment, by its
name, so that nothing of a template is silently ignored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from botocore.model import ListShape, MapShape, Shape, StructureShape

# A boto3 client of the local cloud, by the service's name.
Clients = Callable[[str], Any]

Properties = dict[str, Any]


class DeploymentError(Exception):
    """A resource of the template can't be made; the message reaches the user as the reason."""


class ReplacementNeeded(Exception):  # noqa: N818 - no error: it asks for another way to update
    """Raised by `update`: this change makes a new resource, after which the old one is deleted."""


@dataclass(frozen=True)
class Created:
    """What a template can refer to: `physical_id` is its `!Ref`, `attributes` its `!GetAtt`."""

    physical_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class ResourceProvider(Protocol):
    """The resources of one type.

    Properties arrive resolved (no intrinsic functions left). A value that comes from a parameter is
    a string, whatever it stands for: convert numbers and booleans with `shaped`, or yourself.
    """

    @property
    def resource_type(self) -> str:
        """The type's name in a template, such as `AWS::Glue::Job`."""

    @property
    def properties(self) -> frozenset[str]:
        """Every top-level property that it understands; any other refuses the deployment."""

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """Make the resource. `name` is what CloudFormation would call it (`<stack>-<id>-<suffix>`);
        a name among the properties goes first. Raise DeploymentError or ApiError to refuse."""

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """Change the resource from `old` to `new`, in place, or raise ReplacementNeeded."""

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Remove the resource; one that is gone already is no error."""


@dataclass(frozen=True)
class ApiResource:
    """A resource type whose resources are made by a call, changed by one, and deleted by one.

    `put` makes or changes the resource under a name and says what came of it; where AWS replaces a
    resource on update, `replaced` is true, and where some properties only can't change in place,
    `fixed` names them.
    """

    resource_type: str
    properties: frozenset[str]
    put: Callable[[str, Properties], Created]
    remove: Callable[[str, Properties], object]
    fixed: frozenset[str] = frozenset()
    replaced: bool = False
    change: Callable[[str, Properties], Created] | None = None

    def create(self, logical_id: str, name: str, properties: Properties) -> Created:
        """Make the resource."""
        return self.put(name, properties)

    def update(self, physical_id: str, old: Properties, new: Properties) -> Created:
        """Change it in place, or ask for its replacement."""
        if self.replaced or any(old.get(name) != new.get(name) for name in self.fixed):
            raise ReplacementNeeded
        return (self.change or self.put)(physical_id, new)

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Remove it."""
        self.remove(physical_id, properties)


def without(properties: Properties, *names: str) -> Properties:
    """`properties` but for those of these names."""
    return {name: value for name, value in properties.items() if name not in names}


def tags_of(properties: Mapping[str, Any]) -> dict[str, str]:
    """The resource's tags as a map, from the list that most types have."""
    return {str(tag["Key"]): str(tag["Value"]) for tag in properties.get("Tags") or ()}


def shaped(client: Any, operation: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """`properties` of a template as the arguments of `client`'s `operation` (such as
    `PutMetricAlarm`), where the two have the same members but for the case of their first letter:
    numbers and booleans that came as text become what the operation takes.

    DeploymentError naming the place if a member, at any depth, is not the operation's.
    """
    shape = client.meta.service_model.operation_model(operation).input_shape
    arguments: dict[str, Any] = _shaped(shape, properties, operation)
    return arguments


def _shaped(shape: Shape, value: Any, where: str) -> Any:
    if isinstance(shape, StructureShape):
        return _shaped_members(shape, value, where)
    if isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise DeploymentError(f"{where} must be a list")
        return [_shaped(shape.member, one, f"{where}[{at}]") for at, one in enumerate(value)]
    if isinstance(shape, MapShape):
        if not isinstance(value, dict):
            raise DeploymentError(f"{where} must be a map")
        return {key: _shaped(shape.value, one, f"{where}.{key}") for key, one in value.items()}
    try:
        return _scalar(shape.type_name, value)
    except (ValueError, KeyError, TypeError):
        raise DeploymentError(f"{where} must be of type {shape.type_name}") from None


def _shaped_members(shape: StructureShape, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DeploymentError(f"{where} must be an object")
    members = {name.lower(): name for name in shape.members}
    arguments = {}
    for key, one in value.items():
        if key.lower() not in members:
            raise DeploymentError(f"the local cloud does not know {where}.{key}")
        name = members[key.lower()]
        arguments[name] = _shaped(shape.members[name], one, f"{where}.{key}")
    return arguments


def _scalar(type_name: str, value: Any) -> Any:
    if isinstance(value, (dict, list)):
        raise TypeError
    match type_name:
        case "integer" | "long":
            return int(value)
        case "float" | "double":
            return float(value)
        case "boolean":
            return {"true": True, "false": False}[str(value).lower()]
        case "string":
            return ("true" if value else "false") if isinstance(value, bool) else str(value)
    return value
