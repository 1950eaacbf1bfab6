"""Crawler: table and partitions come from real Parquet footers, as AWS documents its crawlers."""

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from local.api import ApiError
from local.glue.crawler import crawl, settings_of
from local.glue.parquet_schema import TAIL_BYTES, glue_type, merge_columns, read_schema
from tests.conformance import glue_pages as pages

BUCKET = "lake-raw"
DEFINITION: dict[str, Any] = {
    "Name": "lake-raw-zone",
    "Role": "arn:aws:iam::123456789012:role/crawler",
    "DatabaseName": "iot_data_db",
    "Targets": {"S3Targets": [{"Path": f"s3://{BUCKET}/raw_data/"}]},
    "RecrawlPolicy": {"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"},
    "SchemaChangePolicy": {"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"},
    "Configuration": json.dumps(
        {
            "Version": 1.0,
            "Grouping": {
                "TableGroupingPolicy": "CombineCompatibleSchemas",
                "TableLevelConfiguration": 2,
            },
            "CrawlerOutput": {"Partitions": {"AddOrUpdateBehavior": "InheritFromTable"}},
        }
    ),
}
SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("sequence", pa.int64()),
        ("temperature", pa.float64()),
        ("light", pa.bool_()),
        ("measurements", pa.map_(pa.string(), pa.float64())),
        ("quality_flags", pa.list_(pa.string())),
        ("payload", pa.binary()),
        ("contract_version", pa.int32()),
    ]
)


class Lake:
    """A bucket and a catalogue."""

    def __init__(self) -> None:
        self.s3: Any = boto3.client("s3", region_name="us-east-1")
        self.catalogue: Any = boto3.client("glue", region_name="us-east-1")
        self.s3.create_bucket(Bucket=BUCKET)
        self.catalogue.create_database(DatabaseInput={"Name": "iot_data_db"})

    def put(self, folder: str, schema: pa.Schema = SCHEMA, name: str = "a.parquet") -> None:
        buffer = io.BytesIO()
        pq.write_table(schema.empty_table(), buffer)
        self.put_bytes(folder, buffer.getvalue(), name)

    def put_bytes(self, folder: str, body: bytes, name: str = "a.parquet") -> None:
        self.s3.put_object(Bucket=BUCKET, Key=f"raw_data/{folder}/{name}", Body=body)

    def crawl(self, **changes: Any) -> Any:
        return crawl(settings_of({**DEFINITION, **changes}), self.s3, self.catalogue)

    def table(self, name: str = "raw_data") -> Any:
        return self.catalogue.get_table(DatabaseName="iot_data_db", Name=name)["Table"]

    def partitions(self) -> list[list[str]]:
        answer = self.catalogue.get_partitions(DatabaseName="iot_data_db", TableName="raw_data")
        return sorted(partition["Values"] for partition in answer["Partitions"])


@pytest.fixture
def lake() -> Iterator[Lake]:
    with mock_aws():
        yield Lake()


def hour(text: str, date: str = "2026-11-23") -> str:
    return f"ingest_date={date}/ingest_hour={text}"


@pytest.mark.documented(pages.TABLES_AND_PARTITIONS)
def test_names_the_table_after_the_last_folder_and_types_it_from_the_footer(lake: Lake) -> None:
    lake.put(hour("10"))
    result = lake.crawl()
    assert (result.tables_created, result.partitions_added) == (1, 1)
    table = lake.table()
    columns = {c["Name"]: c["Type"] for c in table["StorageDescriptor"]["Columns"]}
    assert columns == {
        "record_id": "string",
        "event_time": "timestamp",
        "sequence": "bigint",
        "temperature": "double",
        "light": "boolean",
        "measurements": "map<string,double>",
        "quality_flags": "array<string>",
        "payload": "binary",
        "contract_version": "int",
    }
    assert table["Parameters"]["classification"] == "parquet"
    assert table["StorageDescriptor"]["Location"] == f"s3://{BUCKET}/raw_data/"


@pytest.mark.documented(pages.TABLES_AND_PARTITIONS)
def test_hive_folders_become_partition_columns_typed_string(lake: Lake) -> None:
    lake.put(hour("09"))
    lake.put(hour("10"))
    lake.crawl()
    keys = lake.table()["PartitionKeys"]
    assert keys == [
        {"Name": "ingest_date", "Type": "string"},
        {"Name": "ingest_hour", "Type": "string"},
    ]
    assert lake.partitions() == [["2026-11-23", "09"], ["2026-11-23", "10"]]


