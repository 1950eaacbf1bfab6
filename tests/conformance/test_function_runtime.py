"""A function runs as Lambda runs it: its artifact and layers only, in its time, within its sizes.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

import io
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from local.api import ApiError
from local.functions.artifact import (
    FolderArtifact,
    UnsupportedFunctionError,
    ZipArtifact,
    host_architecture,
    lay_out,
    runtime_client_folder,
)
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
class Bench:
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


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    code = tmp_path / "code"
    code.mkdir()
    (code / "greeter.py").write_text(HANDLER)
    function = FunctionDescription(
        name="greeter",
        handler="greeter.handle",
        runtime="python3.13",
        architecture=host_architecture(),
        timeout_seconds=20,
        memory_megabytes=256,
        environment={"GREETING": "hello", "AWS_ENDPOINT_URL": ""},
        code=FolderArtifact(code),
    )
    metrics: list[Datum] = []
    made: list[Bench] = []

    def add_metrics(*data: Datum) -> None:
        metrics.extend(data)

    def describe() -> FunctionDescription:
        return made[0].deployed

    runtime = FunctionRuntime(
        describe, tmp_path / "build", "http://localhost:1", add_metrics, max_processes=3
    )
    made.append(Bench(function, metrics, runtime, tmp_path / "build"))
    yield made[0]
    runtime.stop()


def answer(invocation: Invocation) -> Any:
    assert invocation.error is None, invocation.payload
    return json.loads(invocation.payload)


def failure(invocation: Invocation) -> Any:
    assert invocation.error == "Unhandled"
    return json.loads(invocation.payload)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def zip_of(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".py", text)
    return buffer.getvalue()


def zip_artifact(digest: str, **files: str) -> ZipArtifact:
    return ZipArtifact(digest, lambda: zip_of(**files))


def test_answers_with_what_the_handler_returns_and_gives_it_a_context(bench: Bench) -> None:
    invocation = bench.invoke()
    got = answer(invocation)
    assert got["function"] == "greeter"
    assert got["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:greeter"
    assert got["request_id"] == invocation.request_id
    assert 0 < got["remaining_ms"] <= 20_000


def test_first_invocation_is_a_cold_start_and_the_next_finds_it_warm(bench: Bench) -> None:
    first, second = bench.invoke(), bench.invoke()
    assert (first.cold, second.cold) == (True, False)
    assert answer(first)["pid"] == answer(second)["pid"]
    assert (answer(first)["calls"], answer(second)["calls"]) == (1, 2)
    assert "Init Duration" in first.log
    assert "Init Duration" not in second.log


def test_path_has_code_layers_runtime_client_and_standard_library_only(bench: Bench) -> None:
    *deployed, client = answer(bench.invoke())["path"][:4]
    assert [Path(path).relative_to(bench.folder / "artifacts").parts[1:] for path in deployed] == [
        ("task",),
        ("opt", "python", "lib", "python3.13", "site-packages"),
        ("opt", "python"),
    ]
    assert Path(client).parent == bench.folder / "artifacts"
    rest = answer(bench.invoke())["path"][4:]
    assert not any("site-packages" in path for path in rest)
    assert os.fspath(Path.cwd()) not in rest


@pytest.mark.parametrize("name", ["boto3", "local", "moto", "pytest", "yaml"])
def test_packages_of_this_environment_can_not_be_imported(bench: Bench, name: str) -> None:
    error = failure(bench.invoke("import", name=name))
    assert error["errorType"] == "ModuleNotFoundError"


def test_runtime_client_is_all_that_its_folder_has(tmp_path: Path) -> None:
    folder = runtime_client_folder(tmp_path)
    importable = {
        path.name.partition(".")[0]
        for path in folder.iterdir()
        if not path.name.endswith(".dist-info")
    }
    assert importable == {"awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"}


def test_environment_is_the_functions_and_lambdas_and_nothing_of_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DEVELOPER", "x")
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    monkeypatch.setenv("AWS_PROFILE", "x")
    variables = answer(bench.invoke("environment"))
    assert variables["GREETING"] == "hello"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "greeter"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["_HANDLER"] == "greeter.handle"
    assert not {"SECRET_OF_THE_DEVELOPER", "PYTHONSTARTUP", "AWS_PROFILE"} & variables.keys()
    assert variables["HOME"] != os.environ.get("HOME")
    assert list(Path(variables["HOME"]).iterdir()) == []


def test_endpoint_that_is_declared_empty_becomes_the_local_clouds(bench: Bench) -> None:
    assert answer(bench.invoke("environment"))["AWS_ENDPOINT_URL"] == "http://localhost:1"


def test_endpoint_that_is_deployed_stays(bench: Bench) -> None:
    bench.deployed = replace(bench.deployed, environment={"AWS_ENDPOINT_URL": "http://other:2"})
    assert answer(bench.invoke("environment"))["AWS_ENDPOINT_URL"] == "http://other:2"


def test_exception_becomes_the_error_payload_of_the_runtime(bench: Bench) -> None:
    invocation = bench.invoke("raise")
    error = failure(invocation)
    assert error["errorMessage"] == "the event is not to my liking"
    assert error["errorType"] == "ValueError"
    assert error["requestId"] == invocation.request_id
    assert "in handle" in error["stackTrace"][0]
    assert answer(bench.invoke())["calls"] == 2  # the process lives on


def test_time_that_is_over_ends_the_process_and_the_next_start_is_cold(bench: Bench) -> None:
    bench.deployed = replace(bench.deployed, timeout_seconds=1)
    pid = answer(bench.invoke())["pid"]
    invocation = bench.invoke("sleep", seconds=60)
    error = failure(invocation)
    assert error == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {invocation.request_id}"
        " Error: Task timed out after 1.00 seconds",
    }
    assert 1000 <= invocation.duration_ms < 2900
    assert not alive(pid)
    assert bench.invoke().cold


@pytest.mark.parametrize(("do", "how"), [("exit", "exit status 3"), ("die", "signal: 9")])
def test_process_that_ends_is_an_error_and_the_next_start_is_cold(
    bench: Bench, do: str, how: str
) -> None:
    invocation = bench.invoke(do)
    error = failure(invocation)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(f"Runtime exited with error: {how}")
    assert bench.invoke().cold


def test_handler_that_can_not_be_imported_is_an_error_of_the_invocation(bench: Bench) -> None:
    bench.deployed = replace(bench.deployed, handler="nowhere.handle")
    error = failure(bench.invoke())
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "nowhere" in error["errorMessage"]


def test_response_of_6_mb_passes_and_a_larger_one_is_refused(bench: Bench) -> None:
    longest = 6_291_556 - 2  # the quotation marks
    assert len(answer(bench.invoke("answer at length", length=longest))) == longest
    error = failure(bench.invoke("answer at length", length=longest + 1))
    assert error == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size (6291557 bytes) exceeded maximum allowed payload"
        " size (6291556 bytes).",
    }
    assert answer(bench.invoke())["calls"] >= 1


def test_request_of_6_mb_passes_and_a_larger_one_is_refused(bench: Bench) -> None:
    frame = len(json.dumps({"do": "answer", "pad": ""}))
    assert answer(bench.invoke(pad="x" * (6_291_456 - frame)))
    with pytest.raises(ApiError) as refused:
        bench.invoke(pad="x" * (6_291_457 - frame))
    assert (refused.value.code, refused.value.status) == ("RequestTooLargeException", 413)


def in_threads(calls: list[Callable[[], Invocation]]) -> list[Invocation]:
    results: list[Invocation] = []
    threads = [threading.Thread(target=lambda c=call: results.append(c())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_invocations_at_once_run_in_a_process_each(bench: Bench, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    calls = [lambda: bench.invoke("meet", folder=str(meeting), processes=3)] * 3
    assert len({answer(invocation)["pid"] for invocation in in_threads(calls)}) == 3


def test_more_invocations_than_this_machine_carries_wait_for_a_process(bench: Bench) -> None:
    results = in_threads([bench.invoke] * 8)
    assert len(results) == 8
    assert len({answer(invocation)["pid"] for invocation in results}) <= 3


def test_invocations_beyond_the_reserved_concurrency_are_throttled(
    bench: Bench, tmp_path: Path
) -> None:
    bench.deployed = replace(bench.deployed, reserved_concurrency=1)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    running = threading.Thread(
        target=lambda: bench.invoke("meet", folder=str(meeting), processes=2)
    )
    running.start()
    while not list(meeting.iterdir()):
        running.join(0.01)
    with pytest.raises(ApiError) as throttled:
        bench.invoke()
    (meeting / "second").touch()
    running.join()
    assert (throttled.value.code, throttled.value.status) == ("TooManyRequestsException", 429)
    assert bench.total("Throttles") == 1
    assert answer(bench.invoke())["calls"] == 2


def test_new_code_and_settings_take_effect_with_the_next_invocation(bench: Bench) -> None:
    old = answer(bench.invoke())["pid"]
    bench.deployed = replace(
        bench.deployed,
        code=zip_artifact("v2", greeter="def handle(event, context):\n    return 'version 2'\n"),
    )
    assert answer(bench.invoke()) == "version 2"
    assert not alive(old)
    greet = "import os\ndef handle(e, c):\n    return os.environ['GREETING']\n"
    bench.deployed = replace(bench.deployed, code=zip_artifact("v3", greeter=greet))
    assert answer(bench.invoke()) == "hello"
    bench.deployed = replace(bench.deployed, environment={"GREETING": "goodbye"})
    assert answer(bench.invoke()) == "goodbye"


def test_layers_are_merged_and_a_later_one_covers_an_earlier_one(bench: Bench) -> None:
    bench.deployed = replace(
        bench.deployed,
        layers=(
            zip_artifact("one", python__first="WHO = 'one'", python__both="WHO = 'one'"),
            zip_artifact("two", python__both="WHO = 'two'"),
        ),
        code=zip_artifact(
            "code",
            greeter="import both, first\ndef handle(e, c):\n    return [first.WHO, both.WHO]\n",
        ),
    )
    assert answer(bench.invoke()) == ["one", "two"]


def test_code_covers_what_a_layer_has_under_the_same_name(bench: Bench) -> None:
    bench.deployed = replace(
        bench.deployed,
        layers=(zip_artifact("layer", python__thing="WHO = 'layer'"),),
        code=zip_artifact(
            "code",
            greeter="import thing\ndef handle(e, c):\n    return thing.WHO\n",
            thing="WHO = 'code'",
        ),
    )
    assert answer(bench.invoke()) == "code"


def test_function_of_another_processor_is_refused_with_what_to_do(bench: Bench) -> None:
    other = {"x86_64": "arm64", "arm64": "x86_64"}[host_architecture()]
    bench.deployed = replace(bench.deployed, architecture=other)
    with pytest.raises(ApiError, match=f"deploy with Architecture={host_architecture()}"):
        bench.invoke()


def test_shared_object_of_another_processor_is_refused_by_its_name(tmp_path: Path) -> None:
    # An ELF header of machine 243, RISC-V, which Lambda has never had.
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (3).to_bytes(2, "little")
    foreign = tmp_path / "code" / "fast.cpython-313-riscv64-linux-gnu.so"
    foreign.parent.mkdir()
    foreign.write_bytes(header + (243).to_bytes(2, "little") + bytes(44))
    with pytest.raises(UnsupportedFunctionError, match=r"fast\.cpython-313-riscv64"):
        lay_out(FolderArtifact(foreign.parent), (), tmp_path / "build")


def test_another_version_of_python_is_refused(bench: Bench) -> None:
    bench.deployed = replace(bench.deployed, runtime="python3.12")
    with pytest.raises(ApiError, match=r"deployed for python3\.12, and this is python3\.13"):
        bench.invoke()


def test_what_is_printed_goes_to_the_functions_log(bench: Bench) -> None:
    invocation = bench.invoke("print", text="first\nsecond ü")
    lines = (bench.folder / "logs" / "greeter.log").read_text(encoding="utf-8").splitlines()
    assert lines == ["initialised", "first", "second ü"]
    assert "first\nsecond ü\n" in invocation.log
    assert invocation.log.startswith(f"START RequestId: {invocation.request_id}")
    assert f"END RequestId: {invocation.request_id}\nREPORT RequestId" in invocation.log


def test_metrics_that_are_printed_go_to_cloudwatch_and_not_to_the_log(bench: Bench) -> None:
    document = {
        "_aws": {
            "Timestamp": 1_790_000_000_000,
            "CloudWatchMetrics": [
                {
                    "Namespace": "TelemetryLake",
                    "Dimensions": [["service"]],
                    "Metrics": [{"Name": "RecordsReceived", "Unit": "Count"}],
                }
            ],
        },
        "service": "greeter",
        "RecordsReceived": [3.0],
    }
    bench.invoke("print", text=json.dumps(document))
    (datum,) = [d for d in bench.metrics if d.namespace == "TelemetryLake"]
    assert (datum.name, datum.values, datum.dimensions) == (
        "RecordsReceived",
        (3.0,),
        {"service": "greeter"},
    )
    assert "RecordsReceived" not in (bench.folder / "logs" / "greeter.log").read_text()


def test_counts_invocations_errors_and_durations_of_the_function(bench: Bench) -> None:
    bench.invoke()
    bench.invoke("raise")
    assert bench.total("Invocations") == 2
    assert bench.total("Errors") == 1
    durations = [d for d in bench.metrics if d.name == "Duration"]
    assert [d.unit for d in durations] == ["Milliseconds"] * 2
    assert all(d.dimensions == {"FunctionName": "greeter"} for d in bench.metrics)


def test_stop_ends_every_process_and_what_runs_in_it(bench: Bench, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    results: list[Invocation] = []
    running = threading.Thread(
        target=lambda: results.append(bench.invoke("meet", folder=str(meeting), processes=2))
    )
    running.start()
    while not list(meeting.iterdir()):
        running.join(0.01)
    pids = bench.runtime.processes
    bench.runtime.stop()
    running.join()
    assert len(pids) == 1
    assert not alive(pids[0])
    assert list((bench.folder / "scratch" / "greeter").iterdir()) == []
    assert failure(results[0])["errorType"] == "Runtime.ExitError"
    with pytest.raises(ApiError, match="stopping"):
        bench.invoke()
