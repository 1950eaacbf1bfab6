"""The local cloud's process ends with the one that started it."""

import os
from pathlib import Path
from typing import Any

import pytest

from local import cloud as clouds


class FakeCloud:
    """Notes what happens to it."""

    told: list[str] = []  # noqa: RUF012 - the one that `serve` makes is not at hand

    def __init__(self, settings: Any) -> None:
        self.told.clear()

    def start(self) -> None:
        self.told.append("started")

    def stop(self) -> None:
        self.told.append("stopped")


def test_a_cloud_whose_starter_was_gone_before_it_stood_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "Cloud", FakeCloud)
    monkeypatch.setattr(clouds, "_write_state", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    nobodys_parent = os.getpid()
    assert clouds.serve(clouds.CloudSettings(tmp_path), nobodys_parent) == 0
    assert FakeCloud.told == ["started", "stopped"]
