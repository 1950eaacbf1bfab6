"""The local cloud's own processes, told apart by the calls that they make.

Each function process and each job run gets an application id in its environment, which the AWS SDKs
put into their User-Agent. Guarantee: a process that is not registered here is never killed.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html
"""

import os
import re
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

APP_ID: Final = "AWS_SDK_UA_APP_ID"
_IN_USER_AGENT: Final = re.compile(r"\bapp/(local-[0-9a-f]{32})\b")


@dataclass(frozen=True)
class OwnProcess:
    """A process with a group of its own; `name` is its function's or its job's."""

    app_id: str
    name: str
    pid: int


class Processes:
    """Those that run now. Thread-safe."""

    def __init__(self) -> None:
        self._running: dict[str, OwnProcess] = {}
        self._lock = threading.Lock()

    @staticmethod
    def new_app_id() -> str:
        """An id for a process that is about to start."""
        return f"local-{uuid4().hex}"

    def started(self, app_id: str, name: str, pid: int) -> OwnProcess:
        """Know a process; `pid` is its group too."""
        process = OwnProcess(app_id, name, pid)
        with self._lock:
            self._running[app_id] = process
        return process

    def ended(self, app_id: str) -> None:
        """Forget a process, before it is reaped: from then on its number may be another's."""
        with self._lock:
            self._running.pop(app_id, None)

    def caller(self, user_agent: str) -> OwnProcess | None:
        """The process that sent a User-Agent; None for everybody else."""
        match = _IN_USER_AGENT.search(user_agent)
        with self._lock:
            return self._running.get(match[1]) if match else None

    def kill(self, process: OwnProcess) -> None:
        """End the process and its group at once, as `kill -9` does."""
        with self._lock:
            if process.app_id in self._running:
                signal_group(process.pid, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Whether a child has ended. It is not reaped by this: its number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def wait_for_end(pid: int) -> None:
    """Return when a child has ended, as `has_ended` does."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child that is not reaped yet, and what is left of its group."""
    # On macOS there is no permission where only an ended process is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