@pytest.mark.documented(pages.CREATE_CRAWLER)
def test_puts_the_table_prefix_before_the_name(lake: Lake) -> None:
    lake.put(hour("10"))
    lake.crawl(TablePrefix="dev_")
    assert lake.table("dev_raw_data")["Name"] == "dev_raw_data"


@pytest.mark.documented(pages.CRAWLERS)
def test_an_empty_path_makes_no_table_and_a_later_crawl_does(lake: Lake) -> None:
    assert lake.crawl().tables_created == 0
    lake.put(hour("10"))
    assert lake.crawl().tables_created == 1


@pytest.mark.documented(pages.CREATE_PARTITIONS)
def test_adds_more_partitions_than_one_request_may_carry(lake: Lake) -> None:
    for day in range(1, 6):
        for number in range(24):
            lake.put(hour(f"{number:02}", f"2026-11-{day:02}"))
    assert lake.crawl().partitions_added == 120
    assert len(lake.partitions()) == 120


@pytest.mark.documented(pages.INCREMENTAL)
def test_looks_only_into_new_folders_after_the_first_crawl(lake: Lake) -> None:
    lake.put(hour("10"))
    lake.crawl()
    # Were the known folder looked at again, its broken object would be reported.
    lake.put_bytes(hour("10"), b"not parquet", "b.parquet")
    lake.put(hour("11"))
    result = lake.crawl()
    assert (result.tables_created, result.partitions_added, result.refused) == (0, 1, ())
    assert lake.partitions() == [["2026-11-23", "10"], ["2026-11-23", "11"]]


@pytest.mark.documented(pages.INCREMENTAL)
def test_crawling_again_without_new_folders_changes_nothing(lake: Lake) -> None:
    lake.put(hour("10"))
    lake.crawl()
    before = lake.table()
    result = lake.crawl()
    assert (result.tables_created, result.partitions_added) == (0, 0)
    assert lake.table()["VersionId"] == before["VersionId"]


@pytest.mark.documented(pages.INCREMENTAL)
def test_new_folders_only_never_changes_the_schema(lake: Lake) -> None:
    lake.put(hour("10"))
    lake.crawl()
    lake.put(hour("11"), SCHEMA.append(pa.field("noise", pa.float64())))
    result = lake.crawl()
    assert (result.schema_updated, result.partitions_added) == (False, 1)
    columns = lake.table()["StorageDescriptor"]["Columns"]
    assert [c["Name"] for c in columns] == SCHEMA.names
    added = lake.catalogue.get_partition(
        DatabaseName="iot_data_db", TableName="raw_data", PartitionValues=["2026-11-23", "11"]
    )["Partition"]
    assert added["StorageDescriptor"]["Columns"] == columns


@pytest.mark.documented(pages.INCREMENTAL)
def test_leaves_out_new_folders_whose_types_contradict_the_table(lake: Lake) -> None:
    lake.put(hour("10"))
    lake.crawl()
    changed = SCHEMA.set(3, pa.field("temperature", pa.string()))
    lake.put(hour("11"), changed)
    result = lake.crawl()
    assert result.partitions_added == 0
    assert result.refused == (f"raw_data/{hour('11')}/a.parquet",)


@pytest.mark.documented(pages.SCHEMA_CHANGES)
def test_update_in_database_takes_new_columns_into_the_table(lake: Lake) -> None:
    everything = {
        "RecrawlPolicy": {"RecrawlBehavior": "CRAWL_EVERYTHING"},
        "SchemaChangePolicy": {"UpdateBehavior": "UPDATE_IN_DATABASE", "DeleteBehavior": "LOG"},
    }
    lake.put(hour("10"))
    lake.crawl(**everything)
    lake.put(hour("11"), SCHEMA.append(pa.field("noise", pa.float64())))
    assert lake.crawl(**everything).schema_updated
    assert lake.table()["StorageDescriptor"]["Columns"][-1] == {"Name": "noise", "Type": "double"}


