"""An event source mapping reads a stream and cuts batches as Lambda documents it.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
"""

import json

import pytest

from local.mapping.kinesis_event import MAX_PAYLOAD_BYTES, event_payload, event_record
from local.mapping.kinesis_event import EventSource as Source
from local.mapping.shard_consumer import lane_of
from tests.conformance.mapping_bench import (
    FAILURE,
    ON_FAILURE,
    ROLE_ARN,
    START,
    STREAM,
    STREAM_ARN,
    Answer,
    Bench,
    Held,
    ThrottledError,
)


def test_event_has_the_documented_shape_member_for_member() -> None:
    bench = Bench()
    bench.mapping()
    bench.now = START + 0.987
    bench.put("Hello, this is a test.", key="1")
    bench.run()

    ((record,),) = bench.batches
    sequence_number = record["kinesis"].pop("sequenceNumber")
    assert len(sequence_number) == 56
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


def test_batch_holds_at_most_the_batch_size_in_the_order_of_the_shard() -> None:
    bench = Bench()
    bench.mapping(BatchSize=3)
    bench.put(*"abcdefgh")
    bench.run()
    assert bench.given() == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]


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


def test_full_batch_does_not_wait_for_the_window() -> None:
    bench = Bench()
    bench.mapping(BatchSize=2, MaximumBatchingWindowInSeconds=300)
    bench.put(*"abc")
    bench.run()
    assert bench.given() == [["a", "b"]]


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


def test_record_that_is_larger_than_an_event_goes_to_the_destination_only() -> None:
    bench = Bench()
    bench.streams.delete_stream(StreamName=STREAM)
    bench.streams.create_stream(StreamName=STREAM, ShardCount=1, MaxRecordSizeInKiB=10_240)
    bench.mapping(DestinationConfig=ON_FAILURE)
    bench.put("a", "x" * (5 * 1024 * 1024), "b")
    bench.run(5)
    assert bench.records() == ["a", "b"]
    assert [[len(one) for one in batch] for batch in bench.discarded()] == [[5 * 1024 * 1024]]


def test_trim_horizon_starts_with_the_oldest_record() -> None:
    bench = Bench()
    bench.put("before")
    bench.now += 3600
    bench.mapping(StartingPosition="TRIM_HORIZON")
    bench.run()
    assert bench.records() == ["before"]


def test_latest_starts_behind_the_newest_record() -> None:
    bench = Bench()
    bench.put("before")
    bench.mapping(StartingPosition="LATEST")
    bench.run()
    bench.put("after")
    bench.run(1)
    assert bench.records() == ["after"]


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


def test_parallelization_runs_as_many_batches_of_a_shard_at_once() -> None:
    held = Held()
    bench = Bench(executor=held)
    bench.mapping(BatchSize=1, ParallelizationFactor=3)
    for number in range(30):
        bench.put(str(number), key=f"device-{number}")
    bench.run()
    assert len(held.waiting) == 3


def test_a_shard_has_one_batch_at_the_function_without_parallelization() -> None:
    held = Held()
    bench = Bench(executor=held)
    bench.mapping(BatchSize=1)
    for number in range(30):
        bench.put(str(number), key=f"device-{number}")
    bench.run()
    assert len(held.waiting) == 1


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


def test_checkpoint_waits_for_the_slowest_lane() -> None:
    bench = Bench()
    mapping = bench.mapping(BatchSize=1, ParallelizationFactor=2)
    slow, quick = "device-1", "device-2"
    assert lane_of(slow, 2) != lane_of(quick, 2)
    bench.answer_for = lambda data: FAILURE if data == ["slow"] else Answer()
    bench.put("slow", key=slow)
    bench.put(*"abc", key=quick)
    bench.run(1)
    assert {"a", "b", "c"} <= set(bench.records())
    mapping.update({"Enabled": False})
    bench.run(1)
    assert mapping.status()["behind"] == 4
    bench.answer_for = lambda _data: Answer()
    bench.batches.clear()
    mapping.update({"Enabled": True})
    bench.run(1)
    assert sorted(bench.records()) == ["a", "b", "c", "slow"]


