"""Runs a deployed function as Lambda does: cold and warm starts, one process for each invocation.

Guarantees: an invocation runs the code, layers and settings that are deployed when it begins; its
answer, its error and its limits (time, 6 MB) are Lambda's; what it prints becomes metrics or log.
Not enforced here: the memory size, and that the code's folder is read-only.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

import hashlib
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from local.api import ACCESS_KEY, ACCOUNT_ID, REGION, ApiError
from local.faults.processes import Processes
from local.functions.artifact import (
    Artifact,
    UnsupportedFunctionError,
    host_architecture,
    lay_out,
    runtime_client_folder,
)
from local.functions.process import Answer, FunctionProcess, Launch
from local.functions.runtime_api import MAX_RESPONSE_BYTES, Event, Kind, Message
from local.mapping.kinesis_event import MAX_PAYLOAD_BYTES
from local.metrics import Datum, embedded_metrics

# What this machine carries at once; more invocations wait for a process. On AWS a function without
# reserved concurrency has the account's: 1,000 by default.
MAX_PROCESSES: Final = 4
_LOG_TAIL_BYTES: Final = 4096
_RUNTIME: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class FunctionDescription:
    """A function as it is deployed. `reserved_concurrency` None: not limited."""

    name: str
    handler: str
    runtime: str
    architecture: str
    timeout_seconds: int
    memory_megabytes: int
    environment: Mapping[str, str]
    code: Artifact
    layers: tuple[Artifact, ...] = ()
    role_arn: str = ""
    log_format: str = "Text"
    log_group: str = ""
    reserved_concurrency: int | None = None

    @property
    def arn(self) -> str:
        """The function's ARN."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{self.name}"

    @property
    def revision(self) -> str:
        """Changes when anything does that a running process was started with."""
        parts = [
            self.handler,
            self.runtime,
            self.architecture,
            str(self.memory_megabytes),
            json.dumps(dict(self.environment), sort_keys=True),
            self.log_format,
            *(artifact.digest for artifact in (self.code, *self.layers)),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Invocation:
    """What came of an invocation.

    `payload` is the answer's JSON, or the error's when `error` (the FunctionError, `Unhandled`) is
    set. `log` is everything that was printed, with Lambda's own lines.
    """

    request_id: str
    payload: bytes
    error: str | None
    log: str
    duration_ms: float
    cold: bool

    @property
    def log_tail(self) -> bytes:
        """The last 4 KB of the log, as LogResult has them."""
        return self.log.encode()[-_LOG_TAIL_BYTES:]


@dataclass
class _Pool:
    """Processes of one function. `idle` are warm ones of the current revision."""

    idle: list[FunctionProcess] = field(default_factory=list)
    running: set[FunctionProcess] = field(default_factory=set)
    starting: int = 0
    revision: str = ""


class FunctionRuntime:
    """One function. Thread-safe.

    `describe` tells what is deployed now and is asked before every invocation. `folder` takes the
    unpacked artifacts and the log; `endpoint_url` is where the function finds AWS; `add_metrics`
    takes what it measures, `add_line` what it prints for a log group.
    """

    def __init__(
        self,
        describe: Callable[[], FunctionDescription],
        folder: Path,
        endpoint_url: str = "",
        add_metrics: Callable[..., None] = lambda *_data: None,
        max_processes: int = MAX_PROCESSES,
        processes: Processes | None = None,
        add_line: Callable[[str, str], None] = lambda _group, _line: None,
    ) -> None:
        self._describe = describe
        self._folder = folder
        self._endpoint_url = endpoint_url
        self._add_metrics = add_metrics
        self._add_line = add_line
        self._max_processes = max_processes
        self._own_processes = processes or Processes()
        self._pool = _Pool()
        self._changed = threading.Condition()
        self._stopped = False
        self._log_lock = threading.Lock()

    def invoke(self, payload: bytes) -> Invocation:
        """Run the function on `payload` (JSON) and wait for what comes of it.

        ApiError when it was not invoked: throttled (429), a payload over 6 MB (413), or a function
        that can't run on this machine (502).
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ApiError(
                "RequestTooLargeException",
                f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes"
                " for the InvokeFunction operation",
                413,
            )
        function = self._describe()
        self._take_place(function)
        process: FunctionProcess | None = None
        try:
            process, cold = self._process(function)
            invocation = self._run(function, process, payload, cold)
        except UnsupportedFunctionError as error:
            raise ApiError("InvalidRuntimeException", str(error), 502) from error
        finally:
            self._give_back(process, function.revision)
        self._measure(function, invocation)
        return invocation

    def prepare(self) -> None:
        """Unpack what is deployed ahead of the first invocation; UnsupportedFunctionError."""
        self._launch(self._describe())

    def stop(self) -> None:
        """Kill every process; invocations that run end with an error, further ones are refused."""
        with self._changed:
            self._stopped = True
            processes = [*self._pool.idle, *self._pool.running]
            self._pool.idle.clear()
            self._changed.notify_all()
        for process in processes:
            process.stop()

    @property
    def processes(self) -> list[int]:
        """The ids of the processes that there are."""
        with self._changed:
            return [process.pid for process in (*self._pool.idle, *self._pool.running)]

    def _take_place(self, function: FunctionDescription) -> None:
        """Wait for one of the machine's places; ApiError 429 if the function's own are taken."""
        reserved = function.reserved_concurrency
        with self._changed:
            while True:
                if self._stopped:
                    raise ApiError("ServiceException", "the local cloud is stopping", 500)
                busy = len(self._pool.running) + self._pool.starting
                if reserved is not None and busy >= reserved:
                    self._add_metrics(self._count("Throttles", function.name))
                    raise ApiError("TooManyRequestsException", "Rate Exceeded.", 429)
                if busy < self._max_processes:
                    self._pool.starting += 1
                    return
                self._changed.wait()

    def _process(self, function: FunctionDescription) -> tuple[FunctionProcess, bool]:
        """A warm process of the function's current revision, or a new one; whether it is new."""
        outdated: list[FunctionProcess] = []
        warm = None
        with self._changed:
            if self._pool.revision != function.revision:
                outdated, self._pool.idle = self._pool.idle, []
                self._pool.revision = function.revision
            while self._pool.idle and warm is None:
                candidate = self._pool.idle.pop()
                if candidate.alive:
                    warm = candidate
                else:
                    outdated.append(candidate)
            if warm is not None:
                self._pool.running.add(warm)
        for process in outdated:
            process.stop()
        if warm is not None:
            return warm, False
        on_line = partial(self._on_line, function)
        started = FunctionProcess(self._launch(function), on_line, self._own_processes)
        with self._changed:
            self._pool.running.add(started)
            stopped = self._stopped
        if stopped:
            started.stop()
        return started, True

    def _give_back(self, process: FunctionProcess | None, revision: str) -> None:
        outdated = None
        with self._changed:
            self._pool.starting -= 1
            if process is not None:
                self._pool.running.discard(process)
                if revision == self._pool.revision and not self._stopped and process.alive:
                    self._pool.idle.append(process)
                else:
                    outdated = process
            self._changed.notify()
        if outdated is not None:
            outdated.stop()

    def _launch(self, function: FunctionDescription) -> Launch:
        if function.runtime != _RUNTIME:
            raise UnsupportedFunctionError(
                f"{function.name} is deployed for {function.runtime}, and this is {_RUNTIME}"
            )
        if function.architecture != host_architecture():
            raise UnsupportedFunctionError(
                f"{function.name} is deployed for {function.architecture}, and this machine is"
                f" {host_architecture()}: deploy with Architecture={host_architecture()}"
            )
        layout = lay_out(function.code, function.layers, self._folder / "artifacts")
        return Launch(
            name=function.name,
            layout=layout,
            client=runtime_client_folder(self._folder / "artifacts"),
            handler=function.handler,
            environment=function_environment(function, self._endpoint_url),
            scratch=self._folder / "scratch" / function.name / str(uuid4()),
        )

    def _run(
        self, function: FunctionDescription, process: FunctionProcess, payload: bytes, cold: bool
    ) -> Invocation:
        request_id = str(uuid4())
        timeout = function.timeout_seconds

        def event() -> Event:
            deadline_ms = int((time.time() + timeout) * 1000)
            return Event(request_id, payload, deadline_ms, function.arn)

        answer = process.invoke(event, timeout)
        error = failure_of(answer.message, request_id, timeout)
        answered = answer.message.payload if answer.message is not None else b""
        return Invocation(
            request_id=request_id,
            payload=answered if error is None else error,
            error=None if error is None else "Unhandled",
            log=_with_platform_lines(function, request_id, answer),
            duration_ms=answer.duration_ms,
            cold=cold,
        )

    def _on_line(self, function: FunctionDescription, line: str) -> None:
        """Metrics to CloudWatch, everything else to the function's log."""
        data = embedded_metrics(line)
        if data is not None:
            self._add_metrics(*data)
            return
        if function.log_group:
            self._add_line(function.log_group, line)
        log = self._folder / "logs" / f"{function.name}.log"
        with self._log_lock:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _measure(self, function: FunctionDescription, invocation: Invocation) -> None:
        self._add_metrics(
            self._count("Invocations", function.name),
            self._count("Errors", function.name, 0 if invocation.error is None else 1),
            Datum(
                "AWS/Lambda",
                "Duration",
                (invocation.duration_ms,),
                time.time(),
                "Milliseconds",
                {"FunctionName": function.name},
            ),
        )

    def _count(self, metric: str, name: str, value: float = 1) -> Datum:
        return Datum("AWS/Lambda", metric, (value,), time.time(), "Count", {"FunctionName": name})


def function_environment(function: FunctionDescription, endpoint_url: str) -> dict[str, str]:
    """The variables that Lambda gives a function, with the function's own.

    An AWS_ENDPOINT_URL that is declared but empty, as it is on AWS, becomes the local cloud's.
    """
    variables = {
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_megabytes),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{uuid4().hex}",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_SESSION_TOKEN": ACCESS_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if function.log_format == "JSON":
        variables |= {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    variables |= {name: value for name, value in function.environment.items() if value}
    variables.setdefault("AWS_ENDPOINT_URL", endpoint_url)
    empty = {name: "" for name, value in function.environment.items() if not value}
    return empty | variables


def failure_of(message: Message | None, request_id: str, timeout_seconds: int) -> bytes | None:
    """The error's JSON, as Lambda answers it; None if the function returned."""
    prefix = f"RequestId: {request_id} Error: "
    if message is None:
        text = f"Task timed out after {timeout_seconds:.2f} seconds"
        return _error("Sandbox.Timedout", prefix + text)
    match message.kind:
        case Kind.ERROR | Kind.INIT_ERROR:
            return message.payload
        case Kind.EXITED:
            status = message.exit_status
            how = f"signal: {-status}" if status < 0 else f"exit status {status}"
            return _error("Runtime.ExitError", f"{prefix}Runtime exited with error: {how}")
        case Kind.TOO_LARGE:
            return _error(
                "Function.ResponseSizeTooLarge",
                f"Response payload size ({message.size} bytes) exceeded maximum allowed payload"
                f" size ({MAX_RESPONSE_BYTES} bytes).",
            )
        case Kind.READY | Kind.RESPONSE:
            return None


def _error(error_type: str, message: str) -> bytes:
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()


def _with_platform_lines(function: FunctionDescription, request_id: str, answer: Answer) -> str:
    report = (
        f"REPORT RequestId: {request_id}\tDuration: {answer.duration_ms:.2f} ms"
        f"\tBilled Duration: {math.ceil(answer.duration_ms)} ms"
        f"\tMemory Size: {function.memory_megabytes} MB"
    )
    if answer.init_ms is not None:
        report += f"\tInit Duration: {answer.init_ms:.2f} ms"
    return (
        f"START RequestId: {request_id} Version: $LATEST\n{answer.output}"
        f"END RequestId: {request_id}\n{report}\n"
    )
