"""Faults on calls: what clients see of each, what was applied, and what was counted."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from local.api import ApiError
from local.faults.door import Struck, around
from local.faults.faults import FaultError
from tests.conformance.fault_bench import FaultBench, running_fault_bench

RETRIES = "https://docs.aws.amazon.com/boto3/latest/guide/retries.html"
PUT_RECORDS = "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html"
KINESIS_PUT = "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html"
SNS_ERRORS = "https://docs.aws.amazon.com/sns/latest/api/API_ListTopics.html"
EVENT_ERRORS = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html"
IAM_ERRORS = "https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoles.html"
METRIC_ERRORS = (
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html"
)
S3_ERRORS = "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
INVOKE = "https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"
GLUE_ERRORS = "https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html"
GLUE_COMMON_ERRORS = "https://docs.aws.amazon.com/glue/latest/webapi/CommonErrors.html"
CLOUDWATCH_ERRORS = (
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html"
)
CLOUDFORMATION_ERRORS = (
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/CommonErrors.html"
)
IOT_ERRORS = "https://docs.aws.amazon.com/iot/latest/apireference/API_ListThings.html"

pytestmark = pytest.mark.ours("faults are the local cloud's own; AWS's FIS states no such rules")

SIMPLE: dict[str, Callable[[Any, FaultBench], Any]] = {
    "kinesis:PutRecord": lambda client, bench: bench.put(client),
    "kinesis:PutRecords": lambda client, bench: client.put_records(
        StreamName=bench.stream, Records=[{"Data": b"r", "PartitionKey": "k"}]
    ),
    "s3:PutObject": lambda client, bench: client.put_object(
        Bucket=bench.bucket, Key="raw_data/one", Body=b"x"
    ),
    "lambda:ListFunctions": lambda client, _: client.list_functions(),
    "glue:GetDatabases": lambda client, _: client.get_databases(),
    "cloudwatch:ListMetrics": lambda client, _: client.list_metrics(),
    "sns:ListTopics": lambda client, _: client.list_topics(),
    "iot:ListThings": lambda client, _: client.list_things(),
    "iam:ListRoles": lambda client, _: client.list_roles(),
    "cloudformation:ListStacks": lambda client, _: client.list_stacks(),
    "events:PutEvents": lambda client, _: client.put_events(
        Entries=[{"Source": "s", "DetailType": "t", "Detail": "{}"}]
    ),
}


@pytest.fixture(scope="module")
def served() -> Iterator[FaultBench]:
    with running_fault_bench() as bench:
        yield bench


@pytest.fixture
def bench(served: FaultBench) -> Iterator[FaultBench]:
    yield served
    served.faults.clear()


def make(call: str, bench: FaultBench, attempts: int = 1) -> Any:
    """Make a simple call."""
    return SIMPLE[call](bench.client(call.partition(":")[0], attempts), bench)


def documented(page: str, *values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.documented(page))


# ------------------------------------------------------------------- throttles and errors


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        documented(
            PUT_RECORDS, "kinesis:PutRecords", "ProvisionedThroughputExceededException", 400
        ),
        documented(S3_ERRORS, "s3:PutObject", "SlowDown", 503),
        documented(INVOKE, "lambda:ListFunctions", "TooManyRequestsException", 429),
        documented(GLUE_COMMON_ERRORS, "glue:GetDatabases", "ThrottlingException", 400),
        documented(CLOUDWATCH_ERRORS, "cloudwatch:ListMetrics", "ThrottlingException", 400),
        documented(CLOUDFORMATION_ERRORS, "sns:ListTopics", "ThrottlingException", 400),
        documented(IOT_ERRORS, "iot:ListThings", "ThrottlingException", 400),
    ],
)
def test_a_throttle_is_the_services_own(
    bench: FaultBench, call: str, code: str, status: int
) -> None:
    bench.faults.inject("throttle", on=call)
    with pytest.raises(ClientError) as caught:
        make(call, bench)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert "throttle" in caught.value.response["Error"]["Message"]
    assert bench.faults.fired("throttle") == 1


@pytest.mark.parametrize(
    ("call", "code", "name"),
    [
        documented(KINESIS_PUT, "kinesis:PutRecord", "InternalFailureException", ""),
        documented(S3_ERRORS, "s3:PutObject", "InternalError", "ClientError"),
        documented(INVOKE, "lambda:ListFunctions", "ServiceException", ""),
        documented(GLUE_ERRORS, "glue:GetDatabases", "InternalServiceException", ""),
        documented(
            METRIC_ERRORS, "cloudwatch:ListMetrics", "InternalServiceError", "InternalServiceFault"
        ),
        documented(SNS_ERRORS, "sns:ListTopics", "InternalError", "InternalErrorException"),
        documented(IOT_ERRORS, "iot:ListThings", "InternalFailureException", ""),
        documented(EVENT_ERRORS, "events:PutEvents", "InternalException", ""),
        documented(IAM_ERRORS, "iam:ListRoles", "ServiceFailure", "ServiceFailureException"),
        documented(
            CLOUDFORMATION_ERRORS, "cloudformation:ListStacks", "InternalFailure", "ClientError"
        ),
    ],
)
def test_an_error_is_the_services_own(bench: FaultBench, call: str, code: str, name: str) -> None:
    """`name`: the SDK's class for it, where that is not the code."""
    bench.faults.inject("error", on=call)
    with pytest.raises(ClientError) as caught:
        make(call, bench)
    assert type(caught.value).__name__ == (name or code)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert bench.faults.fired("error") == 1


