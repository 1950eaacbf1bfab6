"""The crawler: keeps a table and its partitions in the catalogue, from real Parquet footers in S3.

Behaves as AWS documents for what the template uses: one S3 path, Hive folders (`key=value/`)
becoming partition columns typed string, every folder or only new ones, schema changes logged or
taken. A crawl that fails says so and leaves what it had already registered. Anything else is
refused at deployment.
https://docs.aws.amazon.com/glue/latest/dg/incremental-crawls.html
https://docs.aws.amazon.com/glue/latest/dg/crawler-schema-changes-prevent.html
"""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.api import ApiError
from local.glue.parquet_schema import Column, columns_of, merge_columns, read_schema

logger = logging.getLogger(__name__)

_PARTITIONS_PER_REQUEST = 100  # BatchCreatePartition takes no more

PROPERTIES = frozenset(
    (
        "Name",
        "Role",
        "DatabaseName",
        "Description",
        "Targets",
        "TablePrefix",
        "RecrawlPolicy",
        "SchemaChangePolicy",
        "Configuration",
        "Tags",
    )
)
_CONFIGURATION = {
    "Version": [1, 1.0],
    "CreatePartitionIndex": [True, False],
    "CrawlerOutput": {
        "Partitions": {"AddOrUpdateBehavior": ["InheritFromTable"]},
        "Tables": {"AddOrUpdateBehavior": ["MergeNewColumns"]},
    },
    "Grouping": {
        "TableGroupingPolicy": ["CombineCompatibleSchemas"],
        "TableLevelConfiguration": None,
    },
}


@dataclass(frozen=True)
class CrawlerSettings:
    """A crawler's definition, as far as it decides what a crawl does."""

    bucket: str
    prefix: str
    database: str
    table: str
    new_folders_only: bool
    update_schema: bool
    inherit_from_table: bool


@dataclass(frozen=True)
class CrawlResult:
    """What one crawl changed. `refused` are keys whose schema or bytes could not be used."""

    tables_created: int
    partitions_added: int
    schema_updated: bool
    refused: tuple[str, ...]


def settings_of(definition: Mapping[str, Any]) -> CrawlerSettings:
    """Read a definition. Raises ApiError for a setting that is not emulated or that AWS refuses."""
    targets = dict(definition["Targets"])
    s3_targets = targets.pop("S3Targets", [])
    if targets or len(s3_targets) != 1:
        raise _unsupported(f"Targets {definition['Targets']}: exactly one S3 target is")
    if set(s3_targets[0]) != {"Path"}:
        raise _unsupported(f"S3Targets {s3_targets[0]}: only Path is")
    bucket, prefix = _split_path(s3_targets[0]["Path"])
    recrawl = definition.get("RecrawlPolicy", {}).get("RecrawlBehavior", "CRAWL_EVERYTHING")
    policy = definition.get("SchemaChangePolicy", {})
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-glue-crawler.html
    update = policy.get("UpdateBehavior", "UPDATE_IN_DATABASE")
    delete = policy.get("DeleteBehavior", "DEPRECATE_IN_DATABASE")
    if recrawl not in ("CRAWL_EVERYTHING", "CRAWL_NEW_FOLDERS_ONLY"):
        raise _unsupported(f"RecrawlBehavior {recrawl}")
    if recrawl == "CRAWL_NEW_FOLDERS_ONLY" and (update, delete) != ("LOG", "LOG"):
        raise ApiError(
            "InvalidInputException",
            "The SchemaChangePolicy for a crawler with CRAWL_NEW_FOLDERS_ONLY must be LOG and LOG",
        )
    if delete != "LOG":
        raise _unsupported(f"DeleteBehavior {delete}")
    configuration = json.loads(definition.get("Configuration") or "{}")
    _check_configuration(configuration, _CONFIGURATION, "Configuration")
    level = configuration.get("Grouping", {}).get("TableLevelConfiguration")
    # The bucket is level 1. https://docs.aws.amazon.com/glue/latest/dg/crawler-table-level.html
    if level not in (None, 1 + prefix.count("/")):
        raise _unsupported(f"TableLevelConfiguration {level} for {s3_targets[0]['Path']}")
    partitions = configuration.get("CrawlerOutput", {}).get("Partitions", {})
    return CrawlerSettings(
        bucket=bucket,
        prefix=prefix,
        database=definition["DatabaseName"],
        table=_table_name(definition.get("TablePrefix", ""), bucket, prefix),
        new_folders_only=recrawl == "CRAWL_NEW_FOLDERS_ONLY",
        update_schema=update == "UPDATE_IN_DATABASE",
        inherit_from_table=partitions.get("AddOrUpdateBehavior") == "InheritFromTable",
    )


