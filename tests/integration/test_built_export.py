"""The registry's export as `sam build` leaves it, on IoT's API, Glue and Iceberg on S3 over HTTP.

What only the whole shows is shown here: that what was trimmed is not missed, that pages are read to
the end, and that the table is one the job's own engine of record-keeping (Iceberg) reads back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog

from local.api import ACCESS_KEY, REGION, Api
from tests.integration.built import Running, built_function, running
from tests.loopback import client_of, empty_moto, served

VALUES = {
    "CURATED_ZONE_BUCKET": "curated-zone",
    "DATABASE_NAME": "iot_data_db",
    "POWERTOOLS_METRICS_NAMESPACE": "TelemetryLake/test",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_ENDPOINT_URL": "",
}
# More than a page of ListThings holds.
THINGS = 300


@dataclass
class Export:
    """The built function, and what it exports from and to."""

    function: Running
    iot: Any
    catalogue: Catalog

    def run(self) -> dict[str, Any]:
        """Invoke it; its answer."""
        self.function.metrics.clear()
        invocation = self.function.runtime.invoke(b"{}")
        assert invocation.error is None, invocation.payload.decode()
        answer: dict[str, Any] = json.loads(invocation.payload)
        return answer

    def rows(self, device: str) -> list[tuple[Any, ...]]:
        """What the table says of a device, in the order of time."""
        table = self.catalogue.load_table(("iot_data_db", "device_registry"))
        found = [row for row in table.scan().to_arrow().to_pylist() if row["device_id"] == device]
        found.sort(key=lambda row: row["valid_from"])
        return [(row["model"], row["site"], row["owner"], row["attributes"]) for row in found]

    def snapshots(self) -> int:
        return len(self.catalogue.load_table(("iot_data_db", "device_registry")).snapshots())

    def counted(self, name: str) -> float:
        found = [each for each in self.function.metrics if each.name == name]
        assert {tuple(each.dimensions.items()) for each in found} == {
            (("service", "export_registry"),)
        }
        return sum(sum(each.values) for each in found)


@pytest.fixture
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    function = built_function("export-registry", "ExportRegistryFunction", VALUES)
    folder = tmp_path_factory.mktemp("export").name
    with served(Api({}, [], {}, empty_moto())) as endpoint:
        client_of(endpoint, "s3").create_bucket(Bucket="curated-zone")
        catalogue = load_catalog(
            "lake",
            type="glue",
            **{
                "client.region": REGION,
                "client.access-key-id": ACCESS_KEY,
                "client.secret-access-key": ACCESS_KEY,
                "glue.endpoint": endpoint,
                "s3.endpoint": endpoint,
            },
        )
        catalogue.create_namespace("iot_data_db")
        with running(function, endpoint, folder) as runtime:
            yield Export(runtime, client_of(endpoint, "iot"), catalogue)


def attributes(**values: str) -> dict[str, Any]:
    return {"attributes": values}


def test_each_change_is_a_row_and_no_change_is_not_even_a_commit(export: Export) -> None:
    for number in range(THINGS):
        export.iot.create_thing(
            thingName=f"t-{number:03}", attributePayload=attributes(site="depot", axles="3")
        )
    export.iot.create_thing(thingName="bare")
    answer = export.run()
    assert (answer["things"], answer["changes"]) == (THINGS + 1, THINGS)
    assert (export.counted("RegistryExports"), export.counted("RegistryChanges")) == (1, THINGS)
    last = f"t-{THINGS - 1:03}"
    assert export.rows(last) == [(None, "depot", None, [("axles", "3")])]
    table = export.catalogue.load_table(("iot_data_db", "device_registry"))
    assert table.location() == "s3://curated-zone/curated/iot_data_db.db/device_registry"
    assert table.format_version == 2

    before = export.snapshots()
    assert export.run()["changes"] == 0
    assert (export.counted("RegistryExports"), export.counted("RegistryChanges")) == (1, 0)
    assert export.snapshots() == before

    export.iot.update_thing(thingName=last, attributePayload=attributes(site="harbour"))
    assert export.run()["changes"] == 1
    assert export.rows(last) == [
        (None, "depot", None, [("axles", "3")]),
        (None, "harbour", None, None),
    ]


def test_a_table_that_lacks_columns_is_given_what_it_can_hold(export: Export) -> None:
    older = pa.schema(
        [pa.field("device_id", pa.string(), nullable=False), pa.field("model", pa.string())]
    )
    table = export.catalogue.create_table(
        ("iot_data_db", "device_registry"), older, location="s3://curated-zone/curated/older"
    )
    table.append(pa.table({"device_id": ["t-1"], "model": ["TX-1"]}, older))
    export.iot.create_thing(thingName="t-1", attributePayload=attributes(model="TX-1"))
    assert export.run()["changes"] == 0
    export.iot.update_thing(thingName="t-1", attributePayload=attributes(model="TX-2"))
    assert export.run()["changes"] == 1
    found = export.catalogue.load_table(("iot_data_db", "device_registry")).scan().to_arrow()
    assert found.sort_by("model").to_pydict() == {
        "device_id": ["t-1", "t-1"],
        "model": ["TX-1", "TX-2"],
    }
