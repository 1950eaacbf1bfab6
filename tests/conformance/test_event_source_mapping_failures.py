"""What fails is retried, split, given up and kept as Lambda documents it."""

import base64
import json
import re

import pytest

from local.mapping.batch_retry import (
    Batch,
    Condition,
    Discard,
    Failure,
    FunctionFailed,
    NotInvoked,
    RetryPolicy,
    Succeeded,
    decide,
    set_aside_expired,
)
from local.mapping.kinesis_event import EventRecord
from tests.conformance import lambda_pages as pages
from tests.conformance.mapping_bench import (
    FAILURE,
    FUNCTION_ARN,
    ON_FAILURE,
    START,
    STREAM,
    STREAM_ARN,
    Answer,
    Bench,
    ThrottledError,
)

COUNTED = {"Metrics": ["EventCount"]}
FAILED = FunctionFailed(Failure("request-1", "Unhandled"))


def batch(*arrived_at: float, failed_attempts: int = 0) -> Batch:
    records = [EventRecord(str(n), "key", at, b"{}") for n, at in enumerate(arrived_at)]
    return Batch(tuple(records), failed_attempts=failed_attempts)


@pytest.mark.documented(pages.FAILURES)
def test_success_finishes_every_record() -> None:
    ok = batch(1.0, 2.0)
    assert decide(ok, Succeeded(), RetryPolicy(), now=10.0).done == ok.records


@pytest.mark.ours("AWS backs off before it tries again, but does not say how long")
def test_failure_is_retried_with_the_same_records_after_a_back_off_that_doubles() -> None:
    policy = RetryPolicy(first_backoff_seconds=1.0, longest_backoff_seconds=4.0)
    waits, failing, now = [], batch(1.0, 2.0), 100.0
    for _ in range(5):
        (again,) = decide(failing, FAILED, policy, now).again
        assert isinstance(again, Batch)
        assert again.records == failing.records
        waits.append(again.not_before - now)
        failing, now = again, again.not_before
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0]


@pytest.mark.documented(pages.PARAMETERS)
def test_failures_without_a_quota_are_retried_for_ever() -> None:
    failing = batch(1.0, failed_attempts=100_000)
    (again,) = decide(failing, FAILED, RetryPolicy(), now=2.0).again
    assert isinstance(again, Batch)


@pytest.mark.documented(pages.PARAMETERS)
def test_retry_attempts_are_those_after_the_first() -> None:
    policy = RetryPolicy(maximum_retry_attempts=2)
    (second,) = decide(batch(1.0, failed_attempts=1), FAILED, policy, now=2.0).again
    (third,) = decide(batch(1.0, failed_attempts=2), FAILED, policy, now=2.0).again
    assert isinstance(second, Batch)
    assert isinstance(third, Discard)
    assert third.condition is Condition.RETRIES_EXHAUSTED


@pytest.mark.documented(pages.FAILURES)
def test_batch_that_fails_is_retried_whole_and_holds_up_what_is_behind_it() -> None:
    bench = Bench()
    bench.mapping(BatchSize=2)
    bench.answers = [FAILURE] * 3
    bench.put(*"abcd")
    bench.run(60)
    assert bench.given() == [["a", "b"]] * 4 + [["c", "d"]]


@pytest.mark.documented(pages.FAILURES)
def test_splitting_uses_up_no_retries() -> None:
    policy = RetryPolicy(maximum_retry_attempts=0, bisect_on_function_error=True)
    halves = decide(batch(1.0, 2.0, 3.0), FAILED, policy, now=4.0).again
    assert [len(half.records) for half in halves] == [2, 1]
    assert all(isinstance(half, Batch) and half.failed_attempts == 0 for half in halves)


@pytest.mark.documented(pages.FAILURES)
def test_bad_record_is_isolated_and_its_neighbours_go_through() -> None:
    bench = Bench()
    bench.mapping(
        BatchSize=8,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig=ON_FAILURE,
    )
    bench.answer_for = lambda data: FAILURE if "d" in data else Answer()
    bench.put(*"abcdefgh")
    bench.run(60)
    assert bench.discarded() == [["d"]]
    assert ["".join(data) for data in bench.given()] == [
        "abcdefgh",
        "abcd",
        "ab",
        "cd",
        "c",
        "d",
        "d",
        "efgh",
    ]


