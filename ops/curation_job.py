"""The stack's jobs as the operator's commands need them: the curation job is started with
arguments, awaited, and read; of the others it is known whether a run is in progress.

The job does the work and holds the lock: only one of its runs may write. What it says of itself
stands in its log, as lines of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ops.errors import OperationError

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

POLL_SECONDS: Final = 5.0
# CloudWatch shows a line some seconds after it was printed.
LOG_PATIENCE_SECONDS: Final = 120.0

_ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR", "EXPIRED"})


@dataclass(frozen=True)
class CurationJob:
    """A stack's curation job. `logs` is a boto3 client; `pause` waits for some seconds."""

    name: str
    glue: GlueClient
    logs: Any
    pause: Callable[[float], None]
    progress: Callable[[str], None]

    def run(
        self, arguments: Mapping[str, str], awaited: Iterable[str], stays: str
    ) -> dict[str, Any]:
        """Run the job and give what it said under the `awaited` keys; OperationError if it failed.
        `stays` tells the operator how things are then."""
        run_id = self._start(arguments)
        self._await(run_id, stays)
        return self._said(run_id, frozenset(awaited))

    def require_free(self) -> None:
        """OperationError if a run is in progress. One may begin right afterwards; `run` notices."""
        if self._is_running():
            raise self._is_busy()

    def await_free(self) -> None:
        """Wait until no run is in progress, however it ends; its own timeout bounds that."""
        waited = 0.0
        while self._is_running():
            self.progress(f"waiting for a run of {self.name}, {waited:.0f} s")
            self.pause(POLL_SECONDS)
            waited += POLL_SECONDS

    def _is_running(self) -> bool:
        runs = self.glue.get_job_runs(JobName=self.name, MaxResults=1)["JobRuns"]
        return bool(runs) and runs[0]["JobRunState"] not in _ENDED

    def _is_busy(self) -> OperationError:
        return OperationError(
            f"a run of {self.name} is in progress, and only one may write: try again when "
            f"it has ended (aws glue get-job-runs --job-name {self.name})"
        )

    def _start(self, arguments: Mapping[str, str]) -> str:
        try:
            return self.glue.start_job_run(JobName=self.name, Arguments=arguments)["JobRunId"]
        except self.glue.exceptions.ConcurrentRunsExceededException as error:
            raise self._is_busy() from error

    def _await(self, run_id: str, stays: str) -> None:
        waited = 0.0
        while True:
            run = self.glue.get_job_run(JobName=self.name, RunId=run_id)["JobRun"]
            state = run["JobRunState"]
            if state in _ENDED:
                break
            self.progress(f"{self.name}: {state.lower()}, {waited:.0f} s")
            self.pause(POLL_SECONDS)
            waited += POLL_SECONDS
        if state != "SUCCEEDED":
            raise OperationError(
                f"run {run_id} of {self.name} ended as {state}: "
                f"{run.get('ErrorMessage', 'it gave no reason')}. Its log is in "
                f"{self._log_group()}. {stays}"
            )

    def _said(self, run_id: str, awaited: frozenset[str]) -> dict[str, Any]:
        waited = 0.0
        while True:
            said: dict[str, Any] = {}
            for line in self._lines(run_id):
                said |= line
            if awaited <= said.keys():
                return said
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
        job = self.glue.get_job(JobName=self.name)["Job"]
        return f"{job['DefaultArguments']['--custom-logGroup-prefix']}/output"
