"""Kinesis events as Lambda's mapping sends them, for records that do not come from the stream."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Final

# Lambda takes 6 MB in one synchronous call, and a mapping never sends more records than this.
MAX_EVENT_BYTES: Final = 6_000_000
MAX_EVENT_RECORDS: Final = 10_000
_HEAD, _TAIL = b'{"Records":[', b"]}"
# What the records of an event may take, each with a comma.
EVENT_ROOM: Final = MAX_EVENT_BYTES - len(_HEAD) - len(_TAIL)


def kinesis_record(
    position: str, data: bytes, arrival_seconds: float, partition_key: str, stream_arn: str
) -> dict[str, Any]:
    """A record of an event; `position` is `<shard>:<sequence>`."""
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": partition_key,
            "sequenceNumber": position.rpartition(":")[2],
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": arrival_seconds,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": position,
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "",
        "awsRegion": stream_arn.split(":")[3],
        "eventSourceARN": stream_arn,
    }


def event_around(records: Iterable[bytes]) -> bytes:
    """The event that holds these records, each as JSON."""
    return _HEAD + b",".join(records) + _TAIL