def crawl(
    settings: CrawlerSettings,
    s3: Any,
    catalogue: Any,
    is_stopped: Callable[[], bool] = lambda: False,
) -> CrawlResult:
    """Crawl once: list folders, read the footers of those to look at, register what they hold.

    `s3` and `catalogue` are boto3 clients (s3, glue). Stops between two folders when `is_stopped`.
    """
    folders = _parquet_folders(settings, s3)
    table = _existing_table(settings, catalogue)
    known = _known_folders(settings, catalogue) if table else set()
    if table and settings.new_folders_only:
        folders = {folder: keys for folder, keys in folders.items() if folder not in known}
    columns: list[Column] = table["StorageDescriptor"]["Columns"] if table else []
    found: dict[str, list[Column]] = {}
    refused: list[str] = []
    for folder, keys in folders.items():
        if is_stopped():
            break
        folder_columns, unusable = _columns_of_folder(settings, s3, keys, columns)
        refused += unusable
        if folder_columns:
            found[folder] = folder_columns
            if table is None or settings.update_schema:
                columns = merge_columns(columns, folder_columns)
    if not found:
        return CrawlResult(0, 0, False, tuple(refused))
    created = table is None
    updated = False
    if table is None:
        catalogue.create_table(
            DatabaseName=settings.database, TableInput=_table_input(settings, columns, found)
        )
    elif settings.update_schema and columns != table["StorageDescriptor"]["Columns"]:
        catalogue.update_table(
            DatabaseName=settings.database, TableInput=_table_input(settings, columns, found)
        )
        updated = True
    new = [folder for folder in found if folder not in known and _partition_values(folder)]
    _add_partitions(settings, catalogue, new, columns, found)
    for key in refused:
        logger.warning("not catalogued, its Parquet schema is unreadable or incompatible: %s", key)
    return CrawlResult(int(created), len(new), updated, tuple(refused))


def _columns_of_folder(
    settings: CrawlerSettings, s3: Any, keys: Iterable[str], table_columns: list[Column]
) -> tuple[list[Column], list[str]]:
    """The columns of a folder's usable objects, and the keys of those that are not.

    An object whose types contradict the table's is left out, as in an incremental crawl.
    """
    columns: list[Column] = []
    unusable: list[str] = []
    for key in keys:
        try:
            found = columns_of(read_schema(s3, settings.bucket, key))
            merge_columns(table_columns, found)
            columns = merge_columns(columns, found)
        except ValueError:  # pa.ArrowInvalid is one
            unusable.append(key)
    return columns, unusable


def _parquet_folders(settings: CrawlerSettings, s3: Any) -> dict[str, list[str]]:
    """Keys by folder below the path. Names beginning with `_` or `.` are no data (Hive)."""
    folders: dict[str, list[str]] = defaultdict(list)
    for item in _objects(s3, settings.bucket, settings.prefix):
        folder, _, name = item["Key"].removeprefix(settings.prefix).rpartition("/")
        if item["Size"] and not name.startswith(("_", ".")):
            folders[folder].append(item["Key"])
    depths = {len(_partition_values(folder)) for folder in folders}
    if len(depths) > 1:
        raise ApiError(
            "InvalidInputException",
            f"folders of different depth under s3://{settings.bucket}/{settings.prefix}: "
            "AWS would make several tables of them, which is not emulated",
        )
    return dict(folders)


def _objects(s3: Any, bucket: str, prefix: str) -> Iterator[Any]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def _partition_keys(folder: str) -> list[str]:
    parts = folder.split("/") if folder else []
    return [
        part.partition("=")[0] if "=" in part else f"partition_{i}" for i, part in enumerate(parts)
    ]


