"""Golden raw rows in, golden curated rows and account out.

`make golden` writes the files anew; read the difference before committing it.
"""

import base64
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

import curate_telemetry as job
from tests.spark.lake import Lake, raw_row

GOLDEN = Path(__file__).with_name("golden")


def raw_objects() -> list[list[dict[str, Any]]]:
    def row(given: dict[str, Any]) -> dict[str, Any]:
        times = (datetime.fromisoformat(given.pop(f"{name}_time")) for name in ("event", "arrival"))
        payload = given.pop("payload").encode()
        return raw_row(given.pop("device_id"), *times, payload=payload, **given)

    described = json.loads((GOLDEN / "raw_objects.json").read_text())
    return [[row(given) for given in rows] for rows in described]


def as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    assert isinstance(value, date)
    return value.isoformat()


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({}, id="objects are large"),
        pytest.param({"SMALL_OBJECT": 1 << 30}, id="objects are small"),
        pytest.param({"MAX_BROADCAST_ROWS": -1}, id="many rows are not inserted"),
        pytest.param({"RAW_BYTES_OF_A_FILE": 1}, id="a day gets several files"),
        pytest.param({"MAX_FILES": 0}, id="rows are gathered by day"),
    ],
)
def test_golden_raw_rows_become_golden_readings(
    lake: Lake,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(job, name, value)
    lake.register(
        ("truck-1", "2026-01-01T00:00:00Z", "T-1000", "Pune"),
        ("truck-1", "2026-06-01T00:00:00Z", "T-2000", "Mumbai", "fleet", {"axles": "3"}),
        ("box-1", "2020-07-13T00:00:00Z", "BME280", "Lab"),
        ("box-1", "2020-07-20T00:00:00Z", "BME280", "Roof"),
    )
    for rows in raw_objects():
        lake.put(*rows)
    account = lake.run("--run_id", "golden")
    # Instants as text of UTC: what Spark gives Python is in the zone of the machine.
    columns = [
        f"CAST({name} AS STRING) AS {name}" if kind == "timestamp" else name
        for name, kind in lake.table("readings").dtypes
    ]
    readings = lake.table("readings").selectExpr(*columns).orderBy("event_id").collect()
    figures = {
        name: getattr(account, name)
        for name in ("objects", "rows_in", "curated", "duplicates", "dropped", "late")
    }
    found = {"account": figures, "readings": [row.asDict() for row in readings]}
    text = json.dumps(found, default=as_text, indent=1, ensure_ascii=False) + "\n"
    golden = GOLDEN / "curated.json"
    if request.config.getoption("--update-golden", default=False):
        golden.write_text(text)
    assert text == golden.read_text()
