"""S3 is moto's; this stands before it and adds what a store must not lack.

Guarantees: each request happens whole, before or after any other, so of writers that want a key to
be new exactly one wins, and nobody reads a half of one write and a half of another (moto has no
locks); and a body that is not its own checksum's is refused, as S3 refuses it (moto takes it).

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import base64
import binascii
import hashlib
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from awscrt import checksums
from moto.server import DomainDispatcherApplication, create_backend_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_KEYS: Final = 1000  # in a page of a listing, and in a deletion
_MAX_KEYS: Final = re.compile(r"\bmax-keys=(\d+)")
_CHECKSUMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "CRC32": lambda body: zlib.crc32(body).to_bytes(4),
    "CRC32C": lambda body: int(checksums.crc32c(body)).to_bytes(4),
    "CRC64NVME": lambda body: int(checksums.crc64nvme(body)).to_bytes(8),
    "SHA1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "SHA256": lambda body: hashlib.sha256(body).digest(),
}


def moto_application() -> "WSGIApplication":
    """moto, all its services, with S3 as the local cloud wants it."""
    return ObjectStore(DomainDispatcherApplication(create_backend_app))


class ObjectStore:
    """The WSGI application before moto's: requests for S3 one by one, all others as they come."""

    def __init__(self, moto: "WSGIApplication") -> None:
        self._moto = moto
        # One for all: moto's work is Python's, which threads share anyway, and a listing is of all
        # keys of a bucket.
        self._lock = threading.Lock()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if not _is_for_s3(environ):
            return self._moto(environ, start_response)
        environ["QUERY_STRING"] = _MAX_KEYS.sub(_at_most_a_page, environ.get("QUERY_STRING", ""))
        if refusal := _refusal(environ):
            code, message = refusal
            body = (
                f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()
            )
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start_response("400 Bad Request", headers)
            return [body]
        with self._lock:
            answer = self._moto(environ, start_response)
            try:
                return list(answer)
            finally:
                if hasattr(answer, "close"):
                    answer.close()


def _is_for_s3(environ: "WSGIEnvironment") -> bool:
    """Whether a request is signed for S3, by a header or, presigned, in its query."""
    return "/s3/aws4_request" in environ.get(
        "HTTP_AUTHORIZATION", ""
    ) or "%2Fs3%2Faws4_request" in environ.get("QUERY_STRING", "")


def _at_most_a_page(asked: re.Match[str]) -> str:
    return f"max-keys={min(int(asked[1]), MAX_KEYS)}"


def _refusal(environ: "WSGIEnvironment") -> tuple[str, str] | None:
    """The code and message with which S3 refuses a body that is not what its headers say."""
    if not _has_checked_body(environ):
        return None
    if _is_deletion(environ) and _body(environ).count(b"<Object>") > MAX_KEYS:
        return "MalformedXML", "The XML that you provided was not well formed."
    given = {
        name: environ[f"HTTP_X_AMZ_CHECKSUM_{name}"]
        for name in _CHECKSUMS
        if f"HTTP_X_AMZ_CHECKSUM_{name}" in environ
    }
    md5 = environ.get("HTTP_CONTENT_MD5")
    if md5 is None and not given:
        return None
    body = _body(environ)
    if md5 is not None:
        expected = _decoded(md5)
        if expected is None or len(expected) != 16:
            return "InvalidDigest", "The Content-MD5 you specified was invalid."
        if expected != hashlib.md5(body, usedforsecurity=False).digest():
            return "BadDigest", "The Content-MD5 you specified did not match what we received."
    for name, value in given.items():
        computed = _CHECKSUMS[name](body)
        expected = _decoded(value)
        if expected is None or len(expected) != len(computed):
            return "InvalidRequest", f"Value for x-amz-checksum-{name.lower()} header is invalid."
        if expected != computed:
            return "BadDigest", f"The {name} you specified did not match the calculated checksum."
    return None


def _has_checked_body(environ: "WSGIEnvironment") -> bool:
    """Whether the checksums in the headers are of the body as it stands.

    Those of a completed upload are of the object, and a body in signed chunks has its own inside.
    """
    chunked = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING-")
    return (environ["REQUEST_METHOD"] == "PUT" or _is_deletion(environ)) and not chunked


def _is_deletion(environ: "WSGIEnvironment") -> bool:
    """Whether it is a DeleteObjects."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return environ["REQUEST_METHOD"] == "POST" and "delete" in query


def _body(environ: "WSGIEnvironment") -> bytes:
    """The request's body, which can be read again after that."""
    stream = environ["wsgi.input"]
    body: bytes = stream.read()
    stream.seek(0)
    return body


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
