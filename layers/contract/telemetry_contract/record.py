"""A record: one delivery from the stream, its envelope taken off, its payload untouched."""

import msgspec

# Times are whole microseconds since 1970-01-01T00:00:00Z, as they are stored.
type Microseconds = int


class Record(msgspec.Struct, frozen=True, gc=False):
    """What one Kinesis record carried, or one user record of an aggregate.

    `position` is `<shard>:<sequence>`. What the broker says (`ingest_id` to `topic`) is None where
    the record came without the rule's envelope, or where the envelope lacks it. `sub_sequence` is
    set for a user record of an aggregate, and where a redrive sends an element of an array by
    itself: it keeps its place, is one reading whatever it holds, and so becomes what it would have
    become within its array.
    """

    position: str
    arrival_time: Microseconds
    payload: bytes
    ingest_id: str | None = None
    broker_time: Microseconds | None = None
    client_id: str | None = None
    principal: str | None = None
    topic: str | None = None
    sub_sequence: int | None = None
