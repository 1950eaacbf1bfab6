"""Keys: readable, partitioned by the hour of the writing, and safe however batches are cut."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

from telemetry_contract.zone_paths import RAW_PREFIX, hour_folder, object_key

NOW = datetime(2026, 11, 23, 9, 59, 59, tzinfo=UTC)

type Key = Callable[[list[int]], str]


def test_key_says_shard_first_last_and_digest() -> None:
    key = object_key(
        RAW_PREFIX, NOW, "shardId-000000000003:17", "shardId-000000000003:42", "ab" * 32
    )
    assert key == (
        "raw_data/ingest_date=2026-11-23/ingest_hour=09/"
        "shardId-000000000003-17-42-abababababababab.parquet"
    )


def test_hours_are_those_of_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert hour_folder(RAW_PREFIX, local) == hour_folder(RAW_PREFIX, NOW)


# A model of how the mapping delivers: batches are retried, halved, checkpointed in part and cut
# differently after a restart, and the write of an attempt that timed out may land late.

RECORDS = 400


def lost_records(seed: int, key_of: Key, is_conditional: bool) -> int:
    """How many records are in no object once the shard's position has passed all of them."""
    draw = random.Random(seed)
    objects: dict[str, list[int]] = {}
    late: list[tuple[int, list[int]]] = []

    def write(batch: list[int]) -> None:
        key = key_of(batch)
        if not (is_conditional and key in objects):
            objects[key] = batch

    position = step = 0
    pending: list[int] = []
    while position < RECORDS:
        step += 1
        for due in [entry for entry in late if entry[0] <= step]:
            late.remove(due)
            write(due[1])
        size = draw.choice([1, 5, 10, 25, 50])
        is_cut_anew = not pending or draw.random() < 0.1
        batch = list(range(position, min(RECORDS, position + size))) if is_cut_anew else pending
        pending = []
        outcome = draw.random()
        again = batch if draw.random() < 0.5 else batch[: max(1, len(batch) // 2)]
        if outcome < 0.55:
            write(batch)
            position = batch[-1] + 1
        elif outcome < 0.65:  # fails before its write
            pending = again
        elif outcome < 0.75:  # written, but the answer is lost
            write(batch)
            pending = again
        elif outcome < 0.85:  # times out, and its write lands later
            late.append((step + draw.randint(1, 6), batch))
            pending = again
        elif outcome < 0.95 and len(batch) > 1:  # a restart after part of the batch
            end = draw.randint(1, len(batch) - 1)
            write(batch[:end])
            position = batch[end]
    for _, batch in late:
        write(batch)
    return RECORDS - len({record for batch in objects.values() for record in batch})


def our_key(batch: list[int]) -> str:
    digest = sha256(repr(batch).encode()).hexdigest()
    return object_key(RAW_PREFIX, NOW, f"shard:{batch[0]}", f"shard:{batch[-1]}", digest)


def key_of_the_first_record_alone(batch: list[int]) -> str:
    return f"{RAW_PREFIX}{batch[0]}.parquet"


def test_no_record_is_lost_however_batches_are_cut() -> None:
    assert sum(lost_records(seed, our_key, is_conditional=True) for seed in range(200)) == 0


def test_the_model_would_lose_records_with_the_first_number_alone() -> None:
    assert (
        sum(
            lost_records(seed, key_of_the_first_record_alone, is_conditional=False)
            for seed in range(200)
        )
        > 100
    )
