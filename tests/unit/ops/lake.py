"""A lake in memory for the audit: zones and stream by moto, the tables in a catalogue of Arrow.

`Lake.curate` is a model of the job, in a few lines of its own: it writes what the job would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import visitors
from pyiceberg.expressions.parser import parse
from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids, expression_to_pyarrow
from pyiceberg.schema import assign_fresh_schema_ids

from ops.audit.audit import Terms, audit_stack
from ops.audit.evidence import Sources
from ops.audit.findings import Audit, Scope
from ops.erasures import Erasures, is_erased
from ops.stack import Stack
from telemetry_contract.event_id import event_id_of
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX, object_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

type Row = dict[str, Any]

_TIME = pa.timestamp("us", tz="UTC")
READINGS = RAW_SCHEMA.append(pa.field("run_id", pa.string()))
RUNS = pa.schema(
    [
        *((name, pa.string()) for name in ("run_id", "kind")),
        ("started_at", _TIME),
        *((name, pa.int64()) for name in ("rows_in", "curated", "duplicates", "dropped")),
        *((name, pa.int64()) for name in ("too_old", "erased")),
    ]
)
LEDGER = pa.schema(
    [
        *((name, pa.string()) for name in ("object_key", "status", "run_id")),
        ("rows", pa.int64()),
    ]
)


@dataclass
class ArrowScan:
    """A table's scan, with the filter as PyIceberg understands it."""

    rows: pa.Table

    def to_arrow_batch_reader(self) -> pa.RecordBatchReader:
        return self.rows.to_reader()


@dataclass
class ArrowTable:
    """An Iceberg table as far as the audit reads one."""

    rows: pa.Table

    def scan(self, row_filter: str, selected_fields: tuple[str, ...] = ("*",)) -> ArrowScan:
        schema = assign_fresh_schema_ids(_pyarrow_to_schema_without_ids(self.rows.schema))
        bound = visitors.bind(schema, parse(row_filter), case_sensitive=True)
        rows = self.rows.filter(expression_to_pyarrow(bound))
        return ArrowScan(rows if "*" in selected_fields else rows.select(list(selected_fields)))


@dataclass
class ArrowCatalogue:
    """A catalogue of tables in memory."""

    tables: dict[str, pa.Table] = field(default_factory=dict)

    def load_table(self, identifier: tuple[str, str]) -> ArrowTable:
        if identifier[1] not in self.tables:
            raise NoSuchTableError(f"no table {identifier}")
        return ArrowTable(self.tables[identifier[1]])


