"""The operator's command line: what it prints, and how it ends."""

from __future__ import annotations

import io
from typing import Any

import boto3
import pytest

from ops.__main__ import run
from ops.command_line import ProgressLine
from tests.ingestion import event_of, ingest
from tests.unit.ops.conftest import STACK, ConsumerAsFunction, Deployed
from tests.unit.ops.test_redrive_failed import BATCH_KEY, given_up, put
from tests.unit.ops.test_redrive_rejected import GOOD, MIXED


@pytest.fixture
def shell(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """The stack, reached as the command reaches it; only the function is not moto's."""

    clients: dict[str, Any] = {
        "cloudformation": boto3.client("cloudformation"),
        "s3": deployed.s3,
        "kinesis": deployed.kinesis,
        "lambda": deployed.function,
    }

    class Session:
        def client(self, name: str, **_: Any) -> Any:
            return clients[name]

    monkeypatch.setattr(boto3, "Session", Session)
    return deployed


def test_dry_run_prints_aligned_tables_and_how_to_go_on(
    shell: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.reject(ingest(event_of(MIXED)))
    put(shell, BATCH_KEY.format(1), given_up(event_of([GOOD] * 3)))
    shell.function.environment["IDENTITY_MISMATCH_POLICY"] = "flag"
    capsys.readouterr()
    assert run(["redrive", "--stack-name", STACK]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Redrive of stack {STACK} (dry run)",
        "",
        "rejected zone, by reason  waiting  now accepted  still rejected  redriven before",
        "identity_mismatch               1             1               0                0",
        "not_json                        2             0               2                0",
        "timestamp_missing               1             0               1                0",
        "all                             4             1               3                0",
        "",
        "failed zone, objects            waiting  records  redriven before",
        "batches given up (aws/lambda/)        1        3                0",
        "undelivered messages (iot/)           0        0                0",
        "",
        "Nothing was sent. Run again with --apply to redrive 1 rejected rows, "
        "3 failed records and 0 undelivered messages.",
    ]
    assert shell.function.events == []


def test_apply_sends_and_says_so(shell: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    shell.reject(ingest(event_of(MIXED)))
    put(shell, BATCH_KEY.format(1), given_up(event_of([GOOD] * 3)))
    shell.function.environment["IDENTITY_MISMATCH_POLICY"] = "flag"
    assert run(["redrive", "--stack-name", STACK, "--apply"]) == 0
    out = capsys.readouterr().out
    assert "Sent 1 rejected rows and 3 failed records to the function" in out
    assert len(shell.function.accepted) == 4


def test_device_limit_and_marks_are_told(
    shell: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.reject(ingest(event_of([*MIXED, GOOD.replace(b"timestamp", b"at"), b"no"])))
    shell.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    chosen = ["redrive", "--stack-name", STACK, "--zone", "rejected", "--device", "device123"]
    said = []
    for more in (["--limit", "1"], ["--limit", "1", "--apply"], ["--apply"], ["--apply"]):
        capsys.readouterr()
        assert run([*chosen, *more]) == 0
        out = capsys.readouterr().out
        said.append([line for line in out.split("\n\n")[-1].splitlines() if line])
        assert "\nOnly what device123 sent, or what names it.\n" in out
        assert "failed zone" not in out
    marked = "Both zones keep what was sent; it is marked, and the next run passes it over."
    nobody = "2 rows and records tell of no device and were left out."
    sent = (
        "Sent 1 rejected rows and 0 failed records to the function, which accepted 1 readings "
        "and rejected 0."
    )
    assert said == [
        [
            "Nothing was sent. Run again with --apply to redrive 1 rejected rows, "
            "0 failed records and 0 undelivered messages.",
            "The limit of 1 leaves 1 waiting for another run.",
            nobody,
        ],
        [sent, marked, "The limit of 1 leaves 1 waiting for another run.", nobody],
        [sent, marked, nobody],
        [
            "There is nothing to redrive.",
            "What was redriven before goes in once more with --again.",
            nobody,
        ],
    ]


def test_stopped_by_hand_it_tells_what_was_done_and_exits_as_interrupted(
    shell: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        put(shell, BATCH_KEY.format(number), given_up(event_of([GOOD] * 3)))

    def stop_on_the_second() -> None:
        if shell.function.events:
            raise KeyboardInterrupt

    shell.function.on_invoke = stop_on_the_second
    assert run(["redrive", "--stack-name", STACK, "--zone", "failed", "--apply"]) == 130
    out = capsys.readouterr().out
    assert "Stopped before everything was looked at; run again to go on." in out
    assert "Sent 0 rejected rows and 3 failed records" in out


def test_zone_and_reason_narrow_what_is_looked_at(
    shell: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.reject(ingest(event_of(MIXED)))
    put(shell, BATCH_KEY.format(1), given_up(event_of([GOOD] * 3)))
    printed = {}
    for arguments in (["--zone", "failed"], ["--zone", "rejected"], ["--reason", "not_json"]):
        capsys.readouterr()
        assert run(["redrive", "--stack-name", STACK, *arguments]) == 0
        lines = capsys.readouterr().out.splitlines()
        rows = [line.rsplit(maxsplit=4) for line in lines if line.startswith(("all", "batches"))]
        printed[arguments[1]] = rows
    assert printed == {
        "failed": [["batches given up", "(aws/lambda/)", "1", "3", "0"]],
        "rejected": [["all", "4", "0", "4", "0"]],
        "not_json": [["all", "2", "0", "2", "0"]],
    }


def test_trouble_is_named_on_stderr_and_in_the_exit_code(
    shell: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    put(shell, BATCH_KEY.format(1), b"{}")
    assert run(["redrive", "--stack-name", STACK]) == 1
    assert f"not redriven: s3://failed-zone/{BATCH_KEY.format(1)}" in capsys.readouterr().err


def test_missing_stack_is_one_clear_line(
    shell: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(shell.function, ConsumerAsFunction)
    assert run(["redrive", "--stack-name", "nowhere"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: stack nowhere cannot be read in us-east-1")


def test_function_of_something_else_is_one_clear_line(
    shell: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.function.environment.clear()
    assert run(["redrive", "--stack-name", STACK]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "does not say by which bounds it decides" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["--reason", "bad_weather"],
        ["--since", "yesterday"],
        ["--limit", "0"],
        ["--rate", "fast"],
        ["--until", "2026-11-23T08:00Z", "--since", "2026-11-23T10:00+02:00"],
        ["--zone", "failed", "--reason", "not_json"],
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["redrive", "--stack-name", STACK, *arguments])
    assert ended.value.code == 2
    assert arguments[-2].removeprefix("--") in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["redrive", "--help"])
    assert ended.value.code == 0
    assert "python -m ops redrive --stack-name" in capsys.readouterr().out


def test_progress_is_one_line_on_a_terminal_and_rare_lines_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        progress = ProgressLine(out)
        for number in range(1, 251):
            progress(f"object {number}")
        progress.clear()
    assert terminal.getvalue().count("\n") == 0
    assert terminal.getvalue().endswith("object 250\r\x1b[K")
    assert pipe.getvalue() == "object 100\nobject 200\n"
