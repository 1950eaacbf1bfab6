"""`python -m local fault`: faults from the command line, against a cloud that is nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import __main__ as command
from local.api import Api
from local.faults.calls import Call
from local.faults.faults import Faults
from local.faults.routes import fault_routes
from tests.loopback import served

pytestmark = pytest.mark.ours("faults are the local cloud's own; AWS's FIS states no such rules")

PUT = Call("kinesis:PutRecord", "telemetry")


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Those of a local cloud that is nothing but them, and that the command finds."""
    there = Faults({"clock-jump": lambda _: None})
    with served(Api({}, fault_routes(there), {}, _nothing_else)) as endpoint:
        (tmp_path / "cloud.json").write_text(json.dumps({"pid": 0, "endpoint": endpoint}))
        monkeypatch.setattr(command, "FOLDER", tmp_path)
        yield there


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str]:
    """The command's exit code and what it printed."""
    code = command.run_command(["fault", *line.split()])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_command_injects_lists_and_clears(
    faults: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "list") == (0, "There are no faults.\n")
    line = "throttle --on kinesis:PutRecord --times 3 --probability 0.5 --seed 9"
    waits = "throttle: waits for its calls; how often it has struck: python -m local fault list\n"
    assert run(capsys, line) == (0, waits)
    assert run(capsys, "clock-jump --name later --seconds -60") == (0, "later: done\n")
    assert run(capsys, "kill --on s3:PutObject --times 0 --when before --name ever")[0] == 0
    for _ in range(50):
        faults.strike(PUT)
    assert run(capsys, "list") == (
        0,
        "throttle: struck 3, throttle --on kinesis:PutRecord --times 3 --probability 0.5 --seed 9\n"
        "later: done, clock-jump --seconds -60.0\n"
        "ever: struck 0, kill --on s3:PutObject --when before --times 0\n",
    )
    assert run(capsys, "clear later") == (0, "1 cleared\n")
    assert run(capsys, "clear") == (0, "2 cleared\n")
    assert faults.shown() == []


def test_a_cloud_that_is_gone_is_said_in_one_line(
    faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cloud.json").write_text(json.dumps({"endpoint": "http://127.0.0.1:9"}))
    code, told = run(capsys, "list")
    assert code == 1
    assert told.startswith("error: the local cloud does not answer: ")
    (tmp_path / "cloud.json").unlink()
    assert run(capsys, "list") == (1, "error: the local cloud is not up: make up\n")
    assert faults.shown() == []


def test_a_wrong_name_is_one_line_that_says_what_there_is(
    faults: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = run(capsys, "trottle --on kinesis:PutRecords")
    assert code == 1
    assert told.startswith("error: there is no fault 'trottle'; there are: throttle, error, delay,")
    assert told.count("\n") == 1
    assert run(capsys, "throttle --on kinesis:PutRecrods") == (
        1,
        "error: throttle: kinesis has no 'PutRecrods'; near: PutRecords, PutRecord, GetRecords\n",
    )
    assert faults.shown() == []


def test_every_example_of_the_help_is_taken(
    faults: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("broker-restart", "broker-disconnect", "reshard"):
        faults.actions[kind] = lambda _: None
    with pytest.raises(SystemExit):
        run(capsys, "--help")
    lines = capsys.readouterr().out.splitlines()
    examples = [line.split("  fault ")[1] for line in lines if "  fault " in line]
    assert len(examples) == 12
    for example in examples:
        line = example.split("  ")[0].replace("'", "")
        assert run(capsys, line)[0] == 0, line


def _nothing_else(*_: object) -> list[bytes]:
    raise AssertionError("a request that was not for faults")
