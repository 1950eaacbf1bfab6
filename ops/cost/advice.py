"""What a bill says about the settings: those that cost more than they need to, and by how much.

Each piece of advice is reckoned, not remembered: the same load under the changed setting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from ops.cost.load import KB, TOPIC_BYTES, Load, Way, batches_of
from ops.cost.prices import PriceTable
from ops.cost.reckoning import Bill, bill_of, curation_seconds_of
from ops.cost.settings import Settings

# Less than that a month is not worth a word.
WORTH_SAYING_USD: Final = 1.0
# An object for every few messages is what the batching window is there to prevent.
FEW_MESSAGES_PER_OBJECT: Final = 20
# Twice what is needed leaves room for peaks; more is paid for nothing.
ROOM: Final = 2
JOB_TIMEOUT_HOURS: Final = 2


@dataclass(frozen=True)
class Advice:
    """One setting, what is to be said of it, and what changing it saves a month."""

    setting: str
    text: str
    saves_usd: float


def advice_of(load: Load, settings: Settings, prices: PriceTable) -> tuple[Advice, ...]:
    """All that is worth saying, the largest saving first."""
    case = _Case(load, settings, prices, bill_of(load, settings, prices))
    found = [
        *_crawler(case),
        *_shards(case),
        *_objects(case),
        *_messages(case),
        *_retention(case),
        *_workers(case),
    ]
    return tuple(sorted(found, key=lambda advice: -advice.saves_usd))


@dataclass(frozen=True)
class _Case:
    load: Load
    settings: Settings
    prices: PriceTable
    bill: Bill

    def saving(self, settings: Settings | None = None, load: Load | None = None) -> float:
        other = bill_of(load or self.load, settings or self.settings, self.prices)
        return self.bill.usd - other.usd


def _crawler(case: _Case) -> Iterator[Advice]:
    settings = case.settings
    saves = case.saving(replace(settings, crawls=False))
    if saves >= WORTH_SAYING_USD:
        yield Advice(
            "CrawlRawZone",
            f"{settings.curation_runs:,.0f} crawls a month ({settings.curation_schedule}), each "
            "billed as at least ten minutes. Curation does not need them: CrawlRawZone=false, if "
            "nobody queries raw_data.",
            saves,
        )


def _shards(case: _Case) -> Iterator[Advice]:
    load, settings = case.load, case.settings
    needed = batches_of(load, settings).needed_shards
    enough = max(math.ceil(needed * ROOM), 1)
    if settings.stream_mode != "PROVISIONED":
        provisioned = replace(settings, stream_mode="PROVISIONED", shard_count=enough)
        saves = case.saving(provisioned)
        if saves >= WORTH_SAYING_USD:
            yield Advice(
                "StreamMode",
                f"PROVISIONED with ShardCount={enough} would carry twice this load; beyond that, "
                "shards are to be added by hand.",
                saves,
            )
        return
    if settings.shard_count < needed:
        yield Advice(
            "ShardCount",
            f"{settings.shard_count} is too few: the load fills {needed:,.1f} without any peak. "
            "What is over is throttled; the bill is reckoned as if all of it came through.",
            0.0,
        )
    elif settings.shard_count > enough:
        saves = case.saving(replace(settings, shard_count=enough))
        yield Advice(
            "ShardCount",
            f"{settings.shard_count} shards, of which the load fills {needed:,.1f}: {enough} leave "
            "room for twice of it. Each shard also writes objects of its own.",
            saves,
        )


def _objects(case: _Case) -> Iterator[Advice]:
    load, settings = case.load, case.settings
    batches = batches_of(load, settings)
    if not batches.count or batches.records >= FEW_MESSAGES_PER_OBJECT:
        return
    share = f"{batches.records:,.1f} messages an object"
    candidates = []
    if settings.window_seconds < 300:
        candidates.append(("MaxBatchingWindowSeconds", 300, replace(settings, window_seconds=300)))
    if settings.batch_size < 10_000:
        candidates.append(("BatchSize", 10_000, replace(settings, batch_size=10_000)))
    if settings.parallelization > 1:
        candidates.append(("ParallelizationFactor", 1, replace(settings, parallelization=1)))
    for name, value, other in candidates:
        saves = case.saving(other)
        if saves >= WORTH_SAYING_USD:
            fuller = batches_of(load, other).records
            yield Advice(
                name,
                f"{share}, and each is a PUT, an invocation and work for the jobs: with "
                f"{name}={value} they are {fuller:,.1f}.",
                saves,
            )


def _messages(case: _Case) -> Iterator[Advice]:
    load = case.load
    if load.way is Way.MQTT:
        saves = case.saving(load=replace(load, way=Way.BASIC_INGEST))
        if saves >= WORTH_SAYING_USD:
            yield Advice(
                "the devices' topic",
                "Basic Ingest ($aws/rules/<rule>/dt/...) leaves out the charge for messages; "
                "nobody else can then subscribe to them.",
                saves,
            )
    if load.way is Way.SDK or not load.messages:
        return
    together = (5 * KB - TOPIC_BYTES) // max(load.payload_bytes, 1)
    if together >= 2:
        gathered = replace(
            load,
            messages_per_second=load.messages_per_second / together,
            payload_bytes=load.payload_bytes * together,
            readings_per_message=load.readings_per_message * together,
        )
        saves = case.saving(load=gathered)
        if saves >= WORTH_SAYING_USD:
            yield Advice(
                "the devices' messages",
                f"{together} readings of this size in one message (a JSON array) are still one "
                "step of 5 KB.",
                saves,
            )


def _retention(case: _Case) -> Iterator[Advice]:
    settings = case.settings
    if settings.retention_hours > 168:
        saves = case.saving(replace(settings, retention_hours=168))
        if saves >= WORTH_SAYING_USD:
            yield Advice(
                "StreamRetentionHours",
                f"{settings.retention_hours} hours are kept on the stream; 168 outlast the "
                "mapping's retries.",
                saves,
            )
    if not settings.raw_retention_days and case.load.messages:
        month = replace(case.load, months_kept=case.load.months_kept + 1)
        grows = bill_of(month, settings, case.prices).usd - case.bill.usd
        if grows >= WORTH_SAYING_USD:
            yield Advice(
                "RawRetentionDays",
                f"0 keeps raw objects for good: S3 grows by ${grows:,.2f} with every month kept, "
                "about half of it raw.",
                0.0,
            )


def _workers(case: _Case) -> Iterator[Advice]:
    settings = case.settings
    hours = _hours_of_a_run(case.load, settings)
    if hours > JOB_TIMEOUT_HOURS:
        yield Advice(
            "GlueNumberOfWorkers",
            f"a run would take {hours:,.0f} hours, and the job ends after {JOB_TIMEOUT_HOURS}: "
            "more workers, or a denser CurationSchedule (docs/scale.md).",
            0.0,
        )
        return
    half = replace(settings, workers=max(2, math.ceil(settings.workers / 2)))
    if half == settings or _hours_of_a_run(case.load, half) > JOB_TIMEOUT_HOURS / ROOM:
        return
    saves = case.saving(half)
    if saves >= WORTH_SAYING_USD:
        yield Advice(
            "GlueNumberOfWorkers",
            f"{settings.workers} workers are reckoned as if they ran for all of each run; "
            f"{half.workers} would do this load for less. Auto-scaling may already use fewer.",
            saves,
        )


def _hours_of_a_run(load: Load, settings: Settings) -> float:
    if not settings.curation_runs:
        return 0.0
    objects = batches_of(load, settings).count
    return curation_seconds_of(load, settings, objects) / 3600 / settings.curation_runs
