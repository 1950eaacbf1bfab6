"""`device_hours` and `device_latest` equal a recomputation from `readings`, whatever arrives, is
removed, rewritten or killed in between, and a run's cost follows the days that changed."""

import json
import random
from datetime import timedelta
from typing import Any

import pytest

import summarise_devices as job
from tests.spark.lake import Lake, raw_row
from tests.spark.summary_lake import SummaryLake, at, micros, midnight, reading


@pytest.fixture
def summaries(lake: Lake) -> SummaryLake:
    return SummaryLake(lake)


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


# ---- nothing there -----------------------------------------------------------------------------
def test_an_empty_lake_and_one_without_news_are_runs_that_succeed_and_say_so(
    summaries: SummaryLake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "summarise_devices")
    account = summaries.run()
    assert (account.readings_snapshot_id, account.days, account.devices) == (None, 0, 0)
    assert "nothing to summarise" in caplog.text
    summaries.create_readings()
    assert summaries.run().readings_snapshot_id is None
    assert (summaries.hours(), summaries.latest()) == ({}, {})

    summaries.add(reading("a", at(), temperature=1.0))
    account = summaries.run()
    assert (account.days, account.hours, account.devices) == (1, 1, 1)
    account = summaries.run()
    assert (account.days, account.hours, account.devices) == (0, 0, 1)
    assert "nothing new to summarise" in caplog.text


# ---- equal to a recomputation ------------------------------------------------------------------
def life_of_a_device(dice: random.Random, device_id: str) -> list[dict[str, Any]]:
    """Readings over a few days, with everything that devices and networks do to them."""
    number, north, east = dice.choice([0, 1, 1, 57, 10**12]), dice.uniform(-80, 80), 179.0
    moment = at(hours=dice.uniform(-30, 30))
    readings: list[dict[str, Any]] = []
    for _ in range(dice.randint(1, 30)):
        moment += timedelta(seconds=dice.choice([0, 1, 30, 60, 600, 3_600, 3_601, 20_000, 90_000]))
        number += dice.choice([1] * 8 + [0, 2, 5, 99_999, 100_001])
        number = dice.choice([number] * 20 + [0, 1, max(0, number - 60), max(0, number - 200)])
        north += dice.choice([0, 1e-5, 1e-4, 1e-3, -1e-3, 5])
        east += dice.choice([0, 1e-5, 1e-3, 2e-2, -1e-3])
        told = reading(
            device_id,
            moment + timedelta(seconds=dice.choice([0] * 9 + [-90])),
            sequence=dice.choice([number] * 9 + [None]),
            latitude=dice.choice([north] * 9 + [None]),
            longitude=dice.choice([east if east < 180 else east - 360] * 9 + [None]),
            temperature=dice.choice([None, float("nan"), float("inf"), 20.0, 21.5, -3.25]),
            speed=dice.choice([None, 0.0, 13.7]),
            status=dice.choice([None, "moving", "idle"]),
            is_late=dice.random() < 0.2,
            quality_flags=dice.choice([[], [], ["speed_out_of_range"]]),
        )
        told["arrival_time"] += timedelta(hours=dice.choice([0, 0, 0, 5, 40]))
        told["event_id"] = f"{device_id}-{len(readings)}"
        readings.append(told)
    return readings


@pytest.mark.parametrize("seed", [1, 2])
def test_summaries_follow_whatever_happens_to_the_readings(
    summaries: SummaryLake, seed: int
) -> None:
    dice = random.Random(seed)
    lives = [life_of_a_device(dice, f"device-{n}") for n in range(60)]
    readings = [each for life in lives for each in life]
    batch_of = {each["event_id"]: dice.choice([0, 0, 1, 2, 3]) for each in readings}
    batches = [
        [each for each in readings if batch_of[each["event_id"]] == batch] for batch in range(4)
    ]

    def remove(share: int) -> None:
        """As a replay begins: the latest readings of some devices, and some of any device."""
        last = {life[-1]["event_id"] for life in lives[::3]}
        gone = {each["event_id"] for each in readings if dice.randrange(100) < share} | last
        summaries.remove("event_id", gone)

    for batch in batches[:2]:
        summaries.add(*batch)
        summaries.run()
        summaries.assert_up_to_date()
    summaries.sql("ALTER TABLE READINGS UNSET TBLPROPERTIES ('write.summary.partition-limit')")
    summaries.add(*batches[2])
    remove(5)
    summaries.compact()
    summaries.run()
    summaries.assert_up_to_date()
    summaries.sql("ALTER TABLE READINGS SET TBLPROPERTIES ('write.summary.partition-limit'='99')")
    # All that some devices ever sent, and what others sent last.
    summaries.remove("device_id", [f"device-{n}" for n in range(0, 60, 7)])
    summaries.add(*batches[3])
    remove(1)
    summaries.run()
    summaries.assert_up_to_date()
    summaries.assert_equals_recomputation()


