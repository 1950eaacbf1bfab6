"""The fleet's command line: what each command shows, and how it ends."""

from pathlib import Path

import pytest

from devices.__main__ import run


@pytest.mark.parametrize("command", ["simulate", "produce"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([command, "--help"])
    assert ended.value.code == 0
    assert f"python -m devices {command} --" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--help"])
    shown = capsys.readouterr().out
    assert all(f"    {name} " in shown for name in ("simulate", "produce"))


def test_trouble_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "readings.json"
    path.write_text("[1]")
    assert run(["produce", "--stream", "any", str(path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} is not a JSON array of readings")
