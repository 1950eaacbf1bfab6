"""Kinesis: streams and their settings, as people see and change them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.kinesis_service import (
    Clock,
    iterator,
    put,
    put_at,
    read_all,
    refused,
    shards,
)

pytestmark = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html"
)
DELETE_STREAM = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DeleteStream.html"
)
LIST_STREAMS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListStreams.html"
)
PUT_RECORD = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html"
)
LIST_SHARDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html"
)
DESCRIBE_STREAM = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStream.html"
)
SHARD_FILTER = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html"
)
LONGER_RETENTION = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_IncreaseStreamRetentionPeriod.html"
)
SHORTER_RETENTION = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DecreaseStreamRetentionPeriod.html"
)
START_ENCRYPTION = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_StartStreamEncryption.html"
)
LIST_TAGS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListTagsForStream.html"
)
RETENTION = pytest.mark.documented(
    "https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html"
)
AFTER_RESHARDING = pytest.mark.documented(
    "https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html"
)

HOUR = 3600


def summary(kinesis: Any, name: str = "telemetry") -> dict[str, Any]:
    answer: dict[str, Any] = kinesis.describe_stream_summary(StreamName=name)
    described: dict[str, Any] = answer["StreamDescriptionSummary"]
    return described


def test_a_new_provisioned_stream_has_the_shards_asked_for_and_keeps_24_hours(
    kinesis: Any,
) -> None:
    described = summary(kinesis)

    assert described["StreamStatus"] == "ACTIVE"
    assert described["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert described["OpenShardCount"] == 2
    assert described["RetentionPeriodHours"] == 24
    assert described["EncryptionType"] == "NONE"
    assert described["StreamARN"] == "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry"


def test_a_new_on_demand_stream_has_four_shards(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="d", StreamModeDetails={"StreamMode": "ON_DEMAND"})

    assert summary(kinesis, "d")["OpenShardCount"] == 4
    assert summary(kinesis, "d")["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}


def test_a_stream_is_created_once(kinesis: Any) -> None:
    with refused("ResourceInUseException"):
        kinesis.create_stream(StreamName="telemetry", ShardCount=1)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 129])
def test_a_name_that_is_none_is_refused(kinesis: Any, name: str) -> None:
    with refused("ValidationException"):
        kinesis.create_stream(StreamName=name, ShardCount=1)


@DELETE_STREAM
def test_a_deleted_stream_is_gone_with_its_records(kinesis: Any) -> None:
    put(kinesis)
    kinesis.delete_stream(StreamName="telemetry")

    with refused("ResourceNotFoundException"):
        summary(kinesis)
    kinesis.create_stream(StreamName="telemetry", ShardCount=1)
    assert read_all(kinesis) == []


@PUT_RECORD
def test_a_stream_can_be_named_by_its_arn(kinesis: Any) -> None:
    arn = summary(kinesis)["StreamARN"]

    kinesis.put_record(StreamARN=arn, Data=b"x", PartitionKey="k")
    assert len(read_all(kinesis)) == 1


@LIST_STREAMS
def test_streams_are_listed_in_pages(kinesis: Any) -> None:
    for name in ("a", "b", "z"):
        kinesis.create_stream(StreamName=name, ShardCount=1)

    first = kinesis.list_streams(Limit=3)
    second = kinesis.list_streams(Limit=3, ExclusiveStartStreamName=first["StreamNames"][-1])

    assert (first["StreamNames"], first["HasMoreStreams"]) == (["a", "b", "telemetry"], True)
    assert (second["StreamNames"], second["HasMoreStreams"]) == (["z"], False)


@RETENTION
def test_a_record_is_gone_when_the_retention_is_over(kinesis: Any, clock: Clock) -> None:
    put(kinesis, b"old")
    clock.advance(23 * HOUR)
    put(kinesis, b"young")
    clock.advance(HOUR + 1)

    assert [record["Data"] for record in read_all(kinesis)] == [b"young"]


@LONGER_RETENTION
def test_a_longer_retention_keeps_records_longer(kinesis: Any, clock: Clock) -> None:
    put(kinesis, b"old")
    kinesis.increase_stream_retention_period(StreamName="telemetry", RetentionPeriodHours=168)
    clock.advance(168 * HOUR - 1)

    assert len(read_all(kinesis)) == 1
    assert summary(kinesis)["RetentionPeriodHours"] == 168


@SHORTER_RETENTION
def test_a_shorter_retention_makes_older_records_unreadable_at_once(
    kinesis: Any, clock: Clock
) -> None:
    kinesis.increase_stream_retention_period(StreamName="telemetry", RetentionPeriodHours=48)
    put(kinesis, b"old")
    clock.advance(25 * HOUR)

    kinesis.decrease_stream_retention_period(StreamName="telemetry", RetentionPeriodHours=24)

    assert read_all(kinesis) == []


@RETENTION
@pytest.mark.parametrize("hours", [23, 8761])
def test_retention_is_a_day_to_a_year(kinesis: Any, hours: int) -> None:
    with refused("InvalidArgumentException"):
        kinesis.increase_stream_retention_period(StreamName="telemetry", RetentionPeriodHours=hours)


@RETENTION
def test_a_place_whose_record_was_trimmed_goes_on_with_the_oldest_that_is_left(
    kinesis: Any, clock: Clock
) -> None:
    shard = shards(kinesis)[0]["ShardId"]
    trimmed = put_at(kinesis, 0, b"old")["SequenceNumber"]
    clock.advance(25 * HOUR)
    put_at(kinesis, 0, b"young")

    place = iterator(kinesis, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=trimmed)
    records = kinesis.get_records(ShardIterator=place)["Records"]
    assert [record["Data"] for record in records] == [b"young"]


@AFTER_RESHARDING
def test_a_closed_shard_is_listed_until_its_records_are_past_retention(
    kinesis: Any, clock: Clock
) -> None:
    parent = shards(kinesis)[0]["ShardId"]
    kinesis.split_shard(StreamName="telemetry", ShardToSplit=parent, NewStartingHashKey=str(2**126))

    clock.advance(24 * HOUR)
    assert parent in [shard["ShardId"] for shard in shards(kinesis)]
    clock.advance(1)
    assert parent not in [shard["ShardId"] for shard in shards(kinesis)]


@START_ENCRYPTION
def test_encryption_shows_in_the_stream_and_in_every_answer(kinesis: Any) -> None:
    kinesis.start_stream_encryption(
        StreamName="telemetry", EncryptionType="KMS", KeyId="alias/aws/kinesis"
    )

    assert summary(kinesis)["KeyId"] == "alias/aws/kinesis"
    assert put(kinesis)["EncryptionType"] == "KMS"
    assert read_all(kinesis)[0]["EncryptionType"] == "KMS"
    kinesis.stop_stream_encryption(
        StreamName="telemetry", EncryptionType="KMS", KeyId="alias/aws/kinesis"
    )
    assert summary(kinesis)["EncryptionType"] == "NONE"


@LIST_TAGS
def test_tags_are_added_listed_and_removed(kinesis: Any) -> None:
    kinesis.add_tags_to_stream(StreamName="telemetry", Tags={"zone": "raw", "part": "intake"})
    kinesis.remove_tags_from_stream(StreamName="telemetry", TagKeys=["zone"])

    listed = kinesis.list_tags_for_stream(StreamName="telemetry")["Tags"]
    assert listed == [{"Key": "part", "Value": "intake"}]


@LIST_SHARDS
def test_shards_are_listed_in_pages(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="wide", ShardCount=5)

    first = kinesis.list_shards(StreamName="wide", MaxResults=3)
    second = kinesis.list_shards(NextToken=first["NextToken"], MaxResults=3)

    ids = [shard["ShardId"] for page in (first, second) for shard in page["Shards"]]
    assert ids == [f"shardId-{n:012}" for n in range(5)]
    assert "NextToken" not in second


@LIST_SHARDS
def test_a_page_of_shards_is_asked_for_by_its_token_alone(kinesis: Any) -> None:
    token = kinesis.list_shards(StreamName="telemetry", MaxResults=1)["NextToken"]

    with refused("InvalidArgumentException"):
        kinesis.list_shards(StreamName="telemetry", NextToken=token)


@DESCRIBE_STREAM
def test_describe_stream_lists_shards_after_one(kinesis: Any) -> None:
    first, second = (shard["ShardId"] for shard in shards(kinesis))

    page = kinesis.describe_stream(StreamName="telemetry", Limit=1)["StreamDescription"]
    rest = kinesis.describe_stream(StreamName="telemetry", ExclusiveStartShardId=first)

    assert page["HasMoreShards"]
    assert [shard["ShardId"] for shard in page["Shards"]] == [first]
    assert [shard["ShardId"] for shard in rest["StreamDescription"]["Shards"]] == [second]


@SHARD_FILTER
def test_shard_filters_choose_by_time_and_by_place(kinesis: Any, clock: Clock) -> None:
    before = datetime.fromtimestamp(clock.now_ms / 1000, UTC)
    first, second = (shard["ShardId"] for shard in shards(kinesis))
    clock.advance(60)
    kinesis.split_shard(StreamName="telemetry", ShardToSplit=first, NewStartingHashKey=str(2**126))
    clock.advance(60)
    after = datetime.fromtimestamp(clock.now_ms / 1000, UTC)
    children = ["shardId-000000000002", "shardId-000000000003"]

    def filtered(kind: str, **more: Any) -> list[str]:
        chosen = shards(kinesis, ShardFilter={"Type": kind, **more})
        return [str(shard["ShardId"]) for shard in chosen]

    assert filtered("FROM_TRIM_HORIZON") == [first, second, *children]
    assert filtered("AT_TRIM_HORIZON") == [first, second]
    assert filtered("AT_LATEST") == [second, *children]
    assert filtered("AFTER_SHARD_ID", ShardId=second) == children
    assert filtered("AT_TIMESTAMP", Timestamp=before) == [first, second]
    assert filtered("AT_TIMESTAMP", Timestamp=after) == [second, *children]
    assert filtered("FROM_TIMESTAMP", Timestamp=after) == [second, *children]
    with refused("InvalidArgumentException"):
        filtered("SOMEHOW")


@pytest.mark.ours("what is not emulated is refused, never ignored")
def test_enhanced_fan_out_is_refused_in_words(kinesis: Any) -> None:
    arn = summary(kinesis)["StreamARN"]

    with refused("InvalidArgumentException") as caught:
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="fast")
    assert "read with GetRecords" in str(caught.value)


@pytest.mark.ours("what is not emulated is refused, never ignored")
def test_an_operation_that_is_not_emulated_is_refused_by_its_name(kinesis: Any) -> None:
    with refused("UnknownOperationException") as caught:
        kinesis.enable_enhanced_monitoring(StreamName="telemetry", ShardLevelMetrics=["ALL"])
    assert "EnableEnhancedMonitoring" in str(caught.value)