@pytest.mark.documented(PUT_RECORDS)
def test_the_exception_is_the_class_that_the_sdk_has_for_it(bench: FaultBench) -> None:
    kinesis = bench.client("kinesis")
    bench.faults.inject("throttle", on="kinesis:Put*")
    with pytest.raises(kinesis.exceptions.ProvisionedThroughputExceededException):
        bench.put(kinesis)


@pytest.mark.documented(S3_ERRORS)
def test_an_error_may_be_any(bench: FaultBench) -> None:
    bench.faults.inject("error", on="s3:PutObject", code="AccessDenied", status=403)
    with pytest.raises(ClientError) as caught:
        make("s3:PutObject", bench)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.documented(RETRIES)
@pytest.mark.parametrize("kind", ["throttle", "error", "lose-response"])
@pytest.mark.parametrize(
    "call", ["kinesis:PutRecord", "s3:PutObject", "lambda:ListFunctions", "cloudwatch:ListMetrics"]
)
def test_the_sdk_tries_again_by_itself(bench: FaultBench, kind: str, call: str) -> None:
    bench.faults.inject(kind, on=call)
    assert make(call, bench, attempts=2)
    assert bench.faults.fired(kind) == 1


def test_what_is_refused_is_not_applied(bench: FaultBench) -> None:
    before = bench.records()
    for kind in ("throttle", "error"):
        bench.faults.inject(kind, on="kinesis:PutRecord")
        with pytest.raises(ClientError):
            make("kinesis:PutRecord", bench)
    assert bench.records() == before


# ------------------------------------------------------- lost answers, repeats, delays


def test_a_lost_answers_call_was_applied(bench: FaultBench) -> None:
    before = bench.records()
    bench.faults.inject("lose-response", on="kinesis:PutRecord")
    with pytest.raises(ConnectionClosedError):
        bench.put(bench.client("kinesis"), b"applied")
    assert bench.records().count(b"applied") == 1
    assert len(bench.records()) == len(before) + 1
    assert bench.faults.fired("lose-response") == 1


@pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"
)
def test_a_conditional_put_whose_answer_was_lost_finds_its_own_object(bench: FaultBench) -> None:
    bench.faults.inject("lose-response", on="s3:PutObject")
    with pytest.raises(ClientError) as caught:
        bench.client("s3", attempts=2).put_object(
            Bucket=bench.bucket, Key="once", Body=b"whole", IfNoneMatch="*"
        )
    assert caught.value.response["Error"]["Code"] == "PreconditionFailed"
    stored = bench.client("s3").get_object(Bucket=bench.bucket, Key="once")["Body"].read()
    assert stored == b"whole"


