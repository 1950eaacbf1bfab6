"""Shards that are split and merged are read in the order of their lineage."""

import itertools

import pytest

from tests.conformance import lambda_pages as pages
from tests.conformance.mapping_bench import FAILURE, STREAM, Answer, Bench, Held

HALF = str(2**127)
KEYS = [f"device-{number}" for number in range(12)]


def split(bench: Bench, shard_id: str = "shardId-000000000000", at: str = HALF) -> None:
    bench.streams.split_shard(StreamName=STREAM, ShardToSplit=shard_id, NewStartingHashKey=at)


def put_round(bench: Bench, round_number: int) -> None:
    for key in KEYS:
        bench.put(f"{key}/{round_number}", key=key)


def orders(bench: Bench) -> dict[str, list[int]]:
    """The rounds of each key, in the order in which the function was first given them."""
    rounds: dict[str, list[int]] = {key: [] for key in KEYS}
    for record in bench.records():
        key, round_number = record.split("/")
        if int(round_number) not in rounds[key]:
            rounds[key].append(int(round_number))
    return rounds


@pytest.mark.documented(pages.AFTER_RESHARDING)
def test_children_are_read_after_their_parent_is_finished() -> None:
    held = Held()
    bench = Bench(executor=held)
    bench.mapping()
    put_round(bench, 0)
    split(bench)
    put_round(bench, 1)
    bench.run(60)
    assert len(held.waiting) == 1  # the parent's batch; nothing of the children
    held.run()
    bench.run(60)
    assert len(held.waiting) == 2


@pytest.mark.documented(pages.AFTER_RESHARDING)
def test_parent_that_can_not_be_finished_holds_up_its_children() -> None:
    bench = Bench()
    bench.mapping()
    bench.answer_for = lambda data: FAILURE if "bad" in data else Answer()
    bench.put("bad")
    split(bench)
    put_round(bench, 1)
    bench.run(600)
    assert set(bench.records()) == {"bad"}


@pytest.mark.documented(pages.AFTER_RESHARDING)
def test_nothing_is_lost_and_no_key_overtakes_itself_over_splits_and_merges() -> None:
    bench = Bench()
    bench.mapping(BatchSize=5, ParallelizationFactor=2)
    put_round(bench, 0)
    split(bench)
    put_round(bench, 1)
    bench.run(5)
    put_round(bench, 2)
    bench.streams.merge_shards(
        StreamName=STREAM,
        ShardToMerge="shardId-000000000001",
        AdjacentShardToMerge="shardId-000000000002",
    )
    put_round(bench, 3)
    bench.streams.update_shard_count(
        StreamName=STREAM, TargetShardCount=2, ScalingType="UNIFORM_SCALING"
    )
    put_round(bench, 4)
    bench.run(120)
    assert orders(bench) == {key: [0, 1, 2, 3, 4] for key in KEYS}
    assert bench.made.status()["behind"] == 0


@pytest.mark.documented(pages.AFTER_RESHARDING)
def test_merged_shard_waits_for_both_parents() -> None:
    bench = Bench(shards=2)
    bench.mapping()
    shards_of: dict[str, str] = {}
    for number in itertools.count():
        answer = bench.streams.put_record(
            StreamName=STREAM, PartitionKey=str(number), Data=b"first"
        )
        shards_of.setdefault(answer["ShardId"], str(number))
        if len(shards_of) == 2:
            break
    bench.run(2)
    one, _ = shards_of.values()
    bench.answer_for = lambda data: FAILURE if "stuck" in data else Answer()
    bench.put("stuck", key=one)
    bench.streams.merge_shards(
        StreamName=STREAM,
        ShardToMerge="shardId-000000000000",
        AdjacentShardToMerge="shardId-000000000001",
    )
    bench.put("child", key=one)
    bench.run(600)
    assert "child" not in bench.records()
    bench.answer_for = lambda _data: Answer()
    bench.run(120)
    assert bench.records()[-1] == "child"


@pytest.mark.documented(pages.AFTER_RESHARDING)
def test_child_of_a_parent_that_is_no_longer_in_the_stream_is_read() -> None:
    bench = Bench()
    put_round(bench, 0)
    split(bench)
    bench.now += 25 * 3600  # the parent is gone with its records, a day old
    put_round(bench, 1)
    bench.mapping()
    bench.run(60)
    assert orders(bench) == {key: [1] for key in KEYS}


@pytest.mark.documented(pages.OPTIONS)
def test_mapping_that_was_disabled_over_a_reshard_goes_on_where_it_was() -> None:
    bench = Bench()
    mapping = bench.mapping()
    put_round(bench, 0)
    bench.run(1)
    mapping.update({"Enabled": False})
    bench.run(1)
    put_round(bench, 1)
    split(bench)
    put_round(bench, 2)
    assert mapping.status()["behind"] == 2 * len(KEYS)
    mapping.update({"Enabled": True})
    bench.run(60)
    assert orders(bench) == {key: [0, 1, 2] for key in KEYS}
    assert len(bench.records()) == 3 * len(KEYS)


@pytest.mark.documented(pages.OPTIONS)
def test_finished_parent_is_not_read_again_when_the_mapping_is_enabled_again() -> None:
    bench = Bench()
    mapping = bench.mapping()
    put_round(bench, 0)
    split(bench)
    bench.run(20)
    mapping.update({"Enabled": False})
    bench.run(1)
    mapping.update({"Enabled": True})
    bench.run(20)
    assert len(bench.records()) == len(KEYS)


@pytest.mark.ours("AWS does not say what LATEST means for shards that come later")
def test_latest_reads_shards_that_come_later_from_their_start() -> None:
    bench = Bench()
    put_round(bench, 0)
    bench.mapping(StartingPosition="LATEST")
    bench.run()
    split(bench)
    put_round(bench, 1)  # before the mapping has seen the children
    bench.run(60)
    assert orders(bench) == {key: [1] for key in KEYS}


@pytest.mark.documented(pages.OPTIONS)
def test_latest_leaves_out_shards_that_were_closed_before() -> None:
    bench = Bench()
    put_round(bench, 0)
    split(bench)
    put_round(bench, 1)
    bench.mapping(StartingPosition="LATEST")
    bench.run(1)
    put_round(bench, 2)
    bench.run(60)
    assert orders(bench) == {key: [2] for key in KEYS}


@pytest.mark.ours("AWS refuses such a mapping at first; here a stream may come later")
def test_stream_that_does_not_exist_is_a_problem_that_ends_when_it_does() -> None:
    bench = Bench()
    bench.streams.delete_stream(StreamName=STREAM)
    mapping = bench.mapping()
    bench.run(5)
    assert "ResourceNotFoundException" in mapping.status()["last_result"]
    bench.streams.create_stream(StreamName=STREAM, ShardCount=1)
    bench.put("a")
    bench.run(5)
    assert bench.records() == ["a"]
