"""A stack as data: what was asked for, what exists, what happened.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Stack.html
"""

import secrets
import string
import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from local.api import ACCOUNT_ID, REGION
from local.deployment.provider import Created
from local.deployment.template import Template, validation_error


@dataclass
class Deployed:
    """A resource that exists."""

    logical_id: str
    resource_type: str
    created: Created
    properties: dict[str, Any]
    deletion_policy: str
    status: str = "CREATE_COMPLETE"
    changed_at: datetime | None = None


@dataclass
class Stack:
    """A stack and its history. `resources` holds what exists, in the order of creation."""

    name: str
    stack_id: str
    created_at: datetime
    status: str = "REVIEW_IN_PROGRESS"
    status_reason: str = ""
    updated_at: datetime | None = None
    template_text: str = ""
    template: Template | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    capabilities: list[str] = field(default_factory=list)
    resources: dict[str, Deployed] = field(default_factory=dict)
    outputs: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ref(self, logical_id: str) -> str:
        """The physical id of a resource that exists."""
        return self._existing(logical_id).created.physical_id

    def attribute(self, logical_id: str, name: str) -> str:
        """An attribute of a resource that exists."""
        resource = self._existing(logical_id)
        if name not in resource.created.attributes:
            raise validation_error(
                f"Template error: resource {logical_id} ({resource.resource_type}) does not "
                f"support attribute {name} in Fn::GetAtt"
            )
        return resource.created.attributes[name]

    def _existing(self, logical_id: str) -> Deployed:
        if logical_id not in self.resources:
            raise validation_error(
                f"Template format error: Unresolved resource dependencies [{logical_id}]"
            )
        return self.resources[logical_id]


@dataclass(frozen=True)
class Wanted:
    """What a stack is to become."""

    template_text: str
    template: Template
    parameters: dict[str, str]
    tags: dict[str, str]
    capabilities: list[str]


def new_stack_id(name: str) -> str:
    """A stack's ARN."""
    return f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/{name}/{uuid4()}"


def physical_name(stack_name: str, logical_id: str, resource_type: str) -> str:
    """What CloudFormation calls a resource that its template does not name.

    Of at most 63 characters, which is a bucket's limit and below every other one; an alarm, which
    people know by its name in the template, keeps all of it.
    """
    alphabet = string.ascii_letters + string.digits
    suffix = "".join(secrets.choice(alphabet) for _ in range(12))
    if resource_type == "AWS::CloudWatch::Alarm":
        return f"{stack_name}-{logical_id}-{suffix}"
    room = 63 - len(suffix) - 2 - len(logical_id[:24])
    name = f"{stack_name[:room]}-{logical_id[:24]}-{suffix}"
    return name.lower() if resource_type == "AWS::S3::Bucket" else name


def described(stack: Stack) -> dict[str, Any]:
    return {
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "Description": stack.template.description if stack.template else "",
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in stack.parameters.items()
        ],
        "CreationTime": stack.created_at,
        **({"LastUpdatedTime": stack.updated_at} if stack.updated_at else {}),
        "StackStatus": stack.status,
        "StackStatusReason": stack.status_reason,
        "DisableRollback": False,
        "Capabilities": stack.capabilities,
        "Outputs": stack.outputs,
        "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
        "EnableTerminationProtection": False,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }


def described_resources(
    stack: Stack, time_member: str, logical_id: str | None
) -> list[dict[str, Any]]:
    return [
        {
            "StackName": stack.name,
            "StackId": stack.stack_id,
            "LogicalResourceId": resource.logical_id,
            "PhysicalResourceId": resource.created.physical_id,
            "ResourceType": resource.resource_type,
            time_member: resource.changed_at,
            "ResourceStatus": resource.status,
            "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
        }
        for resource in list(stack.resources.values())
        if logical_id in (None, resource.logical_id)
    ]
