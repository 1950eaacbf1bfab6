"""What the trial of a fleet prints, and when it counts as passed; the rest runs in tests/e2e."""

import io
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devices.behaviour import Habits, Period, plan_behaviour
from devices.schedule import Published
from local.demo.demo import DemoError
from local.demo.fleet_trial import Trial, TrialOptions, run, show, try_fleet
from local.demo.verdict import LakeFigures, Verdict

PLAN = plan_behaviour(("a", "b"), Period(datetime(2026, 11, 24, tzinfo=UTC), 300.0), 1, Habits(5))
EMPTY = LakeFigures({}, {}, Counter(), 0, [], 0)
PASSED = Trial(
    [Verdict("lost", 3, 3), Verdict("duplicates", 4, 4)],
    PLAN,
    Published(1_200, 1_200, 2.0),
    EMPTY,
    fired={"broker restarted": 1},
)


def printed(trial: Trial) -> str:
    out = io.StringIO()
    show(trial, Path("build/fleet"), out)
    return out.getvalue()


def test_a_trial_whose_figures_are_the_truth_says_so() -> None:
    assert PASSED.is_passed
    told = printed(PASSED)
    assert "lost            3     3  equal" in told
    assert "broker restarted" in told
    assert "1,200 of 1,200 messages acknowledged; at most 2 s behind the schedule" in told
    assert told.endswith("Every figure of the lake is the truth.\n")


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (replace(PASSED, verdicts=[Verdict("lost", 3, 4)]), "lost        3     4  NOT EQUAL"),
        (replace(PASSED, problems=["a fault never struck"]), "problem: a fault never struck"),
    ],
)
def test_a_difference_or_a_problem_fails_it_and_is_named(trial: Trial, words: str) -> None:
    assert not trial.is_passed
    told = printed(trial)
    assert words in told
    assert told.endswith("The trial FAILED.\n")


def test_device_hours_that_differ_are_named() -> None:
    # The empty lake has none of them.
    assert "\na in the hour of 2026-11-24T00:00:00.000+00:00: readings " in printed(PASSED)


def test_refuses_a_trial_too_short_to_show_anything(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"takes 3\.8 minutes and a device"):
        try_fleet(TrialOptions(tmp_path, minutes=1), io.StringIO())


def test_says_what_is_wrong_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert run(["--minutes", "0.1"]) == 1
    assert capsys.readouterr().err.startswith("error: with this interval a trial takes")
