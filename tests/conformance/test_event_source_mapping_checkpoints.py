"""A mapping goes on from its checkpoints: enabled again, changed, or after its poller has died."""

import threading
import time
from typing import Any

import pytest

from local.mapping.shard_consumer import lane_of
from tests.conformance import lambda_pages as pages
from tests.conformance.mapping_bench import (
    FAILURE,
    ON_FAILURE,
    STREAM,
    Answer,
    Bench,
    Held,
)


def keys_of_two_shards(bench: Bench) -> list[str]:
    """A partition key for each of the stream's two shards; puts a record per try."""
    keys: dict[str, str] = {}
    for number in range(100):
        answer = bench.streams.put_record(StreamName=STREAM, PartitionKey=str(number), Data=b"key")
        keys.setdefault(answer["ShardId"], str(number))
    return [key for _, key in sorted(keys.items())]


@pytest.mark.ours("AWS does not say where a checkpoint is, only that nothing is lost")
def test_each_shard_has_a_checkpoint_of_its_own() -> None:
    bench = Bench(shards=2)
    mapping = bench.mapping(BatchSize=1)
    one, other = keys_of_two_shards(bench)
    bench.run(60)
    bench.batches.clear()
    bench.answer_for = lambda data: FAILURE if data == ["stuck"] else Answer()
    bench.put("stuck", "behind it", key=one)
    bench.put("fine", "fine too", key=other)
    bench.run(5)
    assert mapping.status()["behind"] == 2
    bench.answer_for = lambda _data: Answer()
    bench.batches.clear()
    mapping.restart()
    bench.run(60)
    assert bench.records() == ["stuck", "behind it"]


@pytest.mark.ours("AWS does not say where a checkpoint is, only that nothing is lost")
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


@pytest.mark.documented(pages.OPTIONS)
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


@pytest.mark.ours("AWS names the states, but does not say what they wait for")
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


@pytest.mark.ours("AWS warns that LATEST may miss records then; here it must not")
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


@pytest.mark.documented(pages.EVENT)
def test_changed_settings_take_effect_from_the_checkpoint_on() -> None:
    bench = Bench()
    mapping = bench.mapping(BatchSize=2)
    bench.put(*"abcd")
    bench.run()
    mapping.update({"BatchSize": 3})
    bench.put(*"efg")
    bench.run(1)
    assert bench.given() == [["a", "b"], ["c", "d"], ["e", "f", "g"]]


@pytest.mark.ours("the local cloud says how far a mapping has come; AWS does not")
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


@pytest.mark.documented(pages.AT_LEAST_ONCE)
def test_what_was_at_the_function_when_the_poller_died_is_delivered_again() -> None:
    held = Held()
    bench = Bench(executor=held)
    mapping = bench.mapping(BatchSize=2)
    bench.put(*"abcdef")
    bench.run()
    held.run()
    bench.run()  # a, b are finished; c, d are at the function
    mapping.restart()
    assert mapping.status()["behind"] == 4
    bench.run()
    while held.waiting:
        held.run()
        bench.run()
    assert bench.given() == [["a", "b"], ["c", "d"], ["c", "d"], ["e", "f"]]
    assert mapping.status()["behind"] == 0


@pytest.mark.documented(pages.AT_LEAST_ONCE)
def test_answer_to_a_poller_that_is_dead_moves_no_checkpoint() -> None:
    held = Held()
    bench = Bench(executor=held)
    mapping = bench.mapping(MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.put("a")
    bench.run()
    mapping.restart()
    bench.answers = [FAILURE]
    held.run()  # for nobody: neither given up nor finished
    assert mapping.status()["behind"] == 1
    bench.run()
    assert bench.objects == {}
    held.run()
    bench.run()
    assert bench.given() == [["a"], ["a"]]
    assert mapping.status()["behind"] == 0


@pytest.mark.documented(pages.AT_LEAST_ONCE)
def test_poller_that_died_between_the_halves_of_a_batch_repeats_no_finished_half() -> None:
    held = Held()
    bench = Bench(executor=held)
    mapping = bench.mapping(BatchSize=4, BisectBatchOnFunctionError=True)
    bench.put(*"abcd")
    bench.run()
    bench.answers = [FAILURE]
    for _ in range(2):  # the batch, which fails, and its first half
        held.run()
        bench.run()
    held.waiting.clear()
    mapping.restart()
    bench.run()
    held.run()
    assert bench.given() == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"]]


@pytest.mark.documented(pages.AT_LEAST_ONCE)
def test_poller_that_died_before_the_failed_zone_had_a_record_brings_it_there_again() -> None:
    held = Held()
    bench = Bench(executor=held)
    mapping = bench.mapping(BatchSize=1, MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE)
    bench.answer_for = lambda data: FAILURE if data == ["bad"] else Answer()
    bench.put("bad", "good")
    bench.run()
    held.run()
    bench.run()  # its object is on the way
    held.waiting.clear()
    mapping.restart()
    for _ in range(4):
        bench.run()
        if held.waiting:
            held.run()
    assert bench.discarded() == [["bad"]]
    assert bench.records() == ["bad", "bad", "good"]


@pytest.mark.ours("what a mapping does about a bug in the local cloud")
def test_fault_of_our_own_ends_no_mapping() -> None:
    bench = Bench()
    failed = threading.Event()
    describe = bench.streams.describe_stream_summary

    def fail_once(**request: Any) -> Any:
        if failed.is_set():
            return describe(**request)
        failed.set()
        raise RuntimeError("a fault of our own")

    # A function in a method's place, for this one object.
    bench.streams.describe_stream_summary = fail_once  # type: ignore[method-assign]
    mapping = bench.mapping()
    bench.put("a")
    mapping.start()
    deadline = time.monotonic() + 60
    while not bench.batches and time.monotonic() < deadline:
        mapping.update({})  # wakes it up
        time.sleep(0.01)
    mapping.stop(60)
    assert failed.is_set()
    assert bench.records() == ["a"]
