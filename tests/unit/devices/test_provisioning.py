"""Registering devices: idempotent, in the order that AWS needs, and no key ever leaves its side."""

import stat
from pathlib import Path

import pytest

from devices.errors import DeviceError
from devices.keys import KeyFileError, make_request
from devices.provisioning import (
    Device,
    DeviceFiles,
    ProvisioningError,
    Registrar,
    pace_of,
    provision_fleet,
)
from tests.unit.devices.registry import Iot, public_key


def test_writes_the_files_before_the_certificate_is_attached(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    (device,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert iot.calls == [
        "create_thing d1",
        "create_certificate_from_csr 0",
        "attach_thing_principal d1 0",
        "attach_policy fleet 0",
    ]
    assert stat.S_IMODE(device.private_key_file.stat().st_mode) == 0o600
    certificate = device.certificate_file.read_bytes()
    assert public_key(certificate) == public_key(device.private_key_file.read_bytes())


def test_no_private_key_leaves_the_side_of_the_device(tmp_path: Path) -> None:
    there, here = tmp_path / "device", tmp_path / "registrar"
    request = make_request("d1", DeviceFiles(there, "d1").private_key)
    requests = tmp_path / "csr"
    requests.mkdir()
    DeviceFiles(requests, "d1").request.write_text(request)
    iot = Iot(here)
    Registrar(iot, "fleet", here, requests).register(Device("d1"))
    assert [one.strip() for one in iot.requests] == [request.strip()]
    assert "PRIVATE" not in request
    # The registrar's side has a certificate for a key that it never had.
    assert {path.name for path in here.iterdir()} == {"d1.pem", "d1.arn"}
    key = DeviceFiles(there, "d1").private_key.read_bytes()
    assert public_key((here / "d1.pem").read_bytes()) == public_key(key)


def test_a_device_without_its_request_is_told_how_to_make_one(tmp_path: Path) -> None:
    registrar = Registrar(Iot(tmp_path), "fleet", tmp_path, tmp_path / "csr")
    with pytest.raises(ProvisioningError, match=r"d1\.csr\.pem: make it .* request --thing d1"):
        registrar.register(Device("d1"))


def test_a_registered_device_keeps_its_certificate(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    first = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert provision_fleet(iot, ["d1"], "fleet", tmp_path) == first
    assert len(iot.statuses) == 1


def test_a_device_with_a_new_key_gets_a_new_certificate(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    (first,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    before = first.certificate_file.read_bytes()
    first.private_key_file.unlink()
    (second,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert (first.certificate_arn[-1], second.certificate_arn[-1]) == ("0", "1")
    assert public_key(second.certificate_file.read_bytes()) != public_key(before)


@pytest.mark.parametrize("written", ["certificate", "arn"])
def test_a_run_that_ended_between_the_two_files_leaves_no_device_with_two_certificates(
    tmp_path: Path, written: str
) -> None:
    iot = Iot(tmp_path)
    (first,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    # For the same key, and the first is active still: only the certificates themselves differ.
    request = make_request("d1", first.private_key_file)
    second = iot.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
    files = DeviceFiles(tmp_path, "d1")
    if written == "certificate":
        files.certificate.write_text(second["certificatePem"])
    else:
        files.arn.write_text(second["certificateArn"])
    (again,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert iot.pems[again.certificate_arn[-1]] == files.certificate.read_text()
    assert iot.principals["d1"][-1] == again.certificate_arn


def test_a_revoked_or_unknown_certificate_is_replaced(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    provision_fleet(iot, ["d1"], "fleet", tmp_path)
    iot.statuses["0"] = "REVOKED"
    (device,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert device.certificate_arn.endswith("/1")
    elsewhere = Iot(tmp_path)
    provision_fleet(elsewhere, ["d1"], "fleet", tmp_path)
    assert elsewhere.statuses == {"0": "ACTIVE"}


def test_attributes_become_what_is_wanted_and_stay_where_nothing_is(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    registrar = Registrar(iot, "fleet", tmp_path)
    registrar.register(Device("d1", {"site": "depot", "owner": "fleet"}))
    registrar.register(Device("d1", {"site": "harbour"}, "truck"))
    moved = {"attributePayload": {"attributes": {"site": "harbour"}}, "thingTypeName": "truck"}
    assert iot.things == {"d1": moved}
    provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert iot.things == {"d1": moved}
    assert iot.calls.count("update_thing d1") == 1


def test_a_thing_named_by_its_mac_address_has_files_that_any_system_can_keep(
    tmp_path: Path,
) -> None:
    (device,) = provision_fleet(Iot(tmp_path), ["5e:44:3b:f3:79:c8"], "fleet", tmp_path)
    assert device.certificate_file.name == "5e-44-3b-f3-79-c8.pem"
    assert device.thing_name == "5e:44:3b:f3:79:c8"


def test_a_fleet_comes_back_in_its_order_and_a_failure_names_its_device(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    names = [f"d{number}" for number in range(40)]
    fleet = provision_fleet(iot, names, "fleet", tmp_path)
    assert [device.thing_name for device in fleet] == names
    iot.refused.add("d7")
    with pytest.raises(ProvisioningError, match=r"d7: .*not this one"):
        provision_fleet(iot, names, "fleet", tmp_path)


def test_a_file_that_holds_no_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "d1.key.pem"
    path.write_text("secret of something else")
    with pytest.raises(KeyFileError, match="holds no private key"):
        make_request("d1", path)
    assert path.read_text() == "secret of something else"
    assert issubclass(KeyFileError, DeviceError)


def test_only_aws_is_called_at_its_quotas(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    assert pace_of(iot) is None
    iot.meta.endpoint_url = "https://iot.eu-west-1.amazonaws.com"
    try:
        assert 0 < (pace_of(iot) or 0) <= 10
    finally:
        iot.meta.endpoint_url = "http://127.0.0.1:4566"