@pytest.mark.documented(pages.FAILURES)
def test_without_bisect_the_whole_batch_is_given_up() -> None:
    bench = Bench()
    bench.mapping(BatchSize=3, MaximumRetryAttempts=2, DestinationConfig=ON_FAILURE)
    bench.answer_for = lambda data: FAILURE if "b" in data else Answer()
    bench.put(*"abcd")
    bench.run(60)
    assert bench.given() == [["a", "b", "c"]] * 3 + [["d"]]
    assert bench.discarded() == [["a", "b", "c"]]


@pytest.mark.documented(pages.FAILURES)
def test_throttle_splits_nothing_and_uses_up_no_retries() -> None:
    policy = RetryPolicy(maximum_retry_attempts=0, bisect_on_function_error=True)
    (again,) = decide(batch(1.0, 2.0), NotInvoked("throttled"), policy, now=4.0).again
    assert isinstance(again, Batch)
    assert (len(again.records), again.failed_attempts, again.invocations) == (2, 0, 0)


@pytest.mark.documented(pages.FAILURES)
def test_function_that_is_throttled_is_tried_again_without_using_up_retries() -> None:
    bench = Bench()
    bench.mapping(MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.answers = [ThrottledError() for _ in range(20)]
    bench.put("a")
    bench.run(3600)
    assert bench.records() == ["a"]
    assert bench.objects == {}


@pytest.mark.documented(pages.FAILURES)
def test_throttled_records_are_given_up_by_age_only() -> None:
    bench = Bench()
    bench.mapping(
        MaximumRecordAgeInSeconds=600, MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE
    )
    bench.answer_for = lambda _data: ThrottledError()
    bench.put("a")
    bench.run(599)
    assert bench.objects == {}
    bench.run(120)
    assert bench.discarded() == [["a"]]


@pytest.mark.ours("AWS does not say what becomes of the young records of such a batch")
def test_records_beyond_the_maximum_age_are_set_aside_and_younger_ones_go_on() -> None:
    policy = RetryPolicy(maximum_record_age_seconds=60)
    discard, rest = set_aside_expired(batch(0.0, 39.0, 40.0, 100.0), policy, now=100.0)
    assert isinstance(discard, Discard)
    assert isinstance(rest, Batch)
    assert [record.arrived_at for record in discard.records] == [0.0, 39.0]
    assert [record.arrived_at for record in rest.records] == [40.0, 100.0]
    assert discard.condition is Condition.AGE_EXCEEDED


@pytest.mark.documented(pages.OPTIONS)
def test_record_that_is_too_old_is_never_sent() -> None:
    bench = Bench()
    bench.put("old")
    bench.now += 100
    bench.put("young")
    bench.mapping(MaximumRecordAgeInSeconds=60, DestinationConfig=ON_FAILURE)
    bench.run()
    assert bench.records() == ["young"]
    assert bench.discarded() == [["old"]]
    (body,) = bench.objects.values()
    document = json.loads(body)
    assert document["requestContext"]["condition"] == "RecordAgeExceeded"
    assert document["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in document


@pytest.mark.documented(pages.PARAMETERS)
def test_record_put_long_ago_is_not_old_when_its_age_has_no_limit() -> None:
    bench = Bench()
    bench.put("a")
    bench.now = START + 23 * 3600
    bench.mapping()
    bench.run()
    assert bench.records() == ["a"]


@pytest.mark.documented(pages.FAILURES)
def test_records_are_retried_until_they_expire_from_the_stream() -> None:
    bench = Bench()
    bench.mapping(DestinationConfig=ON_FAILURE)
    bench.answer_for = lambda _data: FAILURE
    bench.put("a")
    bench.run(24 * 3600 - 60)
    assert bench.objects == {}
    bench.run(180)
    assert bench.discarded() == [["a"]]
    bench.answer_for = lambda _data: Answer()
    bench.put("b")
    bench.run(1)
    assert bench.given()[-1] == ["b"]


@pytest.mark.documented(pages.BATCHING)
def test_failing_batch_holds_up_its_shard_and_no_other() -> None:
    bench = Bench(shards=2)
    bench.mapping(BatchSize=1)
    bench.answer_for = lambda data: FAILURE if data == ["bad"] else Answer()
    keys: dict[str, str] = {}
    for number in range(100):  # two keys of different shards
        answer = bench.streams.put_record(
            StreamName=STREAM, PartitionKey=str(number), Data=b"first"
        )
        keys.setdefault(answer["ShardId"], str(number))
    bench.run(60)
    one, other = keys.values()
    bench.put("bad", "behind", key=one)
    bench.put("fine", key=other)
    bench.run(600)
    assert "fine" in bench.records()
    assert "behind" not in bench.records()


@pytest.mark.documented(pages.DESTINATIONS)
def test_failed_object_has_the_documented_key() -> None:
    bench = Bench()
    mapping = bench.mapping(MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.answers = [FAILURE]
    bench.put("a")
    bench.run()
    (key,) = bench.objects
    hex_uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(
        rf"aws/lambda/{mapping.uuid}/shardId-000000000000"
        rf"/2026/09/21/2026-09-21T14\.13\.20-{hex_uuid}",
        key,
    )


@pytest.mark.documented(pages.DESTINATIONS)
def test_failed_object_has_the_documented_shape_and_the_whole_event() -> None:
    bench = Bench()
    bench.mapping(BatchSize=2, MaximumRetryAttempts=1, DestinationConfig=ON_FAILURE)
    bench.answer_for = lambda _data: FAILURE
    bench.put("a")
    bench.now += 0.5
    bench.put("b")
    bench.run(1)
    (body,) = bench.objects.values()
    document = json.loads(body)
    payload = document.pop("payload")
    first, last = bench.batches[0]
    assert document == {
        "requestContext": {
            "requestId": FAILURE.request_id,
            "functionArn": FUNCTION_ARN,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "version": "1.0",
        "timestamp": "2026-09-21T14:13:21.500Z",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": first["kinesis"]["sequenceNumber"],
            "endSequenceNumber": last["kinesis"]["sequenceNumber"],
            "approximateArrivalOfFirstRecord": "2026-09-21T14:13:20.000Z",
            "approximateArrivalOfLastRecord": "2026-09-21T14:13:20.500Z",
            "batchSize": 2,
            "streamArn": STREAM_ARN,
        },
    }
    assert json.loads(payload) == {"Records": bench.batches[0]}


@pytest.mark.documented(pages.DESTINATIONS)
def test_failed_object_has_every_byte_of_the_records() -> None:
    bench = Bench()
    bench.mapping(BatchSize=10_000, MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.answers = [FAILURE]
    data = [bytes(range(256)) * 4000 + bytes([number]) for number in range(4)]
    for one in data:  # together nearly the six megabytes that an event may have
        bench.streams.put_record(StreamName=STREAM, PartitionKey="ключ", Data=one)
    bench.run()
    (body,) = bench.objects.values()
    event = json.loads(json.loads(body)["payload"])
    assert event == {"Records": bench.batches[0]}
    assert [base64.b64decode(record["kinesis"]["data"]) for record in event["Records"]] == data
    assert {record["kinesis"]["partitionKey"] for record in event["Records"]} == {"ключ"}


@pytest.mark.ours("AWS counts a delivery that failed, but does not say how often it tries")
def test_delivery_that_fails_is_tried_again() -> None:
    bench = Bench(destination_fails=2)
    bench.mapping(MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.answers = [FAILURE]
    bench.put("a")
    bench.run(60)
    assert bench.discarded() == [["a"]]
    assert bench.total("DestinationDeliveryFailures") == 2


@pytest.mark.documented(pages.INVOCATION_METRICS)
def test_destination_that_stays_away_loses_what_was_given_up_and_says_so() -> None:
    bench = Bench(destination_fails=100)
    mapping = bench.mapping(
        MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE, MetricsConfig=COUNTED
    )
    bench.answers = [FAILURE]
    bench.put("a", "b")
    bench.run(60)
    assert bench.total("DestinationDeliveryFailures") == 3
    assert bench.total("DroppedEventCount") == 2
    assert mapping.status()["behind"] == 0
    (failures, *_) = [d for d in bench.metrics if d.name == "DestinationDeliveryFailures"]
    assert failures.dimensions == {"FunctionName": "ingest"}
