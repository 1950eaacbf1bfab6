"""Promises 3 and 5: no object fails a run, and trouble with the infrastructure is no bad object."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import curate_telemetry as job
from telemetry_contract.raw_schema import RAW_SCHEMA
from tests.spark.lake import NOON, Lake, raw_row, with_column


def test_objects_that_cannot_be_read_are_set_aside_and_their_neighbours_curated(
    lake: Lake,
) -> None:
    good = [lake.put(raw_row("a", temperature=20.0)), lake.put(raw_row("b", temperature=20.0))]
    whole = (lake.folder / good[0]).read_bytes()
    without_id = RAW_SCHEMA.remove(RAW_SCHEMA.get_field_index("event_id"))
    bad = {
        lake.put_bytes(b"<html>503 Service Unavailable</html>"): "not a Parquet file",
        lake.put_bytes(b""): "not a Parquet file",
        lake.put_bytes(whole[: len(whole) // 2]): "not a Parquet file",
        lake.put_bytes(b"PAR1" + bytes(64) + b"PAR1"): "",
        lake.put_bytes(corrupt_page(lake)): "FAILED_READ_FILE",
        lake.put(raw_row("x"), schema=without_id): "column event_id is missing, not string",
        lake.put(
            raw_row("x"), schema=with_column("event_time", pa.timestamp("ns", "UTC"))
        ): "NANOS",
        lake.put(raw_row("x", event_time=NOON), schema=with_column("event_time", pa.date32())): (
            "column event_time is date, not timestamp"
        ),
        lake.put_bytes(whole, lake.new_key().replace("shardId", "_shardId")): "not a name",
        lake.put_bytes(whole, lake.new_key().replace("shardId", "[shardId")): "not a name",
    }
    lake.put_bytes(whole, "raw_data/stray.parquet")
    account = lake.run()
    assert lake.readings("device_id") == [("a",), ("b",)]
    assert (account.objects, account.objects_set_aside, account.rows_in) == (12, 10, 2)
    assert lake.ledger() == dict.fromkeys(good, "curated") | dict.fromkeys(bad, "set_aside")
    details = lake.table("curation_ledger").where("status = 'set_aside'").collect()
    for row in details:
        assert bad[row.object_key] in row.detail
        assert row.rows is None or row.rows > 0

    again = lake.run()
    assert again.objects == 0


def corrupt_page(lake: Lake) -> bytes:
    """An object whose footer is good and whose pages are not."""
    key = lake.put(*(raw_row("x", temperature=float(n)) for n in range(1_000)))
    content = bytearray((lake.folder / key).read_bytes())
    (lake.folder / key).unlink()
    for position in range(40, 4_000):
        content[position] ^= 0x5A
    return bytes(content)


def test_an_object_that_vanishes_is_set_aside(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.put(raw_row("a", temperature=20.0))
    gone = lake.put(raw_row("b", temperature=20.0))
    find_input = job.find_input

    def find_and_delete(*arguments: Any) -> list[job.RawObject]:
        found = find_input(*arguments)
        (lake.folder / gone).unlink()
        return found

    monkeypatch.setattr(job, "find_input", find_and_delete)
    account = lake.run()
    assert (account.curated, account.objects_set_aside) == (1, 1)
    assert lake.ledger()[gone] == "set_aside"


def test_trouble_with_s3_fails_the_run_and_sets_nothing_aside(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(raw_row("a", temperature=20.0))
    lake.put_bytes(b"no Parquet at all")

    def refuse(*_: object) -> bytes:
        raise ConnectionError("SlowDown")

    with monkeypatch.context() as patch:
        patch.setattr(type(lake.zone), "read", refuse)
        with pytest.raises(ConnectionError):
            lake.run()
    assert lake.ledger() == {}
    account = lake.run()
    assert (account.curated, account.objects_set_aside) == (1, 1)


@pytest.mark.parametrize(
    "told",
    [
        "java.nio.file.AccessDeniedException: s3://raw/x: getFileStatus: 403",
        "Caused by: software.amazon.awssdk.services.s3.model.S3Exception: SlowDown",
        "java.net.SocketTimeoutException: Read timed out",
        "java.lang.OutOfMemoryError: Java heap space",
    ],
)
def test_an_error_of_the_infrastructure_is_known_by_its_name(told: str) -> None:
    assert job.INFRASTRUCTURE.search(told)


@pytest.mark.parametrize(
    "told",
    [
        "java.lang.RuntimeException: file:/x is not a Parquet file",
        "org.apache.parquet.io.ParquetDecodingException: could not read page",
        "com.github.luben.zstd.ZstdIOException: Unknown frame descriptor",
        "org.apache.hadoop.fs.s3a.S3AInputStream.read: java.io.EOFException",
    ],
)
def test_an_error_of_an_object_is_not_taken_for_the_infrastructure(told: str) -> None:
    assert not job.INFRASTRUCTURE.search(told)


def test_a_lake_without_readable_rows_is_a_run_that_succeeds(lake: Lake, tmp_path: Path) -> None:
    empty = lake.run()
    assert (empty.objects, empty.rows_in, empty.snapshot_id) == (0, 0, None)
    lake.put_bytes(b"")
    lake.put(raw_row("a"), raw_row("b"))
    lake.put(schema=RAW_SCHEMA)
    account = lake.run()
    assert (account.objects, account.objects_set_aside) == (3, 1)
    assert (account.rows_in, account.dropped, account.snapshot_id) == (2, 2, None)
    assert [row["rows_in"] for row in lake.accounts()] == [0, 2]
    assert isinstance(account.finished_at, datetime)
