"""One small demo for the whole suite; its local cloud stays up until the last test is through."""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from local.demo.demo import Demonstration, Options, demonstrated

OPTIONS = Options(seed=11, devices=4, messages=600)


@pytest.fixture(scope="session")
def demo_and_environment(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Demonstration, dict[str, str]]]:
    """600 messages of 4 devices, through the whole pipeline; and where AWS is for that run."""
    folder: Path = tmp_path_factory.mktemp("demo")
    options = Options(folder, seed=OPTIONS.seed, devices=OPTIONS.devices, messages=OPTIONS.messages)
    with ExitStack() as stack:
        # Starting a local cloud points this process at it: in these tests, and in no others.
        with mock.patch.dict(os.environ):
            run = stack.enter_context(demonstrated(options, io.StringIO()))
            environment = dict(os.environ)
        yield run, environment


@pytest.fixture(scope="module")
def demo(
    demo_and_environment: tuple[Demonstration, dict[str, str]],
) -> Iterator[Demonstration]:
    """The suite's demo, with this process pointed at its cloud."""
    run, environment = demo_and_environment
    with mock.patch.dict(os.environ, environment):
        yield run
