"""Takes one shard through the function: reads, cuts batches, retries, keeps the checkpoint.

A shard has as many lanes as the mapping's parallelization factor; a record's partition key decides
its lane, and a lane has one batch at the function at a time, so that a key's records stay in order.
Guarantee: the checkpoint never passes a record that was neither processed nor delivered to the
on-failure destination (nor counted as dropped where there is none).

The consumer is a step machine without threads or waiting of its own: `step` does what can be done
now and says when to come back. Invocations run wherever `submit` runs them.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from local.api import ApiError
from local.mapping.batch_retry import (
    Batch,
    Condition,
    Discard,
    NotInvoked,
    Outcome,
    RetryPolicy,
    decide,
    set_aside_expired,
)
from local.mapping.kinesis_event import EventRecord, EventSource, cut_batch, event_record
from local.mapping.shard_reader import Position, ShardReader, after

# Lambda polls a shard once a second, and goes on reading at once while more is there; Kinesis
# allows five reads a second. https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
POLL_SECONDS: Final = 1.0
CATCH_UP_SECONDS: Final = 0.2
# A shard is not read further while this much of it is unfinished.
MAX_OUTSTANDING_RECORDS: Final = 20_000
MAX_BUFFERED_BYTES: Final = 32 * 1024 * 1024
# AWS documents that a delivery may fail and is counted then (DestinationDeliveryFailures), not how
# often it is tried.
DELIVERY_ATTEMPTS: Final = 3
READ_BACKOFF_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How a shard's records become batches. Times in seconds."""

    batch_size: int = 100
    batching_window_seconds: float = 0.0
    parallelization_factor: int = 1


class Counts(Protocol):
    """Where the consumer counts events, for the mapping's metrics."""

    def count(self, name: str, records: int) -> None:
        """Add `records` to the metric `name` of the mapping."""

    def iterator_age(self, seconds: float) -> None:
        """The age of a batch's last record when it is sent."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What a consumer makes happen. `invoke` and `deliver` run inside `submit` and never raise."""

    invoke: Callable[[Batch], Outcome]
    deliver: Callable[[Discard, str], bool] | None
    submit: Callable[[Callable[[], Outcome | bool]], "Future[Outcome | bool]"]
    counts: Counts


@dataclass(slots=True)
class _Lane:
    buffer: list[EventRecord] = field(default_factory=list)
    window_opened_at: float = 0.0
    # What was cut and is not finished, in order; the first is the one at the function, if any is.
    work: deque[Batch | Discard] = field(default_factory=deque)
    running: "Future[Outcome | bool] | None" = None


