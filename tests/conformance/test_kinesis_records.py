"""Kinesis: what is put is kept, in order, under numbers that nothing else has."""

import hashlib
import sys
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from local.kinesis.streams import Streams
from tests.conformance.kinesis_implementations import Serve
from tests.conformance.kinesis_service import (
    MAX_HASH_KEY,
    Clock,
    put,
    put_at,
    read_all,
    read_shard,
    refused,
    shards,
)

pytestmark = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html"
)
PUT_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html"
)
GET_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html"
)
KEY_CONCEPTS = pytest.mark.documented(
    "https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html"
)
LARGE_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/streams/latest/dev/large-records.html"
)

PRODUCERS = 8
CALLS = 25
PER_CALL = 40
MIB = 1024 * 1024


@PUT_RECORDS
def test_no_acknowledged_record_is_lost_with_eight_producers_at_once(kinesis: Any) -> None:
    start = threading.Barrier(PRODUCERS)

    def produce(producer: int) -> list[tuple[str, bytes]]:
        acknowledged: list[tuple[str, bytes]] = []
        start.wait()
        for call in range(CALLS):
            data = [f"{producer}/{call}/{n}".encode() for n in range(PER_CALL)]
            answer = kinesis.put_records(
                StreamName="telemetry",
                Records=[{"Data": one, "PartitionKey": f"{producer}-{one!r}"} for one in data],
            )
            assert answer["FailedRecordCount"] == 0
            numbers = [one["SequenceNumber"] for one in answer["Records"]]
            acknowledged += zip(numbers, data, strict=True)
        return acknowledged

    with ThreadPoolExecutor(PRODUCERS) as pool:
        sent = [one for part in pool.map(produce, range(PRODUCERS)) for one in part]

    read = [(record["SequenceNumber"], record["Data"]) for record in read_all(kinesis)]
    assert Counter(read) == Counter(sent)


@pytest.mark.ours("threads take turns in the tests' own process, where the service runs too")
def test_no_acknowledged_record_is_lost_wherever_the_producers_threads_take_turns(
    kinesis: Any,
) -> None:
    def take_turns(frame: FrameType, event: str, _: Any) -> Any:
        # Threads change places every 5 ms, far too seldom to show what is not locked.
        if "kinesis/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            time.sleep(0)
        return take_turns

    def produce(producer: int) -> list[tuple[str, bytes]]:
        data = [f"{producer}/{n}".encode() for n in range(PER_CALL)]
        records = [{"Data": one, "PartitionKey": "k"} for one in data]
        results = kinesis.put_records(StreamName="telemetry", Records=records)["Records"]
        return list(zip([one["SequenceNumber"] for one in results], data, strict=True))

    # Each connection gets its thread of the service, which is born traced.
    threading.settrace(take_turns)
    try:
        with ThreadPoolExecutor(PRODUCERS) as pool:
            sent = [one for part in pool.map(produce, range(PRODUCERS)) for one in part]
    finally:
        threading.settrace(None)

    read = [(record["SequenceNumber"], record["Data"]) for record in read_all(kinesis)]
    assert Counter(read) == Counter(sent)


@KEY_CONCEPTS
def test_a_shard_is_read_by_sequence_number_and_each_producers_puts_in_their_order(
    kinesis: Any,
) -> None:
    def produce(producer: int) -> None:
        for n in range(CALLS):
            put_at(kinesis, 0, f"{producer}/{n}".encode())

    with ThreadPoolExecutor(PRODUCERS) as pool:
        list(pool.map(produce, range(PRODUCERS)))

    records = read_all(kinesis)
    numbers = [int(record["SequenceNumber"]) for record in records]
    assert numbers == sorted(set(numbers))
    for producer in range(PRODUCERS):
        data = [record["Data"].decode() for record in records]
        own = [one for one in data if one.startswith(f"{producer}/")]
        assert own == [f"{producer}/{n}" for n in range(CALLS)]


@KEY_CONCEPTS
def test_records_of_one_partition_key_are_read_in_the_order_in_which_they_were_put(
    kinesis: Any,
) -> None:
    for n in range(50):
        put(kinesis, str(n).encode(), "device-007")

    assert [int(record["Data"]) for record in read_all(kinesis)] == list(range(50))


def test_sequence_numbers_increase_within_a_shard(kinesis: Any) -> None:
    answers = [put_at(kinesis, 0) for _ in range(20)]

    numbers = [int(answer["SequenceNumber"]) for answer in answers]
    assert numbers == sorted(set(numbers))


def test_sequence_numbers_have_the_width_of_aws(kinesis: Any) -> None:
    number = put(kinesis)["SequenceNumber"]

    assert len(number) == 56
    assert number.startswith("49")


@pytest.mark.ours("records of every stream and run end in one lake, where their numbers name them")
def test_sequence_numbers_are_unique_across_shards_streams_and_restarts(serve: Serve) -> None:
    numbers = []
    for _ in range(2):  # the second is the service after a restart, with the clock where it was
        with serve() as kinesis:
            for stream in ("telemetry", "other"):
                kinesis.create_stream(StreamName=stream, ShardCount=2)
                for hash_key in (0, MAX_HASH_KEY):
                    answer = kinesis.put_record(
                        StreamName=stream,
                        Data=b"",
                        PartitionKey="k",
                        ExplicitHashKey=str(hash_key),
                    )
                    numbers.append(answer["SequenceNumber"])

    assert len(set(numbers)) == len(numbers) == 8


