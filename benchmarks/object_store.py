"""The object store of the comparison: takes what a consumer writes and keeps its size.

Every consumer writes to the same stand-in, so that the time of a network is in no figure.
"""

from __future__ import annotations

from typing import Any


class ObjectStore:
    """Answers `put_object` as S3 does and counts bytes by key."""

    def __init__(self) -> None:
        self.bytes_by_key: dict[str, int] = {}

    # boto3 spells its arguments so.
    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> dict[str, Any]:
        self.bytes_by_key[f"{Bucket}/{Key}"] = len(Body)
        return {"ETag": '"0"'}

    @property
    def stored_bytes(self) -> int:
        """Bytes of all objects."""
        return sum(self.bytes_by_key.values())
