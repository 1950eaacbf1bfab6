"""A mapping before a function that really runs: the one knows what the other calls an error."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.functions.runtime import Invocation
from tests.conformance import lambda_pages as pages
from tests.conformance.function_bench import FunctionBench, deployed_function, zip_artifact
from tests.conformance.mapping_bench import ON_FAILURE, Bench, data_of

HANDLER = """
import base64, os, time

def handle(event, context):
    data = [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]
    if "raise" in data:
        raise ValueError("not to my liking")
    if "sleep" in data:
        time.sleep(60)
    if "die" in data:
        os._exit(9)
    numbers = [record["kinesis"]["sequenceNumber"] for record in event["Records"]]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in numbers]}
"""


@pytest.fixture
def function(tmp_path: Path) -> Iterator[FunctionBench]:
    with deployed_function(tmp_path) as function:
        function.deployed = replace(function.deployed, code=zip_artifact("stream", greeter=HANDLER))
        yield function


def mapped(function: FunctionBench, **properties: Any) -> tuple[Bench, list[Invocation]]:
    """A stream that is mapped to the function, and what will come of its invocations."""
    bench, invocations = Bench(), list[Invocation]()

    def invoke(_name: str, payload: bytes) -> Invocation:
        invocation = function.runtime.invoke(payload)
        bench.batches.append(json.loads(payload)["Records"])
        invocations.append(invocation)
        return invocation

    bench.surroundings = replace(bench.surroundings, invoke=invoke)
    bench.mapping(**properties)
    return bench, invocations


@pytest.mark.documented(pages.FAILURES)
@pytest.mark.parametrize(
    ("record", "error_type"),
    [
        ("raise", "ValueError"),
        ("sleep", "Sandbox.Timedout"),
        ("die", "Runtime.ExitError"),
    ],
)
def test_function_that_raises_times_out_or_ends_is_tried_again_and_then_given_up(
    function: FunctionBench, record: str, error_type: str
) -> None:
    function.deployed = replace(function.deployed, timeout_seconds=1 if record == "sleep" else 20)
    bench, invocations = mapped(
        function, BatchSize=2, MaximumRetryAttempts=1, DestinationConfig=ON_FAILURE
    )
    failed = ["neighbour", record]
    bench.put(*failed)
    bench.run(60)
    function.deployed = replace(function.deployed, timeout_seconds=20)
    bench.put("behind")
    bench.run(60)
    assert bench.given() == [failed, failed, ["behind"]]
    assert bench.discarded() == [failed]
    assert json.loads(invocations[1].payload)["errorType"] == error_type
    (body,) = bench.objects.values()
    document = json.loads(body)
    assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert document["requestContext"]["approximateInvokeCount"] == 2
    assert document["requestContext"]["requestId"] == invocations[1].request_id
    assert document["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }


@pytest.mark.documented(pages.FAILURES)
def test_record_on_which_the_function_ends_is_isolated_by_splitting(
    function: FunctionBench,
) -> None:
    bench, invocations = mapped(
        function,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=0,
        DestinationConfig=ON_FAILURE,
    )
    bench.put("a", "b", "die", "c")
    bench.run(60)
    done = zip(bench.batches, invocations, strict=True)
    assert [data_of(batch) for batch, invocation in done if invocation.error is None] == [
        ["a", "b"],
        ["c"],
    ]
    assert bench.discarded() == [["die"]]


@pytest.mark.documented(pages.FAILURES)
def test_throttled_function_gets_its_records_when_it_has_room_again(
    function: FunctionBench,
) -> None:
    function.deployed = replace(function.deployed, reserved_concurrency=0)
    bench, _ = mapped(
        function,
        MaximumRetryAttempts=0,
        DestinationConfig=ON_FAILURE,
        MetricsConfig={"Metrics": ["EventCount"]},
    )
    bench.put("a")
    bench.run(600)
    assert bench.total("InvokedEventCount") == 0
    assert bench.total("FailedInvokeEventCount") == function.total("Throttles") > 1
    function.deployed = replace(function.deployed, reserved_concurrency=None)
    bench.run(60)
    assert bench.given() == [["a"]]
    assert bench.objects == {}


@pytest.mark.documented(pages.QUOTAS)
def test_largest_event_that_a_mapping_makes_is_one_that_a_function_takes(
    function: FunctionBench,
) -> None:
    bench, invocations = mapped(function, BatchSize=10_000)
    bench.put(*["x"] * 20_000)
    bench.run(60)
    assert len(bench.given()) == 2
    assert [invocation.error for invocation in invocations] == [None, None]
    bench.batches.clear()
    bench.put(*["y" * 5000] * 2000)
    bench.run(60)
    assert len(bench.records()) == 2000
    assert {invocation.error for invocation in invocations} == {None}
    assert bench.made.last_result == "OK"


@pytest.mark.documented(pages.PARTIAL_RESPONSES)
def test_failures_of_single_records_are_not_asked_for_and_so_no_failures(
    function: FunctionBench,
) -> None:
    bench, _ = mapped(function, MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.put("a", "b")
    bench.run(60)
    assert bench.given() == [["a", "b"]]
    assert bench.objects == {}
