"""The demo's exit code is its verdict, and what it prints is what it wrote."""

import io
import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.demo import demo
from local.demo.accounting import Figures, result
from local.demo.curation import CurationError, curate, failures, steps
from local.demo.output import show, write
from tests.unit.local.test_accounting import FOUND, SENT

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def written(found: Figures = FOUND) -> dict[str, Any]:
    answer = {"question": "How many?", "sql": "SELECT 1", "rows": [{"n": 890, "device": "a"}]}
    details = {"input": "5 devices.", "seconds_total": 21.5, "answers": [answer]}
    return result(SENT, found, {"publish": 1.5, "curate": 20.0}, details)


@pytest.mark.parametrize(("figures", "code"), [(FOUND, 0), (replace(FOUND, curated=889), 1)])
def test_exits_zero_only_if_everything_adds_up(
    figures: Figures, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "demonstrate", lambda *_: written(figures))
    assert demo.run([]) == code


def test_an_error_is_one_line_and_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise CurationError("the workflow did not succeed: job x failed: ValueError: y")

    monkeypatch.setattr(demo, "demonstrate", fail)
    assert demo.run([]) == 1
    assert capsys.readouterr().err == (
        "error: the workflow did not succeed: job x failed: ValueError: y\n"
    )


def test_options_come_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[demo.Options] = []

    def take(options: demo.Options, out: object) -> dict[str, Any]:
        given.append(options)
        return written()

    monkeypatch.setattr(demo, "demonstrate", take)
    demo.run(["--seed", "3", "--devices", "2", "--messages", "60"])
    demo.run(["--small"])
    demo.run(["--replay", "readings.json"])
    assert [(o.seed, o.devices, o.messages) for o in given[:2]] == [(3, 2, 60), (7, 5, 500)]
    assert given[2].replay == Path("readings.json")
    assert given[2].input == "Replay of readings.json."


def test_prints_what_it_wrote_and_names_what_does_not_add_up() -> None:
    out = io.StringIO()
    show(out, Path("build/demo"), written(replace(FOUND, records=999)))
    text = out.getvalue()
    assert "It does NOT add up. build/demo/report.html" in text
    assert [line.split()[-1] for line in text.splitlines() if "records in the stream" in line] == [
        "NO",
        "NO",
    ]
    assert "duplicates removed" in text
    assert "How many?\n    n  device" in text


def test_the_figures_can_be_read_back(tmp_path: Path) -> None:
    write(tmp_path, written(), "<p>page</p>")
    assert json.loads((tmp_path / "result.json").read_text()) == written()
    assert (tmp_path / "report.html").read_text() == "<p>page</p>"


def test_work_in_the_background_gives_its_result_or_its_error() -> None:
    assert demo.interruptible(lambda: threading.current_thread().name) == "fleet"
    with pytest.raises(ZeroDivisionError):
        demo.interruptible(lambda: 1 // 0)
    with pytest.raises(TimeoutError, match="own"):
        demo.interruptible(_time_out)


def _time_out() -> None:
    raise TimeoutError("the work's own")


def node(kind: str, name: str, state: str, message: str | None = None) -> dict[str, Any]:
    job_run = {"JobRunState": state, **({"ErrorMessage": message} if message else {})}
    return {"Type": kind, "Name": name, "JobDetails": {"JobRuns": [job_run]}}


class FakeGlue:
    """A workflow run that is running at the first look and over at the second."""

    def __init__(self, *nodes: dict[str, Any], succeeded: int) -> None:
        self.nodes = list(nodes)
        self.statuses = ["RUNNING", "COMPLETED"]
        self.succeeded = succeeded

    def start_workflow_run(self, **_: str) -> dict[str, str]:
        return {"RunId": "wr_1"}

    def get_workflow_run(self, **_: object) -> dict[str, Any]:
        statistics = {"TotalActions": len(self.nodes), "SucceededActions": self.succeeded}
        graph = {"Nodes": [{"Type": "TRIGGER", "Name": "schedule"}, *self.nodes]}
        run = {"Status": self.statuses.pop(0), "Statistics": statistics, "Graph": graph}
        return {"Run": run}


def test_a_workflow_with_a_failed_action_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("local.demo.curation.POLL_SECONDS", 0)
    good, bad = node("JOB", "a", "SUCCEEDED"), node("JOB", "b", "FAILED", "ValueError: no")
    curate(FakeGlue(good, succeeded=1), "curation")
    shown: list[str] = []
    with pytest.raises(CurationError, match="b failed: ValueError: no"):
        curate(FakeGlue(good, bad, succeeded=1), "curation", shown.append)
    assert shown == ["a succeeded, b failed"] * 2


def test_a_workflows_steps_are_named_without_their_stack() -> None:
    run = {
        "Graph": {
            "Nodes": [
                {"Type": "TRIGGER", "Name": "lake-curate-schedule"},
                node("CRAWLER", "lake-crawl-raw-zone", "SUCCEEDED"),
                node("JOB", "lake-curate-telemetry", "RUNNING"),
            ]
        }
    }
    assert steps(run, "lake-curation") == ["crawl-raw-zone succeeded", "curate-telemetry running"]


def test_a_failure_without_a_message_is_told_too() -> None:
    run = {"Status": "COMPLETED", "Graph": {"Nodes": [node("JOB", "b", "TIMEOUT")]}}
    assert failures(run) == "b timeout: no message"
