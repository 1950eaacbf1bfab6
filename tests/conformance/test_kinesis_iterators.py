"""Kinesis: where reading begins, how far a read goes, and when a place is no longer good."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.kinesis_service import (
    MAX_HASH_KEY,
    Clock,
    iterator,
    put_at,
    refused,
    shards,
)

pytestmark = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html"
)
GET_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html"
)
LARGE_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/streams/latest/dev/large-records.html"
)

MIB = 1024 * 1024


@pytest.fixture
def shard(kinesis: Any) -> str:
    """The first shard, which takes the hash key 0."""
    return str(shards(kinesis)[0]["ShardId"])


def read(kinesis: Any, place: str, **more: Any) -> list[bytes]:
    answer = kinesis.get_records(ShardIterator=place, **more)
    return [record["Data"] for record in answer["Records"]]


def test_trim_horizon_begins_with_the_oldest_record(kinesis: Any, shard: str) -> None:
    for data in (b"1", b"2"):
        put_at(kinesis, 0, data)

    assert read(kinesis, iterator(kinesis, shard, "TRIM_HORIZON")) == [b"1", b"2"]


def test_latest_begins_after_the_newest_record(kinesis: Any, shard: str) -> None:
    put_at(kinesis, 0, b"before")
    place = iterator(kinesis, shard, "LATEST")
    put_at(kinesis, 0, b"after")

    assert read(kinesis, place) == [b"after"]


def test_at_sequence_number_begins_with_that_record_and_after_with_the_next(
    kinesis: Any, shard: str
) -> None:
    _, second, _ = (put_at(kinesis, 0, data)["SequenceNumber"] for data in (b"1", b"2", b"3"))

    at = iterator(kinesis, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=second)
    after = iterator(kinesis, shard, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=second)
    assert read(kinesis, at) == [b"2", b"3"]
    assert read(kinesis, after) == [b"3"]


def test_a_shards_own_starting_sequence_number_is_a_place_before_its_first_record(
    kinesis: Any, shard: str
) -> None:
    put_at(kinesis, 0, b"1")
    start = shards(kinesis)[0]["SequenceNumberRange"]["StartingSequenceNumber"]

    place = iterator(kinesis, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=start)
    assert read(kinesis, place) == [b"1"]


def test_a_sequence_number_of_another_shard_is_refused(kinesis: Any, shard: str) -> None:
    elsewhere = put_at(kinesis, MAX_HASH_KEY)["SequenceNumber"]

    for number in (elsewhere, "17"):
        with refused("InvalidArgumentException"):
            iterator(kinesis, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number)


@pytest.mark.parametrize("number", ["", "x", "01", "-1"])
def test_a_sequence_number_that_is_no_number_is_refused(
    kinesis: Any, shard: str, number: str
) -> None:
    with refused("ValidationException"):
        iterator(kinesis, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number)


@pytest.mark.parametrize("kind", ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP"])
def test_a_kind_that_needs_a_place_is_refused_without_one(
    kinesis: Any, shard: str, kind: str
) -> None:
    with refused("InvalidArgumentException"):
        iterator(kinesis, shard, kind)


def test_at_timestamp_begins_with_the_first_record_of_that_time_or_later(
    kinesis: Any, clock: Clock, shard: str
) -> None:
    times = []
    for data in (b"1", b"2", b"3"):
        times.append(datetime.fromtimestamp(clock.now_ms / 1000, UTC))
        put_at(kinesis, 0, data)
        clock.advance(10)

    def read_from(time: datetime) -> list[bytes]:
        return read(kinesis, iterator(kinesis, shard, "AT_TIMESTAMP", Timestamp=time))

    assert read_from(times[1]) == [b"2", b"3"]
    assert read_from(times[1] + timedelta(milliseconds=1)) == [b"3"]
    assert read_from(times[0] - timedelta(days=1)) == [b"1", b"2", b"3"]


def test_a_timestamp_in_the_future_is_refused(kinesis: Any, clock: Clock, shard: str) -> None:
    future = datetime.fromtimestamp(clock.now_ms / 1000 + 1, UTC)

    with refused("InvalidArgumentException"):
        iterator(kinesis, shard, "AT_TIMESTAMP", Timestamp=future)


def test_an_unknown_iterator_type_is_refused(kinesis: Any, shard: str) -> None:
    with refused("ValidationException"):
        iterator(kinesis, shard, "OLDEST")


def test_a_shard_that_does_not_exist_is_not_found(kinesis: Any) -> None:
    with refused("ResourceNotFoundException"):
        iterator(kinesis, "shardId-000000000099")


def test_an_iterator_expires_five_minutes_after_it_was_returned(
    kinesis: Any, clock: Clock, shard: str
) -> None:
    place = iterator(kinesis, shard)

    clock.advance(300)
    following = kinesis.get_records(ShardIterator=place)["NextShardIterator"]
    clock.advance(0.001)
    with refused("ExpiredIteratorException"):
        kinesis.get_records(ShardIterator=place)
    assert read(kinesis, following) == []


@GET_RECORDS
@pytest.mark.parametrize("place", ["x", "AAAA", "dGVsZW1ldHJ5"])
def test_what_is_no_iterator_is_refused(kinesis: Any, place: str) -> None:
    with refused("InvalidArgumentException"):
        kinesis.get_records(ShardIterator=place)


@GET_RECORDS
@pytest.mark.parametrize("place", ["", "x" * 513])
def test_an_iterator_has_1_to_512_characters(kinesis: Any, place: str) -> None:
    with refused("ValidationException"):
        kinesis.get_records(ShardIterator=place)


@pytest.mark.ours("a reader must not take a new stream of the same name for the old one")
def test_an_iterator_does_not_outlive_its_stream(kinesis: Any, shard: str) -> None:
    place = iterator(kinesis, shard)
    kinesis.delete_stream(StreamName="telemetry")
    kinesis.create_stream(StreamName="telemetry", ShardCount=1)

    with refused("ResourceNotFoundException"):
        kinesis.get_records(ShardIterator=place)


@GET_RECORDS
def test_the_next_iterator_goes_on_where_the_read_ended(kinesis: Any, shard: str) -> None:
    for n in range(5):
        put_at(kinesis, 0, str(n).encode())

    first = kinesis.get_records(ShardIterator=iterator(kinesis, shard), Limit=2)
    second = kinesis.get_records(ShardIterator=first["NextShardIterator"], Limit=2)
    third = kinesis.get_records(ShardIterator=second["NextShardIterator"], Limit=2)

    parts = [[int(record["Data"]) for record in one["Records"]] for one in (first, second, third)]
    assert parts == [[0, 1], [2, 3], [4]]


@GET_RECORDS
def test_a_read_of_an_empty_shard_gives_nothing_and_a_place_to_go_on(
    kinesis: Any, shard: str
) -> None:
    answer = kinesis.get_records(ShardIterator=iterator(kinesis, shard))

    assert answer["Records"] == []
    assert answer["MillisBehindLatest"] == 0
    put_at(kinesis, 0, b"later")
    assert read(kinesis, answer["NextShardIterator"]) == [b"later"]


@GET_RECORDS
def test_a_read_gives_at_most_10000_records(kinesis: Any, shard: str) -> None:
    for _ in range(21):
        kinesis.put_records(
            StreamName="telemetry",
            Records=[{"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "0"}] * 500,
        )

    assert len(read(kinesis, iterator(kinesis, shard))) == 10_000


@GET_RECORDS
def test_a_limit_above_10000_is_refused(kinesis: Any, shard: str) -> None:
    with refused("InvalidArgumentException"):
        kinesis.get_records(ShardIterator=iterator(kinesis, shard), Limit=10_001)


@GET_RECORDS
def test_a_limit_below_1_is_refused(kinesis: Any, shard: str) -> None:
    with refused("ValidationException"):
        kinesis.get_records(ShardIterator=iterator(kinesis, shard), Limit=0)


@GET_RECORDS
def test_a_read_gives_at_most_10_mebibytes(kinesis: Any, shard: str) -> None:
    for n in range(11):
        put_at(kinesis, 0, bytes([n]) * (MIB - 10))
    place = iterator(kinesis, shard)

    first = kinesis.get_records(ShardIterator=place)
    second = kinesis.get_records(ShardIterator=first["NextShardIterator"])

    assert len(first["Records"]) == 10
    assert [record["Data"][0] for record in second["Records"]] == [10]


@LARGE_RECORDS
def test_a_single_record_is_read_whatever_its_size(kinesis: Any, shard: str) -> None:
    arn = kinesis.describe_stream(StreamName="telemetry")["StreamDescription"]["StreamARN"]
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10240)
    put_at(kinesis, 0, b"x" * (10 * MIB - 100))

    assert len(read(kinesis, iterator(kinesis, shard))) == 1


@GET_RECORDS
def test_millis_behind_latest_is_the_age_of_the_last_record_read_and_0_at_the_tip(
    kinesis: Any, clock: Clock, shard: str
) -> None:
    for data in (b"1", b"2"):
        put_at(kinesis, 0, data)
        clock.advance(30)

    first = kinesis.get_records(ShardIterator=iterator(kinesis, shard), Limit=1)
    second = kinesis.get_records(ShardIterator=first["NextShardIterator"], Limit=1)

    assert first["MillisBehindLatest"] == 60_000
    assert second["MillisBehindLatest"] == 0


@GET_RECORDS
def test_millis_behind_latest_is_never_0_while_there_is_more(kinesis: Any, shard: str) -> None:
    put_at(kinesis, 0, b"1")
    put_at(kinesis, 0, b"2")

    first = kinesis.get_records(ShardIterator=iterator(kinesis, shard), Limit=1)

    assert first["MillisBehindLatest"] > 0
