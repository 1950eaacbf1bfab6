"""An event source mapping reads a stream and cuts batches as Lambda documents it."""

import json
import re

import pytest

from local.mapping.kinesis_event import MAX_PAYLOAD_BYTES, event_payload, event_record
from local.mapping.kinesis_event import EventSource as Source
from tests.conformance import lambda_pages as pages
from tests.conformance.mapping_bench import (
    ON_FAILURE,
    ROLE_ARN,
    START,
    STREAM,
    STREAM_ARN,
    Bench,
    Held,
)

pytestmark = pytest.mark.documented(pages.BATCHING)


@pytest.mark.ours("as long as those of AWS's examples; no page says how long they are")
def test_sequence_numbers_have_56_digits() -> None:
    bench = Bench()
    bench.mapping()
    bench.put("Hello")
    bench.run()
    ((record,),) = bench.batches
    assert re.fullmatch(r"\d{56}", record["kinesis"]["sequenceNumber"])


@pytest.mark.documented(pages.EVENT)
def test_event_has_the_documented_shape_member_for_member() -> None:
    bench = Bench()
    bench.mapping()
    bench.now = START + 0.987
    bench.put("Hello, this is a test.", key="1")
    bench.run()

    ((record,),) = bench.batches
    sequence_number = record["kinesis"].pop("sequenceNumber")
    assert record == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "1",
            "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
            "approximateArrivalTimestamp": START + 0.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": ROLE_ARN,
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM_ARN,
    }


@pytest.mark.documented(pages.OPTIONS)
def test_batch_has_records_of_one_shard_only() -> None:
    bench = Bench(shards=3)
    bench.mapping(BatchSize=1000)
    for number in range(60):
        bench.put(str(number), key=f"device-{number}")
    bench.run()
    shards = [{one["eventID"].partition(":")[0] for one in batch} for batch in bench.batches]
    assert [len(of_batch) for of_batch in shards] == [1, 1, 1]
    assert len(bench.records()) == 60


@pytest.mark.documented(pages.POLLING)
def test_shard_is_polled_once_a_second_and_on_at_once_while_there_is_more() -> None:
    bench = Bench()
    bench.mapping(BatchSize=10_000)
    bench.run()
    bench.put(*map(str, range(10)))
    bench.run(0.9)
    assert bench.records() == []
    bench.run(0.1)
    assert len(bench.records()) == 10
    bench.put(*["x" * (1024 * 1024 - 100)] * 30)  # GetRecords gives ten megabytes at a time
    bench.run(2)
    assert len(bench.records()) == 40


def test_batch_holds_at_most_the_batch_size_in_the_order_of_the_shard() -> None:
    bench = Bench()
    bench.mapping(BatchSize=3)
    bench.put(*"abcdefgh")
    bench.run()
    assert bench.given() == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]


@pytest.mark.documented(pages.PARAMETERS)
def test_batch_size_is_100_where_none_is_given() -> None:
    bench = Bench()
    bench.mapping()
    bench.put(*map(str, range(101)))
    bench.run()
    assert [len(batch) for batch in bench.given()] == [100, 1]


def test_batch_is_sent_at_once_without_a_batching_window() -> None:
    bench = Bench()
    bench.mapping(BatchSize=10)
    bench.put("a")
    bench.run()
    assert bench.given() == [["a"]]


def test_batching_window_gathers_records_until_it_is_over() -> None:
    bench = Bench()
    bench.mapping(BatchSize=10, MaximumBatchingWindowInSeconds=5)
    bench.put("a")
    bench.run(3)
    bench.put("b")
    bench.run(1)
    assert bench.given() == []
    bench.run(1)
    assert bench.given() == [["a", "b"]]


def test_next_window_begins_when_the_invocation_before_it_has_ended() -> None:
    held = Held()
    bench = Bench(executor=held)
    bench.mapping(BatchSize=10, MaximumBatchingWindowInSeconds=5)
    bench.put("a")
    bench.run(5)
    bench.put("b")
    bench.run(20)  # at the function, four windows long
    held.run()
    bench.run(4)
    bench.put("c")
    assert held.waiting == []
    bench.run(1)
    held.run()
    assert bench.given() == [["a"], ["b", "c"]]


def test_full_batch_does_not_wait_for_the_window() -> None:
    bench = Bench()
    bench.mapping(BatchSize=2, MaximumBatchingWindowInSeconds=300)
    bench.put(*"abc")
    bench.run()
    assert bench.given() == [["a", "b"]]


@pytest.mark.documented(pages.LARGE_RECORDS)
def test_payload_limit_of_6_mb_includes_base64_and_metadata() -> None:
    bench = Bench()
    bench.mapping(BatchSize=10_000)
    # 1 MiB of data is 1.33 MiB of base64: four of them fit into 6 MiB, five would without base64.
    data = "x" * (1024 * 1024 - 100)
    bench.put(*[data] * 9)
    bench.run(5)
    assert [len(batch) for batch in bench.given()] == [4, 4, 1]
    sizes = [len(json.dumps({"Records": b}, separators=(",", ":"))) for b in bench.batches]
    assert max(sizes) <= MAX_PAYLOAD_BYTES


