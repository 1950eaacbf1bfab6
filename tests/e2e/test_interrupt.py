"""Ctrl-C at any stage ends the demo and every process that it started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "local", "demo", "--devices", "2", "--messages", "60"]
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="looks for left processes in /proc"
)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that speak of `folder` or work in it."""
    return [line for line, text in _all_processes() if str(folder) in text]


def _all_processes() -> Iterator[tuple[str, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = str((process / "cwd").readlink())
        except OSError:  # it ended meanwhile, or is another user's
            continue
        yield line, f"{line}\n{where}"


def begin(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, "--folder", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a foreground group of its own, as a shell gives it
    )


def read_until(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    read: list[str] = []
    for line in process.stdout:
        read.append(line)
        if text in line:
            return
    pytest.fail(f"the demo ended before {text!r}: {''.join(read)}")


@pytest.mark.parametrize(
    ("sign", "running"),
    [
        (". 1/7 start", "local demo"),
        (". 2/7 deploy", "local serve"),
        (". 5/7 stream", "mosquitto"),
        ("curate-telemetry running", "SparkSubmit"),
    ],
    ids=["starting", "deploying", "ingesting", "curating"],
)
def test_an_interrupt_leaves_no_process(sign: str, running: str, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = begin(folder)
    try:
        read_until(process, sign)
        assert any(running in line for line in processes_of(folder))
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)  # the impatient press it twice
        output, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "Stopped; nothing is left running." in output
    assert processes_of(folder) == []


def test_a_second_demo_starts_clean_after_a_killed_one(tmp_path: Path) -> None:
    """Killed for good it can't clean up; its cloud ends by itself, the next demo begins anew."""
    folder = tmp_path / "demo"
    process = begin(folder)
    read_until(process, ". 2/7 deploy")
    process.kill()
    process.wait()
    again = begin(folder)
    try:
        read_until(again, ". 2/7 deploy")
        os.killpg(again.pid, signal.SIGTERM)
        output, _ = again.communicate(timeout=90)
    finally:
        again.kill()
    assert again.returncode == 130, output
    assert processes_of(folder) == []


def test_refuses_a_folder_that_is_not_a_demos(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    process = begin(tmp_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "holds something else than a demo" in output
    assert (tmp_path / "thesis.txt").exists()


def test_a_replay_file_that_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    process = subprocess.run(
        [*COMMAND, "--folder", str(tmp_path / "demo"), "--replay", "none.json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == "error: there is no file none.json\n"