@dataclass
class Lake:
    """What a test does with a stack: put records, write objects, curate, do damage, audit."""

    stack: Stack
    s3: S3Client
    kinesis: Any
    now: datetime
    catalogue: ArrowCatalogue = field(default_factory=ArrowCatalogue)
    shard: str = ""
    runs: int = 0
    progress: list[str] = field(default_factory=list)

    def put_records(self, count: int) -> list[str]:
        """Put records on the stream; gives their positions."""
        answers = [
            self.kinesis.put_record(
                StreamName=self.stack.stream_name, Data=b"{}", PartitionKey="truck-1"
            )
            for _ in range(count)
        ]
        return [f"{one['ShardId']}:{one['SequenceNumber']}" for one in answers]

    def accept(self, *rows: Row, at: datetime | None = None) -> str:
        """Write a raw object; gives its key."""
        return self.write(self.stack.raw_zone_bucket, RAW_PREFIX, RAW_SCHEMA, rows, at)

    def reject(self, *rows: Row, at: datetime | None = None) -> str:
        """Write a rejected object; gives its key."""
        return self.write(
            self.stack.rejected_zone_bucket, REJECTED_PREFIX, REJECTED_SCHEMA, rows, at
        )

    def write(
        self,
        bucket: str,
        prefix: str,
        schema: pa.Schema,
        rows: tuple[Row, ...],
        at: datetime | None,
    ) -> str:
        columns = {name: [row.get(name) for row in rows] for name in schema.names}
        sink = BytesIO()
        pq.write_table(pa.table(columns, schema=schema), sink)
        body = sink.getvalue()
        ids = [row["record_id"].rpartition(":")[0] for row in rows]
        key = object_key(prefix, at or self.now, ids[0], ids[-1], sha256(body).hexdigest())
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)
        return key

    def curate(self) -> str:
        """What the job would make of the objects that no run has taken; gives the run's id."""
        self.runs += 1
        run_id = f"run-{self.runs}"
        taken = set(self.rows("curation_ledger", "object_key"))
        listed = self.s3.list_objects_v2(Bucket=self.stack.raw_zone_bucket).get("Contents", [])
        keys = [one["Key"] for one in listed if one["Key"] not in taken]
        known = set(self.rows("readings", "event_id"))
        new: dict[str, Row] = {}
        rows_in = dropped = erased = 0
        tombstones = self.erasures.tombstones()
        ledger = []
        for key in keys:
            body = self.s3.get_object(Bucket=self.stack.raw_zone_bucket, Key=key)["Body"].read()
            rows = pq.read_table(BytesIO(body)).to_pylist()
            rows_in += len(rows)
            ledger.append(
                {"object_key": key, "status": "curated", "rows": len(rows), "run_id": run_id}
            )
            for row in rows:
                if is_erased(tombstones, row["device_id"], row["arrival_time"]):
                    erased += 1
                elif row["temperature"] is None and row["status"] is None:
                    dropped += 1
                elif row["event_id"] not in known:
                    words = row["status"] and row["status"].strip().lower().replace("-", "_")
                    new.setdefault(row["event_id"], row | {"status": words, "run_id": run_id})
        self.add("curation_ledger", LEDGER, ledger)
        self.add("readings", READINGS, list(new.values()))
        account = {
            "run_id": run_id,
            "started_at": self.now,
            "kind": "schedule",
            "rows_in": rows_in,
            "curated": len(new),
            "duplicates": rows_in - dropped - erased - len(new),
            "dropped": dropped,
            "too_old": 0,
            "erased": erased,
        }
        self.add("curation_runs", RUNS, [account])
        return run_id

    @property
    def erasures(self) -> Erasures:
        """What is known of erased devices."""
        return Erasures(self.s3, self.stack.curated_zone_bucket, self.stack.database_name)

    def rows(self, table: str, column: str) -> list[Any]:
        """One column of a table, empty where there is no such table."""
        found = self.catalogue.tables.get(table)
        return [] if found is None else list(found.column(column).to_pylist())

    def add(self, table: str, schema: pa.Schema, rows: list[Row]) -> None:
        """Append rows to a table."""
        known = self.catalogue.tables.get(table, schema.empty_table())
        added = pa.Table.from_pylist(rows, schema=schema)
        self.catalogue.tables[table] = pa.concat_tables([known, added])

    def change(self, table: str, change: Any) -> None:
        """Replace a table's rows by what `change` makes of the list of them."""
        known = self.catalogue.tables[table]
        rows = change(known.to_pylist())
        self.catalogue.tables[table] = pa.Table.from_pylist(rows, schema=known.schema)

    @property
    def sources(self) -> Sources:
        """What an audit reads."""
        return Sources(
            self.stack,
            self.s3,
            self.kinesis,
            self.catalogue,  # type: ignore[arg-type]  # a fake
            self.progress.append,
        )

    def audit(self, **scope: datetime) -> Audit:
        # The records that a test puts arrive by the machine's clock.
        terms = Terms(settle=timedelta(minutes=-1), look_back=timedelta(hours=2))
        return audit_stack(self.sources, Scope(**scope), terms, datetime.now(UTC))

    def found(self, **scope: datetime) -> list[tuple[str, str]]:
        """The kinds and subjects of what an audit finds."""
        return [(one.kind, one.what) for one in self.audit(**scope).findings]


def reading(position: str, arrival: datetime, payload: bytes | None = None, **values: Any) -> Row:
    """A raw row of the record at a position. The same payload makes the same event."""
    payload = payload if payload is not None else position.encode()
    return {
        "record_id": f"{position}:0",
        "arrival_time": arrival,
        "broker_time": arrival,
        "ingest_id": "0c9b2d0e",
        "identity": "verified",
        "event_id": event_id_of("truck-1", payload),
        "device_id": "truck-1",
        "event_time": arrival - timedelta(seconds=2),
        "temperature": 21.5,
        "quality_flags": [],
        "measurements": {"rpm": 900.0, "axles": 2.0},
        "payload": payload,
        "contract_version": 1,
        **values,
    }


def rejection(position: str, arrival: datetime) -> Row:
    """A rejected row of the record at a position."""
    return {
        "record_id": f"{position}:0",
        "arrival_time": arrival,
        "reason": "not_json",
        "detail": "",
        "payload": b"?",
        "contract_version": 1,
    }
