"""Of which run pictures are taken and what must be in them; tests/e2e/test_dashboards.py takes
some."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devices.behaviour import Habits, Period, plan_behaviour
from devices.schedule import Published
from docs import screenshots
from docs.screenshots import PICTURES, Album, main, take_of_fleet, truth_shown
from local.demo.fleet_trial import Trial
from local.demo.verdict import LakeFigures, Verdict
from local.lifecycle import LocalCloud

NAMES = tuple(f"fleet-{number:02}" for number in range(1, 41))
PLAN = plan_behaviour(NAMES, Period(datetime(2026, 11, 24, tzinfo=UTC), 120), 7, Habits(2))
EMPTY = LakeFigures({}, {}, Counter(), 0, [], 0)
PASSED = Trial([Verdict("lost", 3, 3)], PLAN, Published(10, 10, 0.0), EMPTY)

type Run = tuple[list[str], Album]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The trials that the command line starts, and which pictures would be taken at their end."""
    started: list[Run] = []

    def run(argv: Sequence[str], at_end: Any) -> int:
        assert at_end.func is take_of_fleet
        started.append((list(argv), at_end.args[0]))
        return 3

    monkeypatch.setattr(screenshots, "open_browser", nullcontext)
    monkeypatch.setattr("local.demo.fleet_trial.run", run)
    return started


def test_of_a_fleet_is_the_fleets_trial_with_its_arguments_and_its_exit_code(
    runs: list[Run],
) -> None:
    assert main(["--fleet", "--devices", "40", "--minutes", "2", "--folder", "here"]) == 3
    [(arguments, album)] = runs
    assert arguments == ["--devices", "40", "--minutes", "2", "--folder", "here"]
    assert (album.folder, album.prefix) == (PICTURES, "fleet-")
    assert [look.name for look in album.looks] == ["light"]


def test_a_fleets_arguments_without_one_are_refused(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--devices", "40"])
    assert "unknown without --fleet: --devices 40" in capsys.readouterr().err
    assert runs == []


def test_no_pictures_are_taken_of_a_trial_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = replace(PASSED, problems=["a fault never struck"])
    # Neither this cloud nor its jobs are there: whatever was asked of them would raise.
    take_of_fleet(Album(tmp_path), LocalCloud(tmp_path), {}, failed)
    assert capsys.readouterr().out == "No pictures are taken of it.\n"
    assert list(tmp_path.iterdir()) == []


def test_the_dashboard_must_show_the_truths_readings_and_who_is_silent() -> None:
    truth = PLAN.truth
    hours = [hour for device in truth.devices.values() for hour in device.hours.values()]
    silent = [device for device in truth.devices.values() if device.silent_since]
    assert len(silent) == 2
    assert truth_shown(truth) == {
        "curated": sum(hour.sent for hour in hours),
        "active": 38,
        "silent": 2,
    }
