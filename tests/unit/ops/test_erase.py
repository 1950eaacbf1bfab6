"""An erasure: one device leaves every version of every object, the others stay as they are."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

import pyarrow.parquet as pq
import pytest

from events.generate_kinesis import aggregate
from ops.curation_job import CurationJob
from ops.erase.command import is_confirmed
from ops.erase.device import without_device
from ops.erase.report import lines_of, removed_lines
from ops.erase.run import Erasure, Findings
from ops.erase.tables import Tables
from ops.erase.versions import Version
from ops.erase.zones import Search, Target, Unread
from ops.erasures import Erasures, is_erased
from ops.errors import OperationError
from ops.exchange import superseded_keys
from ops.redrive.report import lines_of as redrive_lines
from ops.redrive.selection import Selection
from telemetry_contract.event_id import event_id_of
from telemetry_contract.rejection import Reason
from tests.ingestion import event_of, ingest
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.lake import LEDGER, READINGS, ArrowTable, Lake, reading, rejection

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


class TableWithFiles(ArrowTable):
    """A table whose files lie in the curated zone; no snapshot knows any."""

    io = None
    metadata = SimpleNamespace(snapshots=[])

    def location(self) -> str:
        return f"s3://curated-zone/{FOLDER}"


@dataclass
class Scene:
    """A lake with two devices in every zone, and what erases one of them."""

    lake: Lake
    job: JobModel
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


@pytest.fixture
def scene(deployed: Deployed) -> Scene:
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


def test_looking_changes_nothing_and_counts_what_there_is(scene: Scene) -> None:
    before = scene.contents()
    findings = scene.erasure().look()
    assert scene.contents() == before
    assert scene.job.runs == []
    assert findings.rows == {"raw": 2, "rejected": 2, "failed": 3}
    assert findings.tables == {"readings": 2}
    assert scene.messages


def test_an_erased_device_is_in_no_version_of_any_object(scene: Scene) -> None:
    assert scene.lake.found() == []
    kept = sorted(str(one) for one in rows_of(scene, KEPT))
    assert scene.holding(GONE)
    findings = scene.erase()
    assert scene.holding(GONE) == []
    assert sorted(str(one) for one in rows_of(scene, KEPT)) == kept
    assert findings.tables == {"readings": 2}
    assert scene.lake.found() == []
    # Once more finds nothing, and changes nothing but the tombstone.
    before = {name for name in scene.contents() if "erasures" not in name}
    assert scene.erasure().look().is_empty
    scene.erase()
    assert {name for name in scene.contents() if "erasures" not in name} == before


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


class KilledError(Exception):
    pass


def test_an_erasure_that_was_killed_anywhere_is_finished_by_running_it_again(
    scene: Scene,
) -> None:
    kept = sorted(str(one) for one in rows_of(scene, KEPT))
    kills = 0
    events = scene.lake.s3.meta.events
    for place in range(1, 40):
        calls = itertools.count(1)

        def kill(at: int = place, calls: Iterator[int] = calls, **_: Any) -> None:
            if next(calls) == at:
                raise KilledError

        for operation in ("PutObject", "DeleteObjects"):
            events.register(f"after-call.s3.{operation}", kill)
        try:
            scene.erase()
            break
        except KilledError:
            kills += 1
        finally:
            for operation in ("PutObject", "DeleteObjects"):
                events.unregister(f"after-call.s3.{operation}", kill)
        # What is to come may lie beside what is to go: raw is at least once.
        assert {str(one) for one in rows_of(scene, KEPT)} == set(kept)
    assert kills > 4
    assert sorted(str(one) for one in rows_of(scene, KEPT)) == kept
    assert scene.holding(GONE) == []
    assert scene.lake.found() == []


def test_nothing_is_deleted_before_the_job_has_committed(scene: Scene) -> None:
    before = scene.contents()
    scene.job.fails = True
    with pytest.raises(OperationError, match="running it again finishes"):
        scene.erase()
    assert before.items() <= scene.contents().items()


def test_of_an_array_the_other_devices_readings_keep_their_places() -> None:
    data = b'[{"device_id": "truck-71"}, {"device_id":  "truck-7"}]'
    assert without_device(data, "another") is None
    [left] = without_device(data, GONE) or []
    assert json.loads(left) == {
        "payload_b64": base64.b64encode(b'{"device_id":  "truck-7"}').decode(),
        "sub_sequence": 1,
    }


def test_of_an_aggregate_the_other_devices_readings_keep_their_places() -> None:
    parts = [b'{"device_id": "truck-71"}', b'[{"device_id": "truck-7"}, {"device_id": "truck-71"}]']
    data = aggregate(*parts, b'{"device_id": "truck-8"}')
    assert without_device(data, "another") is None
    left = [json.loads(one) for one in without_device(data, GONE) or []]
    assert [(one["sub_sequence"], base64.b64decode(one["payload_b64"])) for one in left] == [
        (1, b'{"device_id": "truck-7"}'),
        (3, b'{"device_id": "truck-8"}'),
    ]
    assert without_device(data[:-1] + b"?", GONE) == []


def test_what_names_no_device_is_its_senders_and_a_gateways_readings_stay() -> None:
    def sent(payload: bytes) -> bytes:
        encoded = base64.b64encode(payload).decode()
        return json.dumps({"payload_b64": encoded, "client_id": GONE}).encode()

    assert without_device(sent(b"{}"), GONE) == []
    assert without_device(sent(b"not JSON"), GONE) == []
    assert without_device(sent(b'{"device_id": "truck-7"}'), GONE) is None
    # Of what can't be read only a whole id counts.
    assert without_device(b'{"id": "truck-71", ', KEPT) is None
    assert without_device(b'{"id": "truck-7", ', KEPT) == []


def test_what_arrives_after_the_erasure_is_new(scene: Scene) -> None:
    later = scene.lake.now + timedelta(hours=2)
    scene.lake.accept(row(scene.lake.put_records(1)[0], GONE, later))
    scene.lake.curate()
    scene.erase()
    assert [one["arrival_time"] for one in rows_of(scene, GONE)] == [later, later]
    assert scene.lake.found() == []


def test_what_was_on_its_way_stays_out_and_is_not_missed(scene: Scene) -> None:
    scene.erase()
    scene.lake.accept(row(scene.lake.put_records(1)[0], GONE, scene.lake.now))
    scene.lake.curate()
    assert GONE not in scene.lake.rows("readings", "device_id")
    assert scene.lake.rows("curation_runs", "erased")[-1] == 1
    assert scene.lake.found() == []
    # Run again, the erasure finds it in the raw zone.
    assert scene.erase().rows["raw"] == 1
    assert scene.holding(GONE) == []
    assert scene.lake.found() == []


def test_a_row_of_an_erased_device_in_a_table_is_a_finding(scene: Scene) -> None:
    scene.erase()
    again = row("shardId-000000000000:1", GONE, scene.lake.now)
    scene.lake.add("readings", READINGS, [again])
    assert scene.lake.found() == [("row_not_erased", again["event_id"])]


def test_what_can_not_be_read_is_told(scene: Scene) -> None:
    scene.lake.s3.put_object(Bucket="raw-zone", Key="raw_data/broken.parquet", Body=b"?")
    findings = scene.erasure().look()
    [unread] = findings.unread
    target = Target(GONE, scene.lake.now)
    told = "\n".join(lines_of(findings, target, "stack", apply=False))
    assert "raw_data/broken.parquet" in told
    assert "(dry run)" in told
    findings.unread += [Unread("raw", Version("x", "y", is_current=True))] * 9
    assert "and 5 more" in "\n".join(lines_of(findings, target, "stack", apply=True))
    assert unread.version.is_current


def test_the_report_says_that_the_streams_copy_ages_out() -> None:
    told = "\n".join(removed_lines(Findings(versions_deleted=3), 168))
    assert "3 object versions" in told
    assert "ages out by itself, within 168 hours" in told


def test_only_the_devices_own_id_confirms(capsys: pytest.CaptureFixture[str]) -> None:
    assert is_confirmed(GONE, io.StringIO(f"{GONE}\n"))
    for answer in ("y\n", "yes\n", f"{KEPT}\n", ""):
        assert not is_confirmed(GONE, io.StringIO(answer))
    assert "can't be undone" in capsys.readouterr().out


def test_a_redrive_sends_nothing_of_an_erased_device(deployed: Deployed) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    records = [
        record("shardId-000000000000:1", b'{"device_id": "truck-71"}', at),
        record("shardId-000000000000:2", b'{"device_id": "truck-7"}', at),
        record("shardId-000000000000:3", b'{"device_id": "truck-71"}', at + timedelta(days=2)),
    ]
    document = {"payload": json.dumps({"Records": records})}
    deployed.s3.put_object(Bucket="failed-zone", Key="aws/lambda/a", Body=json.dumps(document))
    told = {"topic": f"dt/fleet/{GONE}/telemetry", "clientId": GONE}
    told["base64OriginalPayload"] = base64.b64encode(b"{}").decode()
    deployed.s3.put_object(Bucket="failed-zone", Key="iot/a.json", Body=json.dumps(told))
    deployed.reject(ingest(event_of([b'{"device_id": "truck-71"}'], arrival=at)))
    erasures = Erasures(deployed.s3, "curated-zone", deployed.stack.database_name)
    erasures.bury(GONE, at + timedelta(days=1))
    findings = deployed.redrive(apply=False)
    assert (findings.erased, findings.rows.total()) == (2, 0)
    assert (findings.failed_records, findings.undelivered_messages) == (2, 1)
    # What the rule could not deliver would arrive anew, so its object's time counts.
    erasures.bury(GONE, datetime.now(UTC) + timedelta(days=1))
    findings = deployed.redrive(apply=True)
    assert (findings.erased, findings.sent_records, findings.sent_messages) == (4, 1, 0)
    report = redrive_lines(findings, "stack", Selection(), apply=True)
    assert "4 rows and records are of erased devices and stay out." in report
