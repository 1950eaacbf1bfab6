"""The streams there are, and every setting of theirs: the part of Kinesis that people use by hand.

Changes take effect at once: a stream is never seen CREATING or UPDATING.
https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Operations.html
"""

import re
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from local.api import ACCOUNT_ID, ApiError
from local.kinesis.shard import Shard
from local.kinesis.stream import ON_DEMAND_SHARDS, Stream, filtered

MAX_LISTED_SHARDS: Final = 1000
MAX_SCALINGS_A_DAY: Final = 10
_DAY_MS: Final = 86_400_000
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


class StreamSettings:
    """The operations that create, describe, change and delete streams."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self._streams: dict[str, Stream] = {}
        self._lock = threading.RLock()

    def settings_operations(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """The operations by their AWS names."""
        return {
            "CreateStream": self.create_stream,
            "DeleteStream": self.delete_stream,
            "ListStreams": self.list_streams,
            "DescribeStream": self.describe_stream,
            "DescribeStreamSummary": self.describe_stream_summary,
            "ListShards": self.list_shards,
            "SplitShard": self.split_shard,
            "MergeShards": self.merge_shards,
            "UpdateShardCount": self.update_shard_count,
            "UpdateStreamMode": self.update_stream_mode,
            "IncreaseStreamRetentionPeriod": self.increase_stream_retention_period,
            "DecreaseStreamRetentionPeriod": self.decrease_stream_retention_period,
            "StartStreamEncryption": self.start_stream_encryption,
            "StopStreamEncryption": self.stop_stream_encryption,
            "AddTagsToStream": self.add_tags_to_stream,
            "RemoveTagsFromStream": self.remove_tags_from_stream,
            "ListTagsForStream": self.list_tags_for_stream,
            "UpdateMaxRecordSize": self.update_max_record_size,
            "RegisterStreamConsumer": self.refuse_consumers,
            "SubscribeToShard": self.refuse_consumers,
            "ListStreamConsumers": self.list_stream_consumers,
        }

    def _stream(self, request: dict[str, Any]) -> Stream:
        """The stream that a request names or gives the ARN of."""
        name = request.get("StreamName")
        if not name and (arn := request.get("StreamARN")):
            name = str(arn).rpartition("/")[2]
        stream = self._streams.get(str(name))
        if stream is None:
            raise ApiError(
                "ResourceNotFoundException", f"Stream {name} under account {ACCOUNT_ID} not found."
            )
        return stream

    # ------------------------------------------------------------------------------ streams

    def create_stream(self, **request: Any) -> dict[str, Any]:
        """CreateStream, provisioned or on-demand."""
        name = str(request.get("StreamName") or "")
        if not _NAME.fullmatch(name):
            raise ApiError(
                "ValidationException",
                f"1 validation error detected: Value '{name}' at 'streamName' failed to satisfy "
                "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
            )
        on_demand = _is_on_demand(request)
        count = request.get("ShardCount")
        if on_demand and count is not None:
            raise ApiError("ValidationException", "ShardCount can't be given in On-Demand mode")
        if not on_demand and (count is None or int(count) < 1):
            raise ApiError("ValidationException", "ShardCount must be at least 1")
        with self._lock:
            if name in self._streams:
                raise ApiError(
                    "ResourceInUseException",
                    f"Stream {name} under account {ACCOUNT_ID} already exists.",
                )
            stream = Stream(name, self.now_ms(), secrets.randbits(48), on_demand)
            stream.add_uniform_shards(ON_DEMAND_SHARDS if on_demand else int(count or 0))
            stream.tags.update(request.get("Tags") or {})
            if request.get("MaxRecordSizeInKiB") is not None:
                _set_max_record_size(stream, request)
            self._streams[name] = stream
        return {}

    def delete_stream(self, **request: Any) -> dict[str, Any]:
        """DeleteStream, with all that it holds."""
        stream = self._stream(request)
        with self._lock:
            self._streams.pop(stream.name, None)
        return {}

    def list_streams(self, **request: Any) -> dict[str, Any]:
        """ListStreams, in order of their names."""
        after = str(request.get("NextToken") or request.get("ExclusiveStartStreamName") or "")
        limit = min(int(request.get("Limit") or 100), 100)
        following = sorted(name for name in self._streams if name > after)
        page = following[:limit]
        answer: dict[str, Any] = {
            "StreamNames": page,
            "HasMoreStreams": len(following) > limit,
            "StreamSummaries": [_summary(self._streams[name]) for name in page],
        }
        if len(following) > limit:
            answer["NextToken"] = page[-1]
        return answer

    def describe_stream(self, **request: Any) -> dict[str, Any]:
        """DescribeStream, with the shards that are within retention."""
        stream = self._stream(request)
        limit = min(int(request.get("Limit") or 100), 100)
        with stream.lock:
            shards = self._listed(stream, request.get("ExclusiveStartShardId"))
            described = [stream.describe_shard(shard) for shard in shards[:limit]]
        return {
            "StreamDescription": {
                **_description(stream),
                "Shards": described,
                "HasMoreShards": len(shards) > limit,
            }
        }

    def describe_stream_summary(self, **request: Any) -> dict[str, Any]:
        """DescribeStreamSummary."""
        stream = self._stream(request)
        return {
            "StreamDescriptionSummary": {
                **_description(stream),
                "OpenShardCount": len(stream.open_shards),
                "ConsumerCount": 0,
                "MaxRecordSizeInKiB": stream.max_record_kib,
            }
        }

    def list_shards(self, **request: Any) -> dict[str, Any]:
        """ListShards, with its filters and pages."""
        token = request.get("NextToken")
        start = request.get("ExclusiveStartShardId")
        shard_filter: dict[str, Any] = request.get("ShardFilter") or {}
        if token:
            if request.get("StreamName") or start:
                raise ApiError(
                    "InvalidArgumentException",
                    "NextToken and StreamName or ExclusiveStartShardId cannot be given together.",
                )
            name, _, start = str(token).partition("/")
            request["StreamName"] = name
        stream = self._stream(request)
        limit = min(int(request.get("MaxResults") or MAX_LISTED_SHARDS), MAX_LISTED_SHARDS)
        with stream.lock:
            shards = self._listed(stream, start)
            # A page's token carries no filter: as on AWS, it is given again with the next page.
            shards = list(filtered(stream, shards, shard_filter, self.now_ms()))
            answer: dict[str, Any] = {
                "Shards": [stream.describe_shard(shard) for shard in shards[:limit]]
            }
        if len(shards) > limit:
            answer["NextToken"] = f"{stream.name}/{shards[limit - 1].shard_id}"
        return answer

    def _listed(self, stream: Stream, after: object) -> list[Shard]:
        now_ms = self.now_ms()
        first = stream.shard(after).index + 1 if after else 0
        return [shard for shard in stream.shards[first:] if not stream.is_expired(shard, now_ms)]

    # ------------------------------------------------------------------------------ scaling

    def split_shard(self, **request: Any) -> dict[str, Any]:
        """SplitShard: one shard becomes two."""
        stream = self._provisioned(request)
        with stream.lock:
            shard = _open_shard(stream, request.get("ShardToSplit"))
            given = str(request.get("NewStartingHashKey", ""))
            start = int(given) if given.isdecimal() else -1
            if not shard.first_hash_key + 1 < start < shard.last_hash_key:
                raise ApiError(
                    "InvalidArgumentException",
                    f"NewStartingHashKey {given} used in SplitShard() on shard {shard.shard_id} in "
                    f"stream {stream.name} under account {ACCOUNT_ID} is not both greater than one "
                    f"plus the shard's StartingHashKey {shard.first_hash_key} and less than the "
                    f"shard's EndingHashKey {shard.last_hash_key}.",
                )
            stream.split(shard, start, self.now_ms())
        return {}

    def merge_shards(self, **request: Any) -> dict[str, Any]:
        """MergeShards: two neighbours become one."""
        stream = self._provisioned(request)
        with stream.lock:
            shard = _open_shard(stream, request.get("ShardToMerge"))
            adjacent = _open_shard(stream, request.get("AdjacentShardToMerge"))
            low, high = sorted((shard, adjacent), key=lambda s: s.first_hash_key)
            if low.last_hash_key + 1 != high.first_hash_key:
                raise ApiError(
                    "InvalidArgumentException",
                    f"Shards {shard.shard_id} and {adjacent.shard_id} in stream {stream.name} "
                    f"under account {ACCOUNT_ID} are not an adjacent pair of shards eligible for "
                    "merging",
                )
            stream.merge(shard, adjacent, self.now_ms())
        return {}

    def update_shard_count(self, **request: Any) -> dict[str, Any]:
        """UpdateShardCount: at most double, at least half, ten times a day."""
        stream = self._provisioned(request)
        target = int(request.get("TargetShardCount") or 0)
        if target < 1:
            raise ApiError(
                "ValidationException",
                f"1 validation error detected: Value '{target}' at 'targetShardCount' failed to "
                "satisfy constraint: Member must have value greater than or equal to 1",
            )
        if request.get("ScalingType") != "UNIFORM_SCALING":
            raise ApiError("InvalidArgumentException", "ScalingType must be UNIFORM_SCALING")
        with stream.lock:
            now_ms, count = self.now_ms(), len(stream.open_shards)
            if not count / 2 <= target <= count * 2:
                raise ApiError(
                    "LimitExceededException",
                    "UpdateShardCount cannot scale up over double or down below half your current "
                    f"open shard count. Current open shard count: {count} "
                    f"Target shard count: {target}",
                )
            stream.scaled_ms = [time for time in stream.scaled_ms if time > now_ms - _DAY_MS]
            if len(stream.scaled_ms) >= MAX_SCALINGS_A_DAY:
                raise ApiError(
                    "LimitExceededException",
                    f"stream {stream.name} was scaled {MAX_SCALINGS_A_DAY} times in 24 hours",
                )
            stream.scaled_ms.append(now_ms)
            stream.scale(target, now_ms)
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "CurrentShardCount": count,
            "TargetShardCount": target,
        }

    def update_stream_mode(self, **request: Any) -> dict[str, Any]:
        """UpdateStreamMode: between provisioned and on-demand; the shards stay as they are."""
        self._stream(request).on_demand = _is_on_demand(request)
        return {}

    def _provisioned(self, request: dict[str, Any]) -> Stream:
        stream = self._stream(request)
        if stream.on_demand:
            raise ApiError(
                "ValidationException",
                f"Request is invalid. Stream {stream.name} under account {ACCOUNT_ID} is in "
                "On-Demand mode.",
            )
        return stream

    # ------------------------------------------------------------------------------ settings

    def increase_stream_retention_period(self, **request: Any) -> dict[str, Any]:
        """IncreaseStreamRetentionPeriod, up to 8,760 hours."""
        return self._set_retention(request, +1)

    def decrease_stream_retention_period(self, **request: Any) -> dict[str, Any]:
        """DecreaseStreamRetentionPeriod, down to 24 hours; what is older goes at once."""
        return self._set_retention(request, -1)

    def _set_retention(self, request: dict[str, Any], direction: int) -> dict[str, Any]:
        stream = self._stream(request)
        hours = int(request.get("RetentionPeriodHours") or 0)
        if not 24 <= hours <= 8760:
            raise ApiError(
                "InvalidArgumentException",
                f"a retention period of {hours} hours is not between 24 and 8760",
            )
        with stream.lock:
            if (hours - stream.retention_hours) * direction < 0:
                raise ApiError(
                    "InvalidArgumentException",
                    f"Requested retention period ({hours} hours) for stream {stream.name} is on "
                    "the wrong side of the existing retention period "
                    f"({stream.retention_hours} hours).",
                )
            stream.retention_hours = hours
            stream.trim(self.now_ms())
        return {}

    def start_stream_encryption(self, **request: Any) -> dict[str, Any]:
        """StartStreamEncryption: records say so; nothing is encrypted in memory."""
        if request.get("EncryptionType") != "KMS" or not request.get("KeyId"):
            raise ApiError("ValidationException", "EncryptionType KMS and a KeyId are needed")
        self._stream(request).encryption_key = str(request["KeyId"])
        return {}

    def stop_stream_encryption(self, **request: Any) -> dict[str, Any]:
        """StopStreamEncryption."""
        self._stream(request).encryption_key = None
        return {}

    def update_max_record_size(self, **request: Any) -> dict[str, Any]:
        """UpdateMaxRecordSize, 1 to 10 MiB."""
        _set_max_record_size(self._stream(request), request)
        return {}

    def add_tags_to_stream(self, **request: Any) -> dict[str, Any]:
        """AddTagsToStream."""
        self._stream(request).tags.update(request.get("Tags") or {})
        return {}

    def remove_tags_from_stream(self, **request: Any) -> dict[str, Any]:
        """RemoveTagsFromStream."""
        tags = self._stream(request).tags
        for key in request.get("TagKeys") or ():
            tags.pop(key, None)
        return {}

    def list_tags_for_stream(self, **request: Any) -> dict[str, Any]:
        """ListTagsForStream."""
        tags = self._stream(request).tags
        shown = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
        return {"Tags": shown, "HasMoreTags": False}

    def list_stream_consumers(self, **request: Any) -> dict[str, Any]:
        """ListStreamConsumers: there are never any."""
        self._stream(request)
        return {"Consumers": []}

    def refuse_consumers(self, **_: Any) -> dict[str, Any]:
        """Enhanced fan-out is nothing that the pipeline uses."""
        raise ApiError(
            "InvalidArgumentException",
            "the local cloud has no enhanced fan-out consumers: read with GetRecords",
        )


def _is_on_demand(request: dict[str, Any]) -> bool:
    mode = (request.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED")
    if mode not in ("PROVISIONED", "ON_DEMAND"):
        raise ApiError("ValidationException", f"StreamMode {mode} is neither of the two")
    return bool(mode == "ON_DEMAND")


def _set_max_record_size(stream: Stream, request: dict[str, Any]) -> None:
    kib = int(request.get("MaxRecordSizeInKiB") or 0)
    if not 1024 <= kib <= 10240:
        raise ApiError("ValidationException", f"MaxRecordSizeInKiB {kib} is not in 1024..10240")
    stream.max_record_kib = kib


def _open_shard(stream: Stream, shard_id: object) -> Shard:
    shard = stream.shard(shard_id)
    if not shard.is_open:
        raise ApiError(
            "InvalidArgumentException",
            f"Shard {shard.shard_id} in stream {stream.name} under account {ACCOUNT_ID} has "
            "already been merged or split, and thus is not eligible for merging or splitting.",
        )
    return shard


def _summary(stream: Stream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "ON_DEMAND" if stream.on_demand else "PROVISIONED"},
        "StreamCreationTimestamp": datetime.fromtimestamp(stream.created_ms / 1000, UTC),
    }


def _description(stream: Stream) -> dict[str, Any]:
    encryption = (
        {"EncryptionType": "KMS", "KeyId": stream.encryption_key}
        if stream.encryption_key
        else {"EncryptionType": "NONE"}
    )
    return {
        **_summary(stream),
        "RetentionPeriodHours": stream.retention_hours,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        **encryption,
    }
