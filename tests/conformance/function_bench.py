"""What the tests of the functions' runtime run on: a function that does as its event says."""

import io
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.functions.artifact import FolderArtifact, ZipArtifact, host_architecture
from local.functions.runtime import FunctionDescription, FunctionRuntime, Invocation
from local.metrics import Datum

HANDLER = """
import os, signal, sys, time

print("initialised")
calls = 0

def handle(event, context):
    global calls
    calls += 1
    what = event.get("do", "answer")
    if what == "sleep":
        time.sleep(event["seconds"])
    if what == "raise":
        raise ValueError("the event is not to my liking")
    if what == "exit":
        sys.exit(3)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "answer at length":
        return "x" * event["length"]
    if what == "import":
        return __import__(event["name"]).__file__
    if what == "print":
        print(event["text"])
    if what == "environment":
        return dict(os.environ)
    if what == "meet":
        # Returns once another invocation runs at the same time in another process.
        open(f"{event['folder']}/{os.getpid()}", "w").close()
        deadline = time.monotonic() + 20
        while len(os.listdir(event["folder"])) < event["processes"]:
            if time.monotonic() > deadline:
                raise TimeoutError("nobody came")
            time.sleep(0.01)
    return {
        "pid": os.getpid(),
        "calls": calls,
        "path": sys.path,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "function": context.function_name,
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
    }
"""


@dataclass
class FunctionBench:
    """A function that the test may redeploy, what it measured and its runtime."""

    deployed: FunctionDescription
    metrics: list[Datum]
    runtime: FunctionRuntime
    folder: Path

    def invoke(self, do: str = "answer", **arguments: Any) -> Invocation:
        """Invoke the function with an event that says what to do."""
        return self.runtime.invoke(json.dumps({"do": do, **arguments}).encode())

    def total(self, name: str) -> float:
        """The sum of a metric."""
        return sum(sum(datum.values) for datum in self.metrics if datum.name == name)


def function_of(name: str, text: str, folder: Path, **environment: str) -> FunctionDescription:
    """A small function: `handle` in `text`, which is written below `folder`."""
    code = folder / "code"
    code.mkdir()
    (code / "greeter.py").write_text(text)
    return FunctionDescription(
        name=name,
        handler="greeter.handle",
        runtime="python3.13",
        architecture=host_architecture(),
        timeout_seconds=20,
        memory_megabytes=256,
        environment=environment,
        code=FolderArtifact(code),
    )


@contextmanager
def deployed_function(folder: Path) -> Iterator[FunctionBench]:
    """The function, deployed and run below `folder`."""
    function = function_of("greeter", HANDLER, folder, GREETING="hello", AWS_ENDPOINT_URL="")
    metrics: list[Datum] = []
    made: list[FunctionBench] = []

    def add_metrics(*data: Datum) -> None:
        metrics.extend(data)

    def describe() -> FunctionDescription:
        return made[0].deployed

    runtime = FunctionRuntime(
        describe, folder / "build", "http://localhost:1", add_metrics, max_processes=3
    )
    made.append(FunctionBench(function, metrics, runtime, folder / "build"))
    try:
        yield made[0]
    finally:
        runtime.stop()


def answer(invocation: Invocation) -> Any:
    """What the function returned."""
    assert invocation.error is None, invocation.payload
    return json.loads(invocation.payload)


def failure(invocation: Invocation) -> Any:
    """The error that an invocation ended with."""
    assert invocation.error == "Unhandled"
    return json.loads(invocation.payload)


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def zip_of(**files: str) -> bytes:
    """An archive of modules; two underscores in a name are a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".py", text)
    return buffer.getvalue()


def zip_artifact(digest: str, **files: str) -> ZipArtifact:
    """The same, deployed under `digest`."""
    return ZipArtifact(digest, lambda: zip_of(**files))


def in_threads(calls: list[Callable[[], Invocation]]) -> list[Invocation]:
    """What came of `calls`, all made at once."""
    results: list[Invocation] = []
    threads = [threading.Thread(target=lambda c=call: results.append(c())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
