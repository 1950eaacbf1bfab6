"""One small demo for the whole suite; its local cloud stays up until the last test is through."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from local.demo.demo import Demonstration, Options, demonstrated

OPTIONS = Options(seed=11, devices=4, messages=600)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    """600 messages of 4 devices, through the whole pipeline."""
    folder: Path = tmp_path_factory.mktemp("demo")
    options = Options(folder, seed=OPTIONS.seed, devices=OPTIONS.devices, messages=OPTIONS.messages)
    # Starting a local cloud points this process at it.
    with mock.patch.dict(os.environ), demonstrated(options, io.StringIO()) as run:
        yield run
