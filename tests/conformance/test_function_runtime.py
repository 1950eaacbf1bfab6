"""A function runs as Lambda runs it: cold and warm, in its time and sizes, one event at a time."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from local.api import ApiError
from local.functions.runtime import Invocation
from tests.conformance import lambda_pages as pages
from tests.conformance.function_bench import (
    FunctionBench,
    alive,
    answer,
    deployed_function,
    failure,
    in_threads,
    zip_artifact,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FunctionBench]:
    with deployed_function(tmp_path) as bench:
        yield bench


@pytest.mark.documented(pages.CONTEXT)
def test_answers_with_what_the_handler_returns_and_gives_it_a_context(bench: FunctionBench) -> None:
    invocation = bench.invoke()
    got = answer(invocation)
    assert got["function"] == "greeter"
    assert got["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:greeter"
    assert got["request_id"] == invocation.request_id
    assert 0 < got["remaining_ms"] <= 20_000


@pytest.mark.documented(pages.ENVIRONMENT)
def test_first_invocation_is_a_cold_start_and_the_next_finds_it_warm(bench: FunctionBench) -> None:
    first, second = bench.invoke(), bench.invoke()
    assert (first.cold, second.cold) == (True, False)
    assert answer(first)["pid"] == answer(second)["pid"]
    assert (answer(first)["calls"], answer(second)["calls"]) == (1, 2)
    assert "Init Duration" in first.log
    assert "Init Duration" not in second.log


@pytest.mark.documented(pages.EXCEPTIONS)
def test_exception_becomes_the_error_payload_of_the_runtime(bench: FunctionBench) -> None:
    invocation = bench.invoke("raise")
    error = failure(invocation)
    assert error["errorMessage"] == "the event is not to my liking"
    assert error["errorType"] == "ValueError"
    assert error["requestId"] == invocation.request_id
    assert "in handle" in error["stackTrace"][0]
    assert answer(bench.invoke())["calls"] == 2  # the process lives on


@pytest.mark.ours("the errors are the runtime client's own words; no page lists them")
@pytest.mark.parametrize(
    ("handler", "error_type"),
    [
        ("nowhere.handle", "Runtime.ImportModuleError"),
        ("greeter.nothing", "Runtime.HandlerNotFound"),
    ],
)
def test_handler_that_is_not_there_is_an_error_of_the_invocation(
    bench: FunctionBench, handler: str, error_type: str
) -> None:
    bench.deployed = replace(bench.deployed, handler=handler)
    error = failure(bench.invoke())
    assert error["errorType"] == error_type
    assert handler.split(".")[error_type == "Runtime.HandlerNotFound"] in error["errorMessage"]


@pytest.mark.documented(pages.HANDLER)
def test_answer_that_is_no_json_is_an_error_of_the_invocation(bench: FunctionBench) -> None:
    returns_a_set = "def handle(event, context):\n    return {1}\n"
    bench.deployed = replace(bench.deployed, code=zip_artifact("set", greeter=returns_a_set))
    error = failure(bench.invoke())
    assert error["errorType"] == "Runtime.MarshalError"
    assert "set" in error["errorMessage"]


@pytest.mark.documented(pages.ENVIRONMENT)
def test_time_that_is_over_ends_the_process_and_the_next_start_is_cold(
    bench: FunctionBench,
) -> None:
    pid = answer(bench.invoke())["pid"]
    bench.deployed = replace(bench.deployed, timeout_seconds=1)
    invocation = bench.invoke("sleep", seconds=60)
    error = failure(invocation)
    assert error == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {invocation.request_id}"
        " Error: Task timed out after 1.00 seconds",
    }
    assert 1000 <= invocation.duration_ms < 60_000
    assert not alive(pid)
    assert bench.invoke().cold


@pytest.mark.documented(pages.ENVIRONMENT)
@pytest.mark.parametrize(("do", "how"), [("exit", "exit status 3"), ("die", "signal: 9")])
def test_process_that_ends_is_an_error_and_the_next_start_is_cold(
    bench: FunctionBench, do: str, how: str
) -> None:
    invocation = bench.invoke(do)
    error = failure(invocation)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(f"Runtime exited with error: {how}")
    assert bench.invoke().cold


@pytest.mark.documented(pages.QUOTAS)
def test_response_of_6_mb_passes_and_a_larger_one_is_refused(bench: FunctionBench) -> None:
    longest = 6_291_556 - 2  # the quotation marks
    assert len(answer(bench.invoke("answer at length", length=longest))) == longest
    error = failure(bench.invoke("answer at length", length=longest + 1))
    assert error == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size (6291557 bytes) exceeded maximum allowed payload"
        " size (6291556 bytes).",
    }
    assert answer(bench.invoke())["calls"] >= 1


@pytest.mark.documented(pages.QUOTAS)
def test_request_of_6_mb_passes_and_a_larger_one_is_refused(bench: FunctionBench) -> None:
    frame = len(json.dumps({"do": "answer", "pad": ""}))
    assert answer(bench.invoke(pad="x" * (6_291_456 - frame)))
    with pytest.raises(ApiError) as refused:
        bench.invoke(pad="x" * (6_291_457 - frame))
    assert (refused.value.code, refused.value.status) == ("RequestTooLargeException", 413)


@pytest.mark.documented(pages.CONCURRENCY)
def test_invocations_at_once_run_in_a_process_each(bench: FunctionBench, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    calls = [lambda: bench.invoke("meet", folder=str(meeting), processes=3)] * 3
    assert len({answer(invocation)["pid"] for invocation in in_threads(calls)}) == 3


@pytest.mark.documented(pages.CONCURRENCY)
def test_process_stays_warm_for_the_next_invocation_and_takes_no_second_one_meanwhile(
    bench: FunctionBench, tmp_path: Path
) -> None:
    answer(bench.invoke())
    together: list[set[int]] = []
    for _ in range(2):  # one warm and one cold, then both warm
        meeting = tmp_path / f"meeting-{len(together)}"
        meeting.mkdir()
        call = partial(bench.invoke, "meet", folder=str(meeting), processes=2)
        together.append({answer(invocation)["pid"] for invocation in in_threads([call] * 2)})
    assert len(together[0]) == 2
    assert together[1] == together[0]
    assert not bench.invoke().cold


@pytest.mark.ours("this machine carries less than an account of AWS")
def test_more_invocations_than_this_machine_carries_wait_for_a_process(
    bench: FunctionBench,
) -> None:
    results = in_threads([bench.invoke] * 8)
    assert len(results) == 8
    assert len({answer(invocation)["pid"] for invocation in results}) <= 3


@pytest.mark.documented(pages.RESERVED_CONCURRENCY)
def test_invocations_beyond_the_reserved_concurrency_are_throttled(
    bench: FunctionBench, tmp_path: Path
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


@pytest.mark.documented(pages.UPDATE_CODE)
def test_new_code_and_settings_take_effect_with_the_next_invocation(bench: FunctionBench) -> None:
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


@pytest.mark.ours("how the local cloud ends")
def test_stop_ends_every_process_and_what_runs_in_it(bench: FunctionBench, tmp_path: Path) -> None:
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
