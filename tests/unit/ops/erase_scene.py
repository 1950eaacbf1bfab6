"""A lake with two devices in every zone, and what erases one of them, for the tests of it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

import pyarrow.parquet as pq

from ops.curation_job import CurationJob
from ops.erase.run import Erasure, Findings
from ops.erase.tables import Tables
from ops.erase.zones import Search, Target
from ops.erasures import Erasures, is_erased
from ops.errors import OperationError
from ops.exchange import superseded_keys
from telemetry_contract.event_id import event_id_of
from telemetry_contract.rejection import Reason
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.lake import LEDGER, ArrowTable, Lake, reading, rejection

GONE, KEPT = "truck-71", "truck-7"
BUCKETS = ("raw-zone", "rejected-zone", "failed-zone", "curated-zone")
FOLDER = "curated/iot_data_db.db/readings"


def row(position: str, device: str, at: datetime, **values: Any) -> dict[str, Any]:
    payload = json.dumps({"device_id": device, "n": position}).encode()
    said = {"device_id": device, "client_id": device, "topic": f"dt/fleet/{device}/telemetry"}
    said["event_id"] = event_id_of(device, payload)
    return reading(position, at, payload, **(said | values))


def record(
    position: str, payload: bytes, at: datetime, client: str | None = None
) -> dict[str, Any]:
    """A record of a failed batch, in the rule's envelope if it has a client."""
    envelope = {"payload_b64": base64.b64encode(payload).decode(), "client_id": client}
    data = json.dumps(envelope).encode() if client else payload
    kinesis = {
        "partitionKey": client or "any",
        "data": base64.b64encode(data).decode(),
        "approximateArrivalTimestamp": at.timestamp(),
    }
    return {"eventID": position, "kinesis": kinesis}


@dataclass
class JobModel:
    """What a run of the job does when it is told to erase, in a few lines of its own."""

    lake: Lake
    runs: list[Mapping[str, str]] = field(default_factory=list)
    fails: bool = False
    is_running: bool = False

    def require_free(self) -> None:
        if self.is_running:
            raise OperationError("a run is in progress")

    def run(
        self, arguments: Mapping[str, str], awaited: Iterable[str], stays: str
    ) -> dict[str, Any]:
        assert set(awaited) == {"erase", "account"}
        self.runs.append(arguments)
        if self.fails:
            raise OperationError(f"it failed. {stays}")
        lake = self.lake
        tombstones = lake.erasures.tombstones()
        before = len(lake.rows("readings", "event_id"))
        lake.change(
            "readings",
            lambda rows: [
                one
                for one in rows
                if not is_erased(tombstones, one["device_id"], one["arrival_time"])
            ],
        )
        if uri := arguments.get("--exchange"):
            self.exchange(uri)
        removed = before - len(lake.rows("readings", "event_id"))
        return {"erase": {"readings": removed}, "account": {}}

    def exchange(self, uri: str) -> None:
        key = uri.removeprefix("s3://curated-zone/")
        body = self.lake.s3.get_object(Bucket="curated-zone", Key=key)["Body"].read()
        pairs = {told["old"]: told for told in map(json.loads, body.splitlines())}
        ledger = dict.fromkeys(self.lake.rows("curation_ledger", "object_key"))
        new = [
            {"object_key": told["new"], "status": "curated", "rows": told["rows"], "run_id": "e"}
            for old, told in pairs.items()
            if old in ledger and told["new"]
        ]
        old = [
            {"object_key": key, "status": "superseded", "run_id": "e"}
            for key in pairs - ledger.keys()
        ]

        def supersede(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                one | ({"status": "superseded"} if one["object_key"] in pairs else {})
                for one in rows
            ]

        self.lake.change("curation_ledger", supersede)
        known = set(self.lake.rows("curation_ledger", "object_key"))
        self.lake.add(
            "curation_ledger", LEDGER, [e for e in new + old if e["object_key"] not in known]
        )
        run = {"run_id": "e", "kind": "erase", "started_at": self.lake.now, "rows_in": 0}
        if "e" not in self.lake.rows("curation_runs", "run_id"):
            schema = self.lake.catalogue.tables["curation_runs"].schema
            self.lake.add("curation_runs", schema, [run])


@dataclass
class OtherJob:
    """A job that writes tables too; `at_end` is what its run in progress does when it ends."""

    is_running: bool = False
    at_end: Callable[[], None] | None = None

    def require_free(self) -> None:
        if self.is_running:
            raise OperationError("a run of another job is in progress")

    def await_free(self) -> None:
        if self.at_end:
            self.at_end()


class TableWithFiles(ArrowTable):
    """A table whose files lie in the curated zone; no snapshot knows any."""

    io = None
    metadata = SimpleNamespace(snapshots=[])

    def location(self) -> str:
        return f"s3://curated-zone/{FOLDER}"

    def refresh(self) -> TableWithFiles:
        return self