def test_readings_of_the_curation_job_are_summarised_a_new_field_too(
    lake: Lake, summaries: SummaryLake
) -> None:
    lake.put(raw_row("a", at(), temperature=20.0, sequence=1), raw_row("b", at(days=3), speed=1.0))
    lake.run()
    summaries.run()
    lake.put(
        raw_row("a", at(minutes=2), temperature=22.0, sequence=3, latitude=1.0, longitude=2.0),
        raw_row("a", at(minutes=1), arrival_time=at(days=2), temperature=10.0, sequence=2),
    )
    lake.run()
    summaries.sql("ALTER TABLE READINGS ADD COLUMN `tyre.pressure` DOUBLE")
    account = summaries.run()
    assert (account.days, account.hours, account.devices) == (1, 1, 2)
    summaries.assert_up_to_date()
    summaries.assert_equals_recomputation()
    hour = summaries.hour("a", at())
    assert (hour["readings"], hour["late"], hour["expected"]) == (3, 1, 3)
    assert hour["temperature_mean"] == pytest.approx(52 / 3)
    assert (hour["temperature_min"], hour["temperature_last"]) == (10.0, 22.0)
    # The column is there; what has values in it comes with the next readings.
    summaries.add(reading("a", at(minutes=3), **{"tyre.pressure": 2.5}))
    summaries.run()
    assert summaries.hour("a", at())["tyre.pressure_max"] == 2.5
    assert summaries.device("a")["tyre.pressure"] == 2.5


# ---- only what changed -------------------------------------------------------------------------
def test_a_late_reading_makes_its_day_and_the_next_be_computed_and_no_other(
    summaries: SummaryLake,
) -> None:
    place = {"latitude": 50.0, "longitude": 8.0}
    week = [reading("a", midnight(day), sequence=10 * day, **place) for day in range(1, 6)]
    summaries.add(*week)
    summaries.run()
    before = summaries.hours()
    late = {"latitude": 50.1, "longitude": 8.0, "sequence": 19}
    summaries.add(reading("a", midnight(2) - timedelta(minutes=30), **late))
    account = summaries.run()
    assert (account.days, account.hours) == (2, 3)
    summaries.assert_up_to_date()
    changed = {key for key, row in summaries.hours().items() if row != before.get(key)}
    # The next day's first reading follows the late one now.
    assert changed == {("a", micros(midnight(2) - timedelta(hours=1))), ("a", micros(midnight(2)))}
    assert summaries.hour("a", midnight(2))["gaps"] == 0
    assert summaries.hour("a", midnight(2))["distance_metres"] == pytest.approx(11_119.5, rel=1e-4)


def test_rewritten_files_change_nothing_and_a_rolled_back_table_all(
    summaries: SummaryLake,
) -> None:
    summaries.add(reading("a", at()))
    first = job.lineage(summaries.job(), summaries.readings_table)[0].snapshot_id
    summaries.add(reading("a", at(minutes=1)), reading("b", at(days=5)))
    summaries.run()
    summaries.compact()
    account = summaries.run()
    assert (account.days, account.hours) == (0, 0)
    # What a run has seen moves on, so that the snapshot before may expire.
    assert summaries.run().days == 0
    seen = job.last_seen(job.lineage(summaries.job(), summaries.job().hours))
    assert seen == job.lineage(summaries.job(), summaries.readings_table)[0].snapshot_id
    summaries.sql(f"CALL lake.system.rollback_to_snapshot('{summaries.readings_table}', {first})")
    summaries.run()
    summaries.assert_up_to_date()
    assert list(summaries.latest()) == [("a",)]


