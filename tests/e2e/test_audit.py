"""Promise 6 on the deployed pipeline: each damage is found, by name, and nothing else is."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.demo.demo import Demonstration
from ops.__main__ import run


def findings(
    demo: Demonstration, capsys: pytest.CaptureFixture[str], *options: str
) -> list[tuple[str, str]]:
    """Kinds and subjects of what the command finds; its exit code has to agree."""
    capsys.readouterr()
    arguments = ["--stack-name", demo.cloud.stack, "--settle-minutes", "0", "--json", *options]
    exit_code = run(["audit", *arguments])
    told = json.loads(capsys.readouterr().out)["findings"]
    assert exit_code == (1 if told else 0)
    return [(one["kind"], one["what"]) for one in told]


@contextmanager
def newest_version_removed(s3: Any, bucket: str, key: str) -> Iterator[None]:
    """What the block does to an object is undone, as the bucket keeps older versions."""
    try:
        yield
    finally:
        versions = s3.list_object_versions(Bucket=bucket, Prefix=key)
        [newest] = [
            one
            for one in versions.get("Versions", []) + versions.get("DeleteMarkers", [])
            if one["IsLatest"]
        ]
        s3.delete_object(Bucket=bucket, Key=key, VersionId=newest["VersionId"])


type Damage = Callable[[pa.Table, int], pa.Table]


def without_row(rows: pa.Table, place: int) -> pa.Table:
    return pa.concat_tables([rows.slice(0, place), rows.slice(place + 1)])


def with_row_twice(rows: pa.Table, place: int) -> pa.Table:
    return pa.concat_tables([rows, rows.slice(place, 1)])


def with_flipped_payload(rows: pa.Table, place: int) -> pa.Table:
    column = rows.schema.get_field_index("payload")
    payloads = rows.column(column).to_pylist()
    payloads[place] = bytes([payloads[place][0] ^ 1]) + payloads[place][1:]
    field = rows.schema.field(column)
    return rows.set_column(column, field, pa.array(payloads, field.type))


DAMAGE: dict[str, Damage] = {
    "row_missing": without_row,
    "row_duplicated": with_row_twice,
    "row_altered": with_flipped_payload,
}


def test_each_damage_to_the_raw_zone_is_found_and_named(
    demo: Demonstration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings(demo, capsys) == []
    s3, bucket = demo.lake.client("s3"), demo.lake.raw_bucket
    key = s3.list_objects_v2(Bucket=bucket, Prefix="raw_data/")["Contents"][0]["Key"]
    body = bytearray(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    with newest_version_removed(s3, bucket, key):
        s3.delete_object(Bucket=bucket, Key=key)
        assert findings(demo, capsys) == [("raw_object_missing", key)]
    body[len(body) // 2] ^= 1
    with newest_version_removed(s3, bucket, key):
        s3.put_object(Bucket=bucket, Key=key, Body=bytes(body))
        assert findings(demo, capsys) == [("raw_object_altered", key)]
    assert findings(demo, capsys) == []


def test_each_damage_to_the_curated_zone_is_found_and_named(
    demo: Demonstration, capsys: pytest.CaptureFixture[str]
) -> None:
    s3, bucket = demo.lake.client("s3"), demo.lake.curated_bucket
    readings = demo.lake.catalogue().load_table((demo.lake.database, "readings"))
    path = next(iter(readings.scan().plan_files())).file.file_path
    key = path.removeprefix(f"s3://{bucket}/")
    rows = pq.read_table(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    place = len(rows) // 2
    for kind, damage in DAMAGE.items():
        written = io.BytesIO()
        pq.write_table(damage(rows, place), written)
        with newest_version_removed(s3, bucket, key):
            s3.put_object(Bucket=bucket, Key=key, Body=written.getvalue())
            assert findings(demo, capsys) == [(kind, rows.column("event_id")[place].as_py())]
    assert findings(demo, capsys) == []
