"""Reading the lake as a user would: Iceberg tables through PyIceberg, SQL with DuckDB, objects
with boto3.

Nothing here is peculiar to the local cloud but the endpoint: without one the same code reads
the lake on AWS. Raw and rejected zones are read straight from their objects, so that they can
be compared with what the job says about them.
"""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import boto3
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.schema import Schema
from pyiceberg.types import MapType, NestedField, StringType, TimestamptzType

from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX

TABLES = ("readings", "device_hours", "device_latest", "curation_runs", "device_registry")
_REGISTRY = Schema(
    NestedField(1, "device_id", StringType()),
    NestedField(2, "valid_from", TimestamptzType()),
    NestedField(3, "model", StringType()),
    NestedField(4, "site", StringType()),
    NestedField(5, "owner", StringType()),
    NestedField(6, "attributes", MapType(7, StringType(), 8, StringType())),
)


_RAW_OBJECTS = pa.schema(
    [
        ("key", pa.string()),
        ("rows", pa.int64()),
        ("oldest_arrival", pa.timestamp("us", tz="UTC")),
        ("written_at", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class Lake:
    """Where a deployed stack keeps its data. `endpoint` is None on AWS."""

    endpoint: str | None
    region: str
    database: str
    raw_bucket: str
    rejected_bucket: str
    failed_bucket: str
    curated_bucket: str

    def client(self, service: str) -> Any:
        """A boto3 client for the account that holds the lake."""
        session: Any = boto3.Session(region_name=self.region)
        return session.client(service, endpoint_url=self.endpoint)

    def catalogue(self) -> Catalog:
        """The Glue catalogue, as PyIceberg sees it."""
        credentials = boto3.Session().get_credentials()
        properties = {"client.region": self.region}
        if credentials is not None:
            properties |= {
                "client.access-key-id": credentials.access_key,
                "client.secret-access-key": credentials.secret_key,
            }
        if self.endpoint is not None:
            properties |= {"glue.endpoint": self.endpoint, "s3.endpoint": self.endpoint}
        return load_catalog("lake", type="glue", **properties)


@dataclass(frozen=True)
class Device:
    """What the registry says of a device from an instant on."""

    device_id: str
    valid_from: datetime
    model: str
    site: str
    owner: str


def lake_of(outputs: Mapping[str, str], endpoint: str | None, region: str) -> Lake:
    """The lake of a deployed stack, from its outputs."""
    return Lake(
        endpoint=endpoint,
        region=region,
        database=outputs["DatabaseName"],
        raw_bucket=outputs["RawZoneBucketName"],
        rejected_bucket=outputs["RejectedZoneBucketName"],
        failed_bucket=outputs["FailedZoneBucketName"],
        curated_bucket=outputs["CuratedZoneBucketName"],
    )


def register_devices(lake: Lake, devices: Sequence[Device]) -> None:
    """Append devices to `device_registry`, the table that the job joins; created if it is missing,
    with the columns that the job itself would give it."""
    table = lake.catalogue().create_table_if_not_exists(
        (lake.database, "device_registry"),
        _REGISTRY,
        location=f"s3://{lake.curated_bucket}/curated/{lake.database}.db/device_registry",
        properties={"format-version": "2"},
    )
    columns = {
        "device_id": [device.device_id for device in devices],
        "valid_from": pa.array(
            [device.valid_from for device in devices], pa.timestamp("us", tz="UTC")
        ),
        "model": [device.model for device in devices],
        "site": [device.site for device in devices],
        "owner": [device.owner for device in devices],
    }
    table.append(pa.table(columns))


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """DuckDB with the curated tables, `rejected_data` and `raw_objects` as they are now, in UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    catalogue = lake.catalogue()
    for name in TABLES:
        try:
            table = catalogue.load_table((lake.database, name))
        except NoSuchTableError:
            continue
        connection.register(name, table.scan().to_arrow())
    connection.register("raw_objects", raw_objects(lake))
    rejected = list(_tables(lake, lake.rejected_bucket, REJECTED_PREFIX))
    if rejected:
        connection.register("rejected_data", pa.concat_tables(rejected, promote_options="default"))
    return connection


def raw_objects(lake: Lake) -> pa.Table:
    """The raw zone's objects: key, rows (by the footer), oldest_arrival of a row, written_at."""
    s3 = lake.client("s3")
    found: dict[str, list[object]] = {
        name: [] for name in ("key", "rows", "oldest_arrival", "written_at")
    }
    for item in _objects(s3, lake.raw_bucket, RAW_PREFIX):
        body = io.BytesIO(_body(s3, lake.raw_bucket, item["Key"]))
        arrivals = pq.read_table(body, columns=["arrival_time"]).column(0)
        found["key"].append(item["Key"])
        found["rows"].append(pq.read_metadata(body).num_rows)
        found["oldest_arrival"].append(pc.min(arrivals).as_py())
        found["written_at"].append(item["LastModified"])
    return pa.table(found, _RAW_OBJECTS)


def rejected_rows(lake: Lake) -> dict[str, int]:
    """How many rows the rejected zone's objects hold, by reason."""
    counts: Counter[str] = Counter()
    for table in _tables(lake, lake.rejected_bucket, REJECTED_PREFIX):
        counts.update(table.column("reason").to_pylist())
    return dict(counts)


def zone_rows(
    lake: Lake, bucket: str, prefix: str, columns: list[str]
) -> Iterator[list[tuple[Any, ...]]]:
    """Some columns of every row of a zone, object by object."""
    s3 = lake.client("s3")
    for key in _keys(s3, bucket, prefix):
        table = pq.read_table(io.BytesIO(_body(s3, bucket, key)), columns=columns)
        lists = (table.column(name).to_pylist() for name in columns)
        yield list(zip(*lists, strict=True))


def failed_objects(lake: Lake) -> int:
    """How many objects lie in the failed zone."""
    return sum(1 for _ in _keys(lake.client("s3"), lake.failed_bucket, ""))


class StreamCounter:
    """Counts a stream's records from its start; each `count` reads only what is new."""

    def __init__(self, lake: Lake, stream: str) -> None:
        self._kinesis = lake.client("kinesis")
        self._iterators: list[str | None] = [
            self._kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for shard in self._kinesis.list_shards(StreamName=stream)["Shards"]
        ]
        self._total = 0

    def count(self) -> int:
        """How many records the stream holds by now."""
        for position, iterator in enumerate(self._iterators):
            self._iterators[position] = self._read_to_the_end(iterator)
        return self._total

    def _read_to_the_end(self, iterator: str | None) -> str | None:
        while iterator:
            answer = self._kinesis.get_records(ShardIterator=iterator, Limit=10_000)
            self._total += len(answer["Records"])
            iterator = answer.get("NextShardIterator")
            if not answer["Records"] and not answer.get("MillisBehindLatest"):
                break
        return iterator


def metric_sum(lake: Lake, namespace: str, metric: str, since: datetime, until: datetime) -> int:
    """A consumer's metric, summed from CloudWatch over the given time."""
    answer = lake.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": "service", "Value": "ingest_telemetry"}],
        StartTime=since,
        EndTime=until,
        Period=60,
        Statistics=["Sum"],
    )
    total: float = sum(point["Sum"] for point in answer["Datapoints"])
    return round(total)


def _tables(lake: Lake, bucket: str, prefix: str) -> Iterator[pa.Table]:
    s3 = lake.client("s3")
    for key in _keys(s3, bucket, prefix):
        yield pq.read_table(io.BytesIO(_body(s3, bucket, key)))


def _keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    return (item["Key"] for item in _objects(s3, bucket, prefix))


def _objects(s3: Any, bucket: str, prefix: str) -> Iterator[Any]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def _body(s3: Any, bucket: str, key: str) -> bytes:
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body
