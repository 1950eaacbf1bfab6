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
    return {"both": both, "late": late, "own": own}


def without_the_device(lake: Lake, objects: dict[str, str]) -> str:
    """Write what the tool would in the place of the objects; gives the list of the exchange."""
    both = lake.put(raw_row(KEPT, NOON, temperature=2.0))
    late = lake.put(raw_row(KEPT, datetime(2020, 1, 1, tzinfo=UTC), NOON, temperature=5.0))
    pairs = ((objects["both"], both), (objects["late"], late), (objects["own"], None))
    return exchange_list(lake, *pairs)


def state(lake: Lake) -> dict[str, list[str]]:
    """All rows of all tables, but for the accounts."""
    return {name: content(lake, name) for name in TABLES if name != "curation_runs"}


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
