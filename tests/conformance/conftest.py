"""Fixtures of the conformance suites, and the page that each test holds the local cloud to.

Every test says with `@pytest.mark.documented(page)`, or its module with `pytestmark`, where the rule
that it is named after stands; the nearest counts, and a failure shows it.
"""

from collections.abc import Generator, Iterator
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure the page that states the rule."""
    report = yield
    if report.failed and (page := page_of(item)):
        report.sections.append(("Documented at", page))
    return report


def page_of(item: pytest.Item) -> str | None:
    """The address of the page that states a test's rule."""
    mark = item.get_closest_marker("documented")
    return str(mark.args[0]) if mark else None
