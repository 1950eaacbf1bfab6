"""Interpreting again: the consumer's contract on the stored payloads, and only what differs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest

from ops.__main__ import run
from ops.redrive.rejected import limits_of
from ops.replay.interpret import Choice, Interpretation, Reread, interpreted
from ops.replay.report import reread_lines
from ops.replay.run import Replay
from telemetry_contract import identity
from telemetry_contract.rejection import ContractViolation, Reason
from tests.ingestion import ENVIRONMENT, event_of, ingest
from tests.unit.ops.conftest import STACK, Deployed
from tests.unit.ops.lake import LEDGER, READINGS, ArrowTable, Lake, reading, rejection
from tests.unit.ops.test_replay import ACCOUNT, COUNTS, NOW, Job

DATAS = [
    b'{"device_id": "truck-1", "timestamp": "2026-11-23T09:00:00Z", "temperature": 21.5}',
    b'[{"device_id": "truck-2", "timestamp": "2026-11-22T09:00:00Z", "speed": -4},'
    b' {"device_id": "truck-3", "timestamp": "2026-11-23T09:00:00Z", "odd": {"a": [1, "x"]}}]',
    b'{"device_id": "truck-4", "timestamp": 1795428000000, "status": "ok", "rpm": 900}',
]


@pytest.fixture
def raw(deployed: Deployed) -> Deployed:
    """A raw zone with two objects, as the consumer writes them."""
    deployed.s3.create_bucket(Bucket="raw-zone")
    for datas in (DATAS[:2], DATAS[2:]):
        for key, body in ingest(event_of(datas)).accepted_objects.items():
            deployed.s3.put_object(Bucket="raw-zone", Key=key, Body=body)
    return deployed


def again(deployed: Deployed, *, apply: bool, **choice: Any) -> Reread:
    """Interpret again, leaving out what the job would count as superseded by then."""
    limits = limits_of(ENVIRONMENT, "ingest-telemetry")
    superseded = frozenset(deployed.progress)
    interpretation = Interpretation(deployed.s3, deployed.stack, limits, superseded, lambda _: None)
    reread = interpretation.run(Choice(**choice), apply=apply)
    if apply:
        deployed.progress += [one.old for one in reread.exchanges]
    return reread


def keys(deployed: Deployed, bucket: str) -> set[str]:
    listed = deployed.s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {one["Key"] for one in listed}


def rows(deployed: Deployed, bucket: str, *, without: set[str] | None = None) -> list[Any]:
    bodies = [
        deployed.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        for key in sorted(keys(deployed, bucket) - (without or set()))
    ]
    return [row for body in bodies for row in pq.read_table(BytesIO(body)).to_pylist()]


def refuse_truck_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mended contract: `truck-3` is no id any more."""
    known = identity.device_id_of

    def device_id_of(candidates: list[object]) -> str:
        if candidates == ["truck-3"]:
            raise ContractViolation(Reason.DEVICE_ID_INVALID)
        return known(candidates)

    monkeypatch.setattr("telemetry_contract.reading.device_id_of", device_id_of)


def test_what_the_consumer_wrote_reads_as_it_did(raw: Deployed) -> None:
    before = keys(raw, "raw-zone")
    reread = again(raw, apply=True)
    assert (reread.objects, reread.rows, reread.changed) == (2, 4, 0)
    assert (reread.exchanges, keys(raw, "raw-zone")) == ([], before)
    assert "nothing to change" in "\n".join(reread_lines(reread, "stack", apply=True))


