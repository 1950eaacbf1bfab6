"""A device's key and its signing request, made where the device is.

Guarantee: a private key is written to one file that only its owner can read, and goes nowhere else;
what leaves is the request, which holds the public half.
"""

import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices.errors import DeviceError

# A subject's common name holds no more, a thing's name 128:
# https://www.rfc-editor.org/rfc/rfc5280#appendix-A.1
_MAX_COMMON_NAME = 64


class KeyFileError(DeviceError):
    """A key or a request cannot be read; the message names the file and what to do."""


def make_request(thing_name: str, private_key_file: Path) -> str:
    """A signing request (PEM) for the key in `private_key_file`, which is made if it isn't there.

    P-256: IoT Core takes it, every SDK does, and it is made in no time, where RSA takes 100 ms.
    Raises KeyFileError if there is a file that holds no key.
    """
    if private_key_file.exists():
        try:
            key = serialization.load_pem_private_key(private_key_file.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                f"{private_key_file} holds no private key ({error}): move it away and run again"
            ) from None
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        write_private(private_key_file, pem.decode())
    # IoT identifies a device by its certificate's id, never by this name; people read it.
    name = x509.NameAttribute(NameOID.COMMON_NAME, thing_name[:_MAX_COMMON_NAME])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([name]))
    request = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type] # of any kind that signs
    return request.public_bytes(serialization.Encoding.PEM).decode()


def is_for_key_of(certificate_pem: str, request_pem: str) -> bool:
    """Whether a certificate was made for the key that signed a request. Raises KeyFileError."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        request = x509.load_pem_x509_csr(request_pem.encode())
    except ValueError as error:
        raise KeyFileError(f"no certificate or no signing request in PEM ({error})") from None
    return _public_bytes(certificate) == _public_bytes(request)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all; then it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    put_in_place(draft, path)


def put_in_place(draft: Path, path: Path) -> None:
    """Give a file of the same folder its name; a power cut leaves the old one or the new one."""
    draft.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _public_bytes(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
