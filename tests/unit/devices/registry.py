"""IoT's registry, as far as the devices' commands use it; it records the order of the calls."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from local.intake.certificates import CertificateAuthority


class NotFound(Exception):  # noqa: N818 - the name that AWS gives it
    pass


class AlreadyExists(Exception):  # noqa: N818 - the name that AWS gives it
    pass


class Iot:
    """A boto3 client's stand-in. `refused` names devices whose thing it does not make."""

    exceptions = SimpleNamespace(
        ResourceNotFoundException=NotFound, ResourceAlreadyExistsException=AlreadyExists
    )
    meta = SimpleNamespace(endpoint_url="http://127.0.0.1:4566")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.things: dict[str, dict[str, Any]] = {}
        self.principals: dict[str, list[str]] = {}
        self.statuses: dict[str, str] = {}
        self.pems: dict[str, str] = {}
        self.requests: list[str] = []
        self.refused: set[str] = set()
        self._authority = CertificateAuthority()
        self._lock = threading.Lock()

    def create_thing(self, *, thingName: str, **settings: Any) -> None:
        if thingName in self.refused:
            raise ClientError(
                {"Error": {"Code": "InvalidRequestException", "Message": "not this one"}},
                "CreateThing",
            )
        if self.things.get(thingName, settings) != settings:
            raise AlreadyExists
        self._note(f"create_thing {thingName}")
        self.things[thingName] = settings

    def update_thing(self, *, thingName: str, **settings: Any) -> None:
        self._note(f"update_thing {thingName}")
        self.things[thingName] |= settings

    def create_certificate_from_csr(
        self,
        *,
        certificateSigningRequest: str,
        setAsActive: bool,
    ) -> dict[str, Any]:
        assert setAsActive
        with self._lock:
            number = str(len(self.statuses))
            self.statuses[number] = "ACTIVE"
        self.requests.append(certificateSigningRequest)
        self._note(f"create_certificate_from_csr {number}")
        self.pems[number] = self._authority.sign_request(certificateSigningRequest)
        return {
            "certificateArn": f"arn:aws:iot:us-east-1:123456789012:cert/{number}",
            "certificatePem": self.pems[number],
        }

    def describe_certificate(self, *, certificateId: str) -> dict[str, Any]:
        if certificateId not in self.statuses:
            raise NotFound
        return {
            "certificateDescription": {
                "status": self.statuses[certificateId],
                "certificatePem": self.pems[certificateId],
            }
        }

    def attach_thing_principal(self, *, thingName: str, principal: str) -> None:
        assert (self.folder / f"{thingName.replace(':', '-')}.pem").exists()
        self._note(f"attach_thing_principal {thingName} {principal[-1]}")
        self.principals.setdefault(thingName, []).append(principal)

    def attach_policy(self, *, policyName: str, target: str) -> None:
        self._note(f"attach_policy {policyName} {target[-1]}")

    def update_certificate(self, *, certificateId: str, newStatus: str) -> None:
        self.statuses[certificateId] = newStatus

    def get_policy(self, *, policyName: str) -> None:
        self._note(f"get_policy {policyName}")

    def get_paginator(self, operation: str) -> Any:
        """Of two pages, so that who reads the first alone is found out."""
        assert operation == "list_thing_principals"

        def paginate(*, thingName: str) -> Iterator[dict[str, list[str]]]:
            if thingName not in self.things:
                raise NotFound
            found = self.principals.get(thingName, [])
            yield {"principals": found[:1]}
            yield {"principals": [*found[1:], "arn:aws:sts::123456789012:cognito/someone"]}

        return SimpleNamespace(paginate=paginate)

    def _note(self, call: str) -> None:
        with self._lock:
            self.calls.append(call)


def public_key(pem: bytes) -> bytes:
    """The public half that a key, a request or a certificate in PEM holds."""
    if b"CERTIFICATE REQUEST" in pem:
        key: Any = x509.load_pem_x509_csr(pem).public_key()
    elif b"CERTIFICATE" in pem:
        key = x509.load_pem_x509_certificate(pem).public_key()
    else:
        key = serialization.load_pem_private_key(pem, None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, form)
    return encoded
