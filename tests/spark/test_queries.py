"""Every query and every recipe that users are given, executed on a small lake that the jobs made:
the template's saved queries, docs/queries.md and the README's example.

Athena's SQL is transpiled to DuckDB's (sqlglot), so what is shown is that it asks of the tables
what they have and means what it says; not that Athena's parser takes it. PyIceberg reads by a Glue
catalogue (emulated), as the recipes do.
"""

import re
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from moto.server import ThreadedMotoServer
from pyiceberg.catalog import Catalog, load_catalog
from pyspark.sql import SparkSession
from sqlglot import exp

from telemetry_contract.raw_schema import REJECTED_SCHEMA
from tests.spark.lake import NOON, Lake, raw_row
from tests.spark.summary_lake import SummaryLake
from tests.template.expand import ROOT, source

QUERIES = ROOT / "docs" / "queries.md"
DATABASE = "lake_queries"
NOW = NOON + timedelta(days=1)
TABLES = (
    *("readings", "device_hours", "device_latest"),
    *("curation_runs", "curation_ledger", "device_registry"),
)
REJECTED = {
    "reason": "not_an_object",
    "arrival_time": NOON,
    "client_id": "truck-1",
    "payload": b"oops",
    "ingest_date": "2026-11-24",
    "ingest_hour": "12",
}


def blocks(kind: str, page: Path = QUERIES) -> list[str]:
    """The page's code blocks of a kind."""
    return re.findall(rf"```{kind}\n(.+?)```", page.read_text(), re.DOTALL)


def statements_of_the_pages() -> list[str]:
    """Athena's, of all pages: other pages than that of the queries know no other SQL."""
    others = [page for page in (ROOT / "docs").rglob("*.md") if page != QUERIES]
    found = [block for page in sorted(others) for block in blocks("sql", page)]
    return blocks("sql athena") + found


def saved_queries() -> dict[str, str]:
    resources: dict[str, Any] = source()["Resources"]
    return {
        name: each["Properties"]["QueryString"]
        for name, each in resources.items()
        if each["Type"] == "AWS::Athena::NamedQuery"
    }


def readings(hours_from: int, hours_until: int) -> Iterator[dict[str, Any]]:
    """Two devices, ten minutes apart: one drives by the minute and loses readings, one stands."""
    for n in range(hours_from * 6, hours_until * 6):
        moment = NOON + timedelta(minutes=10 * n)
        if n % 7 != 3:
            yield raw_row(
                "truck-1",
                moment,
                sequence=n + 1_000,
                latitude=50 + n / 100,
                longitude=8.0,
                speed=20.0 + n % 5,
                temperature=10.0 + (n % 36 > 30) * 20,
                battery=90 - n / 10,
                status="moving",
                measurements=[("rpm", 900.0 + n)],
                quality_flags=["humidity_out_of_range"] if n % 10 == 0 else [],
            )
        if n < 0:
            yield raw_row("pump-2", moment, sequence=n + 1_000, temperature=20.0, status="idle")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(spark, tmp_path_factory.mktemp("queries") / "raw", DATABASE)
    lake.put(*readings(-30, 18), raw_row("truck-1", NOON, arrival_time=NOW, temperature=11.0))
    lake.put_bytes(b"no Parquet at all")
    lake.run()
    lake.now = NOW
    SummaryLake(lake).run()
    return lake


@pytest.fixture(scope="module")
def catalogue(lake: Lake, warehouse: Path) -> Iterator[Catalog]:
    """The lake's tables in an emulated Glue, to which the environment leads."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "DATABASE_NAME": lake.database,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        catalogue = load_catalog("glue", type="glue")
        catalogue.create_namespace(lake.database)
        for table in TABLES:
            metadata = warehouse / lake.database / table / "metadata"
            version = (metadata / "version-hint.text").read_text().strip()
            location = metadata / f"v{version}.metadata.json"
            catalogue.register_table((lake.database, table), location.as_uri())
        yield catalogue
    server.stop()


@pytest.fixture(scope="module")
def connection(catalogue: Catalog) -> duckdb.DuckDBPyConnection:
    """DuckDB with the tables, and the view that the template's saved query makes."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in TABLES:
        rows = catalogue.load_table((DATABASE, table)).scan().to_arrow()
        connection.register("rows", rows)
        connection.execute(f"CREATE TABLE {table} AS FROM rows")
    fields = [
        *REJECTED_SCHEMA,
        pa.field("ingest_date", pa.string()),
        pa.field("ingest_hour", pa.string()),
    ]
    rejected = pa.Table.from_pylist([REJECTED], schema=pa.schema(fields))
    connection.register("rejected_data", rejected)
    connection.execute(transpiled(saved_queries()["DeviceFeaturesView"]))
    return connection


def transpiled(query: str) -> str:
    """Athena's SQL as DuckDB's, at this lake's time."""

    def at_this_time(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.CurrentTimestamp):
            return exp.cast(exp.Literal.string(NOW.isoformat()), "timestamptz")
        if isinstance(node, exp.CurrentDate):
            return exp.cast(exp.Literal.string(f"{NOW:%Y-%m-%d}"), "date")
        return node

    return sqlglot.parse_one(query, read="athena").transform(at_this_time).sql("duckdb")


def rows_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


