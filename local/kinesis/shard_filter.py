"""Which shards a ShardFilter of ListShards means.

https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from local.api import ApiError
from local.kinesis.shard import Shard
from local.kinesis.stream import Stream


def filtered(
    stream: Stream, shards: list[Shard], wanted: dict[str, Any], now_ms: int
) -> Iterable[Shard]:
    """Those of `shards` that the filter `wanted` asks for; ApiError if it is none."""
    kind = wanted.get("Type", "FROM_TRIM_HORIZON")
    horizon_ms = now_ms - stream.retention_hours * 3_600_000
    match kind:
        case "AFTER_SHARD_ID":
            after = stream.shard(wanted.get("ShardId")).index
            return (shard for shard in shards if shard.index > after)
        case "AT_LATEST":
            return (shard for shard in shards if shard.is_open)
        case "FROM_TRIM_HORIZON":
            return shards
        case "AT_TRIM_HORIZON":
            # Shards had to exist at the horizon, unless the stream is younger than that.
            at_ms = max(horizon_ms, stream.created_ms)
            return (shard for shard in shards if _was_open(shard, at_ms))
        case "AT_TIMESTAMP":
            at_ms = _timestamp_ms(wanted)
            return (shard for shard in shards if _was_open(shard, at_ms))
        case "FROM_TIMESTAMP":
            at_ms = _timestamp_ms(wanted)
            return (s for s in shards if s.closed_ms is None or s.closed_ms >= at_ms)
        case _:
            raise ApiError("InvalidArgumentException", f"ShardFilter has no Type {kind}")


def _was_open(shard: Shard, at_ms: int) -> bool:
    return shard.created_ms <= at_ms and (shard.closed_ms is None or shard.closed_ms > at_ms)


def _timestamp_ms(wanted: dict[str, Any]) -> int:
    value = wanted.get("Timestamp")
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, (int, float)):
        return round(value * 1000)
    raise ApiError("InvalidArgumentException", f"ShardFilter {wanted['Type']} needs a Timestamp")