def test_payload_limit_does_not_wait_for_the_window() -> None:
    bench = Bench()
    bench.mapping(BatchSize=10_000, MaximumBatchingWindowInSeconds=300)
    bench.put(*["x" * (1024 * 1024 - 100)] * 5)
    bench.run(2)
    assert [len(batch) for batch in bench.given()] == [4]


@pytest.mark.documented(pages.LARGE_RECORDS)
def test_batch_is_cut_at_the_size_of_the_document_as_it_is_sent() -> None:
    source = Source(STREAM_ARN, "shardId-000000000000", ROLE_ARN)
    bench = Bench()
    bench.mapping(BatchSize=10_000)
    bench.put(*["y" * 5000] * 2000)
    bench.run(5)
    answer = bench.streams.get_shard_iterator(
        StreamName=STREAM, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )
    stored = bench.streams.get_records(ShardIterator=answer["ShardIterator"])["Records"]
    records = [event_record(record, source) for record in stored]
    first = len(bench.batches[0])
    assert len(event_payload(records[:first])) <= MAX_PAYLOAD_BYTES
    assert len(event_payload(records[: first + 1])) > MAX_PAYLOAD_BYTES


@pytest.mark.documented(pages.LARGE_RECORDS)
def test_record_that_is_larger_than_an_event_goes_to_the_destination_only() -> None:
    bench = Bench()
    bench.streams.delete_stream(StreamName=STREAM)
    bench.streams.create_stream(StreamName=STREAM, ShardCount=1, MaxRecordSizeInKiB=10_240)
    bench.mapping(DestinationConfig=ON_FAILURE)
    bench.put("a", "x" * (5 * 1024 * 1024), "b")
    bench.run(5)
    assert bench.records() == ["a", "b"]
    assert [[len(one) for one in batch] for batch in bench.discarded()] == [[5 * 1024 * 1024]]


@pytest.mark.documented(pages.OPTIONS)
def test_trim_horizon_starts_with_the_oldest_record() -> None:
    bench = Bench()
    bench.put("before")
    bench.now += 3600
    bench.mapping(StartingPosition="TRIM_HORIZON")
    bench.run()
    assert bench.records() == ["before"]


@pytest.mark.documented(pages.OPTIONS)
def test_latest_starts_behind_the_newest_record() -> None:
    bench = Bench()
    bench.put("before")
    bench.mapping(StartingPosition="LATEST")
    bench.run()
    bench.put("after")
    bench.run(1)
    assert bench.records() == ["after"]


@pytest.mark.documented(pages.OPTIONS)
def test_at_timestamp_starts_with_the_first_record_of_that_time() -> None:
    bench = Bench()
    bench.put("before")
    bench.now += 10
    bench.put("at")
    bench.now += 10
    bench.put("after")
    bench.mapping(StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=START + 10)
    bench.run()
    assert bench.records() == ["at", "after"]


@pytest.mark.documented(pages.ITERATORS)
def test_reading_goes_on_after_the_iterator_has_expired() -> None:
    bench = Bench()
    mapping = bench.mapping()
    bench.put("a")
    bench.run()
    bench.now += 3600  # nobody stepped: the iterator is long gone
    bench.put("b")
    mapping.step()
    bench.run(2)
    assert bench.records() == ["a", "b"]


@pytest.mark.documented(pages.GET_RECORDS)
def test_reading_goes_on_after_kinesis_has_throttled_it() -> None:
    bench = Bench(throttling=True)
    iterator = bench.streams.get_shard_iterator(
        StreamName=STREAM, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    bench.mapping()
    bench.put("a")
    for _ in range(5):  # another reader uses up the shard's five reads of this second
        bench.streams.get_records(ShardIterator=iterator)
    bench.run()
    assert bench.records() == []
    bench.run(2)
    assert bench.records() == ["a"]


@pytest.mark.documented(pages.POLLING)
def test_parallelization_runs_as_many_batches_of_a_shard_at_once() -> None:
    held = Held()
    bench = Bench(executor=held)
    bench.mapping(BatchSize=1, ParallelizationFactor=3)
    for number in range(30):
        bench.put(str(number), key=f"device-{number}")
    bench.run()
    assert len(held.waiting) == 3


@pytest.mark.documented(pages.POLLING)
def test_a_shard_has_one_batch_at_the_function_without_parallelization() -> None:
    held = Held()
    bench = Bench(executor=held)
    bench.mapping(BatchSize=1)
    for number in range(30):
        bench.put(str(number), key=f"device-{number}")
    bench.run()
    assert len(held.waiting) == 1


@pytest.mark.documented(pages.POLLING)
def test_parallelization_keeps_the_order_of_each_partition_key() -> None:
    held = Held()
    bench = Bench(executor=held)
    bench.mapping(BatchSize=2, ParallelizationFactor=4)
    for number in range(60):
        bench.put(f"{number % 6}/{number}", key=f"device-{number % 6}")
    bench.run()
    while held.waiting:
        held.run(len(held.waiting) - 1)  # the one that began last ends first
        bench.run()
    records = bench.records()
    assert len(records) == 60
    for device in range(6):
        of_device = [int(one.split("/")[1]) for one in records if one.startswith(f"{device}/")]
        assert of_device == sorted(of_device)
