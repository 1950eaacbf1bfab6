"""The Kinesis service under test: over HTTP as clients reach it, with a clock that tests set."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.api import REGION, Api
from local.kinesis.streams import Streams
from local.web_server import WebServer

TENTH_OF_MARCH_MS = 1_773_100_800_000
MAX_HASH_KEY = 2**128 - 1


@dataclass
class Clock:
    """Epoch milliseconds, as a test wants them."""

    now_ms: int = TENTH_OF_MARCH_MS

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


@contextmanager
def served(streams: Streams) -> Iterator[Any]:
    """A boto3 client that reaches `streams` over HTTP."""
    server = WebServer(0, Api(streams.operations(), [], {}, _nothing_else))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield client(f"http://127.0.0.1:{server.port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client(endpoint: str) -> Any:
    """A boto3 client that does not try again by itself."""
    config = Config(
        retries={"total_max_attempts": 1}, parameter_validation=False, max_pool_connections=16
    )
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=config,
    )


def _nothing_else(*_: object) -> list[bytes]:
    raise AssertionError("a request that was not for Kinesis")


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