class ShardConsumer:
    """One shard's way through the function. Not thread-safe: its mapping calls it."""

    def __init__(
        self,
        reader: ShardReader,
        source: EventSource,
        settings: BatchSettings,
        policy: RetryPolicy,
        actions: Actions,
    ) -> None:
        self._reader = reader
        self._source = source
        self._settings = settings
        self.policy = policy
        self._actions = actions
        self._lanes = [_Lane() for _ in range(settings.parallelization_factor)]
        self._outstanding: dict[str, bool] = {}  # sequence number -> finished; in the shard's order
        self._checkpoint: str | None = None
        self._next_read_at = 0.0
        self._buffered_bytes = 0

    @property
    def checkpoint(self) -> Position:
        """Where a successor has to go on: everything before is finished."""
        return self._reader.start if self._checkpoint is None else after(self._checkpoint)

    @property
    def outstanding(self) -> int:
        """Records that were read and are not behind the checkpoint yet."""
        return len(self._outstanding)

    @property
    def busy(self) -> bool:
        """Whether the function or the destination has something of this shard now."""
        return any(lane.running is not None for lane in self._lanes)

    @property
    def drained(self) -> bool:
        """Whether the shard is closed and everything in it is finished."""
        return self._reader.ended and not self._outstanding

    def behind(self) -> int:
        """Records in the shard that are not behind the checkpoint, read or not."""
        return self.outstanding + self._reader.count_unread()

    def step(self, now: float) -> float:
        """Do what can be done at `now` (epoch seconds); when to come back at the latest."""
        self.collect(now)
        self._read(now)
        due = [self._next_read_at] if not self._reader.ended and self._has_room() else []
        for lane in self._lanes:
            # With `submit` running at once there may be a result right away, and then more to do.
            while (next_due := self._advance(lane, now)) is None:
                self._collect_lane(lane, now)
            due.append(next_due)
        return min(due, default=now + POLL_SECONDS)

    def collect(self, now: float) -> None:
        """Take in what invocations have answered, and start nothing new."""
        for lane in self._lanes:
            self._collect_lane(lane, now)

    def _has_room(self) -> bool:
        return (
            len(self._outstanding) < MAX_OUTSTANDING_RECORDS
            and self._buffered_bytes < MAX_BUFFERED_BYTES
        )

    def _read(self, now: float) -> None:
        if self._reader.ended or now < self._next_read_at or not self._has_room():
            return
        try:
            records = self._reader.read(now)
        except (ApiError, ClientError, BotoCoreError):
            # Throttled, or Kinesis does not answer: the position stands, the next read repeats it.
            self._next_read_at = now + READ_BACKOFF_SECONDS
            return
        more = bool(records) or self._reader.millis_behind > 0
        self._next_read_at = now + (CATCH_UP_SECONDS if more else POLL_SECONDS)
        self._actions.counts.count("PolledEventCount", len(records))
        for record in records:
            self._buffer(event_record(record, self._source), now)

    def _buffer(self, record: EventRecord, now: float) -> None:
        self._outstanding[record.sequence_number] = False
        lane = self._lanes[lane_of(record.partition_key, len(self._lanes))]
        closes_at = lane.window_opened_at + self._settings.batching_window_seconds
        if not lane.buffer and now >= closes_at:
            # The window passed without a record: the next one begins with the first.
            lane.window_opened_at = now
        lane.buffer.append(record)
        self._buffered_bytes += len(record.encoded)

    def _advance(self, lane: _Lane, now: float) -> float | None:
        """Start the lane's next work if it is due: None if it started, else when to come back."""
        never = float("inf")
        if lane.running is not None:
            return never
        if not lane.work:
            due = self._cut(lane, now)
            if due is not None:
                return due
        first = lane.work[0]
        if first.not_before > now:
            return first.not_before
        if isinstance(first, Batch):
            lane.work.popleft()
            lane.work.extendleft(reversed(set_aside_expired(first, self.policy, now)))
            first = lane.work[0]
        if isinstance(first, Batch):
            batch = first
            self._actions.counts.iterator_age(now - batch.records[-1].arrived_at)
            lane.running = self._actions.submit(lambda: self._actions.invoke(batch))
        elif (deliver := self._actions.deliver) is not None:
            discard = first
            lane.running = self._actions.submit(lambda: deliver(discard, self._source.shard_id))
        else:
            lane.work.popleft()
            self._drop(first.records)
        return None

    def _cut(self, lane: _Lane, now: float) -> float | None:
        """Cut the lane's next batch if it is full or its window is over; else when it will be."""
        if not lane.buffer:
            return float("inf")
        count, full = cut_batch(lane.buffer, self._settings.batch_size)
        if count == 0:
            lane.work.append(Discard((lane.buffer[0],), Condition.TOO_LARGE, invocations=0))
            count = 1
        else:
            closes_at = lane.window_opened_at + self._settings.batching_window_seconds
            if not full and now < closes_at and not self._reader.ended:
                return closes_at
            lane.work.append(Batch(tuple(lane.buffer[:count])))
        self._buffered_bytes -= sum(len(record.encoded) for record in lane.buffer[:count])
        del lane.buffer[:count]
        return None

    def _collect_lane(self, lane: _Lane, now: float) -> None:
        if lane.running is None or not lane.running.done():
            return
        result, work = lane.running.result(), lane.work.popleft()
        lane.running = None
        if isinstance(work, Discard):
            self._after_delivery(lane, work, delivered=result is True, now=now)
        elif not isinstance(result, bool):
            lane.window_opened_at = now  # the next window begins when the invocation has ended
            self._count_attempt(work, result)
            decision = decide(work, result, self.policy, now)
            lane.work.extendleft(reversed(decision.again))
            self._finish(decision.done)

    def _count_attempt(self, batch: Batch, outcome: Outcome) -> None:
        invoked = not isinstance(outcome, NotInvoked)
        name = "InvokedEventCount" if invoked else "FailedInvokeEventCount"
        self._actions.counts.count(name, len(batch.records))

    def _after_delivery(
        self, lane: _Lane, discard: Discard, *, delivered: bool, now: float
    ) -> None:
        if delivered:
            self._actions.counts.count(
                "OnFailureDestinationDeliveredEventCount", len(discard.records)
            )
            self._finish(discard.records)
            return
        self._actions.counts.count("DestinationDeliveryFailures", 1)
        attempts = discard.delivery_attempts + 1
        if attempts >= DELIVERY_ATTEMPTS:
            self._drop(discard.records)
            return
        again = now + self.policy.backoff_seconds(attempts)
        lane.work.appendleft(replace(discard, delivery_attempts=attempts, not_before=again))

    def _drop(self, records: tuple[EventRecord, ...]) -> None:
        self._actions.counts.count("DroppedEventCount", len(records))
        self._finish(records)

    def _finish(self, records: Iterable[EventRecord]) -> None:
        for record in records:
            self._outstanding[record.sequence_number] = True
        for sequence_number in list(self._finished_prefix()):
            del self._outstanding[sequence_number]
            self._checkpoint = sequence_number

    def _finished_prefix(self) -> Iterable[str]:
        for sequence_number, finished in self._outstanding.items():
            if not finished:
                return
            yield sequence_number


def lane_of(partition_key: str, lanes: int) -> int:
    """The lane of a partition key, the same in every process."""
    if lanes == 1:
        return 0
    digest = hashlib.md5(partition_key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8]) % lanes
