"""A replay is a run of the curation job with a selection; here it is started, awaited and read.

The job does the work and holds the lock; what it says of itself stands in its log. Guarantee:
without `apply` the job is told to write nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ops.curation_job import CurationJob
from ops.exchange import Exchange, write_list

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

# Under it the job's role may read, and no table lies there.
LISTS_PREFIX: Final = "curated/replays/"
HALF_DONE: Final = "No day is half replayed; running it again finishes it."


@dataclass(frozen=True)
class Selection:
    """What to replay: days of event time, first and last included; a device; raw objects by their
    keys. A part that is None selects all. `late` promotes rows of `late_readings`."""

    days: str | None = None
    device: str | None = None
    objects: tuple[str, ...] = ()
    late: bool = False


@dataclass(frozen=True)
class Outcome:
    """What the job said: the counts by day, and, if anything was written, the run's account."""

    counts: dict[str, Any]
    account: dict[str, Any] | None


@dataclass(frozen=True)
class Replay:
    """The stack's curation job, and what else a replay needs. `logs` is a boto3 client; `pause`
    waits for some seconds."""

    job_name: str
    curated_bucket: str
    glue: GlueClient
    logs: Any
    s3: S3Client
    pause: Callable[[float], None]
    progress: Callable[[str], None]

    @property
    def job(self) -> CurationJob:
        """The job, as it is run."""
        return CurationJob(self.job_name, self.glue, self.logs, self.pause, self.progress)

    def run(self, selection: Selection, now: datetime, *, apply: bool) -> Outcome:
        """Run the job for the selection and give what it said; OperationError if it failed."""
        arguments = self._arguments(selection, now) | ({} if apply else {"--dry_run": "true"})
        awaited = ("replay", "account") if apply else ("replay",)
        said = self.job.run(arguments, awaited, HALF_DONE)
        return Outcome(said["replay"], said.get("account"))

    def exchange(self, exchanges: Iterable[Exchange], now: datetime) -> Outcome:
        """Have the job put these raw objects in the place of others, and build anew what was made
        of those; OperationError if it failed."""
        uri = write_list(self.s3, self.curated_bucket, exchanges, now)
        said = self.job.run({"--exchange": uri}, ("replay", "account"), HALF_DONE)
        return Outcome(said["replay"], said["account"])

    def _arguments(self, selection: Selection, now: datetime) -> dict[str, str]:
        arguments = {}
        if selection.days:
            arguments["--replay_days"] = selection.days
        if selection.device:
            arguments["--replay_device"] = selection.device
        if selection.objects:
            arguments["--replay_objects"] = self._write_list(selection.objects, now)
        if selection.late:
            arguments["--replay_late"] = "true"
        return arguments

    def _write_list(self, keys: tuple[str, ...], now: datetime) -> str:
        name = f"{LISTS_PREFIX}{now:%Y%m%dT%H%M%S%fZ}.txt"
        body = "".join(f"{key}\n" for key in keys).encode()
        self.s3.put_object(Bucket=self.curated_bucket, Key=name, Body=body)
        return f"s3://{self.curated_bucket}/{name}"
