"""Job runs: the deployed script, run with the deployed arguments.

A run downloads `ScriptLocation` from the local S3 and gives it to spark-submit with the job's
DefaultArguments, the run's own over them and NonOverridableArguments last, as Glue does. A
script that ends with another exit code than 0 is FAILED with what it printed last; nothing is
ever SUCCEEDED that did not run. Retries (MaxRetries), time limit, concurrency limit and
stopping follow
https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-jobs-runs.html
"""

import logging
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from local.api import ApiError, Operation
from local.events import TellEvent
from local.glue.background import Spawn, Work, spawn_thread
from local.glue.definitions import Definition, Definitions, utc_now

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_MINUTES = 480  # Glue 5.0 and later
ENDED = frozenset(("SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR"))
_LOG_TAIL_BYTES = 64 * 1024
_PYTHON_ERROR = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Exit|Interrupt)\b.*)$")


class RunScript(Protocol):
    """Runs a Glue script to its end, or until `stopping` is set, and gives its exit code."""

    def __call__(
        self, script: Path, arguments: Mapping[str, str], log: Path, stopping: threading.Event
    ) -> int: ...


class PublishLog(Protocol):
    """Takes a finished run's log to where people look for it."""

    def __call__(self, job: Definition, run_id: str, log: Path) -> None: ...


def keep_log(job: Definition, run_id: str, log: Path) -> None:
    """Leave the log where it is."""


@dataclass
class _Run:
    """One attempt. Changed only under the lock of `JobRuns`."""

    id: str
    job: Definition
    arguments: dict[str, str]  # the run's own, as Glue shows them
    trigger_name: str | None
    attempt: int
    started_on: datetime
    state: str = "STARTING"
    previous_run_id: str | None = None
    completed_on: datetime | None = None
    error_message: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class JobOutcome:
    """How a job run, with all its attempts, ended."""

    run_id: str
    state: str
    error_message: str | None


OnEnd = Callable[[JobOutcome], None]


