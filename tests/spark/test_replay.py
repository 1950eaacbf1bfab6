"""A replay rebuilds what is selected, swaps whole days, and leaves every other row as it was."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import functions as sf
from pyspark.sql.readwriter import DataFrameWriterV2

import curate_telemetry as job
from tests.spark.lake import NOON, Lake, raw_row
from tests.spark.test_exactly_once import Killed, after, before

DAY = timedelta(days=1)
LIMIT = ("--maximum_reading_age_days", "30")
BOTH_DAYS = ("--replay_days", "2026-11-24:2026-11-25")


def row(name: str, event_time: datetime = NOON, version: int = 1, **values: Any) -> dict[str, Any]:
    """A raw row of a record of its own; as a later contract reads it, it is the same event."""
    payload = f"{name} said".encode()
    known = {"record_id": f"shard:{name}:0", "payload": payload, "contract_version": version}
    return raw_row(name.partition(" ")[0], event_time, NOON, **{**known, **values})


def replay(lake: Lake, *options: str) -> Any:
    setting = lake.job(*options)
    assert setting.settings.selection
    return job.replay(setting, setting.settings.selection)


def dry_run(lake: Lake, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    before = snapshots(lake)
    capsys.readouterr()
    assert replay(lake, *options, "--dry_run", "true") is None
    assert snapshots(lake) == before
    counts: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])["replay"]
    return counts


def snapshots(lake: Lake) -> list[int]:
    names = ("readings", "curation_runs", "curation_ledger")
    return [lake.table(f"{name}.snapshots").count() for name in names]


def content(lake: Lake, *left_out: str) -> list[str]:
    """Every row with all its columns, as text."""
    table = lake.table("readings").drop(*left_out)
    return sorted(
        each[0]
        for each in table.selectExpr(f"to_json(struct({', '.join(table.columns)}))").collect()
    )


def table(lake: Lake, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of each device's rows."""
    rows = lake.table("readings").selectExpr("device_id", *columns).collect()
    return sorted(tuple(row) for row in rows)


