"""Fixtures of the conformance suites, and the page that each test holds the local cloud to.

Every test says with `@pytest.mark.documented(page)`, or its module with `pytestmark`, where the
rule that it is named after stands; the nearest counts, and a failure shows it.

The Kinesis tests run against every implementation in `kinesis_implementations.py` but moto's, which
`--kinesis=moto` puts in their place.
"""

import os
import shutil
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.kinesalite_process import (
    Kinesalite,
    KinesaliteNotInstalledError,
    installed_kinesalite,
)
from tests.conformance.kinesis_implementations import (
    KINESALITE_GAPS,
    Serve,
    kinesalite,
    moto,
    ours,
)
from tests.conformance.kinesis_service import Clock


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kinesis` chooses the one implementation that the Kinesis tests run against."""
    parser.addoption(
        "--kinesis",
        choices=("ours", "kinesalite", "moto"),
        help="run the Kinesis tests against this implementation alone (default: ours, kinesalite)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a Kinesis test once for each implementation that its rule is for."""
    if "implementation" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--kinesis", None)
    own_rule = metafunc.definition.get_closest_marker("ours")
    implementations = ["ours"] if own_rule else ["ours", "kinesalite"]
    metafunc.parametrize("implementation", [chosen] if chosen else implementations)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect of kinesalite the failures that are known, and no others."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec and callspec.params.get("implementation") == "kinesalite":
            name = item.name.replace("[kinesalite]", "").replace("kinesalite-", "")
            gap = KINESALITE_GAPS.get(name) or KINESALITE_GAPS.get(name.partition("[")[0])
            if gap:
                failures = (AssertionError, ClientError, KeyError, pytest.fail.Exception)
                item.add_marker(pytest.mark.xfail(reason=gap, strict=True, raises=failures))


@pytest.fixture
def clock() -> Clock:
    """The service's clock; it stands still unless a test moves it."""
    return Clock()


@pytest.fixture(scope="session")
def kinesalite_process() -> Iterator[Kinesalite]:
    """kinesalite where there is Node; in CI its installation must not fail."""
    if shutil.which("node") is None:
        pytest.skip("kinesalite needs Node, which is not on PATH")
    try:
        modules = installed_kinesalite()
    except KinesaliteNotInstalledError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"kinesalite can't be installed: {error}")
        pytest.skip(f"kinesalite can't be installed: {error}")
    process = Kinesalite(modules)
    yield process
    process.stop()


@pytest.fixture
def serve(implementation: str, clock: Clock, request: pytest.FixtureRequest) -> Serve:
    """Serves the implementation under test, anew each time."""
    if implementation == "kinesalite":
        return partial(kinesalite, clock, request.getfixturevalue("kinesalite_process"))
    return partial(moto if implementation == "moto" else ours, clock)


@pytest.fixture
def kinesis(serve: Serve) -> Iterator[Any]:
    """A boto3 client of a Kinesis, with a stream `telemetry` of two shards."""
    with serve() as client:
        client.create_stream(StreamName="telemetry", ShardCount=2)
        yield client


@pytest.fixture
def throttled_kinesis(serve: Serve, implementation: str) -> Iterator[Any]:
    """The same with one shard, and the shard's limits enforced."""
    throttling = {"throttling": True} if implementation == "ours" else {}
    with serve(**throttling) as client:
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
