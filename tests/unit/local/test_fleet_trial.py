"""What the trial of a fleet prints, and when it counts as passed; the rest runs in tests/e2e."""

import io
from collections import Counter
from collections.abc import Mapping
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


class FakeCloud:
    """Writes down what is done to it."""

    def __init__(self, done: list[str]) -> None:
        self.done = done

    def start(self, show: object) -> None:
        self.done.append("start")

    def deploy(self, show: object) -> dict[str, str]:
        self.done.append("deploy")
        return {"CurationWorkflowName": "curate"}

    def stop(self) -> None:
        self.done.append("stop")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens when the trial, which is passed at once, is run on a cloud that is none."""
    events: list[str] = []

    def at_once(_: object, __: object, options: TrialOptions, ___: object) -> Trial:
        events.append("watched trial" if options.is_watched else "trial")
        return PASSED

    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("local.demo.fleet_trial.LocalCloud", lambda _: FakeCloud(events))
    monkeypatch.setattr("local.demo.fleet_trial.trial_on", at_once)
    return events


def test_what_is_to_be_done_at_its_end_is_done_while_the_cloud_is_there(
    tmp_path: Path, done: list[str]
) -> None:
    def end(_: object, outputs: Mapping[str, str], trial: Trial) -> None:
        done.append(f"end of {outputs['CurationWorkflowName']}, passed: {trial.is_passed}")

    assert try_fleet(TrialOptions(tmp_path), io.StringIO(), end) is PASSED
    # First what an earlier one may have left.
    assert done == ["stop", "start", "deploy", "trial", "end of curate, passed: True", "stop"]


def test_what_came_out_is_printed_even_if_its_end_fails_and_nothing_is_left(
    tmp_path: Path, done: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def end(*_: object) -> None:
        raise DemoError("no pictures")

    assert run(["--folder", str(tmp_path / "fleet")], end) == 1
    told = capsys.readouterr()
    assert "Every figure of the lake is the truth." in told.out
    assert told.err == "error: no pictures\n"
    assert done[-2:] == ["watched trial", "stop"]


def test_nobody_watches_a_trial_that_ends_with_itself(tmp_path: Path, done: list[str]) -> None:
    assert run(["--folder", str(tmp_path / "fleet")]) == 0
    assert done[-2:] == ["trial", "stop"]


def test_faults_are_told_in_their_order_with_the_moment_that_a_dashboard_has() -> None:
    at = datetime(2026, 11, 24, 10, 5, 7, tzinfo=UTC)
    trial = replace(
        PASSED,
        fired={"batch twice": 3, "job killed": 1, "clock jumps": 1},
        injected_at={"batch twice": at, "clock jumps": at.replace(minute=4)},
    )
    lines = printed(trial).splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("fault of the cloud"))
    assert [line.split() for line in lines[first + 2 : first + 5]] == [
        ["clock", "jumps", "10:04:07", "1"],
        ["batch", "twice", "10:05:07", "3"],
        ["job", "killed", "-", "1"],
    ]
