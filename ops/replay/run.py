"""A replay is a run of the curation job with a selection; here it is started, awaited and read.

The job does the work and holds the lock; what it says of itself stands in its log. Guarantee:
without `apply` the job is told to write nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

# Under it the job's role may read, and no table lies there.
LISTS_PREFIX: Final = "curated/replays/"
POLL_SECONDS: Final = 5.0
# CloudWatch shows a line some seconds after it was printed.
LOG_PATIENCE_SECONDS: Final = 120.0

_ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR", "EXPIRED"})


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

    def run(self, selection: Selection, now: datetime, *, apply: bool) -> Outcome:
        """Run the job for the selection and give what it said; OperationError if it failed."""
        arguments = self._arguments(selection, now) | ({} if apply else {"--dry_run": "true"})
        try:
            run_id = self.glue.start_job_run(JobName=self.job_name, Arguments=arguments)["JobRunId"]
        except self.glue.exceptions.ConcurrentRunsExceededException as error:
            raise OperationError(
                f"a run of {self.job_name} is in progress, and only one may write: try again when "
                f"it has ended (aws glue get-job-runs --job-name {self.job_name})"
            ) from error
        self._await(run_id)
        return self._outcome(run_id, apply=apply)

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

    def _await(self, run_id: str) -> None:
        waited = 0.0
        while True:
            run = self.glue.get_job_run(JobName=self.job_name, RunId=run_id)["JobRun"]
            state = run["JobRunState"]
            if state in _ENDED:
                break
            self.progress(f"{self.job_name}: {state.lower()}, {waited:.0f} s")
            self.pause(POLL_SECONDS)
            waited += POLL_SECONDS
        if state != "SUCCEEDED":
            raise OperationError(
                f"run {run_id} of {self.job_name} ended as {state}: "
                f"{run.get('ErrorMessage', 'it gave no reason')}. Its log is in "
                f"{self._log_group()}. No day is half replayed; running it again finishes it."
            )

    def _outcome(self, run_id: str, *, apply: bool) -> Outcome:
        waited = 0.0
        while True:
            said: dict[str, dict[str, Any]] = {}
            for line in self._lines(run_id):
                said |= line
            if "replay" in said and ("account" in said or not apply):
                return Outcome(said["replay"], said.get("account"))
            if waited >= LOG_PATIENCE_SECONDS:
                raise OperationError(
                    f"run {run_id} succeeded, but its counts are not in {self._log_group()}: look "
                    "there, or in the table curation_runs"
                )
            self.progress(f"waiting for the log of {run_id}")
            self.pause(POLL_SECONDS)
            waited += POLL_SECONDS

    def _lines(self, run_id: str) -> Iterator[dict[str, Any]]:
        """The JSON lines that the run printed."""
        place: dict[str, str] = {}
        while True:
            try:
                answer = self.logs.get_log_events(
                    logGroupName=self._log_group(),
                    logStreamName=run_id,
                    startFromHead=True,
                    **place,
                )
            except self.logs.exceptions.ResourceNotFoundException:
                return  # nothing has arrived yet
            for event in answer["events"]:
                if event["message"].startswith('{"'):
                    yield json.loads(event["message"])
            if answer["nextForwardToken"] == place.get("nextToken"):
                return
            place = {"nextToken": answer["nextForwardToken"]}

    def _log_group(self) -> str:
        job = self.glue.get_job(JobName=self.job_name)["Job"]
        return f"{job['DefaultArguments']['--custom-logGroup-prefix']}/output"
