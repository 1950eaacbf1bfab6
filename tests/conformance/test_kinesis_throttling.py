"""Kinesis: a shard's throughput, enforced where throttling is on."""

from typing import Any

import pytest

from tests.conformance.kinesis_service import Clock, iterator, put, read_all, refused, shards

pytestmark = pytest.mark.documented(
    "https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html"
)
PUT_RECORD = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html"
)
PUT_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html"
)
GET_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html"
)

MIB = 1024 * 1024


def put_many(kinesis: Any, count: int, size: int = 1) -> list[bool]:
    """Put records in one call; for each whether it was taken."""
    answer = kinesis.put_records(
        StreamName="telemetry",
        Records=[{"Data": b"x" * size, "PartitionKey": "k"} for _ in range(count)],
    )
    taken = ["SequenceNumber" in one for one in answer["Records"]]
    assert answer["FailedRecordCount"] == taken.count(False)
    return taken


def test_a_shard_takes_1000_records_a_second(throttled_kinesis: Any, clock: Clock) -> None:
    assert all(put_many(throttled_kinesis, 500) + put_many(throttled_kinesis, 500))

    assert not any(put_many(throttled_kinesis, 5))
    clock.advance(0.1)
    assert put_many(throttled_kinesis, 200) == [True] * 100 + [False] * 100


def test_a_shard_takes_a_mebibyte_a_second(throttled_kinesis: Any, clock: Clock) -> None:
    assert put_many(throttled_kinesis, 3, MIB // 2 - 1) == [True, True, False]

    clock.advance(0.5)
    assert put_many(throttled_kinesis, 2, MIB // 2 - 1) == [True, False]


@PUT_RECORDS
def test_put_records_that_fail_in_part_say_which_and_why(throttled_kinesis: Any) -> None:
    answer = throttled_kinesis.put_records(
        StreamName="telemetry",
        Records=[
            {"Data": b"x" * size, "PartitionKey": "k"} for size in (MIB // 2, MIB // 2 + 1, 10)
        ],
    )

    first, second, third = answer["Records"]
    assert answer["FailedRecordCount"] == 1
    assert second["ErrorCode"] == "ProvisionedThroughputExceededException"
    assert shards(throttled_kinesis)[0]["ShardId"] in second["ErrorMessage"]
    assert "SequenceNumber" in first
    # A failure does not stop what comes after it.
    assert "SequenceNumber" in third
    assert [len(record["Data"]) for record in read_all(throttled_kinesis)] == [MIB // 2, 10]


@PUT_RECORD
def test_put_record_beyond_the_limit_is_refused(throttled_kinesis: Any, clock: Clock) -> None:
    put(throttled_kinesis, b"x" * (MIB - 100), "k")

    with refused("ProvisionedThroughputExceededException"):
        put(throttled_kinesis, b"x" * 200, "k")
    clock.advance(1)
    put(throttled_kinesis, b"x" * 200, "k")


def test_each_shard_has_its_own_throughput(throttled_kinesis: Any) -> None:
    (shard,) = shards(throttled_kinesis)
    throttled_kinesis.split_shard(
        StreamName="telemetry", ShardToSplit=shard["ShardId"], NewStartingHashKey=str(2**127)
    )
    put(throttled_kinesis, b"x" * (MIB - 1), "k", ExplicitHashKey="0")

    put(throttled_kinesis, b"x" * (MIB - 1), "k", ExplicitHashKey=str(2**128 - 1))


def test_a_shard_is_read_five_times_a_second(throttled_kinesis: Any, clock: Clock) -> None:
    place = iterator(throttled_kinesis, shards(throttled_kinesis)[0]["ShardId"])
    for _ in range(5):
        throttled_kinesis.get_records(ShardIterator=place)

    with refused("ProvisionedThroughputExceededException"):
        throttled_kinesis.get_records(ShardIterator=place)
    clock.advance(0.2)
    throttled_kinesis.get_records(ShardIterator=place)


@GET_RECORDS
def test_after_a_read_of_10_mebibytes_the_next_waits_five_seconds(
    throttled_kinesis: Any, clock: Clock
) -> None:
    for _ in range(10):
        put(throttled_kinesis, b"x" * (MIB - 1), "k")
        clock.advance(1)
    place = iterator(throttled_kinesis, shards(throttled_kinesis)[0]["ShardId"])
    throttled_kinesis.get_records(ShardIterator=place)

    clock.advance(4.9)
    with refused("ProvisionedThroughputExceededException"):
        throttled_kinesis.get_records(ShardIterator=place)
    clock.advance(0.1)
    throttled_kinesis.get_records(ShardIterator=place)


@pytest.mark.ours("throttling is off unless it is asked for")
def test_without_throttling_a_shard_takes_what_it_is_given(kinesis: Any) -> None:
    assert all(put_many(kinesis, 500) + put_many(kinesis, 500) + put_many(kinesis, 500))
