"""Kinesis: shards split and merge without losing a record or its place."""

from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.kinesis_service import (
    MAX_HASH_KEY,
    Clock,
    is_open,
    iterator,
    put_at,
    read_all,
    read_shard,
    refused,
    shards,
)

pytestmark = pytest.mark.documented(
    "https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html"
)
SPLIT_SHARD = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SplitShard.html"
)
MERGE_SHARDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_MergeShards.html"
)
UPDATE_SHARD_COUNT = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html"
)
GET_RECORDS = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html"
)
CHILD_SHARD = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ChildShard.html"
)
SEQUENCE_NUMBER_RANGE = pytest.mark.documented(
    "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SequenceNumberRange.html"
)

QUARTER = 2**126


def split(kinesis: Any, shard: str, at: int) -> None:
    kinesis.split_shard(StreamName="telemetry", ShardToSplit=shard, NewStartingHashKey=str(at))


def merge(kinesis: Any, shard: str, adjacent: str) -> None:
    kinesis.merge_shards(StreamName="telemetry", ShardToMerge=shard, AdjacentShardToMerge=adjacent)


def scale(kinesis: Any, count: int) -> dict[str, Any]:
    answer: dict[str, Any] = kinesis.update_shard_count(
        StreamName="telemetry", TargetShardCount=count, ScalingType="UNIFORM_SCALING"
    )
    return answer


