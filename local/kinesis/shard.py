"""A shard: what one range of hash keys was sent, in order, for as long as the stream keeps it.

Guarantees: a sequence number is given once in the life of the local cloud and of every other one
(creation time and a random part are in it), and increases within its shard and from parent to
child. A put costs the same however much the shard holds.

https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

MAX_HASH_KEY: Final = 2**128 - 1

# A sequence number is 56 digits long and starts with 49, as AWS's are: 188 bits, of which from the
# top 4 say 2, 36 and 10 are the shard's creation time (s, ms), 58 count its records, 48 are the
# stream's random part, 28 the shard's index, 4 a version. So numbers increase with the count, and a
# child's, which is created later, are higher than its parents'.
_COUNTER_BITS: Final = 58
_COUNTER_SHIFT: Final = 80


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it was acknowledged; `arrived_ms` is epoch milliseconds."""

    arrived_ms: int
    partition_key: str
    data: bytes


@dataclass
class TokenBucket:
    """Allows `rate` units a second, with a burst of one second's worth."""

    rate: float
    filled_at_ms: int
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = self.rate

    def refill(self, now_ms: int) -> None:
        """Add what has become available by `now_ms`."""
        elapsed = max(0, now_ms - self.filled_at_ms)
        self.level = min(self.rate, self.level + elapsed * self.rate / 1000)
        self.filled_at_ms = now_ms


@dataclass
class Shard:
    """One shard of a stream. Not locked: its stream is, around every call.

    A *position* is the ordinal of the record that is read next: 0 for the first record ever put.
    """

    index: int
    first_hash_key: int
    last_hash_key: int
    created_ms: int
    stream_nonce: int
    parents: tuple[str, ...] = ()
    closed_ms: int | None = None
    # Records before `trimmed` are past retention and gone; record n is at records[n - trimmed].
    records: list[StoredRecord] = field(default_factory=list)
    trimmed: int = 0
    write_bytes: TokenBucket = field(init=False)
    write_records: TokenBucket = field(init=False)
    reads: TokenBucket = field(init=False)
    reads_blocked_until_ms: int = 0

    def __post_init__(self) -> None:
        self.write_bytes = TokenBucket(1024 * 1024, self.created_ms)
        self.write_records = TokenBucket(1000, self.created_ms)
        self.reads = TokenBucket(5, self.created_ms)

    @property
    def shard_id(self) -> str:
        """Such as `shardId-000000000003`."""
        return f"shardId-{self.index:012d}"

    @property
    def is_open(self) -> bool:
        """Whether it still takes records: it has been neither split nor merged."""
        return self.closed_ms is None

    @property
    def end(self) -> int:
        """The position after its newest record."""
        return self.trimmed + len(self.records)

    def append(self, record: StoredRecord) -> int:
        """Store `record` at the end; its sequence number."""
        self.records.append(record)
        return self.sequence_number(self.end - 1)

    def sequence_number(self, position: int) -> int:
        """The number of the record at `position`; -1 gives the shard's own starting number."""
        seconds, milliseconds = divmod(self.created_ms, 1000)
        value = ((2 << 36 | seconds) << 10 | milliseconds) << _COUNTER_BITS | (position + 1)
        return (value << 48 | self.stream_nonce) << 32 | self.index << 4 | 2

    def position_of(self, sequence_number: int) -> int | None:
        """The position that `sequence_number` names (-1 for the starting number), None if it can't
        be one of this shard's."""
        position = (sequence_number >> _COUNTER_SHIFT & ((1 << _COUNTER_BITS) - 1)) - 1
        if position < self.end and self.sequence_number(position) == sequence_number:
            return position
        return None

    def position_at(self, timestamp_ms: int) -> int:
        """The position of the first record that arrived at `timestamp_ms` or later."""
        return self.trimmed + bisect_left(self.records, timestamp_ms, key=attrgetter("arrived_ms"))

    def trim(self, oldest_ms: int) -> None:
        """Forget what arrived before `oldest_ms`."""
        if self.records and self.records[0].arrived_ms < oldest_ms:
            gone = bisect_left(self.records, oldest_ms, key=attrgetter("arrived_ms"))
            del self.records[:gone]
            self.trimmed += gone

    def read(self, position: int, limit: int, limit_bytes: int) -> tuple[list[StoredRecord], int]:
        """At most `limit` records and `limit_bytes` of data from `position` on (one record always),
        and the position after them."""
        first = max(position, self.trimmed) - self.trimmed
        records = self.records[first : first + limit]
        size = 0
        for count, record in enumerate(records):
            size += len(record.data)
            if size > limit_bytes and count:
                records = records[:count]
                break
        return records, self.trimmed + first + len(records)

    def take_write_capacity(self, size: int, now_ms: int) -> bool:
        """Whether a record of `size` bytes is within 1 MiB and 1,000 records a second; if so, it
        counts.

        A record that is larger than a second's worth passes on a full bucket and leaves it in debt.
        """
        self.write_bytes.refill(now_ms)
        self.write_records.refill(now_ms)
        if self.write_records.level < 1 or self.write_bytes.level < min(
            size, self.write_bytes.rate
        ):
            return False
        self.write_bytes.level -= size
        self.write_records.level -= 1
        return True

    def take_read_capacity(self, now_ms: int) -> bool:
        """Whether another read is within 5 a second and 2 MiB a second; counts it if so."""
        self.reads.refill(now_ms)
        if now_ms < self.reads_blocked_until_ms or self.reads.level < 1:
            return False
        self.reads.level -= 1
        return True

    def note_read(self, size: int, now_ms: int) -> None:
        """After a read of `size` bytes, further reads wait until it is paid at 2 MiB a second."""
        start = max(now_ms, self.reads_blocked_until_ms)
        self.reads_blocked_until_ms = start + size * 1000 // (2 * 1024 * 1024)