@pytest.mark.documented(pages.SCHEMA_CHANGES)
def test_partitions_inherit_the_tables_columns_only_where_the_configuration_says_so(
    lake: Lake,
) -> None:
    lake.put(hour("10"))
    lake.crawl()
    lake.put(hour("11"), SCHEMA.append(pa.field("noise", pa.float64())))
    lake.crawl(Configuration="{}")
    columns = {
        partition["Values"][1]: len(partition["StorageDescriptor"]["Columns"])
        for partition in lake.catalogue.get_partitions(
            DatabaseName="iot_data_db", TableName="raw_data"
        )["Partitions"]
    }
    assert columns == {"10": len(SCHEMA), "11": len(SCHEMA) + 1}


@pytest.mark.ours("one bad object must not keep the others from the catalogue")
def test_an_unreadable_object_takes_no_neighbour_with_it(lake: Lake) -> None:
    lake.put_bytes(hour("10"), b"PAR1 but not really", "a.parquet")
    lake.put(hour("10"), name="b.parquet")
    lake.put_bytes(hour("10"), b"", "c.parquet")
    lake.put_bytes(hour("10"), b"marker", "_SUCCESS")
    result = lake.crawl()
    assert result.partitions_added == 1
    assert result.refused == (f"raw_data/{hour('10')}/a.parquet",)


@pytest.mark.ours("how much of an object is fetched is the crawler's own affair")
def test_reads_a_footer_longer_than_the_first_request(lake: Lake) -> None:
    wide = pa.schema([(f"column_{i:05}", pa.float64()) for i in range(3_000)])
    lake.put(hour("10"), wide)
    key = f"raw_data/{hour('10')}/a.parquet"
    assert lake.s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] > 2 * TAIL_BYTES
    assert read_schema(lake.s3, BUCKET, key).names == wide.names


@pytest.mark.ours("AWS makes several tables of them, which is not emulated")
def test_folders_of_different_depth_fail_the_crawl_instead_of_making_several_tables(
    lake: Lake,
) -> None:
    lake.put(hour("10"))
    lake.put("ingest_date=2026-11-24")
    with pytest.raises(ApiError, match="different depth"):
        lake.crawl()


@pytest.mark.ours("what would be ignored here must not look deployed")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {
                "SchemaChangePolicy": {"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"},
                "Targets": {},
            },
            "exactly one S3 target",
        ),
        ({"SchemaChangePolicy": {"UpdateBehavior": "UPDATE_IN_DATABASE"}}, "must be LOG and LOG"),
        ({"SchemaChangePolicy": {}}, "must be LOG and LOG"),
        ({"RecrawlPolicy": {"RecrawlBehavior": "CRAWL_EVENT_MODE"}}, "CRAWL_EVENT_MODE"),
        ({"RecrawlPolicy": {}, "SchemaChangePolicy": {}}, "DEPRECATE_IN_DATABASE"),
        (
            {"Targets": {"S3Targets": [{"Path": f"s3://{BUCKET}/raw_data/", "SampleSize": 1}]}},
            "SampleSize",
        ),
        ({"Targets": {"S3Targets": [{"Path": "raw_data/"}]}}, "not an S3 path"),
        ({"Configuration": '{"Version": 1.0, "Nonsense": 1}'}, "Configuration.Nonsense"),
        ({"Configuration": '{"Grouping": {"TableLevelConfiguration": 3}}'}, "Configuration 3"),
    ],
)
def test_refuses_settings_that_would_be_ignored(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ApiError, match=named):
        settings_of({**DEFINITION, **changes})


@pytest.mark.documented(pages.COLUMN_TYPES)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.large_string(), "string"),
        (pa.int16(), "smallint"),
        (pa.float32(), "float"),
        (pa.date32(), "date"),
        (pa.decimal128(10, 2), "decimal(10,2)"),
        (
            pa.struct([("Lat", pa.float64()), ("lon", pa.float64())]),
            "struct<lat:double,lon:double>",
        ),
        (pa.list_(pa.map_(pa.string(), pa.int32())), "array<map<string,int>>"),
    ],
)
def test_types_are_hives(kind: pa.DataType, expected: str) -> None:
    assert glue_type(kind) == expected


@pytest.mark.ours("what a merge of two files' types gives is stated nowhere")
def test_types_only_widen() -> None:
    narrow, wide = [{"Name": "n", "Type": "int"}], [{"Name": "n", "Type": "bigint"}]
    assert merge_columns(narrow, wide) == wide
    assert merge_columns(wide, narrow) == wide
    with pytest.raises(ValueError, match="column n is bigint here and string there"):
        merge_columns(wide, [{"Name": "n", "Type": "string"}])