@KEY_CONCEPTS
def test_a_record_goes_to_the_shard_whose_range_holds_the_md5_of_its_partition_key(
    kinesis: Any,
) -> None:
    low, high = (shard["ShardId"] for shard in shards(kinesis))

    for key in ("device-001", "device-002", "5e:44:3b:f3:79:c8", "жук"):
        hash_key = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest())
        wanted = low if hash_key < 2**127 else high
        assert put(kinesis, key=key)["ShardId"] == wanted


def test_an_explicit_hash_key_overrides_the_partition_key(kinesis: Any) -> None:
    low, high = (shard["ShardId"] for shard in shards(kinesis))

    assert put_at(kinesis, 0)["ShardId"] == low
    assert put_at(kinesis, 2**127 - 1)["ShardId"] == low
    assert put_at(kinesis, 2**127)["ShardId"] == high
    assert put_at(kinesis, MAX_HASH_KEY)["ShardId"] == high


def test_an_explicit_hash_key_outside_the_range_is_refused(kinesis: Any) -> None:
    with refused("InvalidArgumentException"):
        put(kinesis, ExplicitHashKey=str(2**128))


@pytest.mark.parametrize("hash_key", ["-1", "01", "x", pytest.param("9" * 40, id="forty-digits")])
def test_an_explicit_hash_key_that_is_no_number_of_39_digits_is_refused(
    kinesis: Any, hash_key: str
) -> None:
    with refused("ValidationException"):
        put(kinesis, ExplicitHashKey=hash_key)


def test_a_put_for_ordering_gets_a_higher_number_than_the_one_that_it_names(kinesis: Any) -> None:
    first = put_at(kinesis, 0)["SequenceNumber"]

    second = put(kinesis, ExplicitHashKey="0", SequenceNumberForOrdering=first)["SequenceNumber"]

    assert int(second) > int(first)


@GET_RECORDS
def test_a_record_is_read_as_it_was_put(kinesis: Any, clock: Clock) -> None:
    data = bytes(range(256))
    answer = put(kinesis, data, "device-009")

    (record,) = read_shard(kinesis, answer["ShardId"])
    assert record["Data"] == data
    assert record["PartitionKey"] == "device-009"
    assert record["SequenceNumber"] == answer["SequenceNumber"]
    assert record["ApproximateArrivalTimestamp"].timestamp() * 1000 == clock.now_ms


def test_a_record_of_one_mebibyte_with_its_partition_key_is_taken_and_a_byte_more_is_refused(
    kinesis: Any,
) -> None:
    put(kinesis, b"x" * (MIB - 1), "k")

    with refused("ValidationException"):
        put(kinesis, b"x" * MIB, "k")
    with refused("ValidationException"):
        kinesis.put_records(
            StreamName="telemetry", Records=[{"Data": b"x" * MIB, "PartitionKey": "k"}]
        )


@LARGE_RECORDS
def test_a_stream_takes_larger_records_once_its_limit_is_raised(kinesis: Any) -> None:
    arn = kinesis.describe_stream(StreamName="telemetry")["StreamDescription"]["StreamARN"]

    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=2048)

    put(kinesis, b"x" * (2 * MIB - 1), "k")


@PUT_RECORDS
@pytest.mark.parametrize("count", [0, 501])
def test_put_records_takes_1_to_500_records(kinesis: Any, count: int) -> None:
    with refused("ValidationException"):
        kinesis.put_records(
            StreamName="telemetry", Records=[{"Data": b"x", "PartitionKey": "k"}] * count
        )


@PUT_RECORDS
def test_put_records_of_more_than_10_mebibytes_is_refused_whole(kinesis: Any) -> None:
    records = [{"Data": b"x" * (MIB - 1), "PartitionKey": "k"}] * 10
    kinesis.put_records(StreamName="telemetry", Records=records)

    with refused("InvalidArgumentException"):
        kinesis.put_records(
            StreamName="telemetry", Records=[*records, {"Data": b"", "PartitionKey": "k"}]
        )
    assert len(read_all(kinesis)) == 10


@pytest.mark.parametrize("key", ["", "k" * 257])
def test_a_partition_key_has_1_to_256_characters(kinesis: Any, key: str) -> None:
    with refused("ValidationException"):
        put(kinesis, key=key)


def test_a_record_may_be_empty(kinesis: Any) -> None:
    put(kinesis, b"")

    assert [record["Data"] for record in read_all(kinesis)] == [b""]


def test_a_stream_that_does_not_exist_is_not_found(kinesis: Any) -> None:
    with refused("ResourceNotFoundException"):
        kinesis.put_record(StreamName="nothing", Data=b"", PartitionKey="k")


@pytest.mark.ours("a long run must not slow down")
def test_the_cost_of_a_put_does_not_grow_with_what_the_shard_holds(clock: Clock) -> None:
    streams = Streams(clock)
    streams.create_stream(StreamName="telemetry", ShardCount=1)

    def instructions() -> int:
        counted = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal counted
            frame.f_trace_opcodes = True
            counted += event == "opcode"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            streams.put_record(StreamName="telemetry", Data=b"x", PartitionKey="k")
        finally:
            sys.settrace(before)
        return counted

    def allocated_bytes() -> int:
        # What goes over all records in one instruction, a copy of the list, shows here.
        tracemalloc.start()
        try:
            streams.put_record(StreamName="telemetry", Data=b"x", PartitionKey="k")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    held = 20_000
    instructions()  # the first ever is special
    few = instructions()
    for _ in range(held):
        streams.put_record(StreamName="telemetry", Data=b"x", PartitionKey="k")
    assert 0 < instructions() <= few
    # The least of some: now and then the list grows.
    assert min(allocated_bytes() for _ in range(5)) < held
