"""An erasure takes one device out of every table, snapshot and file, and leaves the others alone;
what is exchanged in the ledger counts once."""

import json
import zlib
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import curate_telemetry as job
import ops.erase.tables
import summarise_devices
from tests.spark.lake import NOON, Lake, raw_row
from tests.spark.test_exactly_once import Killed, after

GONE, KEPT = "truck-71", "truck-7"
UNTIL = NOON + timedelta(hours=6)
LIMIT = ("--maximum_reading_age_days", "30")
TABLES = (*job.ERASED_FROM, "curation_ledger", "curation_runs")


def warehouse(lake: Lake) -> Path:
    return Path(str(lake.spark.conf.get("spark.sql.catalog.lake.warehouse")))


def bury(lake: Lake, device: str = GONE, until: datetime = UNTIL) -> None:
    """Write a tombstone, as the operator's tool does."""
    folder = warehouse(lake) / "erasures" / lake.database
    folder.mkdir(parents=True, exist_ok=True)
    digest = sha256(device.encode()).hexdigest()
    told = {"device_digest": digest, "until": until.isoformat()}
    (folder / f"{digest[:8]}.json").write_text(json.dumps(told))


def exchange_list(lake: Lake, *pairs: tuple[str, str | None]) -> str:
    """Write the list of an exchange; gives its URI."""
    path = warehouse(lake) / "exchanges" / f"{lake.database}.json"
    path.parent.mkdir(exist_ok=True)
    lines = []
    for old, new in pairs:
        told: dict[str, Any] = {"old": old, "new": new}
        if new:
            rows = pq.read_metadata(lake.folder / new).num_rows
            told |= {"size": 1, "last_modified": NOON.isoformat(), "rows": rows}
        lines.append(json.dumps(told))
    path.write_text("\n".join(lines))
    return f"file://{path}"


def erase(lake: Lake, *options: str) -> Any:
    return job.erase(lake.job("--erase", "true", *options))


def summarise(lake: Lake) -> None:
    arguments = ["--database", lake.database, "--catalog", "lake", "--now", lake.now.isoformat()]
    setting = summarise_devices.parse_arguments(arguments)
    summarise_devices.summarise(summarise_devices.Job(lake.spark, setting))


def content(lake: Lake, name: str) -> list[str]:
    rows = lake.table(name)
    text = f"to_json(struct({', '.join(rows.columns)}))"
    return sorted(row[0] for row in rows.selectExpr(text).collect())


def of(device: str, rows: list[str]) -> list[str]:
    return [row for row in rows if f'"device_id":"{device}"' in row]


def bytes_of(path: Path) -> bytes:
    """A file's content, uncompressed: Parquet's values as text, Avro's blocks."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        return repr(pq.read_table(path).to_pylist()).encode()
    if path.suffix != ".avro":
        return content
    sync = content[-16:]  # stands behind the header and behind each block
    parts = content.split(sync)
    return parts[0] + b"".join(
        zlib.decompressobj(-15).decompress(block_of(one)) for one in parts[1:-1]
    )


def block_of(part: bytes) -> bytes:
    """An Avro block without its two numbers in front, which are varints."""
    for _ in range(2):
        part = part[next(place for place, byte in enumerate(part) if byte < 0x80) + 1 :]
    return part


def files_with(lake: Lake, device: str) -> list[str]:
    """The files of the lake's tables that hold the device."""
    files = [path for path in (warehouse(lake) / lake.database).rglob("*") if path.is_file()]
    assert files
    return sorted(path.name for path in files if device.encode() in bytes_of(path))


def filled(lake: Lake) -> dict[str, str]:
    """Two devices in every table, with some history, and a third one that is alone in its day;
    gives the raw objects by what they hold."""
    lake.register((GONE, NOON, "TX-2"), (KEPT, NOON, "TX-1"))
    both = lake.put(
        raw_row(GONE, NOON, temperature=1.0),
        raw_row(KEPT, NOON, temperature=2.0),
        raw_row(GONE, NOON - timedelta(days=1), NOON, temperature=3.0),
    )
    old = datetime(2020, 1, 1, tzinfo=UTC)
    late = lake.put(
        raw_row(GONE, old, NOON, temperature=4.0), raw_row(KEPT, old, NOON, temperature=5.0)
    )
    lake.run(*LIMIT)
    own = lake.put(raw_row(GONE, NOON + timedelta(hours=1), temperature=6.0))
    lake.run(*LIMIT)
    summarise(lake)
    lake.spark.sql(f"ALTER TABLE lake.{lake.database}.readings CREATE TAG `model-1`")
    return {"both": both, "late": late, "own": own}


