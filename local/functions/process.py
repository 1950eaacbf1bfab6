"""One process of a function: Lambda's execution environment, with the real runtime client in it.

Guarantees: the process sees the deployed code and layers, the runtime client and Python's standard
library, and nothing of this project or its environment; when its time is over it is killed and
takes no other invocation; `stop` ends it.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.faults.processes import APP_ID, Processes, signal_group, wait_for_end
from local.functions.artifact import Layout
from local.functions.runtime_api import Event, Kind, Message, RuntimeApi

# Lambda gives ten seconds to initialise, and when they are over begins again inside the first
# invocation's own time: together that is the longest a start may take.
INIT_SECONDS: Final = 10.0

_PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Launch:
    """How to start a function's process: its code, its handler and the environment it gets."""

    name: str
    layout: Layout
    client: Path
    handler: str
    environment: Mapping[str, str]
    scratch: Path


@dataclass(frozen=True)
class Answer:
    """What came of an event. `message` None: the time was over. Times in milliseconds."""

    message: Message | None
    output: str
    duration_ms: float
    init_ms: float | None


class FunctionProcess:
    """A started process. `invoke` from one thread at a time."""

    def __init__(
        self, launch: Launch, on_line: Callable[[str], None], processes: Processes
    ) -> None:
        self.api = RuntimeApi()
        self._output = _Output(on_line)
        self._started_at = time.monotonic()
        self._initialised = False
        self._scratch = launch.scratch
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._processes = processes
        self._app_id = processes.new_app_id()
        self._process = subprocess.Popen(
            command(launch),
            cwd=launch.layout.task,
            env=process_environment(launch, self.api.address) | {APP_ID: self._app_id},
            stdin=subprocess.DEVNULL,
            stdout=self._output.write_end,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C is for the local cloud to handle, and `stop` ends the
            # function's own children with it.
            start_new_session=True,
        )
        self._own = processes.started(self._app_id, launch.name, self.pid)
        self._ended = threading.Event()
        self._output.start()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take another event."""
        return not self._ended.is_set()

    def invoke(self, event_of: Callable[[], Event], timeout_seconds: float) -> Answer:
        """Have the process answer an event, which is made when the process is ready for it."""
        init_ms = None
        if not self._initialised:
            message = self._next_message(INIT_SECONDS + timeout_seconds)
            init_ms = (time.monotonic() - self._started_at) * 1000
            if message is None or message.kind is not Kind.READY:
                return self._answer(message, init_ms, init_ms)
            self._initialised = True
        started_at = time.monotonic()
        self.api.give(event_of())
        message = self._next_message(timeout_seconds)
        return self._answer(message, (time.monotonic() - started_at) * 1000, init_ms)

    def _next_message(self, timeout_seconds: float) -> Message | None:
        try:
            return self.api.messages.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def _answer(self, message: Message | None, duration_ms: float, init_ms: float | None) -> Answer:
        if message is None or message.kind in (Kind.INIT_ERROR, Kind.TOO_LARGE, Kind.EXITED):
            self.stop()
        return Answer(message, self._output.take(), duration_ms, init_ms)

    def _watch(self) -> None:
        wait_for_end(self.pid)
        self._ended.set()
        self._processes.ended(self._app_id)
        signal_group(self.pid, signal.SIGKILL)  # what it has started goes with it
        status = self._process.wait()
        self.api.messages.put(Message(Kind.EXITED, exit_status=status))

    def stop(self) -> None:
        """Kill the process and free its port. May be called again."""
        self._processes.kill(self._own)
        self._watcher.join()
        self._output.stop()
        self.api.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def command(launch: Launch) -> list[str]:
    """Python without this environment's packages (-S) and without the working folder (-P)."""
    return [sys.executable, "-S", "-P", "-m", "awslambdaric", launch.handler]


def process_environment(launch: Launch, runtime_api: str) -> dict[str, str]:
    """What the process finds in its environment: nothing of ours but PATH.

    HOME is an empty folder, so that no configuration of whoever runs the local cloud is read.
    """
    task, opt = launch.layout.task, launch.layout.opt
    # In the order of Lambda: the code, the layers, the runtime.
    paths = [
        task,
        opt / "python" / "lib" / _PYTHON / "site-packages",
        opt / "python",
        launch.client,
    ]
    scratch = str(launch.scratch)
    return {
        "PATH": f"{opt / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "HOME": scratch,
        "TMPDIR": scratch,
        "LD_LIBRARY_PATH": f"{task}:{task / 'lib'}:{opt / 'lib'}",
        **launch.environment,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "LAMBDA_TASK_ROOT": str(task),
        "LAMBDA_RUNTIME_DIR": str(launch.client),
        "_HANDLER": launch.handler,
    }


class _Output:
    """The process's output, line by line; `take` gives what was written since the last time.

    What a process has written before it answers is in the pipe when the answer arrives, so `take`
    reads the pipe dry itself instead of waiting for the thread that reads it in between.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._on_line = on_line
        self._partial = b""
        self._taken: list[str] = []
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to read, once the process has its end of the pipe."""
        os.close(self.write_end)
        self._thread.start()

    def take(self) -> str:
        with self._lock:
            self._drain()
            if self._partial:
                self._line(self._partial)
                self._partial = b""
            taken, self._taken = self._taken, []
        return "".join(f"{line}\n" for line in taken)

    def stop(self) -> None:
        """Read what is left, once the process has ended, and wait for nobody else's output."""
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._read_end, select.POLLIN)
        while not self._ended:
            poll.poll()
            with self._lock:
                self._drain()
        os.close(self._read_end)

    def _drain(self) -> None:
        while not self._ended:
            try:
                chunk = os.read(self._read_end, 65536)
            except BlockingIOError:
                return
            self._ended = not chunk
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            for line in lines:
                self._line(line)

    def _line(self, line: bytes) -> None:
        # The runtime client separates an error's own lines with carriage returns.
        text = line.decode("utf-8", "replace").replace("\r", "\n")
        self._taken.append(text)
        self._on_line(text)
