"""The event that a Kinesis mapping hands to a function: one JSON document of many records.

Guarantee: the shape is AWS's, member for member, and the size by which batches are cut is that
of the document as it is sent, base64 and metadata included.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html (synchronous invocation)
MAX_PAYLOAD_BYTES: Final = 6 * 1024 * 1024

_OPENING: Final = b'{"Records":['
_CLOSING: Final = b"]}"


@dataclass(frozen=True, slots=True)
class EventSource:
    """Where records come from, as each of them tells: a stream's shard; and the function's role."""

    stream_arn: str
    shard_id: str
    role_arn: str

    @property
    def region(self) -> str:
        """The region in the stream's ARN."""
        return self.stream_arn.split(":")[3]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One record, ready to send. `arrived_at` is in epoch seconds; `encoded` is its JSON."""

    sequence_number: str
    partition_key: str
    arrived_at: float
    encoded: bytes


def event_record(record: Mapping[str, Any], source: EventSource) -> EventRecord:
    """A record of GetRecords (`Data` in bytes) as an element of the event's `Records`."""
    arrived_at = round(record["ApproximateArrivalTimestamp"].timestamp(), 3)
    sequence_number, partition_key = record["SequenceNumber"], record["PartitionKey"]
    document = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": partition_key,
            "sequenceNumber": sequence_number,
            "data": base64.b64encode(record["Data"]).decode("ascii"),
            "approximateArrivalTimestamp": arrived_at,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{source.shard_id}:{sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": source.role_arn,
        "awsRegion": source.region,
        "eventSourceARN": source.stream_arn,
    }
    encoded = json.dumps(document, separators=(",", ":")).encode("ascii")
    return EventRecord(sequence_number, partition_key, arrived_at, encoded)


def event_payload(records: Iterable[EventRecord]) -> bytes:
    """The event's document, as bytes."""
    return _OPENING + b",".join(record.encoded for record in records) + _CLOSING


def cut_batch(records: Sequence[EventRecord], batch_size: int) -> tuple[int, bool]:
    """How many of `records`, from the first, make the next batch, and whether nothing more fits in.

    0 and True: the first record alone is larger than an event may be.
    """
    size = len(_OPENING) + len(_CLOSING) - 1
    for count, record in enumerate(records):
        size += len(record.encoded) + 1
        if count == batch_size or size > MAX_PAYLOAD_BYTES:
            return count, True
    return len(records), len(records) == batch_size
