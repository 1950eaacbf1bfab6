"""A database of small Iceberg tables for the tests of the maintenance job, and its runs on them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

import maintain_tables as job

# Snapshots carry the real time; ages are made by telling the job another one. Half past five is
# after the hour at which yesterday is closed.
NOW = datetime.now(UTC).replace(hour=5, minute=30, second=0, microsecond=0) + timedelta(days=1)
TODAY = NOW.replace(hour=0, minute=0)


def day(number: int) -> datetime:
    """Midnight so many days before the running one."""
    return TODAY - timedelta(days=number)


@dataclass
class Tables:
    """What a test does: make tables, write files, run the job, look at what is there."""

    spark: SparkSession
    database: str
    warehouse: Path
    _values: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def name(self, table: str) -> str:
        return f"lake.{self.database}.{table}"

    def create(self, table: str = "readings", properties: str = "") -> None:
        """A table as the jobs make them, with few columns."""
        columns, partitioning = {
            "readings": ("device_id string, event_time timestamp, v int", "event_time"),
            "late_readings": ("device_id string, event_time timestamp, v int", "event_time"),
            "device_hours": ("device_id string, hour timestamp, v int", "hour"),
            "device_latest": ("device_id string, hour timestamp, v int", ""),
            "curation_ledger": ("object_key string, recorded_at timestamp, v int", ""),
        }[table]
        by_day = f"PARTITIONED BY (days({partitioning}))" if partitioning else ""
        self.spark.sql(
            f"CREATE TABLE {self.name(table)} ({columns}) USING iceberg {by_day} "
            f"TBLPROPERTIES ('format-version'='2'{properties})"
        )
        if partitioning:
            self.spark.sql(
                f"ALTER TABLE {self.name(table)} WRITE DISTRIBUTED BY PARTITION "
                f"LOCALLY ORDERED BY device_id, {partitioning}"
            )

    def add(self, time: datetime, table: str = "readings", files: int = 1, **summary: Any) -> None:
        """Append files, each in a commit of its own: some rows of that time, in no order."""
        for _ in range(files):
            rows = self.spark.range(4).selectExpr(
                "concat('device-', 3 - id)",
                f"timestamp_seconds({int(time.timestamp())})",
                f"{next(self._values)}",
            )
            rows = rows.toDF(*self.rows(table).columns).coalesce(1)
            writer = rows.writeTo(self.name(table))
            for key, value in summary.items():
                writer = writer.option(f"snapshot-property.{key.replace('__', '.')}", str(value))
            writer.append()

    def run(
        self, *options: str, now: datetime = NOW, spark: Any = None, **changed: Any
    ) -> job.Report:
        """Run the job; `changed` are settings that it would not take as arguments."""
        arguments = ("--database", self.database, "--catalog", "lake", "--now", now.isoformat())
        settings = replace(job.parse_arguments([*arguments, *options]), **changed)
        return job.maintain(job.Job(spark or self.spark, settings))

    def run_well(
        self, *options: str, now: datetime = NOW, **changed: Any
    ) -> dict[str, job.Figures]:
        """Run the job and give the tables' figures; nothing went wrong."""
        report = self.run(*options, now=now, **changed)
        assert report.troubles == report.conflicts == []
        return report.tables

    def rows(self, table: str = "readings") -> DataFrame:
        self.spark.catalog.refreshTable(self.name(table))
        return self.spark.table(self.name(table))

    def content(self, table: str = "readings") -> list[str]:
        return sorted(map(str, self.rows(table).collect()))

    def about(self, kind: str, table: str = "readings") -> DataFrame:
        """One of the table's metadata tables."""
        self.spark.catalog.refreshTable(self.name(table))
        return self.spark.table(f"{self.name(table)}.{kind}")

    def files_by_day(self, table: str = "readings") -> dict[int, int]:
        """How many files a day has, by how many days it is before the running one."""
        rows = self.about("data_files", table).groupBy("partition").count().collect()
        return {(TODAY.date() - row.partition[0]).days: row["count"] for row in rows}

    def snapshot_ids(self, table: str = "readings") -> list[int]:
        rows = self.about("snapshots", table).orderBy("committed_at").collect()
        return [row.snapshot_id for row in rows]

    def folder(self, table: str = "readings") -> Path:
        return self.warehouse / self.database / table

    def put_file(self, path: str, age: timedelta, table: str = "readings") -> Path:
        """A file in the table's folder that no snapshot knows."""
        file = self.folder(table) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"PAR1")
        make_older(file, age)
        return file

    def make_all_old(self, table: str = "readings") -> None:
        """Everything that is in the table's folder now is older than any run."""
        for file in self.folder(table).rglob("*"):
            make_older(file, timedelta(days=30))


def make_older(file: Path, age: timedelta) -> None:
    """Let a file be that old when it is NOW."""
    then = (NOW - age).timestamp()
    os.utime(file, (then, then))
