"""The local certificate authority: what AWS IoT's is to devices and to the broker's address.

Guarantee: a certificate that IoT's API hands out is a real one, signed by this authority, and its
common name is unique, so that the broker knows from the handshake which certificate speaks. AWS
attaches a thing to a certificate after it exists; the broker's access list (`device_access`) is
where the common name is bound to the thing.
"""

import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# A local cloud lives for hours; that its clock was set back meanwhile must not end it.
_VALIDITY: Final = timedelta(days=3650)
_BACKDATED: Final = timedelta(days=1)

_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, as PEM; `common_name` is what the broker sees."""

    common_name: str
    certificate_pem: str
    private_key_pem: str
    public_key_pem: str


class CertificateAuthority:
    """Signs for devices and for the broker, and says which certificates may not connect."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("iot-telemetry-lake local authority")
        self._lists = 0
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate_pem(self) -> str:
        """The root that devices trust, in the place of Amazon's."""
        return _pem(self._certificate)

    def issue_device(self) -> Issued:
        """A new key pair (RSA 2048, as AWS makes them) and its certificate."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._issue(secrets.token_hex(20), key, ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue_client(self, common_name: str) -> Issued:
        """A certificate for one of the local cloud's own clients of the broker."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._issue(common_name, key, ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue_server(self) -> Issued:
        """The broker's certificate, for localhost and 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._issue("localhost", key, ExtendedKeyUsageOID.SERVER_AUTH)

    def sign_request(self, request_pem: str) -> str:
        """The certificate for a signing request; ValueError if it is none or signed wrongly."""
        request = x509.load_pem_x509_csr(request_pem.encode())
        if not request.is_signature_valid:
            raise ValueError("the signing request's signature is wrong")
        name = _name(secrets.token_hex(20))
        builder = self._builder(name, request.public_key()).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        return _pem(builder.sign(self._key, hashes.SHA256()))

    def revocation_list(self, certificates: Iterable[x509.Certificate]) -> bytes:
        """A signed list (PEM) of certificates that may not connect, newer than every one before."""
        # OpenSSL keeps every list it has read and goes by the newest, to the second.
        self._lists += 1
        issued_at = self._now - _BACKDATED + timedelta(seconds=self._lists)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(issued_at)
            .next_update(issued_at + _VALIDITY)
        )
        for certificate in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(self._now)
                .build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _issue(self, common_name: str, key: _PrivateKey, usage: x509.ObjectIdentifier) -> Issued:
        builder = self._builder(_name(common_name), key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if usage == ExtendedKeyUsageOID.SERVER_AUTH:
            names = [
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(
            common_name=common_name,
            certificate_pem=_pem(certificate),
            private_key_pem=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            ).decode(),
            public_key_pem=key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode(),
        )

    def _builder(
        self, subject: x509.Name, public_key: CertificatePublicKeyTypes
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _BACKDATED)
            .not_valid_after(self._now + _VALIDITY)
            # Python's strict checking (3.13) wants to see which key signed.
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name; empty without one."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