@dataclass
class Scene:
    """A lake with two devices in every zone, and what erases one of them."""

    lake: Lake
    job: JobModel
    others: list[OtherJob] = field(default_factory=lambda: [OtherJob(), OtherJob()])
    messages: list[str] = field(default_factory=list)

    def erasure(self, device: str = GONE) -> Erasure:
        lake = self.lake
        target = Target(device, lake.now + timedelta(hours=1))
        catalogue: Any = lake.catalogue
        database = lake.stack.database_name
        superseded = superseded_keys(catalogue, database)
        progress = self.messages.append
        return Erasure(
            lake.s3,
            Search(lake.s3, lake.stack, target, superseded, progress),
            Tables(lake.s3, lake.stack, catalogue, progress),
            Erasures(lake.s3, "curated-zone", database),
            cast("CurationJob", self.job),
            [cast("CurationJob", other) for other in self.others],
            progress,
        )

    def erase(self, device: str = GONE) -> Findings:
        erasure = self.erasure(device)
        findings = erasure.look()
        erasure.run(findings, self.lake.now)
        return findings

    def contents(self) -> dict[str, bytes]:
        """Every version of every object, by bucket, key and version, as text that can be searched:
        Parquet's values, and what base64 hides."""
        found = {}
        for bucket in BUCKETS:
            listed = self.lake.s3.list_object_versions(Bucket=bucket)
            for one in listed.get("Versions", []):
                body = self.lake.s3.get_object(
                    Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"]
                )["Body"].read()
                name = f"{bucket}/{one['Key']}@{one['VersionId']}"
                found[name] = opened(one["Key"], body)
        return found

    def holding(self, device: str) -> list[str]:
        token = f'"{device}"'.encode()
        return [name for name, text in self.contents().items() if token in text.replace(b"'", b'"')]


def opened(key: str, body: bytes) -> bytes:
    if key.endswith(".parquet"):
        return repr(pq.read_table(BytesIO(body)).to_pylist()).encode()
    if not key.startswith(("aws/", "iot/")):
        return body
    document = json.loads(body)
    parts = [body, base64.b64decode(document.get("base64OriginalPayload", ""))]
    for one in json.loads(document.get("payload", '{"Records": []}'))["Records"]:
        data = base64.b64decode(one["kinesis"]["data"])
        parts.append(data)
        if data.startswith(b'{"payload_b64"'):
            parts.append(base64.b64decode(json.loads(data)["payload_b64"]))
    return b"\n".join(parts)


def scene_in(deployed: Deployed) -> Scene:
    s3 = deployed.s3
    s3.create_bucket(Bucket="raw-zone")
    for bucket in BUCKETS:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    now = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
    lake = Lake(deployed.stack, s3, deployed.kinesis, now)
    places = lake.put_records(9)
    lake.accept(row(places[0], GONE, now), row(places[1], KEPT, now))
    lake.accept(row(places[2], GONE, now))
    lake.accept(row(places[3], KEPT, now))
    lake.reject(
        rejection(places[4], now)
        | {"payload": b'{"device_id": "truck-71", "broken', "client_id": KEPT},
        rejection(places[5], now) | {"payload": b'{"device_id": "truck-7", "broken'},
        rejection(places[5], now)
        | {"reason": Reason.IDENTITY_MISMATCH, "topic": f"dt/fleet/{GONE}/telemetry"}
        | {"payload": b'{"device_id": "truck-7"}'},
    )
    both = json.dumps([{"device_id": GONE, "n": 1}, {"device_id": KEPT, "n": 2}]).encode()
    records = [
        record(places[6], b'{"device_id": "truck-71"}', now, GONE),
        record(places[7], both, now, "gateway-1"),
        record(places[8], b'{"device_id": "truck-7"}', now),
    ]
    document = {"version": "1.0", "payload": json.dumps({"Records": records})}
    s3.put_object(Bucket="failed-zone", Key="aws/lambda/m/s/1", Body=json.dumps(document))
    for name, client in (("a", GONE), ("b", KEPT)):
        payload = base64.b64encode(json.dumps({"device_id": client}).encode()).decode()
        told = {"topic": f"dt/fleet/{client}/telemetry", "clientId": client}
        told["base64OriginalPayload"] = payload
        s3.put_object(Bucket="failed-zone", Key=f"iot/2026/{name}.json", Body=json.dumps(told))
    lake.curate()
    load = lake.catalogue.load_table
    vars(lake.catalogue)["load_table"] = lambda name: TableWithFiles(load(name).rows)
    # What a compaction left behind, and what a run that was killed did: neither is in a snapshot.
    sink = io.BytesIO()
    pq.write_table(lake.catalogue.tables["readings"], sink)
    for name in ("compacted.parquet", "orphan.parquet"):
        s3.put_object(Bucket="curated-zone", Key=f"{FOLDER}/data/{name}", Body=sink.getvalue())
    s3.delete_object(Bucket="curated-zone", Key=f"{FOLDER}/data/compacted.parquet")
    return Scene(lake, JobModel(lake))


def rows_of(scene: Scene, device: str) -> list[dict[str, Any]]:
    """Rows of a device in raw objects that count, and in the table."""
    catalogue: Any = scene.lake.catalogue
    old = superseded_keys(catalogue, scene.lake.stack.database_name)
    listed = scene.lake.s3.list_objects_v2(Bucket="raw-zone")["Contents"]
    bodies = [
        scene.lake.s3.get_object(Bucket="raw-zone", Key=one["Key"])["Body"].read()
        for one in listed
        if one["Key"] not in old
    ]
    tables = [pq.read_table(BytesIO(body)) for body in bodies]
    tables.append(scene.lake.catalogue.tables["readings"])
    return [one for table in tables for one in table.to_pylist() if one["device_id"] == device]
