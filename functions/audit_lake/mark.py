"""How far the audit has come: one small object in the curated zone.

It is written after an hour was reported, so that an hour is reported once more rather than never.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX = "audit/"


@dataclass(frozen=True, slots=True)
class Mark:
    """The hour up to which everything is audited. A database belongs to one stack, a bucket may
    belong to several."""

    s3: S3Client
    bucket: str
    database_name: str

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.database_name}.json"

    def read(self) -> datetime | None:
        """None before the first audit."""
        try:
            body = self.s3.get_object(Bucket=self.bucket, Key=self.key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None
        return datetime.fromisoformat(json.loads(body)["audited_through"])

    def write(self, through: datetime) -> None:
        """Everything before that is audited and reported."""
        body = json.dumps({"audited_through": through.isoformat()}).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self.key, Body=body)
