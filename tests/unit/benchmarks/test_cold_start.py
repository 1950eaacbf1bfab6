"""The comparison of starts runs: every program in it starts, in a process of its own."""

from __future__ import annotations

import json

import pytest

from benchmarks.cold_start import PROGRAMS, run


def test_every_program_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--rounds", "1", "--json"]) == 0
    starts = json.loads(capsys.readouterr().out)
    assert [start["program"] for start in starts] == list(PROGRAMS)
    assert all(start["cpu_milliseconds"] > 0 for start in starts)
