"""How CloudFormation makes the stream, on our own Kinesis.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kinesis-stream.html
"""

from typing import Any

from local.deployment.provider import Created, DeploymentError, ReplacementNeeded, tags_of
from local.kinesis.streams import Streams


class StreamProvider:
    """AWS::Kinesis::Stream. An update scales, encrypts and retains as the APIs do."""

    resource_type = "AWS::Kinesis::Stream"
    properties = frozenset(
        {
            "Name",
            "ShardCount",
            "StreamModeDetails",
            "RetentionPeriodHours",
            "StreamEncryption",
            "MaxRecordSizeInKiB",
            "Tags",
        }
    )

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        """CreateStream, then its settings."""
        name = properties.get("Name", name)
        mode = _mode(properties)
        request: dict[str, Any] = {"StreamName": name, "StreamModeDetails": {"StreamMode": mode}}
        if mode == "PROVISIONED":
            request["ShardCount"] = int(properties.get("ShardCount", 1))
        elif "ShardCount" in properties:
            raise DeploymentError("ShardCount can't be given in ON_DEMAND mode")
        if "MaxRecordSizeInKiB" in properties:
            request["MaxRecordSizeInKiB"] = int(properties["MaxRecordSizeInKiB"])
        self._streams.create_stream(**request)
        self._settle(name, properties)
        return self._described(name)

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        """UpdateStreamMode, UpdateShardCount and the settings that changed."""
        if old.get("Name") != new.get("Name"):
            raise ReplacementNeeded
        mode = _mode(new)
        arn = self._described(physical_id).attributes["Arn"]
        self._streams.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": mode})
        if mode == "PROVISIONED" and int(new.get("ShardCount", 1)) != self._open(physical_id):
            self._streams.update_shard_count(
                StreamName=physical_id,
                TargetShardCount=int(new.get("ShardCount", 1)),
                ScalingType="UNIFORM_SCALING",
            )
        if "MaxRecordSizeInKiB" in new:
            self._streams.update_max_record_size(
                StreamARN=arn, MaxRecordSizeInKiB=int(new["MaxRecordSizeInKiB"])
            )
        self._settle(physical_id, new)
        return self._described(physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """DeleteStream."""
        self._streams.delete_stream(StreamName=physical_id)

    def _settle(self, name: str, properties: dict[str, Any]) -> None:
        hours = int(properties.get("RetentionPeriodHours", 24))
        is_hours = self._summary(name)["RetentionPeriodHours"]
        if hours > is_hours:
            self._streams.increase_stream_retention_period(
                StreamName=name, RetentionPeriodHours=hours
            )
        elif hours < is_hours:
            self._streams.decrease_stream_retention_period(
                StreamName=name, RetentionPeriodHours=hours
            )
        if encryption := properties.get("StreamEncryption"):
            self._streams.start_stream_encryption(StreamName=name, **encryption)
        else:
            self._streams.stop_stream_encryption(StreamName=name)
        known = [tag["Key"] for tag in self._streams.list_tags_for_stream(StreamName=name)["Tags"]]
        self._streams.remove_tags_from_stream(StreamName=name, TagKeys=known)
        self._streams.add_tags_to_stream(StreamName=name, Tags=tags_of(properties))

    def _summary(self, name: str) -> dict[str, Any]:
        summary: dict[str, Any] = self._streams.describe_stream_summary(StreamName=name)[
            "StreamDescriptionSummary"
        ]
        return summary

    def _open(self, name: str) -> int:
        return int(self._summary(name)["OpenShardCount"])

    def _described(self, name: str) -> Created:
        return Created(name, {"Arn": str(self._summary(name)["StreamARN"])})


def _mode(properties: dict[str, Any]) -> str:
    return str((properties.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED"))
