"""The job's benchmarks run, at a size at which their figures mean nothing.

Each starts a Spark with settings of its own, so each is a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def figures_of(*command: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", *command, "--json"],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_longer_history_costs_no_more_files_of_the_target() -> None:
    found = figures_of(
        *("benchmarks.curation_history", "--days", "2", "6", "--rows-per-day", "2400"),
        *("--rounds", "1", "--objects-per-hour", "3"),
    )
    short, long = found
    # A file for each closed day, and one for each of the hours of the running day.
    assert (short["history_files"], long["history_files"]) == (2 + 12, 6 + 12)
    assert long["history_rows"] > short["history_rows"]
    for figure in ("target_files", "ledger_files", "keys_listed"):
        assert short[figure] == long[figure] > 0, figure
    # Those of the two hours of the look-back, of the hour that warmed up, and of the new one.
    assert long["keys_listed"] == 4 * 3
    assert 0 < long["target_bytes"] <= short["target_bytes"] * 1.15


def test_every_contender_stores_what_it_was_given() -> None:
    found = figures_of(
        *("benchmarks.curation_rate", "--readings", "900", "--objects", "3", "--rounds", "1")
    )
    assert found["input"]["readings"] == 900
    assert found["input"]["distinct"] < 900
    assert len(found["contenders"]) == 6
    for contender in found["contenders"]:
        assert contender["cpu_seconds"] > 0
        assert contender["rows_stored"] in (found["input"]["distinct"], 900)
    assert found["seconds_by_step"]["commit_readings"] > 0
