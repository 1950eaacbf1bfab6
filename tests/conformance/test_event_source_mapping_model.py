"""Whatever happens to a mapping, it keeps its promises, against a plain model of what was put.

Random records, failures, throttles, deaths of the poller, changes of settings, splits, merges and
leaps of time, with invocations that end in any order or never; then the trouble ends, and
1. every record was taken by the function or is in an object of the failed zone (at least once);
2. records of a partition key were taken for the first time in the order in which they were put;
3. nothing was passed over before: a checkpoint never stood beyond an unfinished record;
4. a child shard's record came to the function when its parents' were finished, none before;
5. nothing was given up before its time: its retries were used up, a split not counted, or its age.

The settings are Hypothesis's, so that a failure is told with the plainest that show it. A life is
drawn from a seed: lives long enough to be worth it are more than Hypothesis draws step by step.
A model that nothing ever happens to proves nothing: each kind of trouble must have been met.
"""

import json
from collections import Counter
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis.strategies import booleans, fixed_dictionaries, integers, sampled_from

from local.api import ApiError
from tests.conformance import lambda_pages as pages
from tests.conformance.mapping_bench import (
    FAILURE,
    ON_FAILURE,
    STREAM,
    Answer,
    Bench,
    Held,
    ThrottledError,
    data_of,
)

KEYS = [f"device-{number}" for number in range(4)]
EVENTS = 80
MOST_SHARDS = 6
RETENTION_SECONDS = 168 * 3600  # longer than a life: nothing leaves the stream before it was read
SETTINGS = fixed_dictionaries(
    {
        "StartingPosition": sampled_from(["TRIM_HORIZON", "LATEST"]),
        "BatchSize": integers(1, 8),
        "MaximumBatchingWindowInSeconds": sampled_from([0, 2]),
        "ParallelizationFactor": integers(1, 3),
        "BisectBatchOnFunctionError": booleans(),
        "MaximumRetryAttempts": sampled_from([-1, 0, 2]),
        "MaximumRecordAgeInSeconds": sampled_from([-1, 60, 3600]),
    }
)
# What must have happened at least once over all lives.
MET: Final = {
    "batch failed",
    "batch was split",
    "child waited for its parent",
    "function was throttled",
    "invocation ended after a later one",
    "invocation ended for a poller that was dead",
    "invocation never ended",
    "mapping was disabled",
    "poller died with invocations in flight",
    "record was given up for its age",
    "record was given up for its retries",
    "record was taken twice",
    "settings were changed",
    "shard was split",
    "shards were merged",
    "stream was scaled",
}