def without_the_device(lake: Lake, objects: dict[str, str]) -> str:
    """Write what the tool would in the place of the objects; gives the list of the exchange."""
    both = lake.put(raw_row(KEPT, NOON, temperature=2.0))
    late = lake.put(raw_row(KEPT, datetime(2020, 1, 1, tzinfo=UTC), NOON, temperature=5.0))
    pairs = ((objects["both"], both), (objects["late"], late), (objects["own"], None))
    return exchange_list(lake, *pairs)


def test_an_erased_device_is_in_no_table_snapshot_or_file_and_the_others_are_as_they_were(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.ERASED_FROM == ops.erase.tables.ERASED_FROM
    objects = filled(lake)
    before = {name: content(lake, name) for name in job.ERASED_FROM}
    assert all(of(GONE, rows) and of(KEPT, rows) for rows in before.values())
    assert files_with(lake, GONE)
    bury(lake)
    account = erase(lake, "--exchange", without_the_device(lake, objects))
    removed = json.loads(capsys.readouterr().out.splitlines()[-1])["erase"]
    expected = {"readings": 3, "late_readings": 1, "device_registry": 1, "device_latest": 1}
    assert removed == expected | {"device_hours": 3}
    assert (account.kind, account.rows_in, account.erased) == ("erase", 4, 4)
    assert {name: content(lake, name) for name in job.ERASED_FROM} == {
        name: [row for row in rows if row not in of(GONE, rows)] for name, rows in before.items()
    }
    assert files_with(lake, GONE) == []


def test_the_summary_job_goes_on_where_it_was(lake: Lake) -> None:
    filled(lake)
    bury(lake)
    erase(lake)
    lake.put(raw_row(KEPT, NOON + timedelta(days=1), temperature=7.0))
    lake.run()
    arguments = ["--database", lake.database, "--catalog", "lake", "--now", lake.now.isoformat()]
    account = summarise_devices.summarise(
        summarise_devices.Job(lake.spark, summarise_devices.parse_arguments(arguments))
    )
    assert account.days == 1
    assert account.devices == 1


def test_a_killed_erasure_run_again_ends_the_same_and_nothing_comes_back(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = filled(lake)
    bury(lake)
    exchange = without_the_device(lake, objects)
    steps = ("delete_erased", "write_account", "exchange_objects", "rewrite_manifests", "forget")
    for step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(job, step, after(vars(job)[step]))
            with pytest.raises(Killed):
                erase(lake, "--exchange", exchange)
    erase(lake, "--exchange", exchange)
    ended = {name: content(lake, name) for name in TABLES if name != "curation_runs"}
    assert [of(GONE, rows) for rows in ended.values()] == [[]] * len(ended)
    assert files_with(lake, GONE) == []
    # No run takes the old objects, which are still there; one that was restored is taken, but not
    # what is in it. The new ones count as taken, and no replay brings anything back.
    assert lake.run().rows_in == 0
    lake.put(raw_row(GONE, NOON, temperature=1.0), raw_row(GONE, UNTIL, temperature=8.0))
    account = lake.run()
    assert (account.rows_in, account.erased, account.curated) == (2, 1, 1)
    setting = lake.job("--replay_days", "2020-01-01:2026-11-30", *LIMIT)
    assert setting.settings.selection
    replayed = job.replay(setting, setting.settings.selection)
    assert replayed is not None
    assert (replayed.curated, replayed.erased) == (2, 1)
    rows = lake.table("readings").select("device_id", "temperature").collect()
    assert sorted(tuple(row) for row in rows) == [(KEPT, 2.0), (GONE, 8.0)]


def test_objects_interpreted_again_take_the_place_of_others_once(lake: Lake) -> None:
    """Of three readings one reads differently, one is rejected now, and one is as it was."""
    rows = [raw_row(name, payload=name.encode(), temperature=1.0) for name in ("a", "b", "c")]
    old = lake.put(*rows)
    alone = lake.put(raw_row("d", payload=b"d", temperature=1.0))
    lake.run("--run_id", "first")
    new = lake.put(rows[0] | {"temperature": 2.0}, rows[2])
    exchange = exchange_list(lake, (old, new), (alone, None))
    for _ in range(2):
        setting = lake.job("--exchange", exchange)
        assert setting.settings.selection
        job.replay(setting, setting.settings.selection)
        assert lake.readings("device_id", "temperature") == [("a", 2.0), ("c", 1.0)]
        assert lake.ledger() == {old: "superseded", alone: "superseded", new: "curated"}
    assert lake.run().rows_in == 0
    setting = lake.job("--replay_days", "2026-11-24")
    assert setting.settings.selection
    replayed = job.replay(setting, setting.settings.selection)
    assert replayed is not None
    assert replayed.rows_in == 2
    assert lake.readings("device_id", "temperature") == [("a", 2.0), ("c", 1.0)]
