"""Redrive: what was rejected or failed goes in again as it was, once its cause is mended.

Dry by default: it says what would come of each rejected reading under today's contract and the
deployed function's own settings, and sends nothing. With `--apply` it sends what would now be
accepted, and everything of the failed zone. Guarantee: idempotent. A redriven reading gets the
event id that it would have got at first, however often and in whatever batches it is sent, so the
curated zone holds it once. What was sent, and confirmed, is marked and not waiting any more.
Nothing is deleted from either zone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.delivery import Function, Stream
from ops.erasures import Erasures
from ops.redrive.failed import FailedPass
from ops.redrive.findings import Findings
from ops.redrive.marks import MarkError, Marks
from ops.redrive.pace import Pace
from ops.redrive.rejected import RejectedPass, limits_of
from ops.redrive.selection import Selection
from ops.redrive.sending import Sending
from ops.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Redrive:
    """One run against one stack."""

    stack: Stack
    s3: S3Client
    function: Function
    stream: Stream
    progress: Progress
    pace: Pace = field(default_factory=Pace)

    def run(self, selection: Selection, *, apply: bool) -> Findings:
        """Finds everything selected and, with `apply`, sends it; trouble with one object or batch
        is noted in the findings and leaves the others alone.

        Interrupted, it marks what was confirmed and says what it did until then.
        """
        findings = Findings()
        stack = self.stack
        erased = Erasures(self.s3, stack.curated_zone_bucket, stack.database_name).tombstones()
        sending = Sending(self.function, self.stream, self.pace, selection.limit, findings, erased)
        rejected_marks = Marks(self.s3, self.stack.rejected_zone_bucket, self.pace.clock)
        failed_marks = Marks(self.s3, self.stack.failed_zone_bucket, self.pace.clock)
        try:
            if selection.rejected:
                limits = limits_of(self.function.environment(), self.function.name)
                RejectedPass(
                    self.s3, self.stack, selection, sending, rejected_marks, self.progress
                ).run(limits, apply=apply)
            if selection.failed:
                FailedPass(
                    self.s3, self.stack, selection, sending, failed_marks, self.progress
                ).run(apply=apply)
        except KeyboardInterrupt:
            findings.was_interrupted = True
        except MarkError as error:
            # Not to go on: what can't be marked would be sent again by every run.
            findings.troubles.append(str(error))
        finally:
            for marks in (rejected_marks, failed_marks):
                try:
                    marks.write()
                except MarkError as error:
                    findings.troubles.append(str(error))
        return findings
