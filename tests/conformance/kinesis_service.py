"""The Kinesis service under test: over HTTP as clients reach it, with a clock that tests set."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.loopback import client_of

if TYPE_CHECKING:
    pass

TENTH_OF_MARCH_MS = 1_773_100_800_000
MAX_HASH_KEY = 2**128 - 1
SETTLE_SECONDS = 30


@dataclass
class Clock:
    """Epoch milliseconds, as a test wants them."""

    now_ms: int = TENTH_OF_MARCH_MS
    # Who else must know, at once: a service in another process can't ask.
    tell: Callable[[int], None] | None = None

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        if self.tell:
            self.tell(self.now_ms)


def client(endpoint: str) -> Any:
    """A boto3 client that does not try again by itself, and waits for what it changed."""
    kinesis = client_of(endpoint, "kinesis", parameter_validation=False, max_pool_connections=16)
    for change in ("CreateStream", "SplitShard", "MergeShards", "UpdateShardCount", "DeleteStream"):
        kinesis.meta.events.register(f"before-parameter-build.kinesis.{change}", _note_stream)
        kinesis.meta.events.register(f"after-call.kinesis.{change}", _settler(kinesis))
    return kinesis


def _note_stream(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["changed_stream"] = params.get("StreamName")


def _settler(kinesis: Any) -> Callable[..., None]:
    """Waits, as the API asks of its users, until a changed stream is ACTIVE again, or gone."""

    def settle(http_response: Any, context: dict[str, Any], **_: Any) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        status = "" if http_response.status_code == 200 else "ACTIVE"
        while status != "ACTIVE" and time.monotonic() < deadline:
            status = "ACTIVE"
            with suppress(kinesis.exceptions.ResourceNotFoundException):
                described = kinesis.describe_stream_summary(StreamName=context["changed_stream"])
                status = described["StreamDescriptionSummary"]["StreamStatus"]

    return settle


@contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[ClientError]]:
    """The block's call is refused with the exception `code`."""
    with pytest.raises(ClientError) as caught:
        yield caught
    assert caught.value.response["Error"]["Code"] == code


def iterator(kinesis: Any, shard: str, kind: str = "TRIM_HORIZON", **more: Any) -> str:
    """A shard iterator on the stream `telemetry`."""
    answer = kinesis.get_shard_iterator(
        StreamName="telemetry", ShardId=shard, ShardIteratorType=kind, **more
    )
    return str(answer["ShardIterator"])


def read_shard(kinesis: Any, shard: str) -> list[dict[str, Any]]:
    """All records of a shard, from its oldest."""
    records: list[dict[str, Any]] = []
    place: str | None = iterator(kinesis, shard)
    while place is not None:
        answer = kinesis.get_records(ShardIterator=place)
        records += answer["Records"]
        place = answer.get("NextShardIterator") if answer["MillisBehindLatest"] else None
    return records


def shards(kinesis: Any, **request: Any) -> list[dict[str, Any]]:
    """The shards of the stream `telemetry`."""
    listed: list[dict[str, Any]] = kinesis.list_shards(StreamName="telemetry", **request)["Shards"]
    return listed


def read_all(kinesis: Any) -> list[dict[str, Any]]:
    """All records of the stream `telemetry`, shard by shard, parents before children."""
    return [record for shard in shards(kinesis) for record in read_shard(kinesis, shard["ShardId"])]


def put(kinesis: Any, data: bytes = b"reading", key: str = "device-001", **more: Any) -> Any:
    """Put one record on the stream `telemetry`."""
    return kinesis.put_record(StreamName="telemetry", Data=data, PartitionKey=key, **more)


def put_at(kinesis: Any, hash_key: int, data: bytes = b"reading") -> Any:
    """Put one record at a place in the range of hash keys."""
    return put(kinesis, data, ExplicitHashKey=str(hash_key))


def is_open(shard: dict[str, Any]) -> bool:
    """Whether a listed shard still takes records."""
    return "EndingSequenceNumber" not in shard["SequenceNumberRange"]
