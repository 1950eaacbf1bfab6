"""Promises 3 and 5: no object fails a run, and trouble with the infrastructure is no bad object."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException

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


@pytest.mark.parametrize("name", ["payload", "quality_flags", "topic", "broker_time"])
def test_a_damaged_page_is_found_even_of_a_column_that_decides_nothing(
    lake: Lake, name: str
) -> None:
    """Before anything is written: what becomes of a row is told from other columns."""
    rows = [raw_row(f"truck-{n}", temperature="1", quality_flags=["x"]) for n in range(100)]
    # Not of the table's type: what is computed of `quality_flags` is then never null.
    schema = with_column("temperature", pa.string())
    good, damaged = lake.put(*rows, schema=schema), lake.put(*rows, schema=schema)
    path = lake.folder / damaged
    content, group = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    (column,) = (each for each in columns if each.path_in_schema.partition(".")[0] == name)
    start = column.dictionary_page_offset or column.data_page_offset
    for position in range(start, start + column.total_compressed_size):
        content[position] ^= 0x5A
    path.write_bytes(content)
    account = lake.run()
    assert (account.curated, account.objects_set_aside) == (100, 1)
    assert lake.ledger() == {good: "curated", damaged: "set_aside"}


def test_an_object_that_vanishes_is_set_aside(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.put(raw_row("a", temperature=20.0))
    gone = lake.put(raw_row("b", temperature=20.0))
    find_input = job.find_input

    def find_and_delete(*arguments: Any) -> Any:
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


WRAPPED = """An error occurred while calling o242.save.
: org.apache.spark.SparkException: [FAILED_READ_FILE.NO_HINT] Encountered error while reading file \
s3://raw/raw_data/x.parquet. SQLSTATE: KD001
	at org.apache.parquet.hadoop.ParquetFileReader.readNextRowGroup(ParquetFileReader.java:1)
	Suppressed: org.apache.spark.util.Utils$OriginalTryStackTraceException: Full stacktrace
		... 17 more
Caused by: org.apache.parquet.io.ParquetDecodingException: Could not read page
	at org.apache.parquet.io.ParquetDecodingException.none(None.java:1)
	... 22 more
Caused by: {}
	at org.apache.hadoop.fs.s3a.S3AInputStream.read(S3AInputStream.java:1)
	at org.apache.parquet.bytes.BytesInput.toByteArray(BytesInput.java:1)
	... 39 more
"""
S3_ERROR = "com.amazon.ws.emr.hadoop.fs.shaded.com.amazonaws.services.s3.model.AmazonS3Exception"


@pytest.mark.parametrize(
    "told",
    [
        "java.nio.file.AccessDeniedException: s3://raw/x: getFileStatus: 403",
        "software.amazon.awssdk.services.s3.model.S3Exception: SlowDown",
        "java.net.SocketTimeoutException: Read timed out",
        "java.lang.OutOfMemoryError: Java heap space",
        f"{S3_ERROR}: Slow Down (Service: Amazon S3; Status Code: 503)",
        "javax.net.ssl.SSLException: Connection reset",
        "javax.net.ssl.SSLException: x\nCaused by: java.io.EOFException: SSL peer shut down",
        "org.apache.http.ConnectionClosedException: Premature end of Content-Length",
        "java.io.InterruptedIOException: getFileStatus on s3://raw/x.parquet",
        "java.io.IOException: Connection reset by peer",
        "java.io.FileNotFoundException: No such file or directory: s3://raw/x.parquet",
        "java.lang.IllegalStateException: Connection pool shut down",
        "java.lang.IllegalArgumentException: Wrong FS: s3://raw/x.parquet",
        "com.example.NobodyHasHeardOfThisException: s3://raw/x.parquet",
    ],
)
def test_what_may_not_be_the_objects_fault_fails_the_run(told: str) -> None:
    assert not job.is_damage(told)
    assert not job.is_damage(WRAPPED.format(told))


@pytest.mark.parametrize(
    "told",
    [
        "java.lang.RuntimeException: file:/x is not a Parquet file. Expected magic number",
        "java.lang.RuntimeException: corrupted file: the footer index is not within the file: 64",
        "java.lang.RuntimeException: footer is too large: 2744232132to be read",
        "org.apache.parquet.io.ParquetDecodingException: could not read page",
        "org.apache.parquet.io.InvalidRecordException: stXtus not found in message schema {",
        "shaded.parquet.org.apache.thrift.protocol.TProtocolException: don't know what type: 15",
        "shaded.parquet.org.apache.thrift.transport.TTransportException: Socket is closed by peer.",
        "com.github.luben.zstd.ZstdIOException: Unknown frame descriptor",
        "java.io.EOFException",
        "java.io.IOException: FAILED_TO_UNCOMPRESS(5)",
        "java.io.IOException: gzip stream CRC failure",
        "java.io.IOException: stored gzip size doesn't match decompressed size",
        "java.io.IOException: invalid distance too far back",
        "java.io.IOException: Expected 300 values in column chunk at file:/x",
        "java.lang.IndexOutOfBoundsException: 62516",
        "java.lang.NullPointerException",
        "java.lang.ClassCastException: optional group longitude {",
        "[PARQUET_TYPE_ILLEGAL] Illegal Parquet type: INT64 (TIMESTAMP(NANOS,true)).",
        "[COLUMN_ALREADY_EXISTS] The column `speed` already exists.",
    ],
)
def test_what_damaged_objects_raise_sets_them_aside(told: str) -> None:
    assert job.is_damage(told)
    assert job.is_damage(WRAPPED.format(told))


def test_a_good_object_that_s3_is_slow_to_give_is_not_set_aside(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(raw_row("a", temperature=20.0))

    def slow_down(*_: object) -> None:
        raise PySparkException(WRAPPED.format(f"{S3_ERROR}: Slow Down"))

    with monkeypatch.context() as patch:
        patch.setattr(job, "kinds_of", slow_down)
        with pytest.raises(PySparkException, match="Slow Down"):
            lake.run()
    assert lake.ledger() == {}
    assert lake.run().curated == 1


def test_an_object_that_was_set_aside_is_taken_when_copied_to_a_new_key(lake: Lake) -> None:
    key = lake.put(raw_row("a", temperature=20.0))
    whole = (lake.folder / key).read_bytes()
    lake.put_bytes(whole[:-1], key)
    assert lake.run().objects_set_aside == 1
    lake.put_bytes(whole, key)  # the key itself is done with
    assert lake.run().objects == 0
    lake.now += timedelta(days=3)
    copy = lake.put_bytes(whole)
    account = lake.run()
    assert (account.objects, account.curated, account.objects_set_aside) == (1, 1, 0)
    assert lake.ledger() == {key: "set_aside", copy: "curated"}
    assert lake.readings("device_id") == [("a",)]


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
