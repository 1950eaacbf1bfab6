"""Promise 2: `readings` holds exactly one row per event id, whatever is redelivered or killed."""

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from pyspark.errors import PySparkException

import curate_telemetry as job
from tests.spark.lake import NOON, Lake, raw_row


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


def assert_adds_up(lake: Lake, distinct_readings: int, too_old: int = 0) -> None:
    """One row per reading, every object in the ledger once, and accounts that add up to both."""
    event_ids = [event_id for (event_id,) in lake.readings("event_id")]
    assert len(event_ids) == len(set(event_ids)) == distinct_readings
    accounts = lake.accounts()
    assert len({account["run_id"] for account in accounts}) == len(accounts)
    parts = ("curated", "duplicates", "dropped", "too_old")
    total = {
        name: sum(account[name] for account in accounts) for name in ("objects", "rows_in", *parts)
    }
    assert total["rows_in"] == sum(total[name] for name in parts)
    assert total["curated"] == distinct_readings
    assert total["too_old"] == too_old
    if too_old:
        late_ids = [row.event_id for row in lake.table("late_readings").collect()]
        assert len(late_ids) == len(set(late_ids)) == too_old
        assert not set(late_ids) & set(event_ids)
    assert total["objects"] == len(lake.ledger()) == len(list(lake.folder.rglob("*.parquet")))


def test_redelivered_readings_are_removed_across_batches_runs_and_days(lake: Lake) -> None:
    old = NOON - timedelta(days=400)
    lake.put(raw_row("a", temperature=20.0), raw_row("b", old, temperature=1.0))
    lake.put(raw_row("a", temperature=20.0), raw_row("c", temperature=3.0), raw_row("d"))
    first = lake.run()
    assert (first.rows_in, first.curated, first.duplicates, first.dropped) == (5, 3, 1, 1)

    nothing_new = lake.run()
    assert (nothing_new.objects, nothing_new.rows_in, nothing_new.snapshot_id) == (0, 0, None)

    lake.now += timedelta(days=3)
    late = NOON + timedelta(days=3)
    lake.put(
        raw_row("a", arrival_time=late, temperature=20.0),
        raw_row("b", old, arrival_time=late, temperature=1.0),
        raw_row("b", old, arrival_time=late, temperature=2.0),
    )
    third = lake.run()
    assert (third.rows_in, third.curated, third.duplicates, third.late) == (3, 1, 2, 1)
    # What arrived first stays.
    arrivals = lake.table("readings").where("device_id = 'a'").selectExpr("ingest_delay_seconds")
    assert [row[0] for row in arrivals.collect()] == [2.0]
    assert_adds_up(lake, 4)


Replace = Callable[[Callable[..., Any]], Callable[..., Any]]


def before(step: Callable[..., Any]) -> Callable[..., Any]:
    def killed(*_: object) -> None:
        raise Killed

    return killed


def after(step: Callable[..., Any]) -> Callable[..., Any]:
    def killed(*arguments: object) -> None:
        step(*arguments)
        raise Killed

    return killed


STEPS: list[tuple[str, Replace]] = [
    ("create_table", after),
    ("write_plan", before),
    ("commit_late", before),
    ("commit_late", after),
    ("commit_readings", after),
    ("leave_late", after),
    ("write_account", after),
]
LIMIT = ("--maximum_reading_age_days", "30")


def delivered(seed: int) -> tuple[list[dict[str, Any]], int, int]:
    """Raw rows in a random order, many of them twice; how many readings and how many too old ones
    they are."""
    random = Random(seed)
    ages = [*random.choices([0, 1, 29, 31, 400], k=8), 0, 31]
    rows = [raw_row(f"nothing-{n}") for n in range(random.randint(1, 3))]
    for n, age in enumerate(ages):
        for copy in range(random.randint(1, 3)):
            arrival = NOON + timedelta(seconds=copy)
            event = NOON - timedelta(days=age)
            rows.append(raw_row(f"device-{n}", event, arrival, temperature=20.0))
    random.shuffle(rows)
    too_old = sum(age > 30 for age in ages)
    return rows, len(ages) - too_old, too_old


