"""What was redriven, remembered beside the zone that keeps it.

A zone's objects are written once and hold many rows each, so a row cannot be marked where it is. A
mark is a line in an object of its own, `redriven/day=YYYY-MM-DD/<run>-<number>.parquet` in the
zone's bucket: outside `rejected_data/`, where Athena looks, and within the bucket's lifecycle
rules; being written later than what it marks, it also expires later. The day is that of the arrival
of a rejected row (the same for a copy of the row in another object), or that of the writing of a
failed object. So whoever reads a day's rows reads that day's marks and no others.

Guarantee: nothing is marked before its sending was confirmed. Killed in between, a run leaves
records that were sent and are not marked: the next sends them again, which changes nothing.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REDRIVEN_PREFIX: Final = "redriven/"
# Marks wait for company, since each write is an object; what a kill forgets is bounded by both.
MAX_UNWRITTEN: Final = 10_000
MAX_UNWRITTEN_SECONDS: Final = 30.0


class MarkError(OperationError):
    """What was sent could not be marked."""


class Marks:
    """The marks of one bucket, as one run reads and adds to them."""

    def __init__(
        self,
        s3: S3Client,
        bucket: str,
        clock: Callable[[], float] = time.monotonic,
        prefix: str = REDRIVEN_PREFIX,
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock
        self._prefix = prefix
        self._run = uuid.uuid4().hex
        self._written = 0
        self._known: dict[date | None, set[str]] = {}
        self._new: defaultdict[date | None, list[str]] = defaultdict(list)
        self._oldest_new = 0.0

    def has(self, day: date | None, mark: str) -> bool:
        """Whether an earlier run marked it; without a day, among the marks of no day."""
        if day not in self._known:
            self._known[day] = set(self._read(day))
        return mark in self._known[day]

    def add(self, day: date | None, marks: Iterable[str]) -> None:
        """Marks what was sent and confirmed; raises MarkError if it can't be written."""
        if not self._new:
            self._oldest_new = self._clock()
        self._new[day] += marks
        waited = self._clock() - self._oldest_new
        if sum(map(len, self._new.values())) >= MAX_UNWRITTEN or waited >= MAX_UNWRITTEN_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes the marks that are not written yet; raises MarkError if that fails."""
        new, self._new = self._new, defaultdict(list)
        for day, marks in new.items():
            if not marks:
                continue
            self._written += 1
            body = BytesIO()
            pq.write_table(pa.table({"id": marks}), body, compression="zstd")
            key = f"{self._folder(day)}{self._run}-{self._written:05}.parquet"
            try:
                self._s3.put_object(Bucket=self._bucket, Key=key, Body=body.getvalue())
            except (ClientError, BotoCoreError) as error:
                raise MarkError(
                    f"{len(marks):,} marks of what was sent cannot be written to "
                    f"s3://{self._bucket}/{self._prefix} ({error}), so the run ended. The "
                    "caller needs s3:PutObject there. What is not marked is sent again by the next "
                    "run, which does no harm."
                ) from error

    def _read(self, day: date | None) -> Iterable[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._folder(day)
        )
        for key in (entry["Key"] for page in pages for entry in page.get("Contents", [])):
            body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            try:
                yield from pq.read_table(BytesIO(body), columns=["id"]).column("id").to_pylist()
            except pa.ArrowException as error:
                raise OperationError(
                    f"s3://{self._bucket}/{key} cannot be read as marks ({error}). "
                    "Remove it: what it marked is then sent once more, which does no harm."
                ) from error

    def _folder(self, day: date | None) -> str:
        return self._prefix if day is None else f"{self._prefix}day={day:%Y-%m-%d}/"
