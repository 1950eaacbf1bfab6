"""Writing an object once: whatever is under a key is exactly what this batch put there.

`put_once` returns only when the object is stored, and raises otherwise. Two attempts of one batch
may run at once (a timed-out one can land late), so the write is conditional and an object that is
already there counts as ours only if its checksum says so.
"""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ParamValidationError,
)
from botocore.session import Session

from ingest_telemetry.patience import Patience

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_SECONDS: Final = 3
READ_TIMEOUT_SECONDS: Final = 20

DIGEST_METADATA: Final = "sha256"

type OnTrouble = Callable[[str, Exception], None]


class ObjectConflictError(RuntimeError):
    """Another object lies under the key; with its digest in the key that is no chance."""


def s3_client(endpoint_url: str) -> "S3Client":
    """An S3 client without boto3's resources, which cost a tenth of a second to start.

    It makes one attempt per call: retrying is `put_once`'s, which knows the time left.
    """
    # botocore types no client by its service; the stubs do.
    return Session().create_client(  # type: ignore[return-value]
        "s3",
        endpoint_url=endpoint_url or None,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"} if endpoint_url else None,
        ),
    )


def digest_of(body: bytes) -> str:
    """SHA-256 in hexadecimal, as it stands in the key."""
    return sha256(body).hexdigest()


class Zone:
    """A bucket to which objects are added and in which none is ever replaced."""

    def __init__(self, client: "S3Client", bucket: str, on_trouble: OnTrouble) -> None:
        self._client = client
        self._bucket = bucket
        self._on_trouble = on_trouble

    def put_once(self, key: str, body: bytes, patience: Patience) -> None:
        """Store the object.

        Raises what S3 last raised when patience ends; ObjectConflictError at once.
        """
        failures = 0
        while True:
            try:
                self._attempt(key, body)
                return
            except ParamValidationError:
                raise  # our bug: no time makes it better
            except (ClientError, BotoCoreError) as error:
                # Every S3 and KMS error, 403 and 404 included: policies and keys get mended, and
                # none of it is the data's fault.
                failures += 1
                self._on_trouble(key, error)
                if not patience.pause(failures):
                    raise

    def _attempt(self, key: str, body: bytes) -> None:
        digest = sha256(body)
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                # S3 checks this against what arrived, so no cut or altered upload is ever stored.
                ChecksumSHA256=b64encode(digest.digest()).decode(),
                Metadata={DIGEST_METADATA: digest.hexdigest()},
                IfNoneMatch="*",
            )
        except ClientError as error:
            # 409, another write to the key in progress, is retried like any other trouble.
            if _status_of(error) != HTTPStatus.PRECONDITION_FAILED:
                raise
            if self._stored_digest(key) != digest.hexdigest():
                raise ObjectConflictError(f"s3://{self._bucket}/{key}") from error

    def _stored_digest(self, key: str) -> str | None:
        # Not the checksum S3 keeps: reading that needs kms:Decrypt where a customer key encrypts.
        head = self._client.head_object(Bucket=self._bucket, Key=key)
        return head["Metadata"].get(DIGEST_METADATA)


def _status_of(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