def test_a_duplicate_is_applied_twice_and_answered_once(bench: FaultBench) -> None:
    bench.faults.inject("duplicate", on="kinesis:PutRecord")
    answer = bench.put(bench.client("kinesis"), b"twice")
    assert bench.records().count(b"twice") == 2
    shard = bench.streams.get_shard_iterator(
        StreamName=bench.stream,
        ShardId=answer["ShardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=answer["SequenceNumber"],
    )["ShardIterator"]
    # The answer is the second one's: nothing stands after it.
    assert len(bench.streams.get_records(ShardIterator=shard)["Records"]) == 1
    assert bench.faults.fired("duplicate") == 1


def test_a_delay_is_waited_for_and_then_applied(bench: FaultBench) -> None:
    bench.faults.inject("delay", on="kinesis:PutRecord", seconds=0.2)
    began = time.monotonic()
    bench.put(bench.client("kinesis"), b"late")
    assert time.monotonic() - began >= 0.2
    assert bench.records().count(b"late") == 1
    assert bench.faults.fired("delay") == 1


def test_a_delay_ends_when_it_is_cleared(bench: FaultBench) -> None:
    bench.faults.inject("delay", on="kinesis:PutRecord", seconds=3_600)
    client = bench.client("kinesis")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(bench.put, client, b"at last")
        while not bench.faults.fired("delay"):
            assert not answer.done()
        assert bench.faults.clear() == 1
        assert answer.result(timeout=50)["SequenceNumber"]
    assert b"at last" in bench.records()


# -------------------------------------------------------------------- what is struck


def test_a_fault_that_is_not_matched_is_not_counted(bench: FaultBench) -> None:
    bench.faults.inject("throttle", on="s3:PutObject", where="raw_data/", times=0)
    bench.faults.inject("error", on="kinesis:PutRecords", where="no-such-stream", times=0)
    s3 = bench.client("s3")
    s3.put_object(Bucket=bench.bucket, Key="curated/one", Body=b"raw_data/")
    s3.list_objects_v2(Bucket=bench.bucket, Prefix="raw_data/")
    make("kinesis:PutRecords", bench)
    assert [(one["matched"], one["fired"]) for one in bench.faults.shown()] == [(0, 0), (0, 0)]
    with pytest.raises(ClientError):
        s3.put_object(Bucket=bench.bucket, Key="raw_data/one", Body=b"x")
    assert bench.faults.fired("throttle") == 1


def test_skip_and_times_say_which_calls_are_struck(bench: FaultBench) -> None:
    bench.faults.inject("throttle", on="kinesis:PutRecord", skip=2, times=2)
    assert struck(bench, 6) == [False, False, True, True, False, False]
    assert bench.faults.fired("throttle") == 2


def test_the_same_seed_strikes_the_same_calls(bench: FaultBench) -> None:
    strikes = []
    for seed in (7, 7, 8):
        bench.faults.inject("throttle", on="kinesis:PutRecord", times=0, probability=0.5, seed=seed)
        strikes.append(struck(bench, 24))
        assert bench.faults.fired("throttle") == strikes[-1].count(True)
        bench.faults.clear("throttle")
    assert strikes[0] == strikes[1] != strikes[2]
    assert 0 < strikes[0].count(True) < 24


def struck(bench: FaultBench, calls: int) -> list[bool]:
    """For each of so many puts whether it was refused."""
    kinesis, refused = bench.client("kinesis"), []
    for _ in range(calls):
        try:
            bench.put(kinesis)
            refused.append(False)
        except ClientError:
            refused.append(True)
    return refused


# ------------------------------------------------------------------------- in the process


def test_calls_in_the_process_are_struck_alike(bench: FaultBench) -> None:
    inside = Struck(bench.streams, "kinesis", bench.faults)
    bench.faults.inject("throttle", on="kinesis:PutRecord", where="telemetry")
    with pytest.raises(ApiError) as refused:
        bench.put(inside, b"inside")
    assert (refused.value.code, refused.value.status) == (
        "ProvisionedThroughputExceededException",
        400,
    )
    bench.faults.inject("lose-response", on="kinesis:PutRecord")
    with pytest.raises(ConnectionClosedError):
        bench.put(inside, b"inside")
    bench.faults.inject("duplicate", on="kinesis:PutRecord")
    bench.put(inside, b"inside")
    bench.put(inside, b"inside")
    assert bench.records().count(b"inside") == 1 + 2 + 1
    assert [one["fired"] for one in bench.faults.shown()] == [1, 1, 1]


@pytest.mark.documented(
    "https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html"
)
def test_an_event_is_delivered_twice(bench: FaultBench) -> None:
    delivered: list[tuple[str, bytes]] = []
    invoke = around(
        lambda name, event: delivered.append((name, event)), "lambda:Invoke", bench.faults
    )
    bench.faults.inject("duplicate", on="lambda:Invoke", where="ingest")
    invoke("curate", b"{}")
    invoke("ingest", b"{}")
    assert delivered == [("curate", b"{}"), ("ingest", b"{}"), ("ingest", b"{}")]


# --------------------------------------------------------------------------- over HTTP


def ask(bench: FaultBench, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    url = f"{bench.endpoint}/_local/faults{path}"
    request = urllib.request.Request(url, data, method=method)  # noqa: S310 - loopback
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)


def test_faults_are_injected_listed_and_cleared_over_http(bench: FaultBench) -> None:
    busy = {"kind": "throttle", "name": "busy", "on": "kinesis:PutRecord", "times": 2}
    assert ask(bench, "POST", "", busy) == {"name": "busy"}
    throttle = {"kind": "throttle", "on": "s3:PutObject"}
    assert ask(bench, "POST", "", throttle) == {"name": "throttle"}
    assert ask(bench, "POST", "", throttle) == {"name": "throttle-2"}
    make("kinesis:PutRecord", bench, attempts=3)
    shown = ask(bench, "GET", "")["faults"]
    assert [(one["name"], one["fired"]) for one in shown] == [
        ("busy", 2),
        ("throttle", 0),
        ("throttle-2", 0),
    ]
    assert ask(bench, "DELETE", "/busy") == {"cleared": 1}
    assert ask(bench, "DELETE", "") == {"cleared": 2}
    assert make("s3:PutObject", bench)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"kind": "trottle"}, "there are: throttle, error, delay"),
        ({"kind": "throttle"}, "such as s3:PutObject"),
        ({"kind": "throttle", "on": "kinesis:PutRecrods"}, "near: PutRecords"),
        ({"kind": "throttle", "on": "kinsis:PutRecords"}, "near: kinesis"),
        ({"kind": "throttle", "on": "s3:*", "seconds": 1}, "it takes: on, where"),
        ({"kind": "delay", "on": "s3:*", "seconds": "soon"}, "'soon'"),
        ({"kind": "kill", "on": "s3:*", "when": "later"}, "before or after"),
        ([], "JSON object"),
    ],
)
def test_a_wrong_fault_is_refused_in_one_line(bench: FaultBench, body: object, told: str) -> None:
    with pytest.raises(HTTPError) as refused:
        ask(bench, "POST", "", body)
    message = json.load(refused.value)["message"]
    assert refused.value.code == 400
    assert told in message
    assert "\n" not in message
    assert bench.faults.shown() == []


def test_a_fault_that_is_not_there_can_not_be_cleared(bench: FaultBench) -> None:
    bench.faults.inject("throttle", on="s3:PutObject")
    with pytest.raises(FaultError, match="there are: throttle"):
        bench.faults.clear("thrttle")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("throttle", {"times": -1}),
        ("throttle", {"skip": -4}),
        ("throttle", {"probability": 7}),
        ("throttle", {"probability": -0.1}),
        ("error", {"status": 200}),
        ("delay", {"seconds": float("nan")}),
        ("delay", {"seconds": -1}),
        ("delay", {}),
        ("clock-jump", {}),
        ("clock-jump", {"seconds": float("inf")}),
        ("reshard", {"shards": 0}),
    ],
)
def test_a_fault_that_would_strike_nothing_or_break_all_is_refused(
    bench: FaultBench, kind: str, settings: dict[str, Any]
) -> None:
    on = {} if kind in ("clock-jump", "reshard") else {"on": "s3:PutObject"}
    with pytest.raises(FaultError, match=f"{kind}: '"):
        bench.faults.inject(kind, **on, **settings)
    assert bench.faults.shown() == []
