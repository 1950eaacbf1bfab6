"""Registering devices: idempotent, in the order that AWS needs, and no key is ever lost."""

import stat
from pathlib import Path
from typing import Any

from devices.provisioning import provision_fleet


class NotFound(Exception):  # noqa: N818 - the name that AWS gives it
    pass


class Iot:
    """IoT's registry, as far as provisioning uses it; it records the order of the calls."""

    class exceptions:  # noqa: N801 - as a boto3 client has it
        ResourceNotFoundException = NotFound

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.statuses: dict[str, str] = {}

    def create_thing(self, *, thingName: str) -> None:
        self.calls.append(f"create_thing {thingName}")

    def create_keys_and_certificate(self, *, setAsActive: bool) -> dict[str, Any]:
        assert setAsActive
        number = str(len(self.statuses))
        self.statuses[number] = "ACTIVE"
        self.calls.append(f"create_keys_and_certificate {number}")
        return {
            "certificateArn": f"arn:aws:iot:us-east-1:123456789012:cert/{number}",
            "certificatePem": f"certificate {number}",
            "keyPair": {"PrivateKey": f"key {number}"},
        }

    def describe_certificate(self, *, certificateId: str) -> dict[str, Any]:
        if certificateId not in self.statuses:
            raise NotFound
        return {"certificateDescription": {"status": self.statuses[certificateId]}}

    def attach_policy(self, *, policyName: str, target: str) -> None:
        assert (self.folder / "d1.key.pem").exists()
        self.calls.append(f"attach_policy {policyName} {target[-1]}")

    def attach_thing_principal(self, *, thingName: str, principal: str) -> None:
        self.calls.append(f"attach_thing_principal {thingName} {principal[-1]}")


def test_writes_the_files_before_the_certificate_is_attached(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    (device,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert iot.calls == [
        "create_thing d1",
        "create_keys_and_certificate 0",
        "attach_policy fleet 0",
        "attach_thing_principal d1 0",
    ]
    assert device.certificate_file.read_text() == "certificate 0"
    assert device.private_key_file.read_text() == "key 0"
    assert stat.S_IMODE(device.private_key_file.stat().st_mode) == 0o600


def test_a_registered_device_keeps_its_certificate(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    first = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert provision_fleet(iot, ["d1"], "fleet", tmp_path) == first
    assert len(iot.statuses) == 1


def test_a_revoked_or_unknown_certificate_is_replaced(tmp_path: Path) -> None:
    iot = Iot(tmp_path)
    provision_fleet(iot, ["d1"], "fleet", tmp_path)
    iot.statuses["0"] = "REVOKED"
    (device,) = provision_fleet(iot, ["d1"], "fleet", tmp_path)
    assert device.certificate_arn.endswith("/1")
    elsewhere = Iot(tmp_path)
    (device,) = provision_fleet(elsewhere, ["d1"], "fleet", tmp_path)
    assert device.certificate_file.read_text() == "certificate 0"


def test_a_thing_named_by_its_mac_address_has_files_that_any_system_can_keep(
    tmp_path: Path,
) -> None:
    iot = Iot(tmp_path)
    provision_fleet(iot, ["d1"], "fleet", tmp_path)
    (device,) = provision_fleet(iot, ["5e:44:3b:f3:79:c8"], "fleet", tmp_path)
    assert device.certificate_file.name == "5e-44-3b-f3-79-c8.pem"
    assert device.thing_name == "5e:44:3b:f3:79:c8"
