"""`readings` written by hand, and the summaries made of them: what the tests of the job look at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

import curate_telemetry
import summarise_devices
from tests.spark import summary_reference as reference
from tests.spark.lake import NOON, Lake

READINGS = """
    device_id string, event_time timestamp, sequence bigint, event_id string,
    arrival_time timestamp, is_late boolean, quality_flags array<string>, status string,
    latitude double, longitude double, temperature double, speed double"""
COLUMNS = [column.split()[0] for column in READINGS.split(",")]


def reading(device_id: str, event_time: datetime, **values: Any) -> dict[str, Any]:
    arrival = event_time + timedelta(seconds=2)
    made = dict.fromkeys(COLUMNS) | {
        "device_id": device_id,
        "event_time": event_time,
        "arrival_time": arrival,
        "is_late": False,
        "quality_flags": [],
    }
    return made | {"event_id": repr((device_id, event_time, sorted(values.items())))} | values


@dataclass
class SummaryLake:
    """What a test does: add and remove readings, run the job, look at the tables."""

    lake: Lake

    def __post_init__(self) -> None:
        self.lake.spark.conf.set("spark.sql.session.timeZone", "UTC")

    @property
    def readings_table(self) -> str:
        return f"lake.{self.lake.database}.readings"

    def create_readings(self) -> None:
        """As the curation job does, less what a run of the job need not look at."""
        self.sql(
            f"CREATE TABLE IF NOT EXISTS READINGS ({READINGS}) USING iceberg "
            "PARTITIONED BY (days(event_time)) "
            "TBLPROPERTIES ('format-version'='2', 'write.summary.partition-limit'='1000')"
        )

    def add(self, *readings: dict[str, Any]) -> None:
        """Append readings in one snapshot, as a run of the curation job does."""
        self.create_readings()
        columns = ", ".join(f"`{name}` {kind}" for name, kind in self.lake.table("readings").dtypes)
        curate_telemetry.append(self.lake.job(), self.readings_table, columns, readings)

    def sql(self, statement: str) -> None:
        self.lake.spark.sql(statement.replace("READINGS", self.readings_table))

    def remove(self, column: str, values: Iterable[object]) -> None:
        """Remove the readings that have one of these values, in one snapshot."""
        listed = ", ".join(map(repr, values))
        self.sql(f"DELETE FROM READINGS WHERE {column} IN ({listed})")  # noqa: S608 - a test's own values

    def compact(self) -> None:
        self.sql(
            f"CALL lake.system.rewrite_data_files(table => '{self.readings_table}', "
            "options => map('rewrite-all', 'true'))"
        )

    def job(self, *options: str) -> summarise_devices.Job:
        self.lake.now += timedelta(minutes=1)
        names = ["--catalog", "lake", "--database", self.lake.database]
        arguments = [*names, "--now", self.lake.now.isoformat(), *options]
        return summarise_devices.Job(self.lake.spark, summarise_devices.parse_arguments(arguments))

    def run(self, *options: str) -> summarise_devices.Account:
        """Run the job, a minute after the last run."""
        return summarise_devices.summarise(self.job(*options))

    def rows(self, name: str, *key: str) -> reference.Table:
        return rows_of(self.lake.table(name), key)

    def hours(self) -> reference.Table:
        return self.rows("device_hours", "device_id", "hour")

    def latest(self) -> reference.Table:
        return self.rows("device_latest", "device_id")

    def hour(self, device_id: str, hour: datetime) -> dict[str, Any]:
        return self.hours()[device_id, micros(hour)]

    def device(self, device_id: str) -> dict[str, Any]:
        return self.latest()[device_id,]

    def assert_up_to_date(self) -> None:
        """The tables equal the plain definitions over all readings there are."""
        table = self.lake.table("readings")
        doubles = {name for name, kind in table.dtypes if kind == "double"}
        fields = sorted(doubles - {"latitude", "longitude"})
        columns = (f"`{name}`" for name in {*COLUMNS, *fields})
        hours = reference.device_hours(collected(table.select(*columns)), fields)
        assert_equal(self.hours(), hours, ("device_id", "hour"))
        sums = (*summarise_devices.SUMS, *summarise_devices.SUMS_OF_NUMBERS)
        latest = reference.device_latest(hours, fields, sums)
        assert_equal(self.latest(), latest, ("device_id", "silent_since"))

    def assert_equals_recomputation(self) -> None:
        """The tables equal what the job itself makes of all readings at once."""
        hours = summarise_devices.hours_of(self.lake.table("readings"), None)
        assert_equal(self.hours(), rows_of(hours, ("device_id", "hour")), ())
        latest = summarise_devices.latest_of(hours)
        assert_equal(self.latest(), rows_of(latest, ("device_id",)), ("silent_since",))


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def at(**since_noon: float) -> datetime:
    return NOON + timedelta(**since_noon)


def midnight(days: int = 0) -> datetime:
    return datetime(NOON.year, NOON.month, NOON.day, tzinfo=UTC) + timedelta(days=days)


def collected(frame: DataFrame) -> list[dict[str, Any]]:
    """All rows; times in microseconds, since naive ones pass through the machine's time zone."""
    columns = [
        sf.unix_micros(name).alias(name) if kind == "timestamp" else sf.col(f"`{name}`")
        for name, kind in frame.dtypes
    ]
    return [row.asDict() for row in frame.select(*columns).collect()]


def rows_of(frame: DataFrame, key: Sequence[str]) -> reference.Table:
    rows = collected(frame)
    table = {tuple(row[name] for name in key): row for row in rows}
    assert len(table) == len(rows), "a key is there twice"
    return table


def assert_equal(table: reference.Table, wanted: reference.Table, but: Iterable[str]) -> None:
    """Every figure of the one is that of the other; what `wanted` does not name is null or 0."""
    assert table.keys() == wanted.keys()
    for key, row in table.items():
        for name in row.keys() - set(but):
            told, meant = row[name], wanted[key].get(name)
            if isinstance(told, float) and meant is not None:
                # Another formula: a metre of the earth's size less a rounding.
                meant = pytest.approx(meant, rel=1e-6, abs=1e-3)
            assert told == meant or (not told and not meant), (key, name, told, meant)
        assert {name for name, value in wanted[key].items() if value} <= row.keys()