def days(counts: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("day", "rows_now", "rows_after", "added", "removed", "changed")
    return [tuple(day[name] for name in names) for day in counts["days"]]


def corrected(lake: Lake) -> None:
    """Two days of readings, and then raw as a corrected contract reads it: the temperature of `a`,
    the day of `moved`; `gone` has a value no longer, `new` has one. `expired` is not in raw."""
    lake.put(row("expired", temperature=1.0), row("b", temperature=2.0))
    lake.put(row("b", NOON + DAY, payload=b"b again", record_id="b2", temperature=2.0))
    wrong = lake.put(
        row("a", temperature=300.0),
        row("moved", temperature=4.0),
        row("gone", temperature=5.0),
        row("new"),
        row("a copy", temperature=300.0, payload=b"a said"),
    )
    lake.run("--run_id", "first")
    expired = min(lake.folder.rglob("*.parquet"))
    expired.unlink()
    (lake.folder / wrong).unlink()
    lake.put(row("b", temperature=2.0))
    lake.put(
        row("a", version=2, temperature=26.85),
        row("moved", NOON + DAY, version=2, temperature=4.0),
        row("gone", version=2),
        row("new", version=2, temperature=6.0),
    )


def test_a_range_of_days_is_rebuilt_after_the_counts(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    corrected(lake)
    old = content(lake)
    counts = dry_run(lake, capsys, *BOTH_DAYS)
    expected = [("2026-11-24", 5, 4, 1, 2, 1), ("2026-11-25", 1, 2, 1, 0, 0)]
    assert days(counts) == expected
    assert counts["dry_run"]
    assert content(lake) == old
    account = replay(lake, *BOTH_DAYS, "--run_id", "again")
    assert (account.kind, account.rows_in, account.curated, account.dropped) == ("replay", 6, 5, 1)
    shown = table(lake, "temperature", "day(event_time)", "run_id")
    assert shown == [
        ("a", 26.85, 24, "again"),
        ("b", 2.0, 24, "first"),
        ("b", 2.0, 25, "first"),
        ("expired", 1.0, 24, "first"),
        ("moved", 4.0, 25, "again"),
        ("new", 6.0, 24, "again"),
    ]
    # Rows that stay are as they were; again, it finds nothing to do.
    stayed = {text for text in old if '"device_id":"b"' in text or "expired" in text}
    assert len(stayed) == 3
    assert stayed <= set(content(lake))
    written, new = snapshots(lake)[0], content(lake)
    assert dry_run(lake, capsys, *BOTH_DAYS)["days"]
    assert replay(lake, *BOTH_DAYS).snapshot_id is None
    assert (snapshots(lake)[0], content(lake)) == (written, new)
    # The schedule takes what was not named, and finds it there.
    assert (lake.run().curated, content(lake)) == (0, new)


def test_a_row_leaves_its_day_for_one_that_is_not_selected(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    corrected(lake)
    counts = dry_run(lake, capsys, "--replay_days", "2026-11-24")
    assert days(counts) == [("2026-11-24", 5, 4, 1, 2, 1), ("2026-11-25", 1, 2, 1, 0, 0)]
    before = snapshots(lake)[0]
    replay(lake, "--replay_days", "2026-11-24")
    assert snapshots(lake)[0] == before + 1  # both days at once: no reader sees it twice, or never
    assert [day for _, day in table(lake, "day(event_time)")].count(25) == 2


def test_a_replay_of_a_device_leaves_the_others_as_they_are(lake: Lake) -> None:
    lake.put(row("a", temperature=300.0), row("b", temperature=300.0), row("c", temperature=1.0))
    lake.run()
    lake.register(("a", NOON.isoformat(), "T-1", "depot"), ("b", NOON.isoformat(), "T-1", "depot"))
    others = [text for text in content(lake) if '"device_id":"a"' not in text]
    lake.put(row("a", version=2, temperature=26.85), row("b", version=2, temperature=26.85))
    account = replay(lake, "--replay_device", "a")
    assert (account.rows_in, account.curated, account.duplicates) == (2, 1, 1)
    assert lake.readings("device_id", "temperature", "device_site") == [
        ("a", 26.85, "depot"),
        ("b", 300.0, None),
        ("c", 1.0, None),
    ]
    assert [text for text in content(lake) if '"device_id":"a"' not in text] == others


def test_named_objects_are_taken_whole_and_leave_the_schedule_its_place(
    lake: Lake, tmp_path: Any
) -> None:
    lake.put(row("a", temperature=1.0))
    lake.run()
    straggler = lake.put(row("b", temperature=1.0), hour=NOON - 30 * DAY)
    damaged = lake.put_bytes(b"no Parquet", lake.new_key(NOON - 30 * DAY))
    waiting = lake.put(row("c", temperature=1.0))
    names = tmp_path / "keys.txt"
    names.write_text(f"{straggler}\n\n{damaged}\n")
    before = lake.accounts()[-1]["complete_through"]
    account = replay(lake, "--replay_objects", f"file://{names}")
    assert (account.objects, account.objects_set_aside, account.curated) == (2, 1, 1)
    ledger = lake.ledger()
    assert (ledger[straggler], ledger[damaged], ledger.get(waiting)) == (
        "curated",
        "set_aside",
        None,
    )
    assert lake.accounts()[-1]["complete_through"] == before
    # A second time there is nothing to take, and the schedule goes on where it was.
    replay(lake, "--replay_objects", f"file://{names}")
    assert lake.ledger() == ledger
    assert (lake.run().curated, set(lake.ledger())) == (1, {*ledger, waiting})
    names.write_text("raw_data/ingest_date=2026-11-24/ingest_hour=12/gone.parquet")
    with pytest.raises(SystemExit, match="1 named objects are not there"):
        replay(lake, "--replay_objects", f"file://{names}")


def test_late_readings_are_promoted_once(
    lake: Lake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = NOON - 40 * DAY
    lake.put(row("a", old, temperature=1.0), row("b", old - DAY, temperature=1.0))
    lake.put(row("c", old, temperature=1.0), row("d", temperature=1.0))
    assert lake.run(*LIMIT).too_old == 3
    day = f"{old:%Y-%m-%d}"
    selected = ("--replay_late", "true", "--replay_days", f"{day}:{day}")
    assert days(dry_run(lake, capsys, *selected, *LIMIT)) == [(day, 0, 2, 2, 0, 0)]
    with monkeypatch.context() as patch:
        patch.setattr(job, "leave_late", before(job.leave_late))
        with pytest.raises(Killed):
            replay(lake, *selected, *LIMIT)
    account = replay(lake, *selected, *LIMIT)
    assert (account.rows_in, account.curated, account.duplicates) == (2, 0, 2)
    assert [name for (name,) in lake.readings("device_id")] == ["a", "c", "d"]
    assert [each.device_id for each in lake.table("late_readings").collect()] == ["b"]
    # A replay of their day puts nothing apart that is curated; what is apart stays there.
    account = replay(lake, "--replay_days", f"{old - DAY:%Y-%m-%d}:2026-11-24", *LIMIT)
    assert (account.curated, account.duplicates, account.too_old) == (3, 1, 0)
    assert len(lake.readings("device_id")) == 3
    assert lake.table("late_readings").count() == 1


def reread(lake: Lake, seed: int) -> list[tuple[Any, ...]]:
    """Readings of five days, then raw as a corrected contract reads it; what shall come of it."""
    random = Random(seed)
    first, then, result = [], [], []
    for n in range(12):
        name, day = f"r{n:02}", random.randrange(5)
        first.append(row(name, NOON - day * DAY, temperature=1.0))
        fate = random.choice(["same", "changed", "moved", "nothing", "expired"])
        moved = random.randrange(5) if fate == "moved" else day
        if fate != "expired":
            value = {} if fate == "nothing" else {"temperature": 1.0 + (fate == "changed")}
            then.append(row(name, NOON - moved * DAY, version=2, **value))
        if fate != "nothing":
            result.append((name, 1.0 + (fate == "changed"), 24 - moved))
    too_old = row("stale", NOON - 40 * DAY, speed=1.0)
    lake.put(*first)
    lake.run(*LIMIT)
    for file in lake.folder.rglob("*.parquet"):
        file.unlink()
    lake.put(*then, too_old)
    return result


@pytest.mark.parametrize(
    ("step", "kill"),
    [
        ("commit_late", after),
        ("swap_at_once", after),
        ("leave_late", before),
        ("write_account", before),
        ("record_taken", before),
    ],
)
def test_a_killed_replay_run_again_ends_in_the_same_table(
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    kill: Callable[..., Any],
    soak_seed: int,
) -> None:
    result = reread(lake, soak_seed)
    selected = ("--replay_days", "2026-10-01:2026-11-30", *LIMIT)
    with monkeypatch.context() as patch:
        patch.setattr(job, step, kill(getattr(job, step)))
        with pytest.raises(Killed):
            replay(lake, *selected)
    # A run of the schedule in between finds nothing to settle, and nothing new.
    assert lake.run(*LIMIT).curated <= len(result)
    replay(lake, *selected)
    assert table(lake, "temperature", "day(event_time)") == result
    assert [each.device_id for each in lake.table("late_readings").collect()] == ["stale"]
    accounts = lake.accounts()
    for account in accounts:
        parts = ("curated", "duplicates", "dropped", "too_old")
        assert account["rows_in"] == sum(account[name] for name in parts)
    finished = int(step == "record_taken")  # its account was written
    assert [account["kind"] for account in accounts].count("replay") == 1 + finished


def test_a_swap_whose_answer_was_lost_is_looked_up_and_one_that_failed_changes_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrected(lake)
    overwrite, setting = DataFrameWriterV2.overwrite, lake.job()

    def lose_answer(writer: DataFrameWriterV2, condition: Any) -> None:
        overwrite(writer, condition)
        raise PySparkException("CommitStateUnknownException")

    def come_between(writer: DataFrameWriterV2, condition: Any) -> None:
        other = lake.spark.newSession()  # in this one it would bear the marks of the replay
        other.table(setting.readings).where("device_id = 'b'").writeTo(setting.readings).append()
        overwrite(writer, condition)

    old = content(lake)
    with monkeypatch.context() as patch:
        patch.setattr(DataFrameWriterV2, "overwrite", come_between)
        with pytest.raises(Exception, match="conflicting"):
            replay(lake, *BOTH_DAYS)
    assert set(content(lake)) == set(old)
    doubled = lake.table("readings")
    doubled.dropDuplicates(["event_id"]).writeTo(setting.readings).overwrite(sf.lit(True))
    with monkeypatch.context() as patch:
        patch.setattr(DataFrameWriterV2, "overwrite", lose_answer)
        replay(lake, *BOTH_DAYS)
    assert [name for (name,) in lake.readings("device_id")].count("moved") == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--dry_run", "true"),
        ("--replay_days", "2026-11-03:2026-11-01"),
        ("--replay_days", "yesterday"),
        ("--replay_late", "true", "--replay_objects", "s3://b/keys"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        job.parse_arguments(["--raw_zone_bucket", "b", "--database", "d", *options])
