"""What a resource type of CloudFormation is made of, where moto has none or a wrong one.

A `ResourceProvider` creates, updates and deletes the resources of one type when a stack is
deployed. Guarantee: a property that the provider does not name is refused at deployment, by its
name, so that nothing of a template is silently ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class DeploymentError(Exception):
    """A resource of the template can't be made; the message reaches the user as the reason."""


@dataclass(frozen=True)
class Created:
    """What a template can refer to: `physical_id` is its `!Ref`, `attributes` its `!GetAtt`."""

    physical_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class ResourceProvider(Protocol):
    """The resources of one type.

    Properties arrive resolved (no intrinsic functions left). A value that comes from a parameter is
    a string, whatever it stands for: convert numbers and booleans with `coerced`, or yourself.
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
        """Change the resource from the properties `old` to `new`, in place."""

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Remove the resource; one that is gone already is no error."""