class Life:
    """One mapping's life, and what is known of every record apart from it."""

    def __init__(self, mapping: dict[str, Any], shards: int, seed: int) -> None:
        self.random = Random(seed)
        self.held = Held()
        self.bench = Bench(shards=shards, executor=self.held)
        self.bench.streams.increase_stream_retention_period(
            StreamName=STREAM, RetentionPeriodHours=RETENTION_SECONDS // 3600
        )
        self.bench.answer_for = self.answer
        self.bench.mapping(**mapping, DestinationConfig=ON_FAILURE)
        self.bench.run()  # LATEST takes its place, before the first record
        self.settings = mapping
        self.met: Counter[str] = Counter()
        self.put: list[str] = []  # "key/number", in order
        self.put_at: dict[str, float] = {}
        self.shard_of: dict[str, str] = {}
        self.parents: dict[str, list[str]] = {}
        self.poison: set[str] = set()
        self.taken: dict[str, None] = {}  # in the order of the first success
        self.given_up: set[str] = set()
        self.failed: Counter[tuple[str, ...]] = Counter()  # batches
        self.objects_seen = 0
        self.trouble = 0.0
        self.orphans: list[object] = []  # tasks of pollers that are dead
        # What the function sees: a mapping takes its exceptions for a function that failed.
        self.broken: list[str] = []

    def answer(self, data: list[str]) -> Answer | ApiError:
        """The function: fails on poison, and in trouble on anything; throttled now and then."""
        self.look_for_unfinished_parents(data)
        if self.random.random() < self.trouble:
            if self.random.random() < 0.5:
                return self.fail(data)
            self.met["function was throttled"] += 1
            return ThrottledError()
        if self.poison & set(data):
            return self.fail(data)
        self.met["record was taken twice"] += bool(self.taken.keys() & set(data))
        self.taken.update(dict.fromkeys(data))
        return Answer()

    def fail(self, data: list[str]) -> Answer:
        halves_of = (batch for batch in self.failed if len(batch) > 1)
        if self.settings["BisectBatchOnFunctionError"]:
            firsts = {batch[: (len(batch) + 1) // 2] for batch in halves_of}
            self.met["batch was split"] += tuple(data) in firsts
        self.met["batch failed"] += 1
        self.failed[tuple(data)] += 1
        return FAILURE

    def live(self) -> None:
        """Let something happen, again and again, and look after each time."""
        happenings = [
            self.producer_puts,
            self.producer_puts,
            self.invocations_end,
            self.invocations_end,
            self.invocations_end,
            self.time_passes,
            self.trouble_changes,
            self.poller_dies,
            self.mapping_is_off_for_a_while,
            self.settings_change,
            self.shard_is_split,
            self.shards_are_merged,
            self.stream_is_scaled,
        ]
        for _ in range(EVENTS):
            self.random.choice(happenings)()
            self.check_nothing_is_passed_over()

    def producer_puts(self) -> None:
        for _ in range(self.random.randrange(1, 12)):
            key = self.random.choice(KEYS)
            one = f"{key}/{len(self.put)}"
            self.shard_of[one] = self.bench.streams.put_record(
                StreamName=STREAM, PartitionKey=key, Data=one.encode()
            )["ShardId"]
            self.put.append(one)
            self.put_at[one] = self.bench.now
            if self.random.random() < 0.05:
                self.poison.add(one)

    def invocations_end(self) -> None:
        for _ in range(self.random.randrange(1, 12)):
            if not self.held.waiting:
                self.bench.run(1)
            if self.held.waiting:
                self.one_ends(self.random.randrange(len(self.held.waiting)))
                self.bench.made.step()

    def one_ends(self, index: int) -> None:
        self.met["invocation ended after a later one"] += index > 0
        task = self.held.waiting[index]
        self.met["invocation ended for a poller that was dead"] += task in self.orphans
        self.held.run(index)

    def time_passes(self) -> None:
        self.bench.run(self.random.choice([0, 1, 5, 20]))
        self.bench.now += self.random.choice([0, 0, 0, 400])  # iterators expire meanwhile

    def trouble_changes(self) -> None:
        self.trouble = self.random.choice([0.0, 0.1, 0.5, 1.0])

    def poller_dies(self) -> None:
        """In the middle: what is at the function ends for nobody, or never."""
        self.met["poller died with invocations in flight"] += bool(self.held.waiting)
        self.bench.made.restart()
        for task in list(self.held.waiting):
            if self.random.random() < 0.5:
                self.met["invocation never ended"] += 1
                self.held.waiting.remove(task)
        self.orphans = list(self.held.waiting)
        self.bench.run(self.random.choice([0, 0, 5]))

    def mapping_is_off_for_a_while(self) -> None:
        self.bench.made.update({"Enabled": False})
        self.bench.made.step()
        while self.held.waiting and self.random.random() < 0.9:
            self.one_ends(self.random.randrange(len(self.held.waiting)))
        self.bench.run(self.random.choice([0, 5]))
        self.met["mapping was disabled"] += self.bench.made.state == "Disabled"
        self.bench.made.update({"Enabled": True})
        self.bench.run()

    def settings_change(self) -> None:
        before = self.bench.made.settings
        self.bench.made.update(
            {
                "BatchSize": self.random.randrange(1, 9),
                "ParallelizationFactor": self.random.randrange(1, 4),
            }
        )
        self.bench.made.step()
        self.met["settings were changed"] += self.bench.made.settings != before

    def shard_is_split(self) -> None:
        shards = self.open_shards()
        if len(shards) >= MOST_SHARDS:
            return
        shard = self.random.choice(shards)
        first, last = hash_range(shard)
        self.bench.streams.split_shard(
            StreamName=STREAM,
            ShardToSplit=shard["ShardId"],
            NewStartingHashKey=str(self.random.randrange(first + 1, last)),
        )
        self.met["shard was split"] += 1
        self.note_lineage()

    def shards_are_merged(self) -> None:
        shards = sorted(self.open_shards(), key=hash_range)
        if len(shards) < 2:
            return
        index = self.random.randrange(len(shards) - 1)
        self.bench.streams.merge_shards(
            StreamName=STREAM,
            ShardToMerge=shards[index]["ShardId"],
            AdjacentShardToMerge=shards[index + 1]["ShardId"],
        )
        self.met["shards were merged"] += 1
        self.note_lineage()

    def stream_is_scaled(self) -> None:
        shards = len(self.open_shards())
        target = self.random.randrange(-(-shards // 2), shards * 2 + 1)
        if target != shards and target <= MOST_SHARDS and self.random.random() < 0.5:
            self.bench.now += 2.4 * 3600  # AWS allows ten a day
            self.bench.streams.update_shard_count(
                StreamName=STREAM, TargetShardCount=target, ScalingType="UNIFORM_SCALING"
            )
            self.met["stream was scaled"] += 1
            self.note_lineage()

    def open_shards(self) -> list[dict[str, Any]]:
        shards = self.bench.streams.list_shards(StreamName=STREAM)["Shards"]
        return [s for s in shards if "EndingSequenceNumber" not in s["SequenceNumberRange"]]

    def note_lineage(self) -> None:
        for shard in self.bench.streams.list_shards(StreamName=STREAM)["Shards"]:
            names = ("ParentShardId", "AdjacentParentShardId")
            self.parents[shard["ShardId"]] = [shard[name] for name in names if name in shard]

    def unfinished(self) -> set[str]:
        """What was put and is neither taken nor given up."""
        self.read_failed_zone()
        return set(self.put) - self.taken.keys() - self.given_up

    def look_for_unfinished_parents(self, data: list[str]) -> None:
        ancestors: set[str] = set()
        waiting = [self.shard_of[one] for one in data]
        while waiting:
            parents = self.parents.get(waiting.pop(), [])
            ancestors |= set(parents)
            waiting += parents
        if ancestors:
            overtaken = [one for one in self.unfinished() if self.shard_of[one] in ancestors]
            self.broken += [f"a child's record came before {one}" for one in overtaken]

    def check_nothing_is_passed_over(self) -> None:
        unfinished = self.unfinished()
        assert self.broken == []
        behind = self.bench.made.status()["behind"]
        assert behind is not None
        assert behind >= len(unfinished)
        waiting = {self.shard_of[one] for one in unfinished}
        self.met["child waited for its parent"] += any(
            parent in waiting for shard in waiting for parent in self.parents.get(shard, [])
        )

    def read_failed_zone(self) -> None:
        for body in list(self.bench.objects.values())[self.objects_seen :]:
            document = json.loads(body)
            records = data_of(json.loads(document["payload"])["Records"])
            self.look_whether_it_was_time(document["requestContext"]["condition"], records)
            self.given_up |= set(records)
        self.objects_seen = len(self.bench.objects)

    def look_whether_it_was_time(self, condition: str, records: list[str]) -> None:
        if condition == "RecordAgeExceeded":
            self.met["record was given up for its age"] += 1
            age = self.settings["MaximumRecordAgeInSeconds"]
            limit = RETENTION_SECONDS if age == -1 else age
            early = [one for one in records if self.bench.now - self.put_at[one] <= limit]
        elif self.settings["MaximumRetryAttempts"] == -1:
            early = records
        else:
            self.met["record was given up for its retries"] += 1
            attempts = self.settings["MaximumRetryAttempts"] + 1
            early = [one for one in records if self.failures(one) < attempts]
        self.broken += [f"{one} was given up before its time: {condition}" for one in early]

    def failures(self, one: str) -> int:
        """How often the function failed on a record: alone where batches are split until it is."""
        if self.settings["BisectBatchOnFunctionError"]:
            return self.failed[(one,)]
        return sum(count for batch, count in self.failed.items() if one in batch)

    def end_well(self) -> None:
        """Without trouble, everything comes to its end; then the account must hold."""
        self.trouble = 0.0
        self.poison.clear()
        for _ in range(300):
            self.bench.run(10)
            while self.held.waiting:
                self.held.run()
                self.bench.made.step()
            if self.bench.made.status()["behind"] == 0:
                break
        assert self.bench.made.status()["behind"] == 0
        assert self.unfinished() == set()
        assert self.broken == []
        for key in KEYS:
            # What was given up is in the failed zone, and may come again after what followed it.
            kept = (one for one in self.taken if one not in self.given_up)
            in_order = [n for k, n in map(place, kept) if k == key]
            assert in_order == sorted(in_order)


def place(one: str) -> tuple[str, int]:
    """The key of a record and its number among all."""
    key, _, number = one.partition("/")
    return key, int(number)


def hash_range(shard: dict[str, Any]) -> tuple[int, int]:
    """The first and the last hash key of a shard."""
    bounds = shard["HashKeyRange"]
    return int(bounds["StartingHashKey"]), int(bounds["EndingHashKey"])


@pytest.mark.documented(pages.AT_LEAST_ONCE)
def test_every_record_is_done_or_kept_and_every_key_stays_in_order() -> None:
    met: Counter[str] = Counter()

    @settings(max_examples=100, deadline=None, print_blob=True)
    @given(mapping=SETTINGS, shards=integers(1, 2), seed=integers(0, 2**32 - 1))
    def one_life(mapping: dict[str, Any], shards: int, seed: int) -> None:
        life = Life(mapping, shards, seed)
        life.live()
        life.end_well()
        met.update(life.met)

    one_life()
    assert MET - (+met).keys() == set()
