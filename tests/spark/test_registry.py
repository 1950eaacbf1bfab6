"""Readings carry what the registry says of their device as of the event's time."""

from datetime import timedelta

import pytest

import curate_telemetry as job
from tests.spark.lake import NOON, Lake, raw_row

HOUR = timedelta(hours=1)
COLUMNS = ("device_id", "device_site", "device_owner")


def test_a_moved_device_keeps_its_past(lake: Lake) -> None:
    lake.register(
        ("truck", NOON.isoformat(), "T-1", "depot", "fleet", {"axles": "3"}),
        ("truck", (NOON + 2 * HOUR).isoformat(), "T-1", "harbour", "port"),
        ("gone", (NOON - HOUR).isoformat(), "T-2", "depot", "fleet"),
        ("gone", (NOON + HOUR).isoformat()),
    )
    for hours in (-500, 0, 1, 2, 500):
        lake.put(raw_row("truck", NOON + hours * HOUR, temperature=float(hours)))
    lake.put(*(raw_row(name, NOON + HOUR, temperature=1.0) for name in ("gone", "unknown")))
    lake.put(raw_row("gone", NOON + HOUR - timedelta(microseconds=1), temperature=1.0))
    lake.run()
    # Readings of before the move come after it: they get the old site.
    lake.now += timedelta(days=30)
    lake.put(
        raw_row("truck", NOON + 2 * HOUR - timedelta(microseconds=1), temperature=7.0),
        raw_row("truck", NOON + 2 * HOUR, temperature=7.0),
    )
    assert lake.run().curated == 2
    past, moved = ("truck", "depot", "fleet"), ("truck", "harbour", "port")
    assert lake.readings(*COLUMNS) == [
        ("gone", "depot", "fleet"),
        ("gone", None, None),
        *[past] * 4,
        *[moved] * 3,
        ("unknown", None, None),
    ]
    at_depot = lake.table("readings").where("device_id = 'truck' AND device_site = 'depot'")
    found = at_depot.selectExpr("temperature", "device_attributes['axles']").collect()
    assert sorted(tuple(row) for row in found) == [(-500, "3"), (0, "3"), (1, "3"), (7, "3")]


@pytest.mark.parametrize("order", [1, -1])
def test_rows_of_one_instant_never_double_a_reading(lake: Lake, order: int) -> None:
    """Of two rows from the same instant one counts, whatever the order they were written in."""
    same = [
        ("truck", NOON.isoformat(), "T-1", "depot", None, {"a": "1", "b": "2"}),
        ("truck", NOON.isoformat(), "T-1", "harbour"),
        ("truck", NOON.isoformat(), "T-1", "harbour"),
        ("truck", None, "T-0", "yard"),
        ("truck", None, "T-0", "quay"),
        (None, NOON.isoformat(), "T-0", "quay"),
    ]
    lake.register(*same[::order])
    lake.put(raw_row("truck", NOON, temperature=1.0), raw_row("truck", NOON - HOUR, speed=2.0))
    assert lake.run().curated == 2
    assert lake.readings("device_model", "device_site") == [("T-0", "yard"), ("T-1", "harbour")]


def test_columns_that_an_older_table_lacks_are_added(lake: Lake) -> None:
    lake.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS lake.{lake.database}")
    setting = lake.job()
    lake.spark.sql(
        f"CREATE TABLE {setting.registry} (device_id string, model string) USING iceberg"
    )
    job.append(setting, setting.registry, "device_id string, model string", [{"device_id": "a"}])
    job.create_tables(setting)
    kinds = dict(lake.table("device_registry").dtypes)
    assert kinds["attributes"] == "map<string,string>"
    lake.register(("truck", NOON.isoformat(), "T-1", "depot"))
    lake.put(raw_row("truck", temperature=1.0), raw_row("a", temperature=1.0))
    lake.run()
    assert lake.readings("device_id", "device_site") == [("a", None), ("truck", "depot")]
