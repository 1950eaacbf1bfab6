"""Whatever happens to a mapping, it keeps three promises, against a plain model of what was put.

Random records, failures, throttles, restarts, changes of settings, reshards and leaps of time, with
invocations that end in any order; then the trouble ends, and
1. every record was taken by the function or is in an object of the failed zone (at least once);
2. records of a partition key were taken for the first time in the order in which they were put;
3. nothing was passed over before: a checkpoint never stood beyond an unfinished record.

The settings are Hypothesis's, so that a failure is told with the plainest that show it. A life is
drawn from a seed: lives long enough to be worth it are more than Hypothesis draws step by step.
"""

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis.strategies import booleans, fixed_dictionaries, integers, sampled_from

from local.api import ApiError
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
SETTINGS = fixed_dictionaries(
    {
        "BatchSize": integers(1, 8),
        "MaximumBatchingWindowInSeconds": sampled_from([0, 2]),
        "ParallelizationFactor": integers(1, 3),
        "BisectBatchOnFunctionError": booleans(),
        "MaximumRetryAttempts": sampled_from([-1, 0, 2]),
        "MaximumRecordAgeInSeconds": sampled_from([-1, 60, 3600]),
    }
)


class Life:
    """One mapping's life, and what is known of every record apart from it."""

    def __init__(self, mapping: dict[str, Any], shards: int, seed: int) -> None:
        self.random = Random(seed)
        self.held = Held()
        self.bench = Bench(shards=shards, executor=self.held)
        # Longer than a life, so that nothing leaves the stream before it was read.
        self.bench.streams.increase_stream_retention_period(
            StreamName=STREAM, RetentionPeriodHours=168
        )
        self.bench.answer_for = self.answer
        self.bench.mapping(**mapping, DestinationConfig=ON_FAILURE)
        self.put: list[str] = []  # "key/number", in order
        self.poison: set[str] = set()
        self.taken: dict[str, None] = {}  # in the order of the first success
        self.given_up: set[str] = set()
        self.objects_seen = 0
        self.trouble = 0.0

    def answer(self, data: list[str]) -> Answer | ApiError:
        """The function: fails on poison, and in trouble on anything; throttled now and then."""
        if self.random.random() < self.trouble:
            return FAILURE if self.random.random() < 0.5 else ThrottledError()
        if self.poison & set(data):
            return FAILURE
        self.taken.update(dict.fromkeys(data))
        return Answer()

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
            self.mapping_is_off_for_a_while,
            self.settings_change,
            self.stream_is_resharded,
        ]
        for _ in range(EVENTS):
            self.random.choice(happenings)()
            self.check_nothing_is_passed_over()

    def producer_puts(self) -> None:
        for _ in range(self.random.randrange(1, 12)):
            key = self.random.choice(KEYS)
            one = f"{key}/{len(self.put)}"
            self.bench.put(one, key=key)
            self.put.append(one)
            if self.random.random() < 0.05:
                self.poison.add(one)

    def invocations_end(self) -> None:
        for _ in range(self.random.randrange(1, 12)):
            if not self.held.waiting:
                self.bench.run(1)
            if self.held.waiting:
                self.held.run(self.random.randrange(len(self.held.waiting)))
                self.bench.made.step()

    def time_passes(self) -> None:
        self.bench.run(self.random.choice([0, 1, 5, 20]))
        self.bench.now += self.random.choice([0, 0, 0, 400])  # iterators expire meanwhile

    def trouble_changes(self) -> None:
        self.trouble = self.random.choice([0.0, 0.1, 0.5, 1.0])

    def mapping_is_off_for_a_while(self) -> None:
        self.bench.made.update({"Enabled": False})
        self.bench.made.step()
        while self.held.waiting and self.random.random() < 0.9:
            self.held.run(self.random.randrange(len(self.held.waiting)))
        self.bench.run(self.random.choice([0, 5]))
        self.bench.made.update({"Enabled": True})
        self.bench.run()

    def settings_change(self) -> None:
        self.bench.made.update(
            {
                "BatchSize": self.random.randrange(1, 9),
                "ParallelizationFactor": self.random.randrange(1, 4),
            }
        )
        self.bench.made.step()

    def stream_is_resharded(self) -> None:
        answer = self.bench.streams.describe_stream_summary(StreamName=STREAM)
        shards = answer["StreamDescriptionSummary"]["OpenShardCount"]
        target = self.random.randrange(-(-shards // 2), shards * 2 + 1)
        if target != shards and target <= 6 and self.random.random() < 0.5:
            self.bench.now += 2.4 * 3600  # AWS allows ten a day
            self.bench.streams.update_shard_count(
                StreamName=STREAM, TargetShardCount=target, ScalingType="UNIFORM_SCALING"
            )

    def check_nothing_is_passed_over(self) -> None:
        self.read_failed_zone()
        unfinished = set(self.put) - self.taken.keys() - self.given_up
        behind = self.bench.made.status()["behind"]
        assert behind is not None
        assert behind >= len(unfinished)

    def read_failed_zone(self) -> None:
        for body in list(self.bench.objects.values())[self.objects_seen :]:
            self.given_up |= set(data_of(json.loads(json.loads(body)["payload"])["Records"]))
        self.objects_seen = len(self.bench.objects)

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
        self.read_failed_zone()
        assert self.bench.made.status()["behind"] == 0
        assert set(self.put) == self.taken.keys() | self.given_up
        for key in KEYS:
            # What was given up is in the failed zone, and may come again after what followed it.
            kept = (one for one in self.taken if one not in self.given_up)
            in_order = [n for k, n in map(place, kept) if k == key]
            assert in_order == sorted(in_order)


def place(one: str) -> tuple[str, int]:
    """The key of a record and its number among all."""
    key, _, number = one.partition("/")
    return key, int(number)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(mapping=SETTINGS, shards=integers(1, 2), seed=integers(0, 2**32 - 1))
def test_every_record_is_done_or_kept_and_every_key_stays_in_order(
    mapping: dict[str, Any], shards: int, seed: int
) -> None:
    life = Life(mapping, shards, seed)
    life.live()
    life.end_well()