def _partition_values(folder: str) -> list[str]:
    return [part.rpartition("=")[2] for part in folder.split("/")] if folder else []


def _existing_table(settings: CrawlerSettings, catalogue: Any) -> Any:
    try:
        return catalogue.get_table(DatabaseName=settings.database, Name=settings.table)["Table"]
    except catalogue.exceptions.EntityNotFoundException:
        return None


def _known_folders(settings: CrawlerSettings, catalogue: Any) -> set[str]:
    root = _location(settings)
    pages = catalogue.get_paginator("get_partitions").paginate(
        DatabaseName=settings.database, TableName=settings.table
    )
    return {
        partition["StorageDescriptor"]["Location"].removeprefix(root).rstrip("/")
        for page in pages
        for partition in page["Partitions"]
    }


def _add_partitions(
    settings: CrawlerSettings,
    catalogue: Any,
    folders: list[str],
    table_columns: list[Column],
    found: Mapping[str, list[Column]],
) -> None:
    inputs = [
        {
            "Values": _partition_values(folder),
            "StorageDescriptor": _storage(
                f"{_location(settings)}{folder}/",
                table_columns if settings.inherit_from_table else found[folder],
            ),
            "Parameters": _PARAMETERS,
        }
        for folder in sorted(folders)
    ]
    for start in range(0, len(inputs), _PARTITIONS_PER_REQUEST):
        answer = catalogue.batch_create_partition(
            DatabaseName=settings.database,
            TableName=settings.table,
            PartitionInputList=inputs[start : start + _PARTITIONS_PER_REQUEST],
        )
        if answer.get("Errors"):
            raise RuntimeError(f"partitions not created: {answer['Errors']}")


_PARAMETERS = {
    "classification": "parquet",
    "compressionType": "none",  # of the file as a whole; Parquet compresses inside
    "typeOfData": "file",
}


def _table_input(
    settings: CrawlerSettings, columns: list[Column], found: Mapping[str, list[Column]]
) -> dict[str, Any]:
    keys = _partition_keys(next(iter(found)))
    return {
        "Name": settings.table,
        "Owner": "owner",
        "TableType": "EXTERNAL_TABLE",
        "StorageDescriptor": _storage(_location(settings), columns),
        # "string" whatever the folders hold, as crawlers do
        "PartitionKeys": [{"Name": key.lower(), "Type": "string"} for key in keys],
        "Parameters": {"EXTERNAL": "TRUE", **_PARAMETERS},
    }


def _storage(location: str, columns: list[Column]) -> dict[str, Any]:
    return {
        "Columns": columns,
        "Location": location,
        "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "Compressed": False,
        "NumberOfBuckets": -1,
        "SerdeInfo": {
            "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            "Parameters": {"serialization.format": "1"},
        },
        "BucketColumns": [],
        "SortColumns": [],
        "Parameters": _PARAMETERS,
        "StoredAsSubDirectories": False,
    }


def _location(settings: CrawlerSettings) -> str:
    return f"s3://{settings.bucket}/{settings.prefix}"


def _split_path(path: str) -> tuple[str, str]:
    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    if not path.startswith("s3://") or not bucket:
        raise ApiError("InvalidInputException", f"not an S3 path: {path}")
    return bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def _table_name(table_prefix: str, bucket: str, prefix: str) -> str:
    """The last folder of the path names the table, in lower case, at most 128 long."""
    last = prefix.rstrip("/").rpartition("/")[2] or bucket
    return re.sub(r"[^a-z0-9_]", "_", f"{table_prefix}{last}".lower())[:128]


def _check_configuration(value: Any, known: Any, path: str) -> None:
    if known is None:
        return
    if isinstance(known, list):
        if value not in known:
            raise _unsupported(f"{path} {value!r}")
        return
    for key, inner in value.items():
        if key not in known:
            raise _unsupported(f"{path}.{key}")
        _check_configuration(inner, known[key], f"{path}.{key}")


def _unsupported(what: str) -> ApiError:
    return ApiError("InvalidInputException", f"crawler {what} not emulated by the local cloud")
