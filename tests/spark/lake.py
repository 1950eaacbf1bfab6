"""A small telemetry lake for the tests: raw objects in a folder, curated tables beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, Row, SparkSession

import curate_telemetry as job
from telemetry_contract.event_id import event_id_of
from telemetry_contract.raw_schema import RAW_SCHEMA
from telemetry_contract.zone_paths import RAW_PREFIX, hour_folder

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def raw_row(
    device_id: str = "truck-1",
    event_time: datetime = NOON,
    arrival_time: datetime | None = None,
    **values: Any,
) -> dict[str, Any]:
    """A row as the consumer writes it. Rows with equal values are the same reading."""
    said = repr((event_time, sorted(values.items())))
    payload: bytes = values.pop("payload", said.encode())
    return {
        "record_id": "shardId-000000000000:1:0",
        "ingest_id": "0c9b2d0e-4b1f-4e0a-9f57-3c1d6a3b8f10",
        "arrival_time": arrival_time or event_time + timedelta(seconds=2),
        "broker_time": event_time + timedelta(seconds=1),
        "client_id": device_id,
        "principal": "certificate-1",
        "topic": f"dt/fleet/{device_id}/telemetry",
        "identity": "verified",
        "event_id": event_id_of(device_id, payload),
        "device_id": device_id,
        "event_time": event_time,
        "quality_flags": [],
        "payload": payload,
        "contract_version": 1,
        **values,
    }


def with_column(name: str, kind: pa.DataType, schema: pa.Schema = RAW_SCHEMA) -> pa.Schema:
    """The schema with a column more, or with one of another type."""
    if name in schema.names:
        return schema.set(schema.get_field_index(name), pa.field(name, kind))
    return schema.append(pa.field(name, kind))


class FolderRawZone(job.RawZone):
    """The raw zone in a folder; keys are paths below it. Remembers where each listing began."""

    folder: Path
    listed_after: list[str]

    def __init__(self, folder: Path) -> None:
        super().__init__(client=None, bucket="", prefix=RAW_PREFIX)
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "listed_after", [])

    def list_after(self, key: str) -> Iterator[job.RawObject]:
        self.listed_after.append(key)
        files = (path for path in self.folder.rglob("*") if path.is_file())
        by_key = {path.relative_to(self.folder).as_posix(): path for path in files}
        for listed in sorted(each for each in by_key if each > key):
            stat = by_key[listed].stat()
            modified = datetime.fromtimestamp(stat.st_mtime, UTC)
            yield job.RawObject(listed, stat.st_size, modified)

    def read(self, key: str) -> bytes | None:
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None

    def uri(self, key: str) -> str:
        return f"file://{self.folder / key}"


@dataclass
class Lake:
    """What a test does: put objects, run the job, look at the tables."""

    spark: SparkSession
    folder: Path
    database: str
    now: datetime = NOON
    zone: FolderRawZone = field(init=False)
    _objects: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.zone = FolderRawZone(self.folder)

    def put(
        self,
        *rows: Mapping[str, Any],
        schema: pa.Schema = RAW_SCHEMA,
        hour: datetime | None = None,
        **options: Any,
    ) -> str:
        """Write an object of these rows; gives its key. `options` are the Parquet writer's."""
        columns = {name: [row.get(name) for row in rows] for name in schema.names}
        table = pa.table(columns, schema=schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **{"compression": "zstd", **options})
        return self.put_bytes(sink.getvalue().to_pybytes(), self.new_key(hour))

    def put_bytes(self, content: bytes, key: str | None = None) -> str:
        key = key or self.new_key()
        (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / key).write_bytes(content)
        return key

    def new_key(self, hour: datetime | None = None) -> str:
        self._objects += 1
        number = f"{self._objects:05}"
        name = f"shardId-000000000000-{number}-{number}-0123456789abcdef.parquet"
        return hour_folder(RAW_PREFIX, hour or self.now) + name

    def run(self, *options: str) -> Row:
        """Run the job, a minute after the last run."""
        return job.curate(self.job(*options))

    def job(self, *options: str) -> job.Job:
        self.spark.conf.set("spark.sql.session.timeZone", "UTC")
        return job.Job(self.spark, self.zone, job.parse_arguments(self.arguments(*options)))

    def arguments(self, *options: str) -> list[str]:
        self.now += timedelta(minutes=1)
        return [
            *("--raw_zone_bucket", "unused", "--catalog", "lake", "--database", self.database),
            *("--now", self.now.isoformat(), *options),
        ]

    def table(self, name: str) -> DataFrame:
        return self.spark.table(f"lake.{self.database}.{name}")

    def readings(self, *columns: str) -> list[tuple[Any, ...]]:
        """The curated rows, sorted."""
        rows = self.table("readings").select(*columns).collect()
        return sorted((tuple(row) for row in rows), key=repr)

    def accounts(self) -> list[dict[str, Any]]:
        runs = self.table("curation_runs").orderBy("started_at").collect()
        return [row.asDict() for row in runs]

    def ledger(self) -> dict[str, str]:
        """What the ledger says of each object."""
        rows = self.table("curation_ledger").select("object_key", "status").collect()
        assert len({row.object_key for row in rows}) == len(rows)
        return {row.object_key: row.status for row in rows}

    def register(self, *rows: tuple[Any, ...]) -> None:
        """Append (device, valid from, model, site, owner, attributes) to the device registry; what
        a row leaves out is null."""
        names = ("device_id", "valid_from", "model", "site", "owner", "attributes")
        setting = self.job()
        job.create_tables(setting)
        given = [dict(zip(names, row, strict=False)) for row in rows]
        job.append(setting, setting.registry, job.REGISTRY_COLUMNS, given)
