"""A producer without MQTT: puts readings on the stream with the SDK, as gateways and services do.

Guarantee: what is reported as put has been acknowledged by Kinesis. Of a request that succeeds in
part only the failed entries are sent again, after a growing wait; so nothing is put twice unless an
answer was lost on the way.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any, Final

import boto3
import msgspec

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
_MAX_RECORDS: Final = 500
_MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024
_MAX_ATTEMPTS: Final = 20
_FIRST_WAIT_SECONDS: Final = 0.05
_LONGEST_WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Reading:
    """A payload and the device that it is of, whose readings keep their order on the stream."""

    device_id: str
    payload: bytes


@dataclass(frozen=True)
class ProducerResult:
    """How many records Kinesis has acknowledged, and how often an entry had to be sent again."""

    put: int
    retried: int


class NotPut(Exception):  # noqa: N818 - says what became of the readings
    """Kinesis did not take some records within all attempts; the message has its last reason."""


def put_readings(
    kinesis: Any,
    stream_name: str,
    readings: Iterable[Reading],
    sleep: Callable[[float], None] = time.sleep,
) -> ProducerResult:
    """Put `readings` in requests of up to 500 with `kinesis`, a boto3 client. Raises NotPut."""
    put = retried = 0
    for request in _requests(readings):
        retried += _put_request(kinesis, stream_name, request, sleep)
        put += len(request)
    return ProducerResult(put, retried)


def _requests(readings: Iterable[Reading]) -> Iterator[list[dict[str, Any]]]:
    for group in batched(readings, _MAX_RECORDS, strict=False):
        entries: list[dict[str, Any]] = []
        size = 0
        for reading in group:
            entry_size = len(reading.payload) + len(reading.device_id.encode())
            if entries and size + entry_size > _MAX_REQUEST_BYTES:
                yield entries
                entries, size = [], 0
            entries.append({"Data": reading.payload, "PartitionKey": reading.device_id})
            size += entry_size
        yield entries


def _put_request(
    kinesis: Any, stream_name: str, entries: list[dict[str, Any]], sleep: Callable[[float], None]
) -> int:
    retried = 0
    longest_wait = _FIRST_WAIT_SECONDS
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        response = kinesis.put_records(StreamName=stream_name, Records=entries)
        if not response["FailedRecordCount"]:
            return retried
        # Answers are in the order of the entries.
        answers = list(zip(entries, response["Records"], strict=True))
        entries = [entry for entry, answer in answers if "ErrorCode" in answer]
        if attempt < _MAX_ATTEMPTS:
            retried += len(entries)
            # With a random wait, producers that were throttled together don't return together.
            sleep(random.uniform(0, longest_wait))
            longest_wait = min(2 * longest_wait, _LONGEST_WAIT_SECONDS)
    reasons = sorted({answer["ErrorCode"] for _, answer in answers if "ErrorCode" in answer})
    raise NotPut(f"{len(entries)} records not put on {stream_name}: {', '.join(reasons)}")


def read_readings(path: Path) -> list[Reading]:
    """The elements of a JSON array, each with its own bytes and its `device_id`."""
    elements = msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw])
    return [
        Reading(msgspec.json.decode(element, type=_Named).device_id, bytes(element))
        for element in elements
    ]


class _Named(msgspec.Struct):
    device_id: str


_EXAMPLE = """\
example:
  python -m devices produce --stream <stack output TelemetryStreamName> readings.json
"""


def add_produce(commands: Any) -> None:
    """The command's arguments, among the others of `python -m devices`."""
    arguments = commands.add_parser(
        "produce",
        help="a file's readings straight to the stream, without MQTT",
        description="Put a JSON array of readings on the stream with the SDK.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--stream", required=True, help="the stack's output TelemetryStreamName")
    arguments.set_defaults(command=_produce)


def _produce(options: argparse.Namespace) -> int:
    try:
        readings = read_readings(options.file)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{options.file} is not a JSON array of readings: {error}") from None
    result = put_readings(boto3.client("kinesis"), options.stream, readings)
    print(f"{result.put} put, {result.retried} sent again")
    return 0
