"""The resource types of the template that moto keeps: made through moto's own API.

Each type is a few calls of a boto3 client. Guarantee: a property at any depth that has no effect in
the call it belongs to is refused, since the calls' own shapes are what properties are checked by.
"""

import json
from typing import Any

from local.deployment.buckets import BucketPolicyProvider, BucketProvider
from local.deployment.provider import (
    ApiResource,
    Clients,
    Created,
    Properties,
    ResourceProvider,
    shaped,
    without,
)


def account_providers(clients: Clients) -> list[ResourceProvider]:
    """Buckets, roles and what Athena keeps."""
    return [
        BucketProvider(clients("s3")),
        BucketPolicyProvider(clients("s3")),
        _role(clients("iam")),
        _managed_policy(clients("iam")),
        _work_group(clients("athena")),
        _named_query(clients("athena")),
    ]


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


def _managed_policy(iam: Any) -> ApiResource:
    """A policy to attach; its `!Ref` is its ARN. A change is a new version, and the only one."""
    known = frozenset({"ManagedPolicyName", "Path", "Description", "PolicyDocument"})

    def create(name: str, properties: Properties) -> Created:
        made = iam.create_policy(
            PolicyName=properties.get("ManagedPolicyName", name),
            PolicyDocument=json.dumps(properties["PolicyDocument"]),
            **shaped(
                iam, "CreatePolicy", without(properties, "ManagedPolicyName", "PolicyDocument")
            ),
        )
        arn = made["Policy"]["Arn"]
        return Created(arn, {"PolicyArn": arn})

    def other_versions(arn: str) -> None:
        for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])

    def change(arn: str, properties: Properties) -> Created:
        iam.create_policy_version(
            PolicyArn=arn,
            PolicyDocument=json.dumps(properties["PolicyDocument"]),
            SetAsDefault=True,
        )
        other_versions(arn)
        return Created(arn, {"PolicyArn": arn})

    def delete(arn: str, _: Properties) -> None:
        other_versions(arn)
        iam.delete_policy(PolicyArn=arn)

    return ApiResource(
        "AWS::IAM::ManagedPolicy",
        known,
        create,
        delete,
        frozenset({"ManagedPolicyName", "Path", "Description"}),
        change=change,
    )


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
