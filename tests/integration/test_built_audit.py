"""The scheduled audit as `sam build` leaves it, against a lake over HTTP: S3, Kinesis, Iceberg.

What only the whole shows is shown here: that what was trimmed and left out is not missed, that
PyIceberg reads tables with what is in the artifact, and that findings arrive as metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog

from local.api import ACCESS_KEY, REGION, Api
from local.functions.runtime import FunctionRuntime
from local.metrics import Datum
from ops.stack import Stack
from tests.integration.built import built_function, running
from tests.loopback import client_of, empty_moto, served
from tests.unit.ops.lake import Lake, reading

HOUR = timedelta(hours=1)

# Values for the variables that the template takes from parameters and other resources.
VALUES = {
    "STREAM_NAME": "telemetry",
    "RAW_ZONE_BUCKET": "raw-zone",
    "REJECTED_ZONE_BUCKET": "rejected-zone",
    "FAILED_ZONE_BUCKET": "failed-zone",
    "CURATED_ZONE_BUCKET": "curated-zone",
    "DATABASE_NAME": "iot_data_db",
    "LOOK_BACK_MINUTES": "120",
    "POWERTOOLS_METRICS_NAMESPACE": "TelemetryLake/test",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_ENDPOINT_URL": "",
}
STACK = Stack(
    name="test",
    stream_name=VALUES["STREAM_NAME"],
    stream_arn="",
    function_name="",
    raw_zone_bucket=VALUES["RAW_ZONE_BUCKET"],
    rejected_zone_bucket=VALUES["REJECTED_ZONE_BUCKET"],
    failed_zone_bucket=VALUES["FAILED_ZONE_BUCKET"],
    curated_zone_bucket=VALUES["CURATED_ZONE_BUCKET"],
    database_name=VALUES["DATABASE_NAME"],
    curation_job_name="",
)
# Whose records the stream has long forgotten.
DAY = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Audited:
    """A lake, the built function that audits it, and what that measured."""

    lake: Lake
    catalogue: Catalog
    runtime: FunctionRuntime
    metrics: list[Datum]
    log: Path

    def curate(self, taken_through: datetime) -> None:
        """What a run would have made of the raw zone, as Iceberg tables in the Glue catalogue."""
        self.lake.curate()
        for name, rows in self.lake.catalogue.tables.items():
            if name == "curation_runs":
                through = pa.array([taken_through] * len(rows), pa.timestamp("us", tz="UTC"))
                content = rows.append_column("complete_through", through)
            else:
                content = rows
            table = self.catalogue.create_table_if_not_exists(
                (STACK.database_name, name),
                schema=content.schema,
                location=f"s3://curated-zone/curated/{name}",
            )
            table.overwrite(content)

    def invoke(self) -> dict[str, Any]:
        """Have the function audit what it can; its answer."""
        self.metrics.clear()
        invocation = self.runtime.invoke(b"{}")
        assert invocation.error is None, invocation.payload.decode()
        answer: dict[str, Any] = json.loads(invocation.payload)
        return answer

    def count(self, name: str) -> float:
        """A metric's sum over the last invocation; LookupError if it was not emitted."""
        found = [d for d in self.metrics if (d.namespace, d.name) == ("TelemetryLake/test", name)]
        if not found:
            raise LookupError(name)
        assert {tuple(d.dimensions.items()) for d in found} == {(("service", "audit_lake"),)}
        return sum(sum(d.values) for d in found)

    def named(self) -> list[tuple[str, str]]:
        """Kinds and subjects of the findings in the log so far."""
        lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        found = [line for line in lines if line.get("message") == "audit_finding"]
        return [(line["kind"], line["subject"]) for line in found]


@pytest.fixture
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    function = built_function("audit-lake", "AuditLakeFunction", VALUES)
    folder = tmp_path_factory.mktemp("audit").name
    with served(Api({}, [], {}, empty_moto())) as endpoint:
        s3, kinesis = client_of(endpoint, "s3"), client_of(endpoint, "kinesis")
        for zone in ("raw", "rejected", "failed", "curated"):
            s3.create_bucket(Bucket=f"{zone}-zone")
        kinesis.create_stream(StreamName=STACK.stream_name, ShardCount=1)
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
        catalogue.create_namespace(STACK.database_name)
        with running(function, endpoint, folder) as audit:
            yield Audited(
                Lake(STACK, s3, kinesis, DAY),
                catalogue,
                audit.runtime,
                audit.metrics,
                audit.folder / "logs" / "audit-lake.log",
            )


def test_hours_are_audited_once_they_are_curated_and_damage_is_counted_and_named(
    audited: Audited,
) -> None:
    assert audited.invoke() == {"hours": [], "findings": {}}  # not even a table is there yet
    with pytest.raises(LookupError):
        audited.count("AuditFindings")

    keys = [
        audited.lake.accept(
            *(reading(f"shardId-000000000000:{hour}{n}", DAY + hour * HOUR) for n in range(5)),
            at=DAY + hour * HOUR,
        )
        for hour in range(5)
    ]
    audited.curate(taken_through=DAY + 2 * HOUR)
    assert audited.invoke() == {"hours": [DAY.isoformat()], "findings": {}}
    assert (audited.count("AuditedHours"), audited.count("AuditFindings")) == (1, 0)

    # Two hours nobody invoked it; then both are made good, and the damage is named.
    audited.lake.s3.delete_object(Bucket="raw-zone", Key=keys[2])
    audited.curate(taken_through=DAY + 4 * HOUR)
    answer = audited.invoke()
    assert answer["hours"] == [(DAY + hour * HOUR).isoformat() for hour in (1, 2)]
    assert answer["findings"] == {"raw_object_missing": 1}
    assert (audited.count("AuditedHours"), audited.count("AuditFindings")) == (2, 1)
    assert audited.named() == [("raw_object_missing", keys[2])]

    # The other end: a row that vanished from the curated zone.
    audited.lake.change("readings", lambda rows: rows[:-2] + rows[-1:])
    audited.curate(taken_through=DAY + 6 * HOUR)
    answer = audited.invoke()
    assert answer["findings"] == {"row_missing": 1}
    assert audited.count("AuditFindings") == 1
    assert audited.invoke() == {"hours": [], "findings": {}}


def test_log_of_the_audit_has_no_payload(audited: Audited) -> None:
    secret = b"the payload's own bytes"
    row = reading("shardId-000000000000:1", DAY, secret)
    audited.lake.accept(row, at=DAY)
    audited.curate(taken_through=DAY + 2 * HOUR)
    audited.lake.change("readings", lambda rows: [rows[0] | {"temperature": -1.0}])
    audited.curate(taken_through=DAY + 2 * HOUR)
    assert audited.invoke()["findings"] == {"row_altered": 1}
    assert secret.decode() not in audited.log.read_text(encoding="utf-8")
