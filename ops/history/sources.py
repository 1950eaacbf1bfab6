"""Where history lies: objects under a prefix in S3, or files on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

S3_SCHEME = "s3://"


@dataclass(frozen=True)
class Source:
    """One file of history. `version` changes when its bytes do, as far as that is known without
    reading it; `written` is when it was written where it lies."""

    name: str
    version: str | None
    written: datetime
    read: Callable[[], bytes]


def sources_in(place: str, s3: S3Client) -> Iterator[Source]:
    """Every file at or below a place, by name; raises OperationError if there is none."""
    found = _in_s3(place, s3) if place.startswith(S3_SCHEME) else _on_disk(Path(place))
    is_empty = True
    for source in found:
        is_empty = False
        yield source
    if is_empty:
        raise OperationError(f"{place} holds no files: check the name, a prefix is taken literally")


def _in_s3(place: str, s3: S3Client) -> Iterator[Source]:
    bucket, _, prefix = place.removeprefix(S3_SCHEME).partition("/")
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                if entry["Size"]:  # a folder's placeholder has none
                    key = entry["Key"]
                    yield Source(
                        f"{S3_SCHEME}{bucket}/{key}",
                        entry["ETag"],
                        entry["LastModified"],
                        _reader(s3, bucket, key),
                    )
    except (ClientError, BotoCoreError) as error:
        raise OperationError(
            f"{place} cannot be listed: {error}. The caller needs s3:ListBucket and s3:GetObject."
        ) from error


def _reader(s3: S3Client, bucket: str, key: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise OperationError(f"cannot be read: {error}") from error

    return read


def _on_disk(place: Path) -> Iterator[Source]:
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    for file in files:
        hidden = any(part.startswith(".") for part in file.relative_to(place).parts)
        if not file.is_file() or hidden:
            continue
        status = file.stat()
        if status.st_size:
            written = datetime.fromtimestamp(status.st_mtime, UTC)
            yield Source(str(file), None, written, _file_reader(file))


def _file_reader(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise OperationError(f"cannot be read: {error}") from error

    return read
