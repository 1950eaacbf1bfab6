"""A device's first certificate, claimed with the one that all devices of its make share.

Guarantee: the private key is made here and stays. A new certificate is on disk before IoT is asked
to activate it, under a name of its own, and takes the place of the device's only when IoT has: a
claim that is refused leaves what the device has, and one whose answer is lost ends well when it is
made again.

https://docs.aws.amazon.com/iot/latest/developerguide/provision-wo-cert.html#claim-based
"""

from pathlib import Path
from typing import Final

from devices.claim_link import ClaimFiles, ClaimRefusedError, ClaimUnansweredError, claim_link
from devices.connection import Connection, ConnectionRefused, Endpoint
from devices.keys import is_for_key_of, make_request, put_in_place, write_private
from devices.provisioning import DeviceCredentials, DeviceFiles

__all__ = ["ClaimFiles", "ClaimRefusedError", "ClaimUnansweredError", "claim_device"]

_CREATE: Final = "$aws/certificates/create-from-csr/json"
# Of the stack's template: which thing the device is.
_THING_NAME: Final = "ThingName"


def claim_device(
    endpoint: Endpoint, claim: ClaimFiles, template: str, thing_name: str, folder: Path
) -> DeviceFiles:
    """Ask for a certificate for `thing_name` by the provisioning template `template`; where its
    files lie. Raises ClaimRefusedError, KeyFileError, ThingNameError."""
    files = DeviceFiles(folder, thing_name)
    request = make_request(thing_name, files.private_key)
    certificate = _activated(endpoint, files, request)
    if certificate is None:
        certificate = _claimed(endpoint, claim, template, files, request)
    put_in_place(certificate, files.certificate)
    for other in files.pending_certificates():
        other.unlink()
    return files


def _activated(endpoint: Endpoint, files: DeviceFiles, request: str) -> Path | None:
    """A certificate of an earlier claim that lets the device in: its answer was lost."""
    for pending in files.pending_certificates():
        if not is_for_key_of(pending.read_text(), request):
            continue
        device = DeviceCredentials(files.thing_name, "", pending, files.private_key)
        try:
            with Connection(endpoint, device):
                return pending
        except ConnectionRefused:
            # Not activated, or not to be reached: it stays, for the next claim to try.
            continue
    return None


def _claimed(
    endpoint: Endpoint, claim: ClaimFiles, template: str, files: DeviceFiles, request: str
) -> Path:
    with claim_link(endpoint, claim, files.thing_name) as link:
        created = link.ask(
            _CREATE,
            {"certificateSigningRequest": request},
            lambda answer: is_for_key_of(answer["certificatePem"], request),
        )
        pending = files.pending_certificate(created["certificatePem"])
        write_private(pending, created["certificatePem"])
        try:
            link.ask(
                f"$aws/provisioning-templates/{template}/provision/json",
                {
                    "certificateOwnershipToken": created["certificateOwnershipToken"],
                    "parameters": {_THING_NAME: files.thing_name},
                },
                lambda answer: answer.get("thingName") == files.thing_name,
            )
        except ClaimUnansweredError:
            raise
        except ClaimRefusedError:
            pending.unlink()
            raise
    return pending
