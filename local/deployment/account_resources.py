"""The resource types of the template that moto keeps: made through moto's own API.

Each type is a few calls of a boto3 client. Guarantee: a property at any depth that has no effect in
the call it belongs to is refused, since the calls' own shapes are what properties are checked by.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.deployment.buckets import BucketPolicyProvider, BucketProvider
from local.deployment.provider import (
    Created,
    ReplacementNeeded,
    ResourceProvider,
    shaped,
)

# A boto3 client of the local cloud, by the service's name.
Clients = Callable[[str], Any]

Properties = dict[str, Any]


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


def account_providers(clients: Clients) -> list[ResourceProvider]:
    """Buckets, roles, permissions and what Athena keeps."""
    return [
        BucketProvider(clients("s3")),
        BucketPolicyProvider(clients("s3")),
        _role(clients("iam")),
        _permission(clients("lambda")),
        _work_group(clients("athena")),
        _named_query(clients("athena")),
    ]


def without(properties: Properties, *names: str) -> Properties:
    """`properties` but for those of these names."""
    return {name: value for name, value in properties.items() if name not in names}


def tags_of(properties: Mapping[str, Any]) -> dict[str, str]:
    """The resource's tags as a map, from the list that most types have."""
    return {str(tag["Key"]): str(tag["Value"]) for tag in properties.get("Tags") or ()}


def _role(iam: Any) -> ApiResource:
    known = frozenset(
        {"RoleName", "Path", "Description", "AssumeRolePolicyDocument", "Policies", "Tags"}
    )

    def policies(name: str, properties: Properties) -> None:
        for policy in properties.get("Policies") or ():
            iam.put_role_policy(
                RoleName=name,
                PolicyName=policy["PolicyName"],
                PolicyDocument=json.dumps(policy["PolicyDocument"]),
            )

    def described(name: str) -> Created:
        role = iam.get_role(RoleName=name)["Role"]
        return Created(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})

    def create(name: str, properties: Properties) -> Created:
        name = properties.get("RoleName", name)
        arguments = without(properties, "Policies", "AssumeRolePolicyDocument", "RoleName")
        iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"]),
            **shaped(iam, "CreateRole", arguments),
        )
        policies(name, properties)
        return described(name)

    def change(name: str, properties: Properties) -> Created:
        iam.update_assume_role_policy(
            RoleName=name, PolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"])
        )
        wanted = {policy["PolicyName"] for policy in properties.get("Policies") or ()}
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            if policy not in wanted:
                iam.delete_role_policy(RoleName=name, PolicyName=policy)
        policies(name, properties)
        return described(name)

    def delete(name: str, _: Properties) -> None:
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        iam.delete_role(RoleName=name)

    return ApiResource(
        "AWS::IAM::Role", known, create, delete, frozenset({"RoleName", "Path"}), change=change
    )


def _permission(client: Any) -> ApiResource:
    known = frozenset({"Action", "FunctionName", "Principal", "SourceArn", "SourceAccount"})

    def create(name: str, properties: Properties) -> Created:
        client.add_permission(StatementId=name, **shaped(client, "AddPermission", properties))
        return Created(name)

    def delete(name: str, properties: Properties) -> None:
        client.remove_permission(FunctionName=properties["FunctionName"], StatementId=name)

    return ApiResource("AWS::Lambda::Permission", known, create, delete, replaced=True)


def _work_group(athena: Any) -> ApiResource:
    known = frozenset(
        {
            "Name",
            "Description",
            "State",
            "WorkGroupConfiguration",
            "RecursiveDeleteOption",
            "Tags",
        }
    )

    def arguments(properties: Properties) -> Properties:
        shown = without(
            properties, "Name", "State", "WorkGroupConfiguration", "RecursiveDeleteOption"
        )
        return shown | {"Configuration": properties.get("WorkGroupConfiguration") or {}}

    def create(name: str, properties: Properties) -> Created:
        name = properties["Name"]
        athena.create_work_group(
            Name=name, **shaped(athena, "CreateWorkGroup", arguments(properties))
        )
        return Created(name)

    def change(name: str, properties: Properties) -> Created:
        # Moto has no UpdateWorkGroup.
        athena.delete_work_group(WorkGroup=name)
        return create(name, properties)

    return ApiResource(
        "AWS::Athena::WorkGroup",
        known,
        create,
        lambda name, _: athena.delete_work_group(WorkGroup=name),
        frozenset({"Name"}),
        change=change,
    )


def _named_query(athena: Any) -> ApiResource:
    known = frozenset({"Name", "Description", "Database", "QueryString", "WorkGroup"})

    def create(name: str, properties: Properties) -> Created:
        query = {"Name": name, **properties}
        made = athena.create_named_query(**shaped(athena, "CreateNamedQuery", query))
        return Created(made["NamedQueryId"], {"NamedQueryId": made["NamedQueryId"]})

    # Moto has no DeleteNamedQuery; a query that is left behind does nothing.
    return ApiResource("AWS::Athena::NamedQuery", known, create, lambda *_: None, replaced=True)
