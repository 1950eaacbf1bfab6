"""The local cloud's command line: who calls it bare is told what there is."""

import pytest

from local.__main__ import COMMANDS, run_command, status
from local.lifecycle import LocalCloud


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_every_command_is_told_with_what_it_does(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == 0
    told = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert command.__doc__
        assert f"  {name} " in told
        assert command.__doc__.splitlines()[0] in told


def test_a_command_that_there_is_not_is_named_beside_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["strat"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: there is no command 'strat'\n")
    assert "  status " in told


def test_a_workflow_that_is_over_does_not_hide_what_failed_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        "intake": {"broker": "up", "endpoint": "localhost:8883", "received": 7},
        "mappings": [],
        "workflows": {
            "lake-curation": {"status": "COMPLETED", "unsuccessful": ["lake-curate failed"]},
            "lake-rare": {"status": None, "unsuccessful": []},
        },
        "faults": [],
    }
    monkeypatch.setattr(LocalCloud, "is_up", True)
    monkeypatch.setattr(LocalCloud, "endpoint", "http://localhost:4566")
    monkeypatch.setattr(LocalCloud, "status", lambda _: told)
    assert status([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "workflow lake-curation: completed, lake-curate failed" in lines
    assert "workflow lake-rare: never ran" in lines
