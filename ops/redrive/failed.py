"""The failed zone's part of a redrive: batches go to the function, messages onto the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import batched
from typing import TYPE_CHECKING

from ops import failed_zone
from ops.delivery import MAX_PUT_RECORDS
from ops.errors import OperationError
from ops.failed_zone import FailedBatch, FailedRecord, UndeliveredMessage
from ops.redrive.marks import Marks
from ops.redrive.selection import Selection
from ops.redrive.sending import Sending
from ops.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class FailedPass:
    """One run through the failed zone.

    An object of which everything was redriven is marked by its key and not read again. Of a batch
    that a device or the limit took apart, records are marked until all of them are.
    """

    s3: S3Client
    stack: Stack
    selection: Selection
    sending: Sending
    marks: Marks
    progress: Callable[[str], None]

    def run(self, *, apply: bool) -> None:
        """Counts what is waiting; with `apply` sends it."""
        self._batches(apply=apply)
        self._messages(apply=apply)

    def _batches(self, *, apply: bool) -> None:
        bucket, findings = self.stack.failed_zone_bucket, self.sending.findings
        for key, written in self._objects(failed_zone.MAPPING_PREFIX):
            day = _day_of(written)
            self.progress(f"failed zone: batch {findings.failed_batches + 1:,}")
            if self._is_marked(day, key):
                findings.redriven_batches += 1
                continue
            try:
                batch = failed_zone.read_failed_batch(self.s3, bucket, key)
            except OperationError as error:
                findings.troubles.append(str(error))
                continue
            waiting = self._waiting_in(batch, day)
            if not waiting:
                continue
            findings.failed_batches += 1
            findings.failed_records += len(waiting)
            chosen = waiting[: self.sending.allowed(len(waiting))]
            findings.chosen_records += len(chosen)
            if apply and chosen:
                self._send(batch, chosen, day)

    def _waiting_in(self, batch: FailedBatch, day: date) -> list[FailedRecord]:
        """The records of a batch that are the devices' and not redriven."""
        return [
            record
            for record in batch.records
            if not self._is_marked(day, _mark(batch, record))
            and self.sending.is_of(record.data, self.selection.devices)
            and not self.sending.is_erased(record)
        ]

    def _send(self, batch: FailedBatch, chosen: list[FailedRecord], day: date) -> None:
        """Sends these of the batch's records, and marks them or, once it is all, the batch."""
        what = f"s3://{self.stack.failed_zone_bucket}/{batch.key}"
        sent: list[FailedRecord] = []
        try:
            for part in batched(chosen, self.sending.pace.portion(len(chosen)), strict=False):
                self.progress(f"failed zone: {self.sending.findings.sent_records:,} records sent")
                left = [one for record in part for one in self.sending.left_of(record)]
                if all(
                    self.sending.event(event, records, what) is not None
                    for event, records in batch.events_of(left)
                ):
                    self.sending.findings.sent_records += len(part)
                    sent += part
        finally:
            # At a slow pace one batch takes minutes: what was sent is marked, however this ends.
            self._mark_sent(batch, sent, day)

    def _mark_sent(self, batch: FailedBatch, sent: list[FailedRecord], day: date) -> None:
        done = {record.mark for record in sent}
        if all(
            record.mark in done or self.marks.has(day, _mark(batch, record))
            for record in batch.records
        ):
            self.marks.add(day, [batch.key])
        else:
            self.marks.add(day, [_mark(batch, record) for record in sent])

    def _messages(self, *, apply: bool) -> None:
        bucket, findings = self.stack.failed_zone_bucket, self.sending.findings
        gathered: list[tuple[UndeliveredMessage, date]] = []
        most = self.sending.pace.portion(MAX_PUT_RECORDS)
        for key, written in self._objects(failed_zone.RULE_PREFIX):
            day = _day_of(written)
            self.progress(f"failed zone: message {findings.undelivered_messages + 1:,}")
            if self._is_marked(day, key):
                findings.redriven_messages += 1
                continue
            try:
                found = failed_zone.read_undelivered_message(self.s3, bucket, key)
            except OperationError as error:
                findings.troubles.append(str(error))
                continue
            if not self.sending.is_of(found.envelope, self.selection.devices):
                continue
            message = self.sending.without_erased(found, written)
            if message is None:
                continue
            findings.undelivered_messages += 1
            if not self.sending.allowed(1):
                continue
            findings.chosen_messages += 1
            if apply:
                gathered.append((message, day))
            if len(gathered) == most:
                self._put(gathered)
                gathered = []
        self._put(gathered)

    def _put(self, gathered: list[tuple[UndeliveredMessage, date]]) -> None:
        if gathered and self.sending.messages([message for message, _ in gathered]):
            for message, day in gathered:
                self.marks.add(day, [message.key])

    def _is_marked(self, day: date, mark: str) -> bool:
        return not self.selection.again and self.marks.has(day, mark)

    def _objects(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Selected keys, each with when it was written."""
        bucket, selection = self.stack.failed_zone_bucket, self.selection
        return failed_zone.list_objects(self.s3, bucket, prefix, selection.since, selection.until)


def _day_of(written: datetime) -> date:
    """The day under which an object's marks are."""
    return written.astimezone(UTC).date()


def _mark(batch: FailedBatch, record: FailedRecord) -> str:
    return f"{batch.key} {record.mark}"
