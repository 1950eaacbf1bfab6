"""Registers devices with AWS IoT: a thing, a certificate of its own and the fleet's policy on it.

Guarantee: idempotent, so that a run that was interrupted is taken up by running it again. A private
key never leaves the device's side: certificates come from signing requests. A device whose files
are at hand and whose certificate is active keeps it; files are written before the certificate is
attached, so that none is in use whose files are lost.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from devices.bulk import Pace, for_each
from devices.errors import DeviceError
from devices.keys import is_for_key_of, make_request, write_private

# The lowest quotas of the calls that a device needs are 10 a second and account, and other programs
# share them: https://docs.aws.amazon.com/general/latest/gr/iot-core.html
DEVICES_PER_SECOND_ON_AWS: Final = 8.0


# https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
_THING_NAME: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


class ThingNameError(DeviceError):
    """No thing can have this name, and no file is made by it."""


class ProvisioningError(DeviceError):
    """Devices could not be registered; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Device:
    """A device to register. `attributes` None leaves what the registry has."""

    thing_name: str
    attributes: Mapping[str, str] | None = field(default=None, hash=False)
    thing_type: str | None = None


@dataclass(frozen=True)
class DeviceCredentials:
    """A registered device and where the files lie with which it proves who it is."""

    thing_name: str
    certificate_arn: str
    certificate_file: Path
    private_key_file: Path


@dataclass(frozen=True)
class DeviceFiles:
    """Where a device's files lie. Raises ThingNameError: no name leads out of the folder."""

    folder: Path
    thing_name: str

    def __post_init__(self) -> None:
        if not _THING_NAME.fullmatch(self.thing_name):
            raise ThingNameError(
                f"{self.thing_name!r} is no thing's name (letters, digits, :_-; at most 128)"
            )

    @property
    def stem(self) -> str:
        """A thing's name may hold colons (a MAC address), which some file systems refuse."""
        return self.thing_name.replace(":", "-")

    @property
    def certificate(self) -> Path:
        """Its certificate, PEM."""
        return self.folder / f"{self.stem}.pem"

    def pending_certificate(self, pem: str) -> Path:
        """A certificate, PEM, of which it is not known yet whether IoT activates it."""
        digest = hashlib.sha256(pem.encode()).hexdigest()
        return self.folder / f"{self.stem}.{digest[:16]}.pending.pem"

    def pending_certificates(self) -> list[Path]:
        """Those of which it never became known."""
        return sorted(self.folder.glob(f"{self.stem}.*.pending.pem"))

    @property
    def private_key(self) -> Path:
        """Its key, PEM; there only on the device's side."""
        return self.folder / f"{self.stem}.key.pem"

    @property
    def request(self) -> Path:
        """Its signing request, PEM."""
        return self.folder / f"{self.stem}.csr.pem"

    @property
    def arn(self) -> Path:
        """The certificate's ARN."""
        return self.folder / f"{self.stem}.arn"


@dataclass(frozen=True)
class Registrar:
    """Registers devices one by one with `iot`, a boto3 client, whose errors pass through.

    Certificates go to `folder`. A device's signing request is taken from `requests`; without such a
    folder this machine is the device's side, and its key is made, and stays, in `folder`.
    """

    iot: Any
    policy_name: str
    folder: Path
    requests: Path | None = None

    def register(self, device: Device) -> DeviceCredentials:
        """Everything that a device needs to connect; what is there already stays.

        Raises ProvisioningError if there is no signing request for it, KeyFileError.
        """
        self._thing(device)
        files = DeviceFiles(self.folder, device.thing_name)
        certificate_arn = self._certificate(files)
        self.iot.attach_thing_principal(thingName=device.thing_name, principal=certificate_arn)
        self.iot.attach_policy(policyName=self.policy_name, target=certificate_arn)
        return DeviceCredentials(
            device.thing_name, certificate_arn, files.certificate, files.private_key
        )

    def announce(self, device: Device) -> None:
        """Its thing alone: the device may claim its certificate itself (`devices.claim`)."""
        self._thing(device)

    def _thing(self, device: Device) -> None:
        wanted: dict[str, Any] = {}
        if device.attributes is not None:
            wanted["attributePayload"] = {"attributes": dict(device.attributes)}
        if device.thing_type is not None:
            wanted["thingTypeName"] = device.thing_type
        try:
            # With the settings that the thing has it is no error:
            # https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
            self.iot.create_thing(thingName=device.thing_name, **wanted)
        except self.iot.exceptions.ResourceAlreadyExistsException:
            if wanted:
                self.iot.update_thing(thingName=device.thing_name, **wanted)

    def _certificate(self, files: DeviceFiles) -> str:
        request = self._request(files)
        if files.arn.exists() and files.certificate.exists():
            present = files.arn.read_text()
            certificate = files.certificate.read_text()
            # A run that ended between the two files has left them of different certificates.
            if _is_active(self.iot, present, certificate) and is_for_key_of(certificate, request):
                return present
        created = self.iot.create_certificate_from_csr(
            certificateSigningRequest=request, setAsActive=True
        )
        write_private(files.certificate, created["certificatePem"])
        write_private(files.arn, created["certificateArn"])
        return str(created["certificateArn"])

    def _request(self, files: DeviceFiles) -> str:
        if self.requests is None:
            return make_request(files.thing_name, files.private_key)
        given = DeviceFiles(self.requests, files.thing_name).request
        if not given.exists():
            raise ProvisioningError(
                f"there is no signing request {given}: make it where the device is, with "
                f"`python -m devices request --thing {files.thing_name}`"
            )
        return given.read_text()


def provision_fleet(
    iot: Any, thing_names: Iterable[str], policy_name: str, folder: Path
) -> tuple[DeviceCredentials, ...]:
    """Register every thing and keep its files below `folder`; in the given order.

    `iot` is a boto3 client. Raises ProvisioningError if a device could not be registered.
    """
    registrar = Registrar(iot, policy_name, folder)
    devices = [Device(name) for name in thing_names]
    outcome = for_each(devices, registrar.register, Pace(pace_of(iot)))
    if outcome.failed:
        device, error = next(iter(outcome.failed.items()))
        raise ProvisioningError(f"{device.thing_name}: {error}") from error
    return tuple(outcome.done[device] for device in devices)


def pace_of(iot: Any) -> float | None:
    """Devices a second that a client's service takes: the local cloud's as many as it can."""
    return DEVICES_PER_SECOND_ON_AWS if ".amazonaws." in iot.meta.endpoint_url else None


def _is_active(iot: Any, certificate_arn: str, pem: str) -> bool:
    """Whether the certificate of that ARN is active and is that one; False too for one of another
    account or of a local cloud that is gone."""
    certificate_id = certificate_arn.rpartition("/")[2]
    try:
        described = iot.describe_certificate(certificateId=certificate_id)
    except iot.exceptions.ResourceNotFoundException:
        return False
    certificate = described["certificateDescription"]
    is_that_one = certificate["certificatePem"].split() == pem.split()
    return bool(certificate["status"] == "ACTIVE") and is_that_one
