"""Fixtures of the conformance suites, and the page that each test holds the local cloud to.

Every test says with `@pytest.mark.documented(page)`, or its module with `pytestmark`, where the
rule that it is named after stands, or with `@pytest.mark.ours(why)` that the rule is the local
cloud's own; the nearest counts, and a failure shows it. A test that says neither is not run.

The Kinesis tests run against every implementation in `kinesis_implementations.py` but moto's, which
`--kinesis=moto` puts in their place.
"""

import os
import shutil
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.conformance.glue_bench import Account
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
from tests.conformance.s3_bench import running_s3

FOLDER = Path(__file__).parent


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
    rule = rule_of(metafunc.definition)
    is_own = rule is not None and rule.name == "ours"
    implementations = [chosen] if chosen else ["ours", "kinesalite"]
    if is_own and "kinesalite" in implementations:
        implementations.remove("kinesalite")
    metafunc.parametrize("implementation", implementations)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests of no rule, and expect of kinesalite the failures that are known."""
    here = [item for item in items if item.path.is_relative_to(FOLDER)]
    if bare := [item.nodeid for item in here if not rule_of(item)]:
        raise pytest.UsageError(
            "these tests name neither the page that states their rule, documented(page), nor why "
            f"it is the local cloud's own, ours(why): {', '.join(bare)}"
        )
    for item in here:
        if gap := _known_gap(item):
            failures = (AssertionError, ClientError, KeyError, pytest.fail.Exception)
            item.add_marker(pytest.mark.xfail(reason=gap, strict=True, raises=failures))


def _known_gap(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("implementation") != "kinesalite":
        return None
    name = item.name.replace("[kinesalite]", "").replace("kinesalite-", "")
    return KINESALITE_GAPS.get(name) or KINESALITE_GAPS.get(name.partition("[")[0])


@pytest.fixture
def clock() -> Clock:
    """The service's clock; it stands still unless a test moves it."""
    return Clock()


@pytest.fixture(scope="session")
def kinesalite_process() -> Iterator[Kinesalite]:
    """kinesalite where there is Node; in CI there has to be, and its installation must not fail."""
    if shutil.which("node") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kinesalite needs Node, which is not on PATH")
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


@pytest.fixture
def s3() -> Iterator[Any]:
    """A boto3 client of the local S3, with an empty bucket `zone`."""
    with running_s3() as client:
        yield client


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Glue, where a test runs what was started when it wants to."""
    with mock_aws():
        yield Account(tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure the page that states the rule, or why it is the local cloud's own."""
    report = yield
    if report.failed and (rule := rule_of(item)):
        title = "Documented at" if rule.name == "documented" else "A rule of the local cloud"
        report.sections.append((title, str(rule.args[0])))
    return report


def rule_of(node: pytest.Item | pytest.Function) -> pytest.Mark | None:
    """The nearest mark that says where a test's rule stands; one that says nothing is none."""
    marks = (mark for mark in node.iter_markers() if mark.name in ("documented", "ours"))
    rule = next(marks, None)
    return rule if rule and rule.args and rule.args[0] else None
