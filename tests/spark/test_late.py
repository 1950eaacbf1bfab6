"""What came late is in its day with a mark; only beyond a limit that was set does it go apart."""

from datetime import timedelta

import pytest
from pyspark.sql import Row

from tests.spark.lake import NOON, Lake, raw_row

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
LIMIT = ("--maximum_reading_age_days", "30")


def late(lake: Lake) -> list[tuple[str, str]]:
    rows = lake.table("late_readings").select("device_id", "reason").collect()
    return sorted((row.device_id, row.reason) for row in rows)


def adds_up(account: Row) -> bool:
    parts = account.curated, account.duplicates, account.dropped, account.too_old
    return bool(account.rows_in == sum(parts))


def test_late_and_ahead_are_marks_on_rows_in_their_day(lake: Lake) -> None:
    hour = timedelta(hours=1)
    for name, delay in (
        ("years", 2_000 * DAY),
        ("late", hour + SECOND),
        ("in time", hour),
        ("skewed", -hour),
        ("ahead", -hour - SECOND),
    ):
        lake.put(raw_row(name, NOON - delay, NOON, temperature=1.0))
    account = lake.run()
    assert (account.curated, account.late, account.ahead, account.too_old) == (5, 2, 1, 0)
    assert lake.readings("device_id", "is_late", "is_ahead") == [
        ("ahead", False, True),
        ("in time", False, False),
        ("late", True, False),
        ("skewed", False, False),
        ("years", True, False),
    ]
    assert not lake.spark.catalog.tableExists(f"lake.{lake.database}.late_readings")
    # The bounds are the arguments'.
    lake.put(raw_row("x", NOON - 9 * SECOND, NOON, speed=1.0))
    lake.put(raw_row("y", NOON + 9 * SECOND, NOON, speed=1.0))
    account = lake.run("--late_after_seconds", "8", "--ahead_after_seconds", "8")
    assert (account.late, account.ahead) == (1, 1)


def test_only_what_is_older_than_the_limit_at_its_arrival_goes_apart(lake: Lake) -> None:
    lake.put(
        raw_row("at the limit", NOON - 30 * DAY, NOON, temperature=1.0),
        raw_row("beyond", NOON - 30 * DAY - SECOND, NOON, temperature=1.0),
        raw_row("nothing", NOON - 31 * DAY, NOON),
    )
    # That the run comes a year later makes nothing older.
    lake.now += 365 * DAY
    account = lake.run(*LIMIT)
    assert (account.curated, account.too_old, account.dropped, account.late) == (1, 1, 1, 1)
    assert late(lake) == [("beyond", "older_than_30_days")]
    columns = lake.table("late_readings").columns
    assert columns == [*lake.table("readings").columns, "reason"]


def test_a_reading_is_either_in_readings_or_apart_and_once(lake: Lake) -> None:
    event = NOON - 10 * DAY
    stale = event + 31 * DAY
    # In readings first: whatever the age of its copies, they are duplicates.
    lake.put(raw_row("a", event, event + DAY, temperature=1.0))
    lake.run(*LIMIT)
    lake.put(
        raw_row("a", event, stale, temperature=1.0),
        raw_row("b", event, stale, temperature=1.0),
        raw_row("b", event, stale + DAY, temperature=1.0),
        # Within a batch the copy that arrived first decides.
        raw_row("c", event, stale, temperature=1.0),
        raw_row("c", event, event + DAY, temperature=1.0),
    )
    account = lake.run(*LIMIT)
    assert adds_up(account)
    assert (account.curated, account.duplicates, account.too_old) == (1, 3, 1)
    # Apart first: copies that are too old are duplicates, one that came in time counts.
    lake.put(raw_row("b", event, stale + 2 * DAY, temperature=1.0))
    account = lake.run(*LIMIT)
    assert (account.curated, account.duplicates, account.too_old) == (0, 1, 0)
    assert late(lake) == [("b", "older_than_30_days")]
    lake.put(raw_row("b", event, event + 2 * DAY, temperature=1.0))
    account = lake.run(*LIMIT)
    assert (account.curated, account.duplicates, account.too_old) == (1, 0, 0)
    assert late(lake) == []
    assert [name for (name,) in lake.readings("device_id")] == ["a", "b", "c"]


@pytest.mark.parametrize("limited", [LIMIT, ()])
def test_without_a_limit_what_went_apart_before_comes_back_with_its_copy(
    lake: Lake, limited: tuple[str, ...]
) -> None:
    row = raw_row("a", NOON - 31 * DAY, NOON, temperature=1.0)
    lake.put(row)
    lake.run(*LIMIT)
    lake.put(row)
    account = lake.run(*limited)
    assert adds_up(account)
    assert (account.curated, len(late(lake))) == ((0, 1) if limited else (1, 0))
