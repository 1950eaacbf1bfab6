"""What the job's benchmarks stand on: the same readings for all, and what a log says was read.

How fast anything is, is no
test's business.
"""

from __future__ import annotations

import gzip
import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks import curation_history, curation_rate
from benchmarks.curation_rate import CONTENDERS, RowsDifferError, require_rows
from benchmarks.raw_readings import NOON, FolderClient, Folders, FolderZone, Written, write_readings
from benchmarks.spark_cost import TableCost, tables_in, timed
from benchmarks.table_lines import aligned

HOUR = timedelta(hours=1)


def test_all_forms_hold_the_same_readings_in_as_many_objects(tmp_path: Path) -> None:
    hours = [NOON, NOON + timedelta(hours=1)]
    folders = Folders(tmp_path / "raw", tmp_path / "plain", tmp_path / "whole")
    written, keys = write_readings(folders, hours, readings=300, objects=4)
    assert (written.readings, written.objects, len(keys)) == (600, 8, 8)
    tables = [pq.read_table(folders.raw / key, partitioning=None) for key in keys]
    typed = [row for table in tables for row in table.to_pylist()]
    plain, whole = lines_in(tmp_path / "plain"), lines_in(tmp_path / "whole")
    assert [len(each) for each in (plain, whole)] == [8, 8]
    plain_lines = list(itertools.chain.from_iterable(plain))
    assert sorted(row["payload"] for row in typed) == sorted(plain_lines)
    ids = [json.loads(line)["event_id"] for each in whole for line in each]
    assert sorted(ids) == sorted(row["event_id"] for row in typed)
    assert len(set(ids)) == len(set(plain_lines)) == written.distinct == 594
    # Complete, or a tutorial's dropna() would drop them.
    assert all(None not in json.loads(line).values() for line in plain_lines)


def lines_in(folder: Path) -> list[list[bytes]]:
    return [gzip.decompress(file.read_bytes()).splitlines() for file in folder.rglob("*.gz")]


def test_readings_are_drawn_from_their_hour(tmp_path: Path) -> None:
    first = write_readings(Folders(tmp_path / "a"), [NOON], 50, 2)
    assert first == write_readings(Folders(tmp_path / "b"), [NOON], 50, 2)
    assert first[1] != write_readings(Folders(tmp_path / "c"), [NOON - HOUR], 50, 2)[1]


def test_listing_begins_after_a_key_and_counts_what_it_hands_out() -> None:
    client = FolderClient([f"raw_data/{number:05}" for number in range(2_500)])
    zone = FolderZone(client=client)
    found = [raw.key for raw in zone.list_after("raw_data/00999")]
    assert found == client.keys[1_000:]
    assert (client.listed, client.requests) == (1_500, 2)


def scan(table: str, files: int, rows: int) -> dict[str, Any]:
    metrics = [
        {"name": "number of result data files", "accumulatorId": files},
        {"name": "number of output rows", "accumulatorId": rows},
    ]
    node = {"nodeName": f"BatchScan lake.after_1.{table}", "children": [], "metrics": metrics}
    plan = {"nodeName": "Project", "children": [node], "metrics": []}
    return {"Event": "org.apache.SparkListenerSQLExecutionStart", "sparkPlanInfo": plan}


def task(read: int, **updates: int) -> dict[str, Any]:
    accumulables = [{"ID": int(name[1:]), "Update": str(rows)} for name, rows in updates.items()]
    return {
        "Event": "SparkListenerTaskEnd",
        "Task Info": {"Accumulables": accumulables},
        "Task Metrics": {"Input Metrics": {"Bytes Read": read}},
    }


def planned(*updates: tuple[int, int]) -> dict[str, Any]:
    return {
        "Event": "org.apache.SparkListenerDriverAccumUpdates",
        "accumUpdates": [list(update) for update in updates],
    }


def test_what_was_read_is_told_by_table() -> None:
    events = [
        scan("readings", 1, 2),
        scan("readings.snapshots", 3, 4),
        planned((1, 7), (3, 1)),
        planned((1, 7)),  # adaptive execution says it again
        task(1_000, a2=5),
        task(500, a2=6),
        task(80, a4=1),
        task(9_999, a77=1),  # of no scan
        scan("readings", 11, 12),
        planned((11, 2)),
        task(30, a12=3),
        {"Event": "SparkListenerTaskEnd"},  # a task that was lost has no figures
    ]
    assert tables_in(iter(events)) == {
        "readings": TableCost(files=9, bytes=1_530, rows=14),
        "readings.snapshots": TableCost(files=1, bytes=80, rows=1),
    }


def test_steps_are_timed_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation_rate, "rows_stored", lambda lake: lake + 1)
    before = curation_rate.rows_stored
    with timed(curation_rate, ["rows_stored"]) as seconds:
        patched: Any = curation_rate.rows_stored
        assert patched(41) == 42
    assert seconds["rows_stored"] > 0
    assert curation_rate.rows_stored is before


@pytest.mark.parametrize("contender", CONTENDERS)
def test_a_contender_that_loses_or_invents_readings_fails_the_run(
    contender: curation_rate.Contender,
) -> None:
    written = Written(
        readings=100, distinct=99, objects=1, raw_bytes=1, plain_bytes=1, whole_bytes=1
    )
    require_rows(contender, written, 99 if contender.is_distinct else 100)
    for wrong in (98, 100 if contender.is_distinct else 99):
        with pytest.raises(RowsDifferError, match=f"stored {wrong} rows"):
            require_rows(contender, written, wrong)


@pytest.mark.parametrize(
    ("benchmark", "arguments"),
    [
        (curation_rate, ["--rounds", "0"]),
        (curation_rate, ["--objects", "2"]),
        (curation_rate, ["--readings", "10"]),
        (curation_history, ["--days", "0"]),
        (curation_history, ["--rounds", "0"]),
        (curation_history, ["--rows-per-day", "240"]),
    ],
)
def test_refuses_sizes_that_measure_nothing(benchmark: Any, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark.run(arguments)
    assert ended.value.code == 2


def test_table_is_aligned() -> None:
    assert aligned(("a", "x"), [("long", "1"), ("b", "22")]) == ["a      x", "long   1", "b     22"]
