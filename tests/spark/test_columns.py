"""Raw columns come and widen, and curated columns follow them."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable
from pyspark.sql import SparkSession
from pyspark.sql import types as st
from pyspark.sql.pandas.types import from_arrow_schema

import curate_telemetry as job
from telemetry_contract.raw_schema import RAW_SCHEMA
from tests.spark.lake import NOON, Lake, raw_row, with_column


def test_a_column_that_appears_in_raw_appears_in_readings(lake: Lake) -> None:
    lake.put(raw_row("a", temperature=20.0))
    lake.put(raw_row("b") | {"pm2.5": 3.5}, schema=with_column("pm2.5", pa.float64()))
    assert lake.run().curated == 2
    assert lake.readings("device_id", "`pm2.5`") == [("a", None), ("b", 3.5)]
    # It has a value, so a row with it alone is kept; a raw column of a derived name is not taken.
    lake.put(
        raw_row("c", noise=[40, 50], run_id="mine", nested={"x": 1}),
        schema=with_column(
            "nested",
            pa.struct([("x", pa.int64())]),
            with_column("run_id", pa.string(), with_column("noise", pa.list_(pa.int64()))),
        ),
    )
    assert lake.run("--run_id", "run-2").curated == 1
    assert lake.readings("device_id", "noise", "run_id")[-1] == ("c", [40, 50], "run-2")
    assert "nested" not in lake.table("readings").columns
    # A later object without the columns leaves them null.
    lake.put(raw_row("d", temperature=1.0))
    lake.run()
    assert lake.readings("device_id", "noise", "`pm2.5`")[-1] == ("d", None, None)


def test_types_widen_within_a_batch_and_from_run_to_run(lake: Lake) -> None:
    def put(device_id: str, kind: pa.DataType, level: object) -> None:
        row = raw_row(device_id, level=level, temperature=1.0)
        lake.put(row, schema=with_column("level", kind))

    put("a", pa.int16(), 1)
    put("b", pa.int32(), 2)
    lake.run()
    assert dict(lake.table("readings").dtypes)["level"] == "int"
    put("c", pa.int64(), 2**40)
    put("d", pa.int32(), 4)
    lake.run()
    assert dict(lake.table("readings").dtypes)["level"] == "bigint"
    # Iceberg can't make a bigint a double: what is not the same value as one is null and flagged.
    put("e", pa.float64(), 5.0)
    put("f", pa.float64(), 5.5)
    put("g", pa.string(), "6")
    put("h", pa.string(), "six")
    put("i", pa.timestamp("us"), NOON.replace(tzinfo=None))
    put("j", pa.bool_(), True)
    account = lake.run()
    assert (account.curated, account.objects_set_aside) == (6, 0)
    assert lake.readings("device_id", "level", "quality_flags", "recovered_values") == [
        ("a", 1, [], None),
        ("b", 2, [], None),
        ("c", 2**40, [], None),
        ("d", 4, [], None),
        ("e", 5, [], None),
        ("f", None, ["level_wrong_type"], {"level": "5.5"}),
        ("g", 6, [], None),
        ("h", None, ["level_wrong_type"], {"level": "six"}),
        ("i", None, ["level_wrong_type"], {"level": "2026-11-24 12:00:00"}),
        ("j", None, ["level_wrong_type"], {"level": "true"}),
    ]
    assert (account.recovered, account.recovered_fields) == (4, "level")


def test_a_value_whose_type_became_another_is_kept_as_text(lake: Lake) -> None:
    """Alone it keeps its row from being dropped: it is a value."""
    changed = with_column("light", pa.binary(), with_column("temperature", pa.string()))
    changed = with_column("humidity", pa.struct([("dry", pa.bool_())]), changed)
    changed = with_column("measurements", pa.list_(pa.string()), changed)
    odd = {"temperature": "warm", "light": b"\xff", "humidity": {"dry": True}}
    lake.put(raw_row("a", temperature=1.0))
    lake.put(
        raw_row("b") | odd | {"measurements": ["x"]},
        raw_row("c") | {"temperature": "2.5"},
        raw_row("d") | {"temperature": "cold"},
        schema=changed,
    )
    account = lake.run()
    assert (account.curated, account.recovered) == (4, 2)
    assert account.recovered_fields == "humidity, light, measurements, temperature"
    whole = {
        "temperature": "warm",
        "light": "/w==",
        "humidity": '{"dry":true}',
        "measurements": '["x"]',
    }
    assert lake.readings("device_id", "temperature", "recovered_values") == [
        ("a", 1.0, None),
        ("b", None, whole),
        ("c", 2.5, None),
        ("d", None, {"temperature": "cold"}),
    ]
    assert dict(lake.table("readings").dtypes)["temperature"] == "double"


def test_what_changes_in_raw_breaks_no_reader(lake: Lake, warehouse: Path) -> None:
    """A new field, a wider type, an unknown key and an incompatible change: a reader that stays on
    the older snapshot, and another engine that reads the newest one, go on."""

    def arrow(snapshot_id: int | None = None) -> pa.Table:
        folder = warehouse / lake.database / "readings"
        version = (folder / "metadata" / "version-hint.text").read_text()
        table = StaticTable.from_metadata(f"{folder}/metadata/v{version}.metadata.json")
        return table.scan(snapshot_id=snapshot_id).to_arrow()

    lake.put(raw_row("a", temperature=1.0, level=1), schema=with_column("level", pa.int32()))
    older = lake.run()
    before = arrow()
    changed = with_column("noise", pa.float64(), with_column("level", pa.int64()))
    changed = with_column("speed", pa.string(), changed)
    lake.put(
        raw_row("b", temperature=2.0, level=2**40, noise=0.5, attributes={"new": "key"})
        | {"speed": "fast"},
        schema=changed,
    )
    lake.run()
    assert arrow(older.snapshot_id).select(before.column_names).equals(before)
    newest = duckdb.from_arrow(arrow())
    columns = "device_id, level, noise, speed, attributes['new'], recovered_values['speed']"
    assert newest.project(columns).order("device_id").fetchall() == [
        ("a", 1, None, None, None, None),
        ("b", 2**40, 0.5, None, "key", "fast"),
    ]


def test_int_bigint_and_double_beside_each_other_become_double(lake: Lake) -> None:
    kinds = [pa.int32(), pa.int64(), pa.float64(), pa.string()]
    for number, kind in enumerate(kinds):
        level = str(number) if kind == pa.string() else number
        lake.put(raw_row(str(number), level=level), schema=with_column("level", kind))
    assert lake.run().curated == 4
    assert lake.readings("device_id", "level") == [("0", 0.0), ("1", 1.0), ("2", 2.0), ("3", 3.0)]
    assert dict(lake.table("readings").dtypes)["level"] == "double"


@pytest.mark.parametrize(
    ("present", "raw", "wanted"),
    [
        (None, ["int", "bigint", "double"], "double"),
        (None, ["double", "int"], "double"),
        (None, ["string", "double"], "string"),
        ("int", ["bigint"], "bigint"),
        ("bigint", ["int"], "bigint"),
        ("bigint", ["double"], "bigint"),
        ("float", ["double"], "double"),
        ("string", ["bigint"], "string"),
        ("map<string,double>", ["map<string,string>"], "map<string,double>"),
    ],
)
def test_the_wanted_type(present: str | None, raw: list[str], wanted: str) -> None:
    known = {"level": present} if present else {}
    assert job.wanted_columns(known, [{"level": kind} for kind in raw])["level"] == wanted


def schema(ddl: str) -> st.StructType:
    parsed = st.DataType.fromDDL(ddl)
    assert isinstance(parsed, st.StructType)
    return parsed


@pytest.mark.parametrize("contract", [RAW_SCHEMA, with_column("noise", pa.float64())])
def test_the_jobs_columns_are_of_the_contract(spark: SparkSession, contract: pa.Schema) -> None:
    """With its types. What raw gets later is found in the objects, so a new field of the contract
    needs no line in the job."""
    own = {field.name: field.dataType.simpleString() for field in schema(job.RAW_COLUMNS)}
    known = {
        field.name: field.dataType.simpleString()
        for field in from_arrow_schema(contract)
        if field.name in own
    }
    assert own == known


def test_raw_columns_named_as_the_jobs_own_change_nothing(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    own = [*job.DERIVED_COLUMNS, *sorted(job.OWN_COLUMNS)]
    mixed = RAW_SCHEMA
    for name in (*own, "fate", "hour", "rows", "newest"):
        mixed = with_column(name, pa.string(), mixed)
    words = dict.fromkeys(mixed.names[len(RAW_SCHEMA.names) :], "dropped")
    lake.put(raw_row("a", temperature=20.0), raw_row("b", temperature=1.0) | words, schema=mixed)
    account = lake.run("--run_id", "run-1")
    assert (account.rows_in, account.curated, account.dropped) == (2, 2, 0)
    rows = lake.readings("device_id", "run_id", "is_late", "device_site", "fate", "hour", "rows")
    assert rows == [
        ("a", "run-1", False, None, None, None, None),
        ("b", "run-1", False, None, "dropped", "dropped", "dropped"),
    ]
    assert not job.OWN_COLUMNS & set(lake.table("readings").columns)
    for name in own:
        assert f"raw column {name} is not taken" in caplog.text


def test_a_value_that_cannot_be_placed_is_dropped_and_counted(lake: Lake) -> None:
    """The consumer writes no such rows, but one null would end the run."""
    optional = pa.schema([pa.field(field.name, field.type) for field in RAW_SCHEMA])
    lake.put(
        raw_row("a", temperature=1.0),
        raw_row("b", temperature=1.0) | {"event_id": None},
        raw_row("c", temperature=1.0, event_time=NOON) | {"event_time": None},
        schema=optional,
    )
    account = lake.run()
    assert (account.rows_in, account.curated, account.dropped) == (3, 1, 2)
