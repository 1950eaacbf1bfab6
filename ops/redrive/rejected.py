"""The rejected zone's part of a redrive: which rows are waiting, and sending those that help."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from ops import rejected_zone
from ops.errors import OperationError
from ops.kinesis_event import MAX_EVENT_RECORDS
from ops.redrive.marks import Marks
from ops.redrive.selection import Selection
from ops.redrive.sending import Sending
from ops.rejected_zone import RejectedRow
from ops.stack import Stack
from telemetry_contract.aggregation import records_in
from telemetry_contract.event_time import microseconds_of
from telemetry_contract.limit_variables import LimitVariableError, limits_from
from telemetry_contract.limits import Limits
from telemetry_contract.reading import interpret
from telemetry_contract.rejection import Rejection
from telemetry_contract.zone_paths import REJECTED_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Rows are gathered up to this before they are sent; `events_of` cuts them into single calls.
MAX_GATHERED_ROWS: Final = 10_000
MAX_GATHERED_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class RejectedPass:
    """One run through the rejected zone."""

    s3: S3Client
    stack: Stack
    selection: Selection
    sending: Sending
    marks: Marks
    progress: Callable[[str], None]

    def run(self, limits: Limits, *, apply: bool) -> None:
        """Counts the rows that are waiting; with `apply` sends those that are now accepted."""
        findings = self.sending.findings
        # Each with how many of its readings stay rejected: only an array has some of either.
        gathered: dict[RejectedRow, int] = {}
        gathered_bytes = 0
        for row in self._waiting_rows():
            accepted, rejected = verdict_on(row, limits)
            findings.rows[row.reason] += 1
            findings.would_be_accepted[row.reason] += accepted
            findings.still_rejected[row.reason] += rejected
            if not (accepted and self.sending.allowed(1)):
                continue
            findings.chosen_rows += 1
            if not apply:
                continue
            gathered[row] = rejected
            gathered_bytes += len(row.payload)
            if len(gathered) == MAX_GATHERED_ROWS or gathered_bytes > MAX_GATHERED_BYTES:
                self._send(gathered)
                gathered, gathered_bytes = {}, 0
        self._send(gathered)

    def _waiting_rows(self) -> Iterator[RejectedRow]:
        """Selected rows that are not redriven, each once: a batch delivered twice leaves its
        rejects twice."""
        findings = self.sending.findings
        seen: set[str] = set()
        for row in self._selected_rows():
            if row.mark in seen:
                findings.repeated_rows += 1
                continue
            seen.add(row.mark)
            day = row.arrival_time.astimezone(UTC).date()
            if not self.selection.again and self.marks.has(day, row.mark):
                findings.redriven_rows[row.reason] += 1
            else:
                yield row

    def _selected_rows(self) -> Iterator[RejectedRow]:
        bucket, selection = self.stack.rejected_zone_bucket, self.selection
        findings = self.sending.findings
        keys = rejected_zone.list_keys(self.s3, bucket, REJECTED_PREFIX, selection.since)
        for number, key in enumerate(keys, start=1):
            self.progress(f"rejected zone: object {number:,}, {findings.rows.total():,} rows")
            try:
                rows = rejected_zone.read_rows(self.s3, bucket, key)
            except OperationError as error:
                findings.troubles.append(str(error))
                continue
            for row in filter(selection.takes, rows):
                data = rejected_zone.record_data(row)
                if self.sending.is_of(data, selection.devices) and not self.sending.is_erased_row(
                    row, data
                ):
                    yield row

    def _send(self, rows: Mapping[RejectedRow, int]) -> None:
        findings = self.sending.findings
        records: dict[RejectedRow, bytes] = {}
        for row in rows:
            try:
                records[row] = rejected_zone.encoded_record(row, self.stack.stream_arn)
            except OperationError as error:
                findings.troubles.append(str(error))
        most = self.sending.pace.portion(MAX_EVENT_RECORDS)
        for event, sent in rejected_zone.events_of(records, most):
            self.progress(f"rejected zone: {findings.sent_rows:,} rows sent")
            account = self.sending.event(event, len(sent), f"{len(sent):,} rejected readings")
            if account is None:
                continue
            findings.sent_rows += len(sent)
            too_many = account["rejected"] - sum(rows[row] for row in sent)
            if too_many > 0:
                findings.troubles.append(
                    f"{len(sent):,} rejected rows: the function rejected {too_many:,} readings "
                    "that the contract here accepts, so all of these rows stay waiting. Is the "
                    "deployed version another than this one? Deploy it, then run again."
                )
            else:
                for row in sent:
                    self.marks.add(row.arrival_time.astimezone(UTC).date(), [row.mark])


def verdict_on(row: RejectedRow, limits: Limits) -> tuple[int, int]:
    """How many readings in the row would be accepted now, and how many rejected.

    A row is one reading, unless a whole array or aggregate had been rejected.
    """
    data = rejected_zone.record_data(row)
    accepted = rejected = 0
    for one in records_in(row.position, microseconds_of(row.arrival_time), data, limits):
        readings, rejections = ([], [one]) if isinstance(one, Rejection) else interpret(one, limits)
        accepted += len(readings)
        rejected += len(rejections)
    return accepted, rejected


def limits_of(environment: Mapping[str, str], function: str) -> Limits:
    """The bounds and policies by which the deployed function decides.

    Raises OperationError if its environment does not say them.
    """
    try:
        return limits_from(environment)
    except LimitVariableError as error:
        raise OperationError(
            f"function {function} does not say by which bounds it decides ({error} in its "
            "environment): is it the function of this application?"
        ) from error
