"""Registers devices with AWS IoT: a thing, a certificate of its own and the fleet's policy on it.

Guarantee: idempotent. A device whose files are at hand and whose certificate is active keeps it;
files are written before the certificate is attached, so that none is in use whose key is lost.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DeviceCredentials:
    """A registered device and where the files lie with which it proves who it is."""

    thing_name: str
    certificate_arn: str
    certificate_file: Path
    private_key_file: Path


def provision_fleet(
    iot: Any, thing_names: Iterable[str], policy_name: str, folder: Path
) -> tuple[DeviceCredentials, ...]:
    """Register every thing and keep its files below `folder`; in the given order.

    `iot` is a boto3 client; its errors pass through (a policy that doesn't exist, no permission).
    """
    return tuple(_provision(iot, name, policy_name, folder) for name in thing_names)


def _provision(iot: Any, thing_name: str, policy_name: str, folder: Path) -> DeviceCredentials:
    # A thing's name may hold colons (a MAC address), which some file systems refuse.
    stem = folder / thing_name.replace(":", "-")
    arn_file = stem.with_name(f"{stem.name}.arn")
    certificate_file = stem.with_name(f"{stem.name}.pem")
    private_key_file = stem.with_name(f"{stem.name}.key.pem")
    # CreateThing with the same settings again is no error:
    # https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
    iot.create_thing(thingName=thing_name)
    certificate_arn = arn_file.read_text() if arn_file.exists() else ""
    if not (private_key_file.exists() and _is_active(iot, certificate_arn)):
        created = iot.create_keys_and_certificate(setAsActive=True)
        certificate_arn = created["certificateArn"]
        _write_private(private_key_file, created["keyPair"]["PrivateKey"])
        _write_private(certificate_file, created["certificatePem"])
        _write_private(arn_file, certificate_arn)
    iot.attach_policy(policyName=policy_name, target=certificate_arn)
    iot.attach_thing_principal(thingName=thing_name, principal=certificate_arn)
    return DeviceCredentials(thing_name, certificate_arn, certificate_file, private_key_file)


def _is_active(iot: Any, certificate_arn: str) -> bool:
    """False too for a certificate of another account or of a local cloud that is gone."""
    if not certificate_arn:
        return False
    certificate_id = certificate_arn.rpartition("/")[2]
    try:
        described = iot.describe_certificate(certificateId=certificate_id)
    except iot.exceptions.ResourceNotFoundException:
        return False
    return bool(described["certificateDescription"]["status"] == "ACTIVE")


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
