"""The comparison of starts runs: a program of it starts, in a process of its own."""

from __future__ import annotations

import json

import pytest

from benchmarks import cold_start
from benchmarks.cold_start import PROGRAMS, run


def test_the_handler_starts_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One program only: each fills a bytecode cache first, which takes seconds.
    monkeypatch.setattr(cold_start, "PROGRAMS", PROGRAMS[:1])
    monkeypatch.setattr(cold_start, "BUILT", ())
    monkeypatch.setattr(cold_start, "AS_BUILT", PROGRAMS[0])
    assert run(["--rounds", "1", "--json"]) == 0
    starts = json.loads(capsys.readouterr().out)
    assert {start["program"] for start in starts} == {PROGRAMS[0].name}
    assert all(start["cpu_milliseconds"] > 0 for start in starts)


def test_table_has_a_line_for_each_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        cold_start, "compare", lambda rounds: [cold_start.Start("some program", 12.4 * rounds)]
    )
    assert run(["--rounds", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "program       CPU ms",
        "some program      25",
    ]
