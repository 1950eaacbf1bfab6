"""Takes a whole stream through the function: its shards, parents before children.

Guarantee: a child shard is read only after every parent that the stream still has was finished to
its end, so that a partition key's records stay in order over a reshard; what was finished of a
shard is remembered in `Checkpoints` and survives this consumer.

https://docs.aws.amazon.com/streams/latest/dev/kinesis-record-processor-scaling.html
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from local.api import ApiError
from local.mapping.kinesis_event import EventSource
from local.mapping.settings import MappingSettings
from local.mapping.shard_consumer import Actions, ShardConsumer
from local.mapping.shard_reader import KinesisClient, Position, ShardReader

# How often a stream is asked for new shards; right away when one has come to its end.
DISCOVERY_SECONDS: Final = 10.0
_TRIM_HORIZON: Final = Position("TRIM_HORIZON")


@dataclass(slots=True)
class Checkpoints:
    """How far a mapping has come: a position per shard that was begun, and the finished shards."""

    positions: dict[str, Position] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    # Set once the shards that existed at the start were given their place by the starting position.
    started: bool = False


class StreamConsumer:
    """The shards of one stream for one mapping. Not thread-safe: its mapping calls it."""

    def __init__(
        self,
        kinesis: KinesisClient,
        settings: MappingSettings,
        checkpoints: Checkpoints,
        actions: Actions,
        role_arn: str,
    ) -> None:
        self._kinesis = kinesis
        self._settings = settings
        self._checkpoints = checkpoints
        self._actions = actions
        self._role_arn = role_arn
        self._policy = settings.retries
        self._shards: dict[str, ShardConsumer] = {}
        self._next_discovery_at = 0.0
        self.problem = ""

    @property
    def busy(self) -> bool:
        """Whether the function or the destination has something of this stream now."""
        return any(shard.busy for shard in self._shards.values())

    def behind(self) -> int:
        """Records of the stream that are not behind a checkpoint, read or not."""
        begun = sum(shard.behind() for shard in self._shards.values())
        known = self._checkpoints.finished | self._shards.keys()
        waiting = [shard for shard in self._list_shards() if shard["ShardId"] not in known]
        return begun + sum(self._next_reader(s["ShardId"]).count_unread() for s in waiting)

    def step(self, now: float) -> float:
        """Do what can be done at `now` (epoch seconds); when to come back at the latest."""
        if now >= self._next_discovery_at:
            self._discover(now)
        due = [shard.step(now) for shard in self._shards.values()]
        if self._note_progress():
            self._next_discovery_at = now
            return now
        return min([*due, self._next_discovery_at])

    def collect(self, now: float) -> None:
        """Take in what invocations have answered, and start nothing new."""
        for shard in self._shards.values():
            shard.collect(now)
        self._note_progress()

    def _note_progress(self) -> bool:
        """Write the checkpoints; whether a shard came to its end."""
        ended = [shard_id for shard_id, shard in self._shards.items() if shard.drained]
        for shard_id, shard in self._shards.items():
            self._checkpoints.positions[shard_id] = shard.checkpoint
        for shard_id in ended:
            self._checkpoints.finished.add(shard_id)
            del self._checkpoints.positions[shard_id], self._shards[shard_id]
        return bool(ended)

    def _discover(self, now: float) -> None:
        """Begin the shards that may begin."""
        try:
            shards = {shard["ShardId"]: shard for shard in self._list_shards()}
            self._limit_age_by_retention()
            if not self._checkpoints.started:
                self._take_starting_positions(shards.values(), now)
            for shard_id in self._ready(shards):
                reader = self._next_reader(shard_id)
                reader.open(now)
                self._begin(shard_id, reader)
            self._next_discovery_at = now + DISCOVERY_SECONDS
            self.problem = ""
        except (ApiError, ClientError, BotoCoreError) as error:
            # The stream is gone, or Kinesis does not answer: what was begun goes on, this waits.
            self.problem = str(error)
            self._next_discovery_at = now + 1.0

    def _take_starting_positions(self, shards: Any, now: float) -> None:
        """LATEST means the newest record of what exists now: later shards are read from their
        start, closed ones not at all."""
        if self._settings.starting_position == "LATEST":
            for shard in shards:
                if "EndingSequenceNumber" in shard["SequenceNumberRange"]:
                    self._checkpoints.finished.add(shard["ShardId"])
                    continue
                reader = self._reader(shard["ShardId"], Position("LATEST"))
                reader.open(now)
                self._checkpoints.positions[shard["ShardId"]] = reader.start
        self._checkpoints.started = True

    def _next_reader(self, shard_id: str) -> ShardReader:
        """A reader from the shard's checkpoint, else from where a shard starts that has none."""
        known = self._checkpoints.positions.get(shard_id)
        if known is None and self._settings.starting_position == "AT_TIMESTAMP":
            known = Position("AT_TIMESTAMP", at=self._settings.starting_at)
        return self._reader(shard_id, known or _TRIM_HORIZON)

    def _ready(self, shards: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
        """Shards that are not begun and whose parents are finished or no longer in the stream."""
        finished = self._checkpoints.finished
        return [
            shard_id
            for shard_id, shard in shards.items()
            if shard_id not in self._shards
            and shard_id not in finished
            and all(parent not in shards or parent in finished for parent in parents_of(shard))
        ]

    def _begin(self, shard_id: str, reader: ShardReader) -> None:
        source = EventSource(self._settings.stream_arn, shard_id, self._role_arn)
        self._shards[shard_id] = ShardConsumer(
            reader, source, self._settings.batches, self._policy, self._actions
        )
        self._checkpoints.positions[shard_id] = self._shards[shard_id].checkpoint

    def _reader(self, shard_id: str, start: Position) -> ShardReader:
        return ShardReader(self._kinesis, self._settings.stream_arn, shard_id, start)

    def _limit_age_by_retention(self) -> None:
        """A record is retried until it expires from the stream, whatever the mapping allows."""
        summary = self._kinesis.describe_stream_summary(StreamARN=self._settings.stream_arn)
        hours = summary["StreamDescriptionSummary"]["RetentionPeriodHours"]
        age = self._settings.retries.maximum_record_age_seconds
        limit = hours * 3600.0 if age is None else min(age, hours * 3600.0)
        self._policy = replace(self._settings.retries, maximum_record_age_seconds=limit)
        for shard in self._shards.values():
            shard.policy = self._policy

    def _list_shards(self) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] = {"StreamARN": self._settings.stream_arn}
        while True:
            answer = self._kinesis.list_shards(**request)
            yield from answer["Shards"]
            if not answer.get("NextToken"):
                return
            request = {"NextToken": answer["NextToken"]}


def parents_of(shard: Mapping[str, Any]) -> list[str]:
    """The ids of the shards that `shard` came from: none, one (split) or two (merge)."""
    names = ("ParentShardId", "AdjacentParentShardId")
    return [shard[name] for name in names if shard.get(name)]