def test_a_mended_contract_moves_rows_once(raw: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    before, old = keys(raw, "raw-zone"), rows(raw, "raw-zone")
    refuse_truck_3(monkeypatch)
    dry = again(raw, apply=False)
    assert (dry.changed, dict(dry.rejected)) == (0, {"device_id_invalid": 1})
    assert (keys(raw, "raw-zone"), keys(raw, "rejected-zone")) == (before, set())
    reread = again(raw, apply=True)
    assert reread.exchanges == dry.exchanges
    [exchange] = reread.exchanges
    assert exchange.new is not None
    assert exchange.old.rpartition("-")[0] == exchange.new.rpartition("-")[0]
    assert keys(raw, "raw-zone") == {*before, exchange.new}
    kept = rows(raw, "raw-zone", without={exchange.old})
    assert sorted(map(str, kept)) == sorted(
        str(row) for row in old if row["device_id"] != "truck-3"
    )
    [rejected] = rows(raw, "rejected-zone")
    [left] = [row for row in old if row["device_id"] == "truck-3"]
    for name in ("record_id", "payload", "arrival_time", "topic", "client_id"):
        assert rejected[name] == left[name]
    # Again, there is nothing to do: neither now nor if the job had not come to it.
    assert again(raw, apply=True).exchanges == []
    raw.progress.clear()
    assert again(raw, apply=True).exchanges == [exchange]
    assert (keys(raw, "raw-zone"), len(rows(raw, "rejected-zone"))) == ({*before, exchange.new}, 1)


def test_a_contract_fix_that_is_taken_back_and_made_again_takes_a_new_place_each_time(
    raw: Deployed,
) -> None:
    before, old = keys(raw, "raw-zone"), rows(raw, "raw-zone")
    known, read = identity.device_id_of, []
    for fix in ("truck-2b", None, "truck-2b", None):
        with pytest.MonkeyPatch.context() as patch:
            if fix:
                patch.setattr(
                    "telemetry_contract.reading.device_id_of",
                    lambda named, fix=fix: fix if named == ["truck-2"] else known(named),
                )
            [exchange] = again(raw, apply=True, objects=frozenset(keys(raw, "raw-zone"))).exchanges
        assert exchange.new not in {*before, *raw.progress, None}
        read.append(rows(raw, "raw-zone", without=set(raw.progress)))
        body = raw.s3.get_object(Bucket="raw-zone", Key=str(exchange.new))["Body"].read()
        assert str(exchange.new).endswith(f"-{sha256(body).hexdigest()[:16]}.parquet")
    assert len(keys(raw, "raw-zone")) == len(before) + 4
    assert sorted(map(str, read[1])) == sorted(map(str, read[3])) == sorted(map(str, old))
    assert sorted(map(str, read[0])) == sorted(map(str, read[2])) != sorted(map(str, old))


def test_an_object_of_which_nothing_is_accepted_has_none_in_its_place(
    raw: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> str:
        raise ContractViolation(Reason.DEVICE_ID_INVALID)

    monkeypatch.setattr("telemetry_contract.reading.device_id_of", refuse)
    reread = again(raw, apply=True, device="truck-4")
    assert [(one.new, one.size, one.rows) for one in reread.exchanges] == [(None, None, None)]
    assert reread.rejected.total() == 1


@pytest.mark.parametrize(
    ("choice", "objects"),
    [
        ({"device": "truck-2"}, 1),
        ({"days": (date(2026, 11, 22), date(2026, 11, 22))}, 1),
        ({"days": (date(2026, 11, 22), date(2026, 11, 23))}, 2),
        ({"days": (date(2026, 11, 22), date(2026, 11, 22)), "device": "truck-1"}, 0),
        ({"objects": frozenset({"raw_data/none"})}, 0),
    ],
)
def test_objects_are_chosen_by_their_rows(
    raw: Deployed, choice: dict[str, Any], objects: int
) -> None:
    assert again(raw, apply=False, **choice).objects == objects


def test_what_is_no_raw_object_is_told_and_left(raw: Deployed) -> None:
    raw.s3.put_object(Bucket="raw-zone", Key="raw_data/x.parquet", Body=b"?")
    reread = again(raw, apply=True)
    assert reread.unread == ["raw_data/x.parquet"]
    assert "as raw_data/x.parquet" in "\n".join(reread_lines(reread, "stack", apply=False))


def test_the_job_is_told_which_object_takes_the_place_of_which(
    raw: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_truck_3(monkeypatch)
    reread = again(raw, apply=True)
    lines = [json.dumps({"replay": COUNTS}), json.dumps({"account": ACCOUNT})]
    job: Any = Job(lines=lines)
    replay = Replay("curate-telemetry", "curated-zone", job, job, raw.s3, print, print)
    assert replay.exchange(reread.exchanges, NOW).account == ACCOUNT
    [arguments] = job.started
    uri = arguments["--exchange"]
    assert uri.startswith("s3://curated-zone/curated/exchanges/")
    key = uri.removeprefix("s3://curated-zone/")
    body = raw.s3.get_object(Bucket="curated-zone", Key=key)["Body"].read()
    [told] = map(json.loads, body.splitlines())
    [exchange] = reread.exchanges
    assert told == {**vars(exchange), "last_modified": NOW.isoformat()}
    assert told["rows"] == 2


@pytest.mark.parametrize(
    ("options", "state", "does"),
    [
        (["--apply"], "RUNNING", (1, "a run of curate-telemetry is in progress", 0)),
        (["--apply"], "STARTING", (1, "a run of curate-telemetry is in progress", 0)),
        (["--apply"], "SUCCEEDED", (0, "1 days were swapped, by run replay-1.", 1)),
        ([], "RUNNING", (0, "Run again with --apply to put 1 objects", 0)),
    ],
)
def test_the_command_writes_no_object_while_a_run_is_in_progress(
    raw: Deployed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    state: str,
    does: tuple[int, str, int],
) -> None:
    refuse_truck_3(monkeypatch)
    lines = [json.dumps({"replay": COUNTS}), json.dumps({"account": ACCOUNT})]
    job = Job(states=[state, "SUCCEEDED"], lines=lines)
    monkeypatch.setattr("ops.replay.command.time.sleep", lambda _: None)
    clients = {"cloudformation": boto3.client("cloudformation"), "s3": raw.s3}

    class Session:
        def client(self, name: str) -> Any:
            return {**clients, "lambda": raw.function}.get(name, job)

    monkeypatch.setattr(boto3, "Session", Session)
    monkeypatch.setattr("ops.replay.command.catalogue_of", lambda _: None)
    monkeypatch.setattr("ops.replay.command.superseded_keys", lambda *_: frozenset[str]())
    zones = ("raw-zone", "rejected-zone", "curated-zone")
    before = [keys(raw, zone) for zone in zones]
    code = run(["replay", "--stack-name", STACK, "--interpret-again", *options])
    written = [len(keys(raw, zone) - known) for zone, known in zip(zones, before, strict=True)]
    expected, told, runs = does
    assert code == expected
    assert told in "".join(capsys.readouterr())
    assert (len(job.started), written) == (runs, [runs] * 3)


def test_a_reading_without_a_time_keeps_its_id_and_its_place() -> None:
    limits = limits_of(
        {**ENVIRONMENT, "MISSING_TIMESTAMP_POLICY": "arrival_time"}, "ingest-telemetry"
    )
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    row: dict[str, Any] = dict.fromkeys(("broker_time", "client_id", "principal", "topic"))
    row |= {"record_id": "s:1:3", "arrival_time": at, "ingest_id": "i", "payload": DATAS[0]}
    row["payload"] = b'{"device_id": "truck-1"}'
    [reading], _ = interpreted([row], limits)
    assert reading.record_id == "s:1:3"
    again_elsewhere, _ = interpreted([row | {"record_id": "s:9:3"}], limits)
    assert again_elsewhere[0].event_id == reading.event_id


@pytest.mark.parametrize("meanwhile", [False, True])
def test_an_audit_counts_what_takes_the_place_of_another_once(
    deployed: Deployed, *, meanwhile: bool
) -> None:
    """Exchanged before the audit, or while it is between the raw zone and the tables."""
    deployed.s3.create_bucket(Bucket="raw-zone")
    now = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
    lake = Lake(deployed.stack, deployed.s3, deployed.kinesis, now - timedelta(hours=5))
    places = lake.put_records(3)
    rows = [reading(place, lake.now) for place in places]
    old = lake.accept(*rows)
    lake.now = now
    lake.accept(reading(lake.put_records(1)[0], now))  # runs look back no further than this
    run_id = lake.curate()
    new = [rows[0] | {"temperature": 99.0}, rows[1]]

    def exchange() -> None:
        lake.now -= timedelta(hours=5)
        key = lake.accept(*new)
        lake.reject(rejection(places[2], lake.now))
        superseded = {old: "superseded"}
        lake.change(
            "curation_ledger",
            lambda known: [
                one | {"status": superseded.get(one["object_key"], one["status"])} for one in known
            ],
        )
        entry = {"object_key": key, "status": "curated", "rows": 2, "run_id": run_id + "-again"}
        lake.add("curation_ledger", LEDGER, [entry])
        gone = {row["event_id"] for row in rows}
        lake.change("readings", lambda known: [one for one in known if one["event_id"] not in gone])
        lake.add("readings", READINGS, new)

    load = lake.catalogue.load_table

    def load_after_exchange(name: tuple[str, str]) -> ArrowTable:
        if name[1] == "readings" and "99.0" not in str(lake.rows("readings", "temperature")):
            exchange()
        return load(name)

    assert lake.found() == []
    if meanwhile:
        vars(lake.catalogue)["load_table"] = load_after_exchange
    else:
        exchange()
    found = lake.found()
    assert "99.0" in str(lake.rows("readings", "temperature"))
    assert found == []
    # What is only in an object that no longer counts is accepted nowhere.
    lake.add("readings", READINGS, [rows[2]])
    assert lake.found() == [("row_extra", rows[2]["event_id"])]
