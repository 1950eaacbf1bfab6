"""Redrive: what was rejected or failed goes in again as it was, once its cause is mended.

Dry by default: it says what would come of each rejected reading under today's contract and the
deployed function's own settings, and sends nothing. With `--apply` it sends what would now be
accepted, and everything of the failed zone. Guarantee: idempotent. A redriven reading gets the
event id that it would have got at first, however often and in whatever batches it is sent, so the
curated zone holds it once. Nothing is deleted from either zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ops import failed_zone, rejected_zone
from ops.delivery import MAX_PUT_RECORDS, Function, Stream
from ops.errors import OperationError
from ops.redrive.findings import Findings
from ops.redrive.selection import Selection
from ops.rejected_zone import RejectedRow
from ops.stack import Stack
from telemetry_contract.decoding import decode_record
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

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Redrive:
    """One run against one stack."""

    stack: Stack
    s3: S3Client
    function: Function
    stream: Stream
    progress: Progress

    def run(self, selection: Selection, *, apply: bool) -> Findings:
        """Finds everything selected and, with `apply`, sends it; trouble with one object or batch
        is noted in the findings and leaves the others alone."""
        findings = Findings()
        if selection.rejected:
            limits = limits_of(self.function.environment(), self.function.name)
            self._rejected_zone(selection, limits, findings, apply=apply)
        if selection.failed:
            self._failed_batches(selection, findings, apply=apply)
            self._undelivered_messages(selection, findings, apply=apply)
        return findings

    def _rejected_zone(
        self, selection: Selection, limits: Limits, findings: Findings, *, apply: bool
    ) -> None:
        gathered: list[RejectedRow] = []
        gathered_bytes = 0
        for row in self._selected_rows(selection, findings):
            accepted, rejected = verdict_on(row, limits)
            findings.rows[row.reason] += 1
            findings.would_be_accepted[row.reason] += accepted
            findings.still_rejected[row.reason] += rejected
            if not (apply and accepted):
                continue
            gathered.append(row)
            gathered_bytes += len(row.payload)
            if len(gathered) == MAX_GATHERED_ROWS or gathered_bytes > MAX_GATHERED_BYTES:
                self._send_rows(gathered, findings)
                gathered, gathered_bytes = [], 0
        self._send_rows(gathered, findings)

    def _selected_rows(self, selection: Selection, findings: Findings) -> Iterator[RejectedRow]:
        """Selected rows, each once: a batch delivered twice leaves its rejects twice."""
        bucket = self.stack.rejected_zone_bucket
        seen: set[str] = set()
        keys = rejected_zone.list_keys(self.s3, bucket, REJECTED_PREFIX, selection.since)
        for number, key in enumerate(keys, start=1):
            self.progress(f"rejected zone: object {number:,}, {sum(findings.rows.values()):,} rows")
            try:
                rows = rejected_zone.read_rows(self.s3, bucket, key)
            except OperationError as error:
                findings.troubles.append(str(error))
                continue
            for row in filter(selection.takes, rows):
                if row.record_id in seen:
                    findings.repeated_rows += 1
                else:
                    seen.add(row.record_id)
                    yield row

    def _send_rows(self, rows: list[RejectedRow], findings: Findings) -> None:
        try:
            for event, count in rejected_zone.events_of(rows, self.stack.stream_arn):
                if self._send_event(event, f"{count:,} rejected readings", findings):
                    findings.sent_rows += count
        except OperationError as error:
            findings.troubles.append(str(error))

    def _failed_batches(self, selection: Selection, findings: Findings, *, apply: bool) -> None:
        bucket = self.stack.failed_zone_bucket
        for key in self._failed_keys(failed_zone.MAPPING_PREFIX, selection):
            self.progress(f"failed zone: batch {findings.failed_batches + 1:,}")
            try:
                batch = failed_zone.read_failed_batch(self.s3, bucket, key)
            except OperationError as error:
                findings.troubles.append(str(error))
                continue
            findings.failed_batches += 1
            findings.failed_records += batch.records
            if apply and self._send_event(batch.event, f"s3://{bucket}/{key}", findings):
                findings.sent_records += batch.records

    def _undelivered_messages(
        self, selection: Selection, findings: Findings, *, apply: bool
    ) -> None:
        bucket = self.stack.failed_zone_bucket
        gathered: list[tuple[str, bytes]] = []
        for key in self._failed_keys(failed_zone.RULE_PREFIX, selection):
            self.progress(f"failed zone: message {findings.undelivered_messages + 1:,}")
            try:
                message = failed_zone.read_undelivered_message(self.s3, bucket, key)
            except OperationError as error:
                findings.troubles.append(str(error))
                continue
            findings.undelivered_messages += 1
            if apply:
                gathered.append((message.partition_key, message.envelope))
            if len(gathered) == MAX_PUT_RECORDS:
                self._put(gathered, findings)
                gathered = []
        self._put(gathered, findings)

    def _put(self, messages: list[tuple[str, bytes]], findings: Findings) -> None:
        try:
            self.stream.put(messages)
            findings.sent_messages += len(messages)
        except OperationError as error:
            findings.troubles.append(f"up to {len(messages):,} undelivered messages: {error}")

    def _failed_keys(self, prefix: str, selection: Selection) -> Iterator[str]:
        return failed_zone.list_keys(
            self.s3, self.stack.failed_zone_bucket, prefix, selection.since, selection.until
        )

    def _send_event(self, event: bytes, what: str, findings: Findings) -> bool:
        try:
            account = self.function.ingest(event)
        except OperationError as error:
            findings.troubles.append(f"{what}: {error}")
            return False
        findings.accepted_by_function += account["accepted"]
        findings.rejected_by_function += account["rejected"]
        return True


def verdict_on(row: RejectedRow, limits: Limits) -> tuple[int, int]:
    """How many readings in the row would be accepted now, and how many rejected.

    A row is one reading, unless a whole array had been rejected.
    """
    record = decode_record(
        row.position,
        microseconds_of(row.arrival_time),
        rejected_zone.record_data(row),
        limits,
    )
    if isinstance(record, Rejection):
        return 0, 1
    readings, rejections = interpret(record, limits)
    return len(readings), len(rejections)


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
