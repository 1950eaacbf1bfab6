"""The cost of a run follows the new data, not the history."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

import curate_telemetry as job
from telemetry_contract.zone_paths import RAW_PREFIX
from tests.spark.lake import NOON, Lake, raw_row


def test_a_run_opens_no_data_file_of_the_days_it_does_not_touch(
    lake: Lake, warehouse: Path
) -> None:
    years_ago = NOON - timedelta(days=1_000)
    for days in range(5):
        # One device's clock is years behind: its day is touched, those between are not.
        lake.put(
            raw_row("a", NOON + timedelta(days=days), temperature=float(days)),
            raw_row("b", years_ago, temperature=float(days)),
        )
        if days in (1, 3):
            lake.run()
            lake.now += timedelta(days=2)
    old = [f"event_time_day={NOON + timedelta(days=days):%Y-%m-%d}" for days in range(4)]
    readings = warehouse / lake.database / "readings" / "data"
    removed = [file for day in old for file in (readings / day).rglob("*.parquet")]
    # The first run's entries, beyond the look-back of the second.
    ledger = warehouse / lake.database / "curation_ledger" / "data"
    removed.append(min(ledger.rglob("*.parquet"), key=lambda file: file.stat().st_mtime_ns))
    for file in removed:
        file.unlink()
    assert len(removed) == 5
    lake.put(raw_row("b", years_ago, temperature=0.0))
    account = lake.run()
    assert (account.curated, account.duplicates) == (2, 1)


def delete_after_the_first_reading(lake: Lake, monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    write_plan = job.write_plan

    def delete_and_write_plan(*arguments: Any) -> None:
        for key in keys:
            (lake.folder / key).unlink()
        write_plan(*arguments)

    monkeypatch.setattr(job, "write_plan", delete_and_write_plan)


def test_small_raw_objects_are_read_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    key = lake.put(raw_row("a", temperature=1.0), raw_row("b", temperature=1.0))
    monkeypatch.setattr(job, "SMALL_OBJECT", (lake.folder / key).stat().st_size + 1)
    delete_after_the_first_reading(lake, monkeypatch, key)
    assert lake.run().curated == 2


def test_an_object_gone_before_its_rows_are_inserted_fails_the_run_and_costs_no_other(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = lake.put(raw_row("a", temperature=1.0))
    there = lake.put(raw_row("b", temperature=1.0))
    with monkeypatch.context() as patch:
        delete_after_the_first_reading(lake, patch, gone)
        with pytest.raises(job.SPARK_ERRORS):
            lake.run()
    assert lake.readings("device_id") == []
    lake.run()
    assert lake.readings("device_id") == [("b",)]
    assert lake.ledger() == {there: "curated"}


def test_the_listing_begins_where_all_was_taken_less_the_look_back(lake: Lake) -> None:
    lake.put(raw_row("a", temperature=1.0), hour=NOON - timedelta(days=30))
    lake.put(raw_row("b", temperature=1.0), hour=NOON)
    # A copied object, far ahead: it is taken, but the listing never begins there.
    lake.put(raw_row("c", temperature=1.0), hour=NOON + timedelta(days=365))
    assert lake.run("--look_back_minutes", "90").curated == 3
    straggler = lake.put(raw_row("d", temperature=1.0), hour=NOON - timedelta(hours=1))
    too_late = lake.put(raw_row("e", temperature=1.0), hour=NOON - timedelta(hours=4))
    assert lake.run("--look_back_minutes", "90").curated == 1
    assert lake.zone.listed_after == [
        RAW_PREFIX,
        f"{RAW_PREFIX}ingest_date=2026-11-24/ingest_hour=09",  # 11 less the 90 minutes
    ]
    assert straggler in lake.ledger()
    assert too_late not in lake.ledger()  # a replay's


def test_a_capped_run_takes_the_oldest_and_the_next_ones_the_rest(lake: Lake) -> None:
    hours = [NOON + timedelta(hours=n) for n in range(4)]
    keys = [
        lake.put(raw_row(f"{hour} {n}", temperature=1.0), hour=hour)
        for hour in hours
        for n in range(2)
    ]
    lake.now = NOON + timedelta(hours=5, minutes=14)
    # Complete up to the hour of the first object that is left, in the end to the last closed hour:
    # that of 16:00 is over since 15 minutes when the last run begins, at 17:18.
    for taken, complete in ((3, hours[1]), (6, hours[3]), (8, NOON + timedelta(hours=5))):
        account = lake.run("--max_objects_per_run", "3")
        assert sorted(lake.ledger()) == keys[:taken]
        assert account.complete_through == complete


def test_an_hour_is_complete_when_nothing_more_can_be_written_to_it(lake: Lake) -> None:
    lake.now = NOON + timedelta(minutes=13)
    assert lake.run().complete_through == NOON - timedelta(hours=1)  # at 12:14
    assert lake.run().complete_through == NOON  # at 12:15
    # What was copied into an old hour takes nothing back, not even when it is left.
    for hours in range(2):
        lake.put(raw_row(str(hours), temperature=1.0), hour=NOON - timedelta(hours=2 + hours))
    assert lake.run("--max_objects_per_run", "1").complete_through == NOON
    assert lake.accounts()[-1]["complete_through"].astimezone(UTC) == NOON
    lake.now = NOON - timedelta(hours=1)
    with pytest.raises(SystemExit, match="before"):
        lake.run()


def test_a_run_that_was_killed_leaves_the_hour_that_it_had_completed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(raw_row("a", temperature=1.0))
    lake.now = NOON + timedelta(minutes=30)
    with monkeypatch.context() as patch:
        patch.setattr(job, "write_account", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lake.run()
    lake.now = NOON + timedelta(hours=3)
    lake.run()
    through = [account["complete_through"].astimezone(UTC) for account in lake.accounts()]
    assert through == [NOON, NOON + timedelta(hours=2)]


@pytest.mark.parametrize(
    ("key", "hour"),
    [
        ("raw_data/ingest_date=2026-11-24/ingest_hour=09/x.parquet", (2026, 11, 24, 9)),
        ("raw_data/ingest_date=2026-11-24/ingest_hour=24/x.parquet", None),
        ("raw_data/ingest_date=2026-02-30/ingest_hour=09/x.parquet", None),
        ("raw_data/ingest_date=2026-11-24/ingest_hour=9/x.parquet", None),
        ("raw_data/x.parquet", None),
        ("", None),
    ],
)
def test_the_hour_of_a_key(key: str, hour: tuple[int, int, int, int] | None) -> None:
    assert job.hour_of("raw_data/", key) == (datetime(*hour, tzinfo=UTC) if hour else None)


@given(some.sets(some.integers(-1_000, 500_000), min_size=1, max_size=600))
def test_time_ranges_hold_every_hour_and_are_few(hours: set[int]) -> None:
    text = job.time_ranges(sorted(hours))
    ranges = [
        tuple(int(part.split("(")[1].rstrip(")")) for part in each.split(" AND "))
        for each in text.split(" OR ")
    ]
    assert len(ranges) <= job.MAX_TIME_RANGES
    starts_and_ends = list(itertools.chain.from_iterable(ranges))
    assert starts_and_ends == sorted(set(starts_and_ends))
    covered = sum((end - start) // 3600 for start, end in ranges)
    for hour in hours:
        assert any(start <= hour * 3600 < end for start, end in ranges)
    runs = sum(hour - 1 not in hours for hour in hours)
    if runs <= job.MAX_TIME_RANGES:
        assert covered == len(hours)