def ranges(listed: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return sorted(
        (
            int(shard["HashKeyRange"]["StartingHashKey"]),
            int(shard["HashKeyRange"]["EndingHashKey"]),
        )
        for shard in listed
    )


@SPLIT_SHARD
def test_a_split_closes_the_parent_and_two_children_share_its_range(kinesis: Any) -> None:
    parent, other = (shard["ShardId"] for shard in shards(kinesis))

    split(kinesis, parent, QUARTER)

    listed = {shard["ShardId"]: shard for shard in shards(kinesis)}
    children = [shard for shard in listed.values() if shard.get("ParentShardId") == parent]
    assert ranges(children) == [(0, QUARTER - 1), (QUARTER, 2 * QUARTER - 1)]
    assert not is_open(listed[parent])
    assert is_open(listed[other])
    assert all(is_open(child) for child in children)
    assert all("AdjacentParentShardId" not in child for child in children)


@MERGE_SHARDS
def test_a_merge_closes_both_parents_and_the_child_names_them(kinesis: Any) -> None:
    low, high = (shard["ShardId"] for shard in shards(kinesis))

    merge(kinesis, low, high)

    *parents, child = shards(kinesis)
    assert not any(is_open(parent) for parent in parents)
    assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (low, high)
    assert ranges([child]) == [(0, MAX_HASH_KEY)]


def test_after_a_reshard_records_go_to_the_children_only(kinesis: Any) -> None:
    parent, _ = (shard["ShardId"] for shard in shards(kinesis))
    put_at(kinesis, 0, b"before")
    split(kinesis, parent, QUARTER)

    low = put_at(kinesis, QUARTER - 1, b"low")["ShardId"]
    high = put_at(kinesis, QUARTER, b"high")["ShardId"]

    assert parent not in (low, high)
    assert low != high
    assert [record["Data"] for record in read_shard(kinesis, parent)] == [b"before"]
    assert [record["Data"] for record in read_shard(kinesis, low)] == [b"low"]
    assert [record["Data"] for record in read_shard(kinesis, high)] == [b"high"]


def read_to_the_end(kinesis: Any, shard: str) -> list[dict[str, Any]]:
    """The answers up to the one that has no next iterator; an open shard has no such one."""
    answers = [kinesis.get_records(ShardIterator=iterator(kinesis, shard), Limit=1)]
    while place := answers[-1].get("NextShardIterator"):
        assert len(answers) < 10
        answers.append(kinesis.get_records(ShardIterator=place, Limit=1))
    return answers


@GET_RECORDS
def test_the_end_of_a_closed_shard_has_no_next_iterator(kinesis: Any) -> None:
    parent, _ = (shard["ShardId"] for shard in shards(kinesis))
    for data in (b"1", b"2"):
        put_at(kinesis, 0, data)
    split(kinesis, parent, QUARTER)

    answers = read_to_the_end(kinesis, parent)

    assert [one["Data"] for answer in answers for one in answer["Records"]] == [b"1", b"2"]
    assert answers[-1]["MillisBehindLatest"] == 0


@CHILD_SHARD
def test_the_end_of_a_closed_shard_and_nothing_before_it_names_the_children(kinesis: Any) -> None:
    parent, _ = (shard["ShardId"] for shard in shards(kinesis))
    for data in (b"1", b"2"):
        put_at(kinesis, 0, data)
    split(kinesis, parent, QUARTER)

    *before, last = read_to_the_end(kinesis, parent)

    assert not any("ChildShards" in answer for answer in before)
    children = {shard["ShardId"]: shard for shard in shards(kinesis)[2:]}
    assert {child["ShardId"] for child in last["ChildShards"]} == set(children)
    for child in last["ChildShards"]:
        assert child["ParentShards"] == [parent]
        assert child["HashKeyRange"] == children[child["ShardId"]]["HashKeyRange"]


@CHILD_SHARD
def test_the_end_of_both_parents_of_a_merge_names_their_one_child(kinesis: Any) -> None:
    parents = [shard["ShardId"] for shard in shards(kinesis)]
    merge(kinesis, *parents)

    child = shards(kinesis)[-1]["ShardId"]
    for parent in parents:
        (named,) = read_to_the_end(kinesis, parent)[-1]["ChildShards"]
        assert (named["ShardId"], named["ParentShards"]) == (child, parents)


@GET_RECORDS
def test_latest_of_a_closed_shard_is_its_end(kinesis: Any) -> None:
    parent, _ = (shard["ShardId"] for shard in shards(kinesis))
    put_at(kinesis, 0)
    split(kinesis, parent, QUARTER)

    answer = kinesis.get_records(ShardIterator=iterator(kinesis, parent, "LATEST"))

    assert answer["Records"] == []
    assert "NextShardIterator" not in answer


def test_the_childs_sequence_numbers_are_higher_than_the_parents(kinesis: Any) -> None:
    parent, _ = (shard["ShardId"] for shard in shards(kinesis))
    before = [int(put_at(kinesis, 0)["SequenceNumber"]) for _ in range(5)]
    split(kinesis, parent, QUARTER)
    after = [int(put_at(kinesis, hash_key)["SequenceNumber"]) for hash_key in (0, QUARTER)]

    assert max(before) < min(after)


@SEQUENCE_NUMBER_RANGE
def test_a_closed_shards_range_of_sequence_numbers_holds_all_its_records(kinesis: Any) -> None:
    parent, _ = (shard["ShardId"] for shard in shards(kinesis))
    numbers = [int(put_at(kinesis, 0)["SequenceNumber"]) for _ in range(5)]
    split(kinesis, parent, QUARTER)

    bounds = shards(kinesis)[0]["SequenceNumberRange"]
    assert int(bounds["StartingSequenceNumber"]) < min(numbers)
    assert max(numbers) < int(bounds["EndingSequenceNumber"])


@SPLIT_SHARD
@pytest.mark.parametrize("at", [2**127, MAX_HASH_KEY])
def test_a_split_needs_a_hash_key_inside_the_shards_range(kinesis: Any, at: int) -> None:
    with refused("InvalidArgumentException"):
        split(kinesis, shards(kinesis)[0]["ShardId"], at)


@pytest.mark.ours(
    "the page allows any key of the range; kinesalite, made after the service, does not"
)
@pytest.mark.parametrize("at", [0, 1, 2**127 - 1])
def test_a_split_leaves_both_children_more_than_one_hash_key(kinesis: Any, at: int) -> None:
    with refused("InvalidArgumentException"):
        split(kinesis, shards(kinesis)[0]["ShardId"], at)


@SPLIT_SHARD
def test_a_closed_shard_is_not_split_or_merged_again(kinesis: Any) -> None:
    low, high = (shard["ShardId"] for shard in shards(kinesis))
    split(kinesis, low, QUARTER)

    with refused("InvalidArgumentException"):
        split(kinesis, low, QUARTER)
    with refused("InvalidArgumentException"):
        merge(kinesis, low, high)


@MERGE_SHARDS
def test_only_neighbours_merge(kinesis: Any) -> None:
    low, high = (shard["ShardId"] for shard in shards(kinesis))
    split(kinesis, low, QUARTER)
    split(kinesis, high, 3 * QUARTER)
    first, _, third, _ = (shard["ShardId"] for shard in shards(kinesis) if is_open(shard))

    with refused("InvalidArgumentException"):
        merge(kinesis, first, third)


def test_no_record_is_lost_or_doubled_and_order_is_kept_while_shards_split_and_merge(
    kinesis: Any,
) -> None:
    def put_some(turn: int) -> None:
        for place in range(8):
            put_at(kinesis, 2**125 * place, f"{turn}/{place}".encode())

    low, high = (shard["ShardId"] for shard in shards(kinesis))
    put_some(0)
    split(kinesis, low, QUARTER)
    put_some(1)
    merge(kinesis, "shardId-000000000003", high)
    put_some(2)
    merge(kinesis, "shardId-000000000002", "shardId-000000000004")
    put_some(3)

    read = [record["Data"].decode() for record in read_all(kinesis)]
    assert sorted(read) == [f"{turn}/{place}" for turn in range(4) for place in range(8)]
    # Shards are listed parents before children.
    for place in range(8):
        own = [one for one in read if one.endswith(f"/{place}")]
        assert own == [f"{turn}/{place}" for turn in range(4)]


@UPDATE_SHARD_COUNT
@pytest.mark.parametrize("count", [0, -1])
def test_update_shard_count_takes_no_number_below_1(kinesis: Any, count: int) -> None:
    with pytest.raises(ClientError, match="targetShardCount") as refused:
        scale(kinesis, count)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


@UPDATE_SHARD_COUNT
@pytest.mark.parametrize("counts", [(4,), (1,), (3,), (4, 8), (4, 3, 5, 3), (1, 2, 1)])
def test_update_shard_count_leaves_uniform_open_shards_that_cover_every_hash_key(
    kinesis: Any, counts: tuple[int, ...]
) -> None:
    before = 2
    for count in counts:
        answer = scale(kinesis, count)
        assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (before, count)
        before = count

    opened = ranges([shard for shard in shards(kinesis) if is_open(shard)])
    bounds = [2**128 * index // counts[-1] for index in range(counts[-1] + 1)]
    assert opened == [(low, high - 1) for low, high in pairwise(bounds)]


@UPDATE_SHARD_COUNT
def test_no_record_is_lost_or_doubled_while_a_stream_is_scaled(kinesis: Any) -> None:
    sent = []
    for n, count in enumerate((4, 8, 5, 3, 2)):
        for place in range(16):
            data = f"{n}/{place}".encode()
            put_at(kinesis, 2**124 * place, data)
            sent.append(data)
        scale(kinesis, count)

    assert sorted(record["Data"] for record in read_all(kinesis)) == sorted(sent)


@UPDATE_SHARD_COUNT
def test_order_is_kept_from_parents_to_children(kinesis: Any) -> None:
    for n, count in enumerate((4, 8, 4, 2)):
        put_at(kinesis, 7, str(n).encode())
        scale(kinesis, count)

    # Shards are listed parents before children.
    assert [int(record["Data"]) for record in read_all(kinesis)] == [0, 1, 2, 3]


@UPDATE_SHARD_COUNT
@pytest.mark.parametrize(
    ("count", "code"), [(0, "ValidationException"), (5, "LimitExceededException")]
)
def test_a_stream_is_scaled_to_double_or_half_at_most(kinesis: Any, count: int, code: str) -> None:
    with refused(code):
        scale(kinesis, count)


@UPDATE_SHARD_COUNT
def test_a_stream_is_scaled_ten_times_in_24_hours_at_most(kinesis: Any, clock: Clock) -> None:
    for n in range(10):
        scale(kinesis, 4 if n % 2 == 0 else 2)

    with refused("LimitExceededException"):
        scale(kinesis, 4)
    clock.advance(24 * 3600)
    scale(kinesis, 4)


@UPDATE_SHARD_COUNT
def test_an_on_demand_stream_is_not_scaled_by_hand(kinesis: Any) -> None:
    arn = kinesis.describe_stream(StreamName="telemetry")["StreamDescription"]["StreamARN"]
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})

    with refused("ValidationException"):
        scale(kinesis, 4)