def test_function_that_is_throttled_is_tried_again_without_using_up_retries() -> None:
    bench = Bench()
    bench.mapping(MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.answers = [ThrottledError() for _ in range(20)]
    bench.put("a")
    bench.run(3600)
    assert bench.records() == ["a"]
    assert bench.objects == {}


def test_disabling_and_enabling_loses_nothing_and_repeats_nothing() -> None:
    bench = Bench()
    mapping = bench.mapping()
    bench.put("a")
    bench.run()
    mapping.update({"Enabled": False})
    bench.run()
    assert mapping.state == "Disabled"
    bench.put("b")
    bench.run(60)
    assert bench.records() == ["a"]
    mapping.update({"Enabled": True})
    bench.run(1)
    assert bench.records() == ["a", "b"]
    assert mapping.state == "Enabled"


@pytest.mark.parametrize("disabled_for", [1, 3600])
def test_latest_that_is_disabled_before_the_first_record_loses_nothing(disabled_for: int) -> None:
    bench = Bench()
    bench.put("before")
    bench.now += 1
    mapping = bench.mapping(StartingPosition="LATEST")
    bench.run(10)
    mapping.update({"Enabled": False})
    bench.run(1)
    bench.put("meanwhile")
    bench.run(disabled_for)
    mapping.update({"Enabled": True})
    bench.run(1)
    assert bench.records() == ["meanwhile"]


def test_disabling_waits_for_what_is_at_the_function_and_starts_nothing_new() -> None:
    held = Held()
    bench = Bench(executor=held)
    mapping = bench.mapping(BatchSize=1)
    bench.put(*"ab")
    bench.run()
    mapping.update({"Enabled": False})
    bench.run()
    assert mapping.state == "Disabling"
    held.run()
    bench.run()
    assert mapping.state == "Disabled"
    assert bench.records() == ["a"]
    assert held.waiting == []
    assert mapping.status()["behind"] == 1


def test_changed_settings_take_effect_from_the_checkpoint_on() -> None:
    bench = Bench()
    mapping = bench.mapping(BatchSize=2)
    bench.put(*"abcd")
    bench.run()
    mapping.update({"BatchSize": 3})
    bench.put(*"efg")
    bench.run(1)
    assert bench.given() == [["a", "b"], ["c", "d"], ["e", "f", "g"]]


def test_behind_counts_what_is_unread_and_what_is_unfinished() -> None:
    held = Held()
    bench = Bench(shards=2, executor=held)
    mapping = bench.mapping(BatchSize=2)
    assert mapping.status()["behind"] == 0
    for number in range(20):
        bench.put(str(number), key=f"device-{number}")
    assert mapping.status()["behind"] == 20
    bench.run()
    assert mapping.status()["behind"] == 20
    held.run()
    mapping.step()
    assert mapping.status()["behind"] == 18


def test_counts_events_under_the_mapping_where_asked_to() -> None:
    bench = Bench()
    mapping = bench.mapping(BatchSize=2, MetricsConfig={"Metrics": ["EventCount"]})
    bench.answers = [ThrottledError()]
    bench.put(*"abc")
    bench.run(10)
    assert bench.total("PolledEventCount") == 3
    assert bench.total("InvokedEventCount") == 3
    assert bench.total("FailedInvokeEventCount") == 2
    of_mapping = [d for d in bench.metrics if d.name == "PolledEventCount"]
    assert {tuple(d.dimensions.items()) for d in of_mapping} == {
        (("EventSourceMappingUUID", mapping.uuid),)
    }


def test_counts_no_events_where_not_asked_to() -> None:
    bench = Bench()
    bench.mapping()
    bench.put("a")
    bench.run()
    assert {datum.name for datum in bench.metrics} == {"IteratorAge"}


def test_iterator_age_is_that_of_the_batchs_last_record_when_it_is_sent() -> None:
    bench = Bench()
    bench.put("a")
    bench.now += 5
    bench.put("b")
    bench.now += 2
    bench.mapping()
    bench.run()
    (datum,) = [d for d in bench.metrics if d.name == "IteratorAge"]
    assert (datum.values, datum.unit) == ((2000.0,), "Milliseconds")
    assert datum.dimensions == {"FunctionName": "ingest"}
