"""Fixtures of the conformance suites."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.kinesis.streams import Streams
from tests.conformance.kinesis_service import Clock, served


@pytest.fixture
def clock() -> Clock:
    """The service's clock; it stands still unless a test moves it."""
    return Clock()


@pytest.fixture
def kinesis(clock: Clock) -> Iterator[Any]:
    """A boto3 client of the local Kinesis, with a stream `telemetry` of two shards."""
    with served(Streams(clock)) as client:
        client.create_stream(StreamName="telemetry", ShardCount=2)
        yield client


@pytest.fixture
def throttled_kinesis(clock: Clock) -> Iterator[Any]:
    """The same with one shard, and the shard's limits enforced."""
    with served(Streams(clock, throttling=True)) as client:
        client.create_stream(StreamName="telemetry", ShardCount=1)
        yield client