class JobRuns:
    """Starts, shows and stops runs of the deployed jobs, each in a thread of its own."""

    def __init__(
        self,
        definitions: Definitions,
        s3: Any,
        run_script: RunScript,
        folder: Path,
        clock: Callable[[], datetime] = utc_now,
        spawn: Spawn = spawn_thread,
        publish_log: PublishLog = keep_log,
    ) -> None:
        """`s3` is a boto3 client; scripts and logs are kept under `folder`."""
        self._definitions = definitions
        self._s3 = s3
        self._run_script = run_script
        self._folder = folder
        self._clock = clock
        self._spawn = spawn
        self._publish_log = publish_log
        # Told of each run's end, as EventBridge is.
        self.tell: TellEvent = lambda _detail_type, _detail: None
        self._lock = threading.Lock()
        self._runs: dict[str, list[_Run]] = {}
        self._works: list[Work] = []
        self._is_closed = False

    def start(
        self,
        job_name: str,
        arguments: Mapping[str, str] | None = None,
        trigger_name: str | None = None,
        on_end: OnEnd | None = None,
    ) -> str:
        """Begin a run and give its id; `on_end` is called once, in the run's thread.

        Raises ApiError EntityNotFoundException or ConcurrentRunsExceededException.
        """
        job = self._definitions.get("Job", job_name)
        limit = int(job.get("ExecutionProperty", {}).get("MaxConcurrentRuns", 1))
        with self._lock:
            if self._is_closed:
                raise ApiError("OperationTimeoutException", "the local cloud is stopping")
            runs = self._runs.setdefault(job_name, [])
            if sum(not run.is_over for run in runs) >= limit:
                raise ApiError(
                    "ConcurrentRunsExceededException", f"Concurrent runs exceeded for {job_name}"
                )
            run = self._new_run(job, dict(arguments or {}), trigger_name)
            runs.append(run)
            self._works.append(self._spawn(lambda: self._run_attempts(run, on_end), run.id))
        return run.id

    def stop(self, job_name: str, run_id: str) -> None:
        """Ask a run to end. Raises ApiError for one that is unknown or over."""
        with self._lock:
            run = self._find(job_name, run_id)
            if run.is_over:
                raise ApiError("IllegalSessionStateException", f"JobRun {run_id} is not running")
            run.state = "STOPPING"
            run.stopping.set()

    def shown(self, job_name: str, run_id: str) -> dict[str, Any]:
        """A run as GetJobRun shows it."""
        with self._lock:
            return self._show(self._find(job_name, run_id))

    def close(self) -> None:
        """Stop every run and wait until each has ended; no run starts any more."""
        with self._lock:
            self._is_closed = True
            for runs in self._runs.values():
                for run in runs:
                    run.stopping.set()
            works = list(self._works)
        for work in works:
            work.join()

    def operations(self) -> dict[str, Operation]:
        """The Glue API's operations on job runs."""
        return {
            "AWSGlue.StartJobRun": self._start_job_run,
            "AWSGlue.GetJobRun": lambda request: {
                "JobRun": self.shown(request["JobName"], request["RunId"])
            },
            "AWSGlue.GetJobRuns": self._get_job_runs,
            "AWSGlue.BatchStopJobRun": self._batch_stop_job_run,
        }

    def _start_job_run(self, request: dict[str, Any]) -> dict[str, Any]:
        known = {"JobName", "Arguments"}
        if unknown := sorted(set(request) - known):
            raise ApiError("InvalidInputException", f"StartJobRun: {unknown[0]} is not emulated")
        return {"JobRunId": self.start(request["JobName"], request.get("Arguments"))}

    def _get_job_runs(self, request: dict[str, Any]) -> dict[str, Any]:
        self._definitions.get("Job", request["JobName"])
        with self._lock:
            runs = self._runs.get(request["JobName"], [])
            return {"JobRuns": [self._show(run) for run in reversed(runs)]}

    def _batch_stop_job_run(self, request: dict[str, Any]) -> dict[str, Any]:
        job_name, stopped, errors = request["JobName"], [], []
        for run_id in request["JobRunIds"]:
            named = {"JobName": job_name, "JobRunId": run_id}
            try:
                self.stop(job_name, run_id)
                stopped.append(named)
            except ApiError as error:
                detail = {"ErrorCode": error.code, "ErrorMessage": error.message}
                errors.append({**named, "ErrorDetail": detail})
        return {"SuccessfulSubmissions": stopped, "Errors": errors}

    def _run_attempts(self, run: _Run, on_end: OnEnd | None) -> None:
        max_retries = int(run.job.get("MaxRetries", 0))
        while True:
            self._run_once(run)
            # "timeouts not retried": https://docs.aws.amazon.com/glue/latest/dg/add-job.html
            if run.state != "FAILED" or run.attempt >= max_retries or self._is_closed:
                break
            with self._lock:
                retry = self._new_run(run.job, run.arguments, run.trigger_name, run)
                self._runs[run.job["Name"]].append(retry)
            run = retry
        # https://docs.aws.amazon.com/glue/latest/dg/automating-awsglue-with-cloudwatch-events.html
        detail = {
            "jobName": run.job["Name"],
            "severity": "INFO" if run.state == "SUCCEEDED" else "ERROR",
            "state": run.state,
            "jobRunId": run.id,
            "message": run.error_message or f"Job run {run.state.lower()}",
        }
        self.tell("Glue Job State Change", detail)
        if on_end is not None:
            on_end(JobOutcome(run.id, run.state, run.error_message))

    def _run_once(self, run: _Run) -> None:
        job, timed_out = run.job, threading.Event()

        def end_late_run() -> None:
            timed_out.set()
            run.stopping.set()

        timer = threading.Timer(60 * int(job.get("Timeout", DEFAULT_TIMEOUT_MINUTES)), end_late_run)
        timer.daemon = True
        timer.start()
        error: str | None
        try:
            error = self._submit(run)
        except Exception as failure:  # a run that can't start is a FAILED run, not a dead thread
            logger.exception("job run %s could not be started", run.id)
            error = f"{type(failure).__name__}: {failure}"
        finally:
            timer.cancel()
        with self._lock:
            if timed_out.is_set():
                run.state, run.error_message = "TIMEOUT", "Job run exceeded its timeout"
            elif run.stopping.is_set():
                run.state = "STOPPED"
            elif error is not None:
                run.state, run.error_message = "FAILED", error
            else:
                run.state = "SUCCEEDED"
            run.completed_on = self._clock()
        logger.info("job %s run %s: %s %s", job["Name"], run.id, run.state, run.error_message or "")

    def _submit(self, run: _Run) -> str | None:
        """Run the script; what went wrong, or None."""
        bucket, _, key = run.job["Command"]["ScriptLocation"].removeprefix("s3://").partition("/")
        folder = self._folder / run.id
        folder.mkdir(parents=True, exist_ok=True)
        # SAM uploads the script under a digest without ".py"; spark-submit needs the ending.
        script = folder / f"{run.job['Name']}.py"
        self._s3.download_file(bucket, key, str(script))
        with self._lock:
            if run.state == "STARTING":
                run.state = "RUNNING"
        log = folder / "output.log"
        arguments = merged_arguments(run.job, run.arguments, run.id)
        exit_code = self._run_script(script, arguments, log, run.stopping)
        try:
            self._publish_log(run.job, run.id, log)
        except (BotoCoreError, ClientError):  # a run is not less done because its log is not shown
            logger.exception("the log of job run %s was not published", run.id)
        if exit_code == 0:
            return None
        return last_error(log) or f"Exit code {exit_code}, see {log}"

    def _new_run(
        self,
        job: Definition,
        arguments: dict[str, str],
        trigger_name: str | None,
        previous: _Run | None = None,
    ) -> _Run:
        attempt = previous.attempt + 1 if previous else 0
        first = previous.id.partition("_attempt_")[0] if previous else f"jr_{uuid.uuid4().hex * 2}"
        run = _Run(
            id=f"{first}_attempt_{attempt}" if attempt else first,
            job=job,
            arguments=arguments,
            trigger_name=trigger_name,
            attempt=attempt,
            started_on=self._clock(),
            previous_run_id=previous.id if previous else None,
        )
        if self._is_closed:
            run.stopping.set()
        return run

    def _find(self, job_name: str, run_id: str) -> _Run:
        for run in self._runs.get(job_name, []):
            if run.id == run_id:
                return run
        raise ApiError("EntityNotFoundException", f"Job run {run_id} of {job_name} not found")

    def _show(self, run: _Run) -> dict[str, Any]:
        ended = run.completed_on
        shown = {
            "Id": run.id,
            "Attempt": run.attempt,
            "PreviousRunId": run.previous_run_id,
            "TriggerName": run.trigger_name,
            "JobName": run.job["Name"],
            "StartedOn": run.started_on,
            "LastModifiedOn": ended or run.started_on,
            "CompletedOn": ended,
            "JobRunState": run.state,
            "Arguments": run.arguments,
            "ErrorMessage": run.error_message,
            "ExecutionTime": round(((ended or self._clock()) - run.started_on).total_seconds()),
            "Timeout": int(run.job.get("Timeout", DEFAULT_TIMEOUT_MINUTES)),
            "GlueVersion": run.job.get("GlueVersion"),
            "LogGroupName": "/aws-glue/jobs",
        }
        return {name: value for name, value in shown.items() if value is not None}


def merged_arguments(
    job: Mapping[str, Any], overrides: Mapping[str, str], run_id: str
) -> dict[str, str]:
    """What the script is given: the job's defaults, the run's own over them, then what can't be
    overridden, and the names that Glue adds itself."""
    return {
        **job.get("DefaultArguments", {}),
        **overrides,
        **job.get("NonOverridableArguments", {}),
        "--JOB_NAME": job["Name"],
        "--JOB_RUN_ID": run_id,
    }


def last_error(log: Path) -> str | None:
    """The last Python error line of a log, a failed run's ErrorMessage; None if there is none."""
    if not log.exists():
        return None
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if match := _PYTHON_ERROR.match(line):
            return match.group(1)
    return None
