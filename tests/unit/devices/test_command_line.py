"""The fleet's command line: what each command shows, and how it ends."""

import json
from pathlib import Path

import boto3
import pytest

from devices.__main__ import run
from tests.unit.devices.registry import Iot

COMMANDS = ("request", "provision", "claim", "revoke", "simulate", "produce")


@pytest.fixture
def iot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iot:
    """The registry that the commands reach."""
    registry = Iot(tmp_path / "certificates")
    monkeypatch.setattr(boto3, "client", lambda *_, **__: registry)
    return registry


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A list of two devices."""
    path = tmp_path / "devices.csv"
    path.write_text("thing,site\nd1,depot\nd2,harbour\n")
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([command, "--help"])
    assert ended.value.code == 0
    assert f"python -m devices {command} --" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--help"])
    shown = capsys.readouterr().out
    assert all(f"    {name} " in shown for name in COMMANDS)


def test_trouble_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "readings.json"
    path.write_text("[1]")
    assert run(["produce", "--stream", "any", str(path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} is not a JSON array of readings")


def test_requests_are_made_on_one_side_and_certificates_on_the_other(
    iot: Iot, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side, certificates = tmp_path / "side", tmp_path / "certificates"
    assert run(["request", "--thing", "d1", "--thing", "d2", "--folder", str(side)]) == 0
    made = capsys.readouterr().out.splitlines()
    assert made == [str(side / "d1.csr.pem"), str(side / "d2.csr.pem")]
    command = ["provision", "--policy", "fleet", "--csv", str(devices), "--requests", str(side)]
    assert run([*command, "--folder", str(certificates)]) == 0
    account = json.loads(capsys.readouterr().out)
    assert account.pop("seconds") >= 0
    assert account == {"registered": 2, "failed": {}, "left": 0}
    assert iot.things["d2"] == {"attributePayload": {"attributes": {"site": "harbour"}}}
    assert not list(certificates.glob("*.key.pem"))


def test_provision_says_which_device_failed_and_that_it_can_be_run_again(
    iot: Iot, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    iot.refused.add("d1")
    command = ["provision", "--policy", "fleet", "--csv", str(devices)]
    command += ["--folder", str(tmp_path / "certificates")]
    assert run(command) == 1
    told = capsys.readouterr()
    assert list(json.loads(told.out)["failed"]) == ["d1"]
    assert "1 of 2 devices are not done; mend the cause and run again" in told.err
    iot.refused.clear()
    assert run(command) == 0
    assert set(iot.principals) == {"d1", "d2"}
    assert len(iot.statuses) == 2


@pytest.mark.parametrize("thing", ["../x", "a/b", "", "x" * 129])
def test_no_file_is_made_by_a_name_that_no_thing_can_have(
    thing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "side"
    assert run(["request", f"--thing={thing}", "--folder", str(folder)]) == 1
    assert "is no thing's name" in capsys.readouterr().err
    claim = ["claim", f"--thing={thing}", "--template=t", "--endpoint=localhost:1"]
    claim += ["--claim-certificate=c", "--claim-key=k", "--folder", str(folder)]
    assert run(claim) == 1
    assert "is no thing's name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["request", "--thin", "d1"],
        ["provision", "--pol", "p", "--csv", "c"],
        [
            *("claim", "--thing", "d1", "--templ", "t", "--endpoint", "localhost:1"),
            *("--claim-certificate", "c", "--claim-key", "k"),
        ],
        ["revoke", "--thin", "d1"],
        ["simulate", "--pol", "p"],
        ["produce", "--strea", "s", "file"],
    ],
)
def test_an_option_has_to_be_written_out(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(command)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("error: ") == 1


def test_announced_devices_are_things_without_certificates(
    iot: Iot, devices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["provision", "--policy", "fleet", "--csv", str(devices), "--announce"]) == 0
    assert json.loads(capsys.readouterr().out)["announced"] == 2
    assert set(iot.things) == {"d1", "d2"}
    assert iot.statuses == {}


def test_revoke_takes_every_certificate_of_a_thing(
    iot: Iot, devices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certificates"
    command = ["provision", "--policy", "fleet", "--csv", str(devices), "--folder", str(folder)]
    run(command)
    (folder / "d1.key.pem").unlink()
    run(command)
    assert list(iot.statuses.values()) == ["ACTIVE"] * 3
    capsys.readouterr()
    assert run(["revoke", "--thing", "d1", "--thing", "nobody"]) == 1
    account = json.loads(capsys.readouterr().out)
    assert (account["revoked"], list(account["failed"])) == (1, ["nobody"])
    of_d1 = {arn[-1] for arn in iot.principals["d1"]}
    assert len(of_d1) == 2
    assert iot.statuses == {n: "REVOKED" if n in of_d1 else "ACTIVE" for n in "012"}
    assert run(["revoke", "--csv", str(devices)]) == 0
    assert set(iot.statuses.values()) == {"REVOKED"}


def test_revoke_without_a_device_is_refused(iot: Iot, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["revoke"]) == 1
    assert capsys.readouterr().err == "error: name what to revoke: --thing or --csv\n"
    assert iot.calls == []
