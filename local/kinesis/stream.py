"""A stream: its shards, how records find theirs, and how shards split and merge.

Guarantees: at any time the open shards cover every hash key exactly once, a closed shard takes no
record, and every child names its parents.

https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-resharding.html
"""

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local.api import ACCOUNT_ID, REGION, ApiError
from local.kinesis.shard import MAX_HASH_KEY, Shard

ON_DEMAND_SHARDS = 4  # what AWS gives a new on-demand stream


@dataclass
class Stream:
    """One stream's state. Whoever reads or changes it holds `lock`."""

    name: str
    created_ms: int
    nonce: int
    on_demand: bool
    retention_hours: int = 24
    encryption_key: str | None = None
    max_record_kib: int = 1024
    tags: dict[str, str] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    # Since the last time somebody asked, for AWS/Kinesis metrics.
    counts: Counter[str] = field(default_factory=Counter)
    open_starts: list[int] = field(default_factory=list)
    open_shards: list[Shard] = field(default_factory=list)
    scaled_ms: list[int] = field(default_factory=list)

    @property
    def arn(self) -> str:
        """The stream's ARN."""
        return f"arn:aws:kinesis:{REGION}:{ACCOUNT_ID}:stream/{self.name}"

    def add_uniform_shards(self, count: int) -> None:
        """The first shards: `count` equal parts of the hash keys."""
        starts = uniform_starts(count)
        for first, following in zip(starts, [*starts[1:], MAX_HASH_KEY + 1], strict=True):
            self._add(first, following - 1, self.created_ms, ())
        self._index_open_shards()

    def shard(self, shard_id: object) -> Shard:
        """The shard `shard_id`; ResourceNotFoundException if there is none."""
        text = str(shard_id)
        number = text.removeprefix("shardId-")
        if number.isdigit() and int(number) < len(self.shards):
            return self.shards[int(number)]
        raise ApiError(
            "ResourceNotFoundException",
            f"Shard {text} in stream {self.name} under account {ACCOUNT_ID} does not exist",
        )

    def shard_for(self, hash_key: int) -> Shard:
        """The open shard whose range holds `hash_key`."""
        return self.open_shards[bisect_right(self.open_starts, hash_key) - 1]

    def children(self, shard: Shard) -> list[Shard]:
        """The shards that `shard` was split or merged into."""
        return [child for child in self.shards if shard.shard_id in child.parents]

    def trim(self, now_ms: int) -> None:
        """Forget records past retention."""
        for shard in self.shards:
            shard.trim(now_ms - self.retention_hours * 3_600_000)

    def is_expired(self, shard: Shard, now_ms: int) -> bool:
        """Whether a closed shard's records are all past retention, so that it is not listed."""
        return (
            shard.closed_ms is not None
            and shard.closed_ms < now_ms - self.retention_hours * 3_600_000
        )

    def split(self, shard: Shard, starting_hash_key: int, now_ms: int) -> None:
        """Close `shard`; two children take over, the second from `starting_hash_key` on."""
        self._close((shard,), now_ms)
        parents = (shard.shard_id,)
        self._add(shard.first_hash_key, starting_hash_key - 1, now_ms, parents)
        self._add(starting_hash_key, shard.last_hash_key, now_ms, parents)
        self._index_open_shards()

    def merge(self, shard: Shard, adjacent: Shard, now_ms: int) -> Shard:
        """Close two neighbours; one child takes over, with `shard` as its parent."""
        self._close((shard, adjacent), now_ms)
        child = self._add(
            min(shard.first_hash_key, adjacent.first_hash_key),
            max(shard.last_hash_key, adjacent.last_hash_key),
            now_ms,
            (shard.shard_id, adjacent.shard_id),
        )
        self._index_open_shards()
        return child

    def scale(self, count: int, now_ms: int) -> None:
        """Uniform scaling: splits at the new bounds, then merges inside them.

        As on AWS, shards that live only between the two may appear.
        """
        starts = uniform_starts(count)
        for start in starts:
            shard = self.shard_for(start)
            if shard.first_hash_key != start:
                self.split(shard, start, now_ms)
        for first, following in zip(starts, [*starts[1:], MAX_HASH_KEY + 1], strict=True):
            merged = self.shard_for(first)
            while merged.last_hash_key < following - 1:
                merged = self.merge(merged, self.shard_for(merged.last_hash_key + 1), now_ms)

    def describe_shard(self, shard: Shard) -> dict[str, Any]:
        """The shard as ListShards and DescribeStream show it."""
        shown: dict[str, Any] = {
            "ShardId": shard.shard_id,
            "HashKeyRange": hash_key_range(shard),
            "SequenceNumberRange": {"StartingSequenceNumber": str(shard.sequence_number(-1))},
        }
        if shard.parents:
            shown["ParentShardId"] = shard.parents[0]
        if len(shard.parents) > 1:
            shown["AdjacentParentShardId"] = shard.parents[1]
        if not shard.is_open:
            shown["SequenceNumberRange"]["EndingSequenceNumber"] = str(
                shard.sequence_number(shard.end)
            )
        return shown

    def _close(self, shards: tuple[Shard, ...], now_ms: int) -> None:
        for shard in shards:
            shard.closed_ms = now_ms

    def _add(self, first: int, last: int, now_ms: int, parents: tuple[str, ...]) -> Shard:
        # Later than every parent, whatever the clock says: a child's sequence numbers are higher.
        parent_times = [self.shard(parent).created_ms for parent in parents]
        created_ms = max([now_ms, *(time + 1 for time in parent_times)])
        shard = Shard(len(self.shards), first, last, created_ms, self.nonce, parents)
        self.shards.append(shard)
        return shard

    def _index_open_shards(self) -> None:
        self.open_shards = sorted(
            (shard for shard in self.shards if shard.is_open), key=lambda s: s.first_hash_key
        )
        self.open_starts = [shard.first_hash_key for shard in self.open_shards]


def uniform_starts(count: int) -> list[int]:
    """The first hash keys of `count` equal ranges."""
    return [(MAX_HASH_KEY + 1) * index // count for index in range(count)]


def hash_key_range(shard: Shard) -> dict[str, str]:
    """The range of hash keys as the API shows it."""
    return {
        "StartingHashKey": str(shard.first_hash_key),
        "EndingHashKey": str(shard.last_hash_key),
    }


def filtered(
    stream: Stream, shards: list[Shard], wanted: dict[str, Any], now_ms: int
) -> Iterable[Shard]:
    """Those of `shards` that a ShardFilter of ListShards means; ApiError if it is none.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html
    """
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
            at_ms = epoch_ms(wanted.get("Timestamp"), f"ShardFilter {kind}")
            return (shard for shard in shards if _was_open(shard, at_ms))
        case "FROM_TIMESTAMP":
            at_ms = epoch_ms(wanted.get("Timestamp"), f"ShardFilter {kind}")
            return (s for s in shards if s.closed_ms is None or s.closed_ms >= at_ms)
        case _:
            raise ApiError("InvalidArgumentException", f"ShardFilter has no Type {kind}")


def _was_open(shard: Shard, at_ms: int) -> bool:
    return shard.created_ms <= at_ms and (shard.closed_ms is None or shard.closed_ms > at_ms)


def epoch_ms(timestamp: object, what: str) -> int:
    """A request's Timestamp as epoch milliseconds; ApiError saying that `what` needs one."""
    if isinstance(timestamp, datetime):
        return round(timestamp.timestamp() * 1000)
    if isinstance(timestamp, (int, float)):
        return round(timestamp * 1000)
    raise ApiError("InvalidArgumentException", f"{what} needs a Timestamp")