# ---- Athena ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(set(saved_queries()) - {"DeviceFeaturesView"}))
def test_saved_query_answers(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    assert rows_of(connection, transpiled(saved_queries()[name]))


@pytest.mark.parametrize("query", statements_of_the_pages())
def test_statement_of_the_pages_answers(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    if query.startswith("INSERT"):
        connection.execute(transpiled(query))
    else:
        assert rows_of(connection, transpiled(query))


def test_answers_to_the_usual_questions_are_right(connection: duckdb.DuckDBPyConnection) -> None:
    def answer(name: str) -> list[dict[str, Any]]:
        return rows_of(connection, transpiled(saved_queries()[name]))

    (fresh,) = answer("FreshnessQuery")
    assert (fresh["minutes_old"], fresh["devices"], fresh["heard_in_24h"]) == (0, 2, 1)
    (silent,) = answer("SilentDevicesQuery")
    assert silent["device_id"] == "pump-2"
    assert silent["silent_hours"] in (24, 25)  # Athena counts whole hours, DuckDB their beginnings
    fleet = {row["device_id"]: row for row in answer("FleetStatusQuery")}
    assert fleet["truck-1"]["status"] == "moving"
    assert fleet["truck-1"]["kilometres_24h"] == pytest.approx(144 * 1.11195, rel=1e-3)
    gaps = answer("GapsPerDayQuery")
    assert {row["device_id"] for row in gaps} == {"truck-1"}
    lost = [n for n in range(-180, 108) if n % 7 == 3]
    assert sum(row["missing"] for row in gaps) == sum(row["gaps"] for row in gaps) == len(lost)
    quality = answer("DataQualityQuery")
    assert sum(row["late"] for row in quality) == 1
    assert sum(row["flagged"] for row in quality) > 0


def test_a_view_of_athena_has_no_time_with_a_zone(connection: duckdb.DuckDBPyConnection) -> None:
    # https://github.com/aws/aws-sdk-pandas/issues/86: "Unsupported Hive type".
    kinds = {row["column_type"] for row in rows_of(connection, "DESCRIBE device_features")}
    assert "TIMESTAMP" in kinds
    assert not [kind for kind in kinds if "ZONE" in kind]


# ---- Python ------------------------------------------------------------------------------------
def execute(block: str, namespace: dict[str, Any]) -> None:
    exec(block, namespace)  # noqa: S102 - the pages' own words


@pytest.fixture(scope="module")
def recipe(catalogue: Catalog) -> dict[str, Any]:
    """What the page's Python blocks leave, run from top to bottom."""
    namespace: dict[str, Any] = {}
    for block in blocks("python"):
        execute(block, namespace)
    return namespace


@pytest.mark.parametrize("query", blocks("sql duckdb"))
def test_duckdb_query_of_the_page_answers(
    connection: duckdb.DuckDBPyConnection, query: str
) -> None:
    assert rows_of(connection, query)


def test_features_of_the_recipe_are_those_of_the_view(
    recipe: dict[str, Any], connection: duckdb.DuckDBPyConnection
) -> None:
    features = recipe["features"].to_pylist()
    assert len(features) == 48 + 30
    view = rows_of(connection, "SELECT * FROM device_features ORDER BY device_id, hour")
    assert list(features[0]) == list(view[0])
    for row, wanted in zip(features, view, strict=True):
        assert row.pop("hour") == wanted.pop("hour").replace(tzinfo=UTC)
        assert row == pytest.approx(wanted)


def test_features_look_back_by_the_clock_and_never_ahead(recipe: dict[str, Any]) -> None:
    rows = {
        (row["device_id"], row["hour"].astimezone(UTC)): row
        for row in recipe["features"].to_pylist()
    }
    hours = {(row["device_id"], row["hour"]): row for row in recipe["training_hours"].to_pylist()}
    for (device, hour), row in rows.items():
        for size in (6, 24):
            window = [hours.get((device, hour - timedelta(hours=n))) for n in range(size)]
            heard = [each for each in window if each]
            means = [each["temperature_mean"] for each in heard]
            assert row[f"temperature_mean_{size}h"] == pytest.approx(sum(means) / len(means))
            expected = sum(each["expected"] for each in heard)
            share = max(0, 1 - sum(each["received"] for each in heard) / expected)
            assert row[f"gap_share_{size}h"] == pytest.approx(share)
        assert row["hours_heard_24h"] == len(heard)
        before = hours.get((device, hour - timedelta(hours=1)))
        delta = before and row["temperature_mean"] - before["temperature_mean"]
        assert row["temperature_delta_1h"] == (pytest.approx(delta) if before else None)


def test_a_pinned_training_set_stays_what_it_was(
    recipe: dict[str, Any], lake: Lake, catalogue: Catalog
) -> None:
    pinned = recipe["features"]
    table = catalogue.load_table((DATABASE, "device_hours"))
    table.delete()  # as a run that replaces rows does
    namespace = dict(recipe)
    execute(blocks("python")[-1], namespace)
    assert namespace["features"].equals(pinned)
    assert table.scan().to_arrow().num_rows == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_features_come_as_other_libraries_have_them(recipe: dict[str, Any], library: str) -> None:
    namespace = dict(recipe)
    (block,) = blocks(f"python {library}")
    execute(block, namespace)
    assert len(namespace["features"]) == recipe["features"].num_rows


def test_example_of_the_readme_answers(
    catalogue: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"<<'EOF'\n(.+?)\nEOF", (ROOT / "README.md").read_text(), re.DOTALL)
    execute(example, {})
    assert "truck-1" in capsys.readouterr().out


def test_every_block_of_sql_is_marked_and_thereby_executed() -> None:
    assert set(re.findall(r"```sql(.*)", QUERIES.read_text())) == {" athena", " duckdb"}
