"""A managed policy of a template: made, changed in place under the same ARN, and deleted."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.deployment.account_resources import account_providers
from local.deployment.provider import DeploymentError, ReplacementNeeded


def client(service: str) -> Any:
    # The stubs know a client by the literal name of its service only.
    return boto3.client(service, region_name="us-east-1")  # type: ignore[call-overload]


def document(action: str) -> dict[str, object]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::zone/*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_a_policy_is_made_changed_in_place_and_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        iam = boto3.client("iam", region_name="us-east-1")
        [provider] = [
            each
            for each in account_providers(client)
            if each.resource_type == "AWS::IAM::ManagedPolicy"
        ]
        first = {"Description": "reads", "PolicyDocument": document("s3:GetObject")}
        made = provider.create("ReaderPolicy", "lake-ReaderPolicy-1", first)
        assert made.attributes == {"PolicyArn": made.physical_id}
        iam.create_role(RoleName="analyst", AssumeRolePolicyDocument="{}")
        iam.attach_role_policy(RoleName="analyst", PolicyArn=made.physical_id)

        second = first | {"PolicyDocument": document("s3:ListBucket")}
        # More changes than the five versions that IAM keeps.
        for _ in range(6):
            assert provider.update(made.physical_id, first, second).physical_id == made.physical_id
        [version] = iam.list_policy_versions(PolicyArn=made.physical_id)["Versions"]
        kept = iam.get_policy_version(PolicyArn=made.physical_id, VersionId=version["VersionId"])[
            "PolicyVersion"
        ]["Document"]
        assert kept == document("s3:ListBucket")

        with pytest.raises(ReplacementNeeded):
            provider.update(made.physical_id, first, first | {"Description": "writes"})
        with pytest.raises(DeploymentError, match="Groups"):
            provider.create("Other", "lake-Other-1", first | {"Groups": ["all"]})
        iam.detach_role_policy(RoleName="analyst", PolicyArn=made.physical_id)
        provider.delete(made.physical_id, second)
        assert iam.list_policies(Scope="Local")["Policies"] == []
