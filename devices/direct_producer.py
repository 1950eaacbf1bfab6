"""A producer without MQTT: puts readings on the stream with the SDK, as gateways and services do.

Guarantee: what is reported as put has been acknowledged by Kinesis. Of a request that succeeds in
part only the failed entries are sent again, after a growing wait; so nothing is put twice unless an
answer was lost on the way.

Order: no request is sent before the one before it is through, so a device's readings keep their
order from request to request. Within one, Kinesis may refuse a reading and take a later one of the
same device; the refused one then comes after it. `strict_order` lets no request hold two readings
of a device, so that all order is kept, for the price of more requests where devices are few.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import msgspec
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
# A request may be of 10 MiB since 2025; one of 5 is taken everywhere.
_MAX_RECORDS: Final = 500
_MAX_REQUEST_BYTES: Final = 5 * 1024 * 1024
_MAX_RECORD_BYTES: Final = 1024 * 1024
_MAX_FRUITLESS: Final = 12
_FIRST_WAIT_SECONDS: Final = 0.05
_LONGEST_WAIT_SECONDS: Final = 5.0
# What a refused request may be sent again for; any other refusal would be the same next time.
_PASSING: Final = frozenset(
    {
        *("ProvisionedThroughputExceededException", "LimitExceededException"),
        *("KMSThrottlingException", "ThrottlingException", "RequestLimitExceeded"),
        *("InternalFailure", "InternalFailureException", "ServiceUnavailable"),
    }
)


@dataclass(frozen=True)
class Reading:
    """A payload and the device that it is of, which is the partition key."""

    device_id: str
    payload: bytes

    @property
    def size(self) -> int:
        """As Kinesis counts it."""
        return len(self.payload) + len(self.device_id.encode())


@dataclass(frozen=True)
class ProducerResult:
    """How many records Kinesis has acknowledged, and how often an entry had to be sent again."""

    put: int
    retried: int


class NotPut(Exception):  # noqa: N818 - says what became of the readings
    """Kinesis did not take some records; the message has its last reason. `put` were taken."""

    def __init__(self, message: str, put: int = 0) -> None:
        super().__init__(message)
        self.put = put


@dataclass(frozen=True)
class Waiting:
    """How to wait after a failure. Both collaborators are passed in, for tests."""

    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def after(self, fruitless: int) -> None:
        """Wait; at most twice as long after each attempt in a row that brought nothing.

        With a random wait, producers that were throttled together don't return together.
        """
        longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** max(fruitless - 1, 0))
        self.sleep(self.random() * longest)


def put_readings(
    kinesis: Any,
    stream_name: str,
    readings: Iterable[Reading],
    strict_order: bool = False,
    waiting: Waiting = Waiting(),
) -> ProducerResult:
    """Put `readings` with `kinesis`, a boto3 client, in requests of up to 500.

    Raises NotPut, and what boto3 raises where another attempt would be refused as well.
    """
    put = retried = 0
    try:
        for request in _requests(readings, strict_order):
            retried += _put_request(kinesis, stream_name, request, waiting)
            put += len(request)
    except NotPut as error:
        raise NotPut(f"{error}; {put + error.put} were put", put + error.put) from error
    return ProducerResult(put, retried)


def _requests(readings: Iterable[Reading], strict_order: bool) -> Iterator[list[Reading]]:
    request: list[Reading] = []
    size = 0
    devices: set[str] = set()
    for reading in readings:
        is_too_large = reading.size > _MAX_RECORD_BYTES
        is_full = len(request) == _MAX_RECORDS or size + reading.size > _MAX_REQUEST_BYTES
        is_second = strict_order and reading.device_id in devices
        if request and (is_full or is_second or is_too_large):
            yield request
            request, size, devices = [], 0, set()
        if is_too_large:
            # Kinesis would refuse the whole request, whatever else is in it.
            raise NotPut(
                f"a reading of {reading.device_id} has {reading.size:,} bytes with its key, "
                f"Kinesis takes {_MAX_RECORD_BYTES:,}"
            )
        request.append(reading)
        size += reading.size
        devices.add(reading.device_id)
    if request:
        yield request


def _put_request(kinesis: Any, stream_name: str, request: list[Reading], waiting: Waiting) -> int:
    """How many entries had to be sent again."""
    left = [{"Data": one.payload, "PartitionKey": one.device_id} for one in request]
    retried = fruitless = 0
    while True:
        refused, reason = _attempt(kinesis, stream_name, left)
        if not refused:
            return retried
        fruitless = fruitless + 1 if len(refused) == len(left) else 0
        left = refused
        if fruitless == _MAX_FRUITLESS:
            raise NotPut(
                f"{len(left)} records not put on {stream_name}: {reason}", len(request) - len(left)
            )
        retried += len(left)
        waiting.after(fruitless)


def _attempt(
    kinesis: Any, stream_name: str, entries: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], str]:
    """The entries that were not taken, in their order, and a reason."""
    try:
        response = kinesis.put_records(StreamName=stream_name, Records=entries)
    except (HTTPClientError, EndpointConnectionError) as error:
        # No answer: they may have been taken, and are then on the stream twice.
        return entries, str(error)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code not in _PASSING:
            raise
        return entries, code
    # Answers are in the order of the entries.
    answers = zip(entries, response["Records"], strict=True)
    refused = [(entry, answer["ErrorCode"]) for entry, answer in answers if "ErrorCode" in answer]
    reasons = sorted({code for _, code in refused})
    return [entry for entry, _ in refused], ", ".join(reasons)


def read_readings(path: Path) -> list[Reading]:
    """The elements of a JSON array, each with its own bytes and its device.

    Raises ValueError for another file.
    """
    try:
        elements = msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw])
        return [Reading(_device_of(element), bytes(element)) for element in elements]
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is not a JSON array of readings: {error}") from None


class _Named(msgspec.Struct):
    snake: str | None = msgspec.field(name="device_id", default=None)
    camel: str | None = msgspec.field(name="deviceId", default=None)


def _device_of(element: msgspec.Raw) -> str:
    named = msgspec.json.decode(element, type=_Named)
    if not (device := named.snake or named.camel):
        raise msgspec.ValidationError("a reading has neither `device_id` nor `deviceId`")
    return device


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
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--stream", required=True, help="the stack's output TelemetryStreamName")
    arguments.add_argument(
        "--strict-order",
        action="store_true",
        help="never two readings of a device in one request, so that none overtakes another",
    )
    arguments.set_defaults(command=_produce)


def _produce(options: argparse.Namespace) -> int:
    readings = read_readings(options.file)
    kinesis = boto3.client("kinesis")
    result = put_readings(kinesis, options.stream, readings, options.strict_order)
    print(f"{result.put} put, {result.retried} sent again")
    return 0
