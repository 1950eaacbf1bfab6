"""Whatever happens to a mapping, it keeps three promises, against a plain model of what was put.

Random records, failures, throttles, splits of batches, restarts, changes of settings, reshards and
time, in any order, with invocations that end in any order; then the trouble ends, and
1. every record was taken by the function or is in an object of the failed zone (at least once);
2. records of a partition key were taken for the first time in the order in which they were put;
3. nothing was passed over before that: a checkpoint never stands beyond an unfinished record.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import booleans, integers, lists, sampled_from

from local.api import ApiError
from tests.conformance.mapping_bench import (
    FAILURE,
    ON_FAILURE,
    STREAM,
    Answer,
    Bench,
    Held,
    ThrottledError,
)

KEYS = [f"device-{number}" for number in range(5)]
# What the function does with its next events.
ANSWERS: list[Callable[[], Answer | ApiError]] = [Answer, lambda: FAILURE, ThrottledError]


class MappingModel(RuleBasedStateMachine):
    """The model: for each key, the numbers of the records put, in order."""

    @initialize(
        batch_size=integers(1, 6),
        window=sampled_from([0, 2]),
        factor=integers(1, 3),
        bisect=booleans(),
        retries=sampled_from([-1, 0, 2]),
        age=sampled_from([-1, 60]),
        shards=integers(1, 2),
    )
    def start(
        self,
        batch_size: int,
        window: int,
        factor: int,
        bisect: bool,
        retries: int,
        age: int,
        shards: int,
    ) -> None:
        self.held = Held()
        self.bench = Bench(shards=shards, executor=self.held)
        # Longer than the model's time, so that nothing leaves the stream before it was read.
        self.bench.streams.increase_stream_retention_period(
            StreamName=STREAM, RetentionPeriodHours=168
        )
        self.reshards = 0
        self.put: dict[str, list[int]] = {key: [] for key in KEYS}
        self.count = 0
        self.poison: set[str] = set()
        # Taken by the function: each key's numbers at their first success.
        self.taken: dict[str, list[int]] = {key: [] for key in KEYS}
        self.answer: Callable[[], Answer | ApiError] = Answer
        self.bench.answer_for = self._answer
        self.bench.mapping(
            BatchSize=batch_size,
            MaximumBatchingWindowInSeconds=window,
            ParallelizationFactor=factor,
            BisectBatchOnFunctionError=bisect,
            MaximumRetryAttempts=retries,
            MaximumRecordAgeInSeconds=age,
            DestinationConfig=ON_FAILURE,
        )

    def _answer(self, data: list[str]) -> Answer | ApiError:
        answer = FAILURE if self.poison & set(data) else self.answer()
        if answer == Answer():
            for one in data:
                key, number = one.split("/")
                if int(number) not in self.taken[key]:
                    self.taken[key].append(int(number))
        return answer

    @rule(keys=lists(sampled_from(KEYS), min_size=1, max_size=8), bad=booleans())
    def put_records(self, keys: list[str], bad: bool) -> None:
        for key in keys:
            one = f"{key}/{self.count}"
            self.bench.put(one, key=key)
            self.put[key].append(self.count)
            self.count += 1
        if bad:
            self.poison.add(one)

    @rule(seconds=sampled_from([0, 0, 1, 5, 30, 400]))
    def time_passes(self, seconds: int) -> None:
        self.bench.run(seconds)

    @rule(index=integers(0, 100))
    def an_invocation_ends(self, index: int) -> None:
        self.bench.made.step()
        if self.held.waiting:
            self.held.run(index % len(self.held.waiting))
            self.bench.made.step()

    @rule(answer=sampled_from(ANSWERS))
    def function_changes_its_mood(self, answer: Callable[[], Answer | ApiError]) -> None:
        self.answer = answer

    @rule(enabled=booleans())
    def mapping_is_switched(self, enabled: bool) -> None:
        self.bench.made.update({"Enabled": enabled})
        self.bench.made.step()

    @rule(batch_size=integers(1, 6), factor=integers(1, 3))
    def settings_change(self, batch_size: int, factor: int) -> None:
        self.bench.made.update({"BatchSize": batch_size, "ParallelizationFactor": factor})
        self.bench.made.step()

    @rule(count=integers(1, 4))
    def stream_is_resharded(self, count: int) -> None:
        open_now = self.bench.streams.describe_stream_summary(StreamName=STREAM)
        shards = open_now["StreamDescriptionSummary"]["OpenShardCount"]
        target = min(max(count, -(-shards // 2)), shards * 2)
        if target != shards:
            self.bench.now += 2.4 * 3600 if self.reshards else 0  # ten times a day
            self.reshards += 1
            self.bench.streams.update_shard_count(
                StreamName=STREAM, TargetShardCount=target, ScalingType="UNIFORM_SCALING"
            )

    @invariant()
    def nothing_is_passed_over(self) -> None:
        if not hasattr(self, "bench"):
            return
        finished = self._finished()
        unfinished = self.count - len(finished)
        behind = self.bench.made.status()["behind"]
        assert behind >= unfinished

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.answer = Answer
        self.poison.clear()
        bench = self.bench
        bench.made.update({"Enabled": True})
        for _ in range(400):
            bench.run(70)
            while self.held.waiting:
                self.held.run()
                bench.made.step()
            if bench.made.status()["behind"] == 0 and bench.made.state == "Enabled":
                break
        assert bench.made.status()["behind"] == 0
        assert len(self._finished()) == self.count
        given_up = {int(one.split("/")[1]) for batch in bench.discarded() for one in batch}
        for key, numbers in self.put.items():
            in_order = [n for n in self.taken[key] if n not in given_up]
            assert in_order == sorted(in_order)
            assert set(numbers) <= set(self.taken[key]) | given_up

    def _finished(self) -> set[int]:
        taken = {number for numbers in self.taken.values() for number in numbers}
        given_up = {int(o.split("/")[1]) for batch in self.bench.discarded() for o in batch}
        return taken | given_up


TestMappingModel: Any = MappingModel.TestCase
TestMappingModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
