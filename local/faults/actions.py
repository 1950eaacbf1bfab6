"""Faults that are not a call's: what they do to a stream.

https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-resharding.html
"""

import random
from typing import Any

from local.faults.faults import Fault, FaultError


def reshard(kinesis: Any, fault: Fault) -> None:
    """Scale a stream to `shards`, else split or merge what the seed chooses.

    `kinesis` is a boto3 client or has its methods. The stream is the first whose name contains
    `where`.
    """
    names = [name for name in kinesis.list_streams()["StreamNames"] if fault.where in name]
    if not names:
        raise FaultError("there is no such stream")
    stream = {"StreamName": names[0]}
    if fault.shards:
        kinesis.update_shard_count(
            **stream, TargetShardCount=fault.shards, ScalingType="UNIFORM_SCALING"
        )
        return
    listed = kinesis.list_shards(**stream, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    shards = sorted(listed, key=_first)
    seeded = random.Random(fault.seed)  # noqa: S311 - nothing secret is drawn
    if len(shards) > 1 and seeded.random() < 0.5:
        at = seeded.randrange(len(shards) - 1)
        kinesis.merge_shards(
            **stream,
            ShardToMerge=shards[at]["ShardId"],
            AdjacentShardToMerge=shards[at + 1]["ShardId"],
        )
    else:
        shard = seeded.choice(shards)
        middle = (_first(shard) + int(shard["HashKeyRange"]["EndingHashKey"])) // 2 + 1
        kinesis.split_shard(**stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(middle))


def _first(shard: dict[str, Any]) -> int:
    return int(shard["HashKeyRange"]["StartingHashKey"])