@pytest.mark.parametrize(("step", "kill"), STEPS)
def test_a_killed_run_and_the_next_leave_what_one_run_leaves(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, step: str, kill: Replace, soak_seed: int
) -> None:
    rows, readings, too_old = delivered(soak_seed)
    # Before the kill, of each kind one; and meanwhile the consumer goes on, in the same hour.
    lake.put(
        raw_row("a", temperature=1.0), raw_row("e", NOON - timedelta(days=31), NOON, speed=1.0)
    )
    lake.put(*rows[::2])
    lake.put_bytes(b"no Parquet at all")
    with monkeypatch.context() as patch:
        patch.setattr(job, step, kill(getattr(job, step)))
        with pytest.raises(Killed):
            lake.run(*LIMIT)
    lake.put(*rows[1::2])
    lake.run(*LIMIT)
    assert_adds_up(lake, readings + 1, too_old + 1)
    assert sum(account["objects_set_aside"] for account in lake.accounts()) == 1


@pytest.mark.parametrize(("step", "kill"), [("commit_late", after), ("write_account", before)])
def test_a_killed_run_of_readings_that_came_too_late_alone_is_repeated(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, step: str, kill: Replace
) -> None:
    lake.put(raw_row("e", NOON - timedelta(days=31), NOON, temperature=9.0))
    with monkeypatch.context() as patch:
        patch.setattr(job, step, kill(getattr(job, step)))
        with pytest.raises(Killed):
            lake.run(*LIMIT)
    lake.run(*LIMIT)
    assert_adds_up(lake, 0, too_old=1)


def test_a_run_killed_while_it_settles_another_is_settled_too(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(raw_row("a", temperature=20.0))
    for step, kill in (("write_account", before), ("account_of", before)):
        with monkeypatch.context() as patch:
            patch.setattr(job, step, kill(getattr(job, step)))
            with pytest.raises(Killed):
                lake.run()
    lake.put(raw_row("b", temperature=20.0))
    lake.run()
    assert_adds_up(lake, 2)


def test_a_run_behind_the_last_ones_clock_is_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its commit it would leave a plan that no run finds, and readings lost by it."""
    lake.put(raw_row("a", temperature=20.0))
    lake.run()
    lake.put(raw_row("b", temperature=20.0))
    last = lake.now
    lake.now -= timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(job, "commit_readings", before(job.commit_readings))
        with pytest.raises(SystemExit, match=r"is before the ledger's last run, 2026-11-24"):
            lake.run()
    assert len(lake.ledger()) == 1
    lake.now = last - timedelta(minutes=1)  # the same instant: a run that is repeated
    lake.run()
    assert_adds_up(lake, 2)


def test_a_commit_whose_answer_was_lost_is_looked_up(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_once = job.commit_once

    lost = []

    def lose_answer(setting: Any, table: str, summary: Any, write: Callable[[], object]) -> Any:
        def written_and_lost() -> None:
            write()
            lost.append(table)
            raise PySparkException("CommitStateUnknownException")

        return commit_once(setting, table, summary, written_and_lost)

    def fail(setting: Any, table: str, summary: Any, _write: Callable[[], object]) -> Any:
        def failed() -> None:
            raise PySparkException("CommitFailedException")

        return commit_once(setting, table, summary, failed)

    too_old = raw_row("e", NOON - timedelta(days=31), NOON, temperature=9.0)
    lake.put(raw_row("a", temperature=20.0), too_old)
    monkeypatch.setattr(job, "commit_once", lose_answer)
    assert lake.run(*LIMIT).curated == 1
    assert len(lost) == 2
    lake.put(raw_row("b", temperature=20.0))
    monkeypatch.setattr(job, "commit_once", fail)
    with pytest.raises(PySparkException, match="CommitFailedException"):
        lake.run()
    monkeypatch.undo()
    assert lake.run().curated == 1
    assert_adds_up(lake, 2, too_old=1)


def test_the_snapshot_names_its_run_and_input(lake: Lake) -> None:
    key = lake.put(raw_row("a", temperature=20.0))
    account = lake.run("--run_id", "run-1")
    (snapshot,) = lake.table("readings.snapshots").collect()
    assert snapshot.snapshot_id == account.snapshot_id
    assert snapshot.operation == "append"
    assert snapshot.summary["curation.run_id"] == "run-1"
    assert snapshot.summary["curation.input_digest"] == job.digest_of([key])
    with pytest.raises(SystemExit, match="used before"):
        lake.run("--run_id", "run-1")
