"""Objects in all their versions: what a bucket keeps of a key although it was replaced or deleted.

To delete an object for good is to delete each of its versions by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import TYPE_CHECKING, Final

from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

READERS: Final = 16
# DeleteObjects takes so many keys a call.
MAX_DELETED: Final = 1_000


@dataclass(frozen=True)
class Version:
    """One version of an object; `is_current` if it is what a plain read gives."""

    key: str
    version_id: str
    is_current: bool
    written: datetime


def list_versions(s3: S3Client, bucket: str, prefix: str) -> Iterator[Version]:
    """Every version under the prefix that has content."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for one in page.get("Versions", []):
            yield Version(one["Key"], one["VersionId"], one["IsLatest"], one["LastModified"])


def read_version(s3: S3Client, bucket: str, version: Version) -> bytes | None:
    """A version's bytes; None if it is gone meanwhile."""
    try:
        stored = s3.get_object(Bucket=bucket, Key=version.key, VersionId=version.version_id)
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion"):
            return None
        raise
    body: bytes = stored["Body"].read()
    return body


def each_read[Found](
    versions: Iterable[Version], read: Callable[[Version], Found | None]
) -> Iterator[Found]:
    """What `read` finds in the versions, several at a time, in their order."""
    with ThreadPoolExecutor(READERS) as pool:
        for some in batched(versions, 8 * READERS, strict=False):
            yield from (found for found in pool.map(read, some) if found is not None)


def delete_versions(s3: S3Client, bucket: str, versions: Iterable[Version]) -> int:
    """Delete these versions for good, and tell how many; OperationError if some can't be."""
    deleted = 0
    for some in batched(versions, MAX_DELETED, strict=False):
        named: list[ObjectIdentifierTypeDef] = [
            {"Key": one.key, "VersionId": one.version_id} for one in some
        ]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})
        if errors := answer.get("Errors", []):
            told = f"{errors[0].get('Key')}: {errors[0].get('Message')}"
            raise OperationError(
                f"{len(errors):,} object versions of {bucket} cannot be deleted, as {told}. The "
                "caller needs s3:DeleteObjectVersion, and no object lock may hold them; then run "
                "it again."
            )
        deleted += len(some)
    return deleted
