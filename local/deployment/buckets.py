"""How CloudFormation makes buckets and their policies, on moto's S3.

Of a bucket's policy only the statements without a condition are kept: moto applies a Deny and
ignores its condition, so that `aws:SecureTransport` would lock everybody out of the local cloud.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html
"""

import json
from typing import Any

from local.deployment.provider import Created, DeploymentError, ReplacementNeeded, shaped


class BucketProvider:
    """AWS::S3::Bucket."""

    resource_type = "AWS::S3::Bucket"
    properties = frozenset(
        {
            "BucketName",
            "BucketEncryption",
            "PublicAccessBlockConfiguration",
            "OwnershipControls",
            "VersioningConfiguration",
            "LifecycleConfiguration",
            "Tags",
        }
    )

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """CreateBucket, then its settings."""
        name = properties.get("BucketName", name)
        self._s3.create_bucket(Bucket=name)
        self._settle(name, properties)
        return Created(
            name,
            {
                "Arn": f"arn:aws:s3:::{name}",
                "DomainName": f"{name}.s3.amazonaws.com",
                "RegionalDomainName": f"{name}.s3.us-east-1.amazonaws.com",
            },
        )

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """The settings anew."""
        if old.get("BucketName") != new.get("BucketName"):
            raise ReplacementNeeded
        for setting, forget in (
            ("BucketEncryption", self._s3.delete_bucket_encryption),
            ("PublicAccessBlockConfiguration", self._s3.delete_public_access_block),
            ("OwnershipControls", self._s3.delete_bucket_ownership_controls),
            ("LifecycleConfiguration", self._s3.delete_bucket_lifecycle),
            ("Tags", self._s3.delete_bucket_tagging),
        ):
            if setting in old and setting not in new:
                forget(Bucket=physical_id)
        self._settle(physical_id, new)
        return Created(physical_id, {"Arn": f"arn:aws:s3:::{physical_id}"})

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """DeleteBucket, which refuses a bucket that is not empty."""
        self._s3.delete_bucket(Bucket=physical_id)

    def _settle(self, name: str, properties: dict[str, Any]) -> None:
        for setting, value in properties.items():
            match setting:
                case "BucketEncryption":
                    rules = [_encryption_rule(one) for one in _rules(value, *_ENCRYPTION)]
                    self._put("PutBucketEncryption", name, _ENCRYPTION[0], {"Rules": rules})
                case "PublicAccessBlockConfiguration":
                    self._put("PutPublicAccessBlock", name, setting, value)
                case "OwnershipControls":
                    self._put("PutBucketOwnershipControls", name, setting, value)
                case "VersioningConfiguration":
                    self._put("PutBucketVersioning", name, setting, value)
                case "LifecycleConfiguration":
                    rules = [_lifecycle_rule(one) for one in _rules(value, "Rules")]
                    self._put("PutBucketLifecycleConfiguration", name, setting, {"Rules": rules})
                case "Tags":
                    self._put("PutBucketTagging", name, "Tagging", {"TagSet": value})

    def _put(self, operation: str, bucket: str, member: str, value: object) -> None:
        # `put_bucket_lifecycle_configuration` of PutBucketLifecycleConfiguration, and so on.
        method = "".join(f"_{c.lower()}" if c.isupper() else c for c in operation)[1:]
        arguments = shaped(self._s3, operation, {"Bucket": bucket, member: value})
        getattr(self._s3, method)(**arguments)


_ENCRYPTION = ("ServerSideEncryptionConfiguration",)


def _rules(value: dict[str, Any], member: str) -> list[dict[str, Any]]:
    if unknown := value.keys() - {member}:
        raise DeploymentError(f"the local cloud does not know {sorted(unknown)} beside {member}")
    rules: list[dict[str, Any]] = value[member]
    return rules


def _encryption_rule(rule: dict[str, Any]) -> dict[str, Any]:
    rule = dict(rule)
    if "ServerSideEncryptionByDefault" in rule:
        rule["ApplyServerSideEncryptionByDefault"] = rule.pop("ServerSideEncryptionByDefault")
    return rule


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of the template in the API's words."""
    rule = dict(rule)
    converted: dict[str, Any] = {"Filter": {"Prefix": rule.pop("Prefix", "")}}
    if "Id" in rule:
        converted["ID"] = rule.pop("Id")
    if "ExpirationInDays" in rule:
        converted["Expiration"] = {"Days": rule.pop("ExpirationInDays")}
    if "ExpiredObjectDeleteMarker" in rule:
        converted.setdefault("Expiration", {})["ExpiredObjectDeleteMarker"] = rule.pop(
            "ExpiredObjectDeleteMarker"
        )
    return converted | rule


class BucketPolicyProvider:
    """AWS::S3::BucketPolicy, of which conditioned statements have no effect here."""

    resource_type = "AWS::S3::BucketPolicy"
    properties = frozenset({"Bucket", "PolicyDocument"})

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """PutBucketPolicy, if any statement is left."""
        document = dict(properties["PolicyDocument"])
        statements = [one for one in document["Statement"] if "Condition" not in one]
        if statements:
            policy = json.dumps(document | {"Statement": statements})
            self._s3.put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)
        return Created(properties["Bucket"])

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """The policy anew."""
        if old["Bucket"] != new["Bucket"]:
            raise ReplacementNeeded
        self.delete(physical_id, old)
        return self.create("", "", new)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """DeleteBucketPolicy."""
        self._s3.delete_bucket_policy(Bucket=properties["Bucket"])
