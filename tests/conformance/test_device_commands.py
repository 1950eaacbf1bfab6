"""`python -m devices` against the local cloud: the commands that act on AWS, unchanged."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from devices.__main__ import run
from devices.provisioning import DeviceCredentials, DeviceFiles
from local.api import REGION
from tests.conformance import iot_pages as pages
from tests.conformance.broker_bench import Bench, running_bench

DEVICES = 40


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("commands")) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `. build/local/environment` sets it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", bench.iot.meta.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")


@pytest.mark.documented(pages.OWN_KEY)
def test_a_fleet_from_a_list_connects_with_keys_that_stayed_and_is_revoked(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    things = [f"listed-{number:02}" for number in range(DEVICES)]
    side, certificates = tmp_path / "side", tmp_path / "certificates"
    listed = tmp_path / "devices.csv"
    listed.write_text("thing,site\n" + "".join(f"{thing},depot\n" for thing in things))
    names = [argument for thing in things for argument in ("--thing", thing)]
    assert run(["request", *names, "--folder", str(side)]) == 0
    provision = ["provision", "--policy", "telemetry", "--csv", str(listed)]
    provision += ["--requests", str(side), "--folder", str(certificates)]
    capsys.readouterr()
    assert run(provision) == 0
    assert json.loads(capsys.readouterr().out)["registered"] == DEVICES
    made = len(bench.iot.list_certificates(pageSize=250)["certificates"])
    assert run(provision) == 0  # again: nothing new
    assert len(bench.iot.list_certificates(pageSize=250)["certificates"]) == made == DEVICES

    def credentials(thing: str) -> DeviceCredentials:
        certificate = DeviceFiles(certificates, thing).certificate
        return DeviceCredentials(thing, "", certificate, DeviceFiles(side, thing).private_key)

    for thing in (things[0], things[-1]):
        device = bench.device(credentials(thing)).connect()
        assert device.publish(f"dt/fleet/{thing}/telemetry", b"{}") == 0
        device.close()
    assert bench.iot.describe_thing(thingName=things[7])["attributes"] == {"site": "depot"}

    assert run(["revoke", "--thing", things[0]]) == 0
    with pytest.raises(ConnectionError):
        bench.device(credentials(things[0])).connect()
    bench.device(credentials(things[1])).connect().close()


@pytest.mark.documented(pages.ATTACHED)
def test_a_policy_that_is_not_there_is_told_before_anything_is_done(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "devices.csv"
    listed.write_text("thing\nnever-1\n")
    command = ["provision", "--policy", "nowhere", "--csv", str(listed)]
    assert run([*command, "--folder", str(tmp_path)]) == 1
    assert "GetPolicy" in capsys.readouterr().err
    with pytest.raises(ClientError, match="ResourceNotFound"):
        bench.iot.describe_thing(thingName="never-1")


@pytest.mark.documented(pages.CREATE_THING)
def test_a_thing_is_made_again_only_with_the_settings_that_it_has(bench: Bench) -> None:
    here = {"attributes": {"site": "depot"}}
    bench.iot.create_thing(thingName="again-1", attributePayload=here)
    bench.iot.create_thing(thingName="again-1", attributePayload=here)
    for other in ({}, {"attributePayload": {"attributes": {"site": "harbour"}}}):
        with pytest.raises(bench.iot.exceptions.ResourceAlreadyExistsException):
            bench.iot.create_thing(thingName="again-1", **other)
    assert bench.iot.describe_thing(thingName="again-1")["attributes"] == {"site": "depot"}