def test_other_definitions_make_every_day_be_computed(
    summaries: SummaryLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    summaries.add(reading("a", at(), latitude=1.0, longitude=1.0))
    summaries.add(reading("a", at(seconds=1), latitude=1.0, longitude=1.001))
    summaries.run()
    assert summaries.hour("a", at())["jumps"] == 1
    monkeypatch.setattr(job, "MAX_METRES_PER_SECOND", 1_000.0)
    monkeypatch.setattr(job, "DEFINITIONS", job.DEFINITIONS + 1)
    assert summaries.run().days == 1
    assert summaries.hour("a", at())["jumps"] == 0


def test_many_scattered_days_are_computed_as_one_stretch(
    summaries: SummaryLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "MAX_STRETCHES", 2)
    summaries.add(*(reading("a", at(days=4 * n), sequence=n) for n in range(4)))
    summaries.run()
    summaries.add(*(reading("b", at(days=4 * n), sequence=n) for n in range(4)))
    assert summaries.run().hours == 8
    summaries.assert_up_to_date()


# ---- killed ------------------------------------------------------------------------------------
@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_run_killed_around_a_commit_is_made_good_by_the_next(
    summaries: SummaryLake, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """1, 2: before and after the commit of the hours; 3, 4: of the latest."""
    summaries.add(reading("a", at(), sequence=1), reading("b", at(), sequence=1))
    summaries.run()
    summaries.add(reading("a", at(minutes=1), sequence=3), reading("c", at(days=1)))
    step, replace_rows = iter(range(1, 5)), job.replace_rows

    def killed(*arguments: Any) -> Any:
        if next(step) == killed_at:
            raise Killed
        told = replace_rows(*arguments)
        if next(step) == killed_at:
            raise Killed
        return told

    with monkeypatch.context() as patch:
        patch.setattr(job, "replace_rows", killed)
        with pytest.raises(Killed):
            summaries.run()
    summaries.add(reading("b", at(minutes=-1), sequence=0))
    summaries.run()
    summaries.assert_up_to_date()


# ---- device_latest -----------------------------------------------------------------------------
def test_a_late_reading_sets_no_device_back_and_a_vanished_one_does(
    summaries: SummaryLake,
) -> None:
    there = {"latitude": 50.0, "longitude": 8.0}
    summaries.add(
        reading("a", at(days=-9), temperature=-9.0),
        reading("a", at(), temperature=20.0, status="idle", **there),
        reading("b", at(days=-3), temperature=1.0),
    )
    summaries.run()
    # One from far before the days that are then looked at, and one from among them.
    summaries.add(reading("a", at(days=-5), temperature=5.0, arrival_time=at(hours=7)))
    summaries.run()
    assert summaries.device("a")["temperature"] == 20.0
    summaries.add(reading("a", at(hours=-1), temperature=6.0, latitude=1.0, longitude=1.0))
    summaries.run()
    device = summaries.device("a")
    assert (device["temperature"], device["latitude"], device["status"]) == (20.0, 50.0, "idle")
    assert device["last_event_time"] == micros(at())
    assert device["last_arrival_time"] == micros(at(hours=7))
    assert device["readings_24h"] == 2
    summaries.assert_up_to_date()

    summaries.remove("temperature", [20.0, 5.0, 6.0])
    summaries.run()
    device = summaries.device("a")
    assert (device["temperature"], device["latitude"]) == (-9.0, None)
    assert device["last_arrival_time"] == micros(at(days=-9, seconds=2))
    summaries.assert_up_to_date()
    summaries.remove("device_id", ["a"])
    summaries.run()
    assert list(summaries.latest()) == [("b",)]


def test_a_device_is_silent_once_nothing_came_for_longer_than_the_setting(
    summaries: SummaryLake,
) -> None:
    # Its clock is a day ahead: what counts is when something came.
    summaries.add(reading("a", at(days=1), arrival_time=at()), reading("b", at(hours=-1)))
    summaries.lake.now = at(minutes=59)
    summaries.run("--silent_after_seconds", "3600")
    assert summaries.device("a")["silent_since"] is None
    assert summaries.device("b")["silent_since"] == micros(at(hours=-1, seconds=2))
    account = summaries.run("--silent_after_seconds", "3600")
    assert (account.devices, account.silent, account.active) == (2, 2, 0)
    # Nothing new came, and silence goes on.
    assert summaries.device("a")["silent_since"] == micros(at())


# ---- the script --------------------------------------------------------------------------------
def test_arguments_of_glue_pass_and_the_account_is_one_line_of_json(
    summaries: SummaryLake, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries.add(reading("a", at()))
    names = ["--catalog", "lake", "--database", summaries.lake.database]
    job.main([*names, "--JOB_RUN_ID", "jr_1", "--silent_after_seconds", "60"])
    (line,) = capsys.readouterr().out.splitlines()
    account = json.loads(line)["summary"]
    assert (account["days"], account["hours"], account["devices"]) == (1, 1, 1)
    assert account["silent"] + account["active"] == 1
    assert account["seconds"] > 0
    with pytest.raises(SystemExit):
        job.parse_arguments(["--data", "abbreviated"])
