"""A mended contract reaches what is in raw already: the operator's command, deployed stack and job.

The contract of the command is a copy that knows more than the one by which the deployed function
read the messages, as if the fix had been deployed since.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devices.direct_producer import Reading, put_readings
from local.demo.curation import run_job
from local.demo.demo import Demonstration, wait_until_ingested
from local.demo.lake import StreamCounter, connect, zone_rows
from ops.__main__ import run
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "layers/contract/telemetry_contract"
DEVICE, RENAMED, REFUSED = "again-1", "again-1.old", "again+1"
# What the fix is: names that were not known, a clock that is to be preferred, what an id may be.
FIX = {
    "fields.py": {
        "CONTRACT_VERSION: Final = 1": "CONTRACT_VERSION: Final = 2",
        '("temp",)': '("temp", "celsius")',
        'aliases=("timestamp",': 'aliases=("measured_at", "timestamp",',
    },
    "identity.py": {
        "[A-Za-z0-9:_.@+-]+": "[A-Za-z0-9:_.@-]+",
        "    return device_id\n": '    return device_id.removesuffix(".old")\n',
    },
}
AT = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
MEASURED = AT - timedelta(days=1)
Rows = list[dict[str, Any]]


def reading(sequence: int, device: str = DEVICE, **values: Any) -> bytes:
    told = {"device_id": device, "timestamp": AT.isoformat(), "sequence": sequence}
    return json.dumps(told | values).encode()


PLAIN, WARM, EARLIER = (
    reading(0, humidity=40),
    reading(1, celsius=21.5),
    reading(2, measured_at=MEASURED.isoformat()),
)
ARRAY = [reading(3, celsius=5.0), reading(4)]
GONE = [reading(5, REFUSED), reading(6, REFUSED)]
BESIDE, NAMED = reading(7), reading(8, RENAMED, humidity=50)
# The second is another delivery of two readings, one of which reads differently, in another object.
BATCHES = (
    (
        *(PLAIN, WARM, EARLIER, b"[" + b", ".join(ARRAY) + b"]", GONE[0]),
        *(b"[" + GONE[1] + b"," + BESIDE + b"]", NAMED, b"no JSON of again-1"),
    ),
    (WARM, PLAIN),
)


def mended_contract(folder: Path) -> Path:
    """A folder to import the mended contract from."""
    package = folder / "telemetry_contract"
    shutil.copytree(CONTRACT, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in FIX.items():
        text = (package / name).read_text()
        for known, mended in changes.items():
            assert text.count(known) == 1, known
            text = text.replace(known, mended)
        (package / name).write_text(text)
    return folder


def interpret_again(demo: Demonstration, contract: Path, keys: Path, *options: str) -> str:
    """The command's account of what it did with the objects, by the contract in a folder."""
    command = ("replay", "--stack-name", demo.cloud.stack, "--interpret-again")
    ran = subprocess.run(
        [sys.executable, "-m", "ops", *command, "--objects", str(keys), *options],
        cwd=ROOT,
        env=os.environ | demo.cloud.variables() | {"PYTHONPATH": str(contract)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def deliver(demo: Demonstration, payloads: Sequence[bytes]) -> set[str]:
    """The raw objects that a batch of messages becomes."""
    before = raw_objects(demo)
    stream = StreamCounter(demo.lake, demo.outputs["TelemetryStreamName"])
    put_readings(
        demo.lake.client("kinesis"),
        demo.outputs["TelemetryStreamName"],
        [Reading(DEVICE, payload) for payload in payloads],
    )
    wait_until_ingested(demo.lake, demo.outputs, demo.cloud, stream.count())
    return raw_objects(demo) - before


def curate(demo: Demonstration) -> None:
    run_job(demo.lake.client("glue"), demo.outputs["CurateTelemetryJobName"], {})


def raw_objects(demo: Demonstration) -> set[str]:
    pages = demo.lake.client("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=demo.lake.raw_bucket, Prefix=RAW_PREFIX)
    return {one["Key"] for page in found for one in page.get("Contents", [])}


def readings(demo: Demonstration) -> Rows:
    """Every curated row, without what a rebuilt one has of its run."""
    query = "SELECT * EXCLUDE (run_id, contract_version) FROM readings ORDER BY event_id"
    found: Rows = connect(demo.lake).sql(query).to_arrow_table().to_pylist()
    return found


def table(demo: Demonstration, name: str) -> Rows:
    loaded = demo.lake.catalogue().load_table((demo.lake.database, name))
    found: Rows = loaded.scan().to_arrow().to_pylist()
    return found


def rows_taken(demo: Demonstration) -> int:
    """How many raw rows all runs have taken."""
    return sum(one["rows_in"] for one in table(demo, "curation_runs"))


def rejected(demo: Demonstration) -> Counter[tuple[str, bytes]]:
    """What lies in the rejected zone, and for which reason."""
    columns = ["reason", "payload"]
    found = zone_rows(demo.lake, demo.lake.rejected_bucket, REJECTED_PREFIX, columns)
    return Counter((reason, payload) for rows in found for reason, payload in rows)


def audited(demo: Demonstration, capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """What the audit finds; other tests may have left something."""
    capsys.readouterr()
    run(["audit", "--stack-name", demo.cloud.stack, "--settle-minutes", "0", "--json"])
    found: list[Any] = json.loads(capsys.readouterr().out)["findings"]
    return found


def by_payload(rows: Rows) -> dict[bytes, dict[str, Any]]:
    """The rows of this test, each by the bytes that its device sent."""
    found = [row for row in rows if row["device_id"] in (DEVICE, RENAMED, REFUSED)]
    assert len({row["payload"] for row in found}) == len(found)
    return {row["payload"]: row for row in found}


def expected_after(before: dict[bytes, dict[str, Any]]) -> dict[bytes, dict[str, Any]]:
    """What the fix makes of the rows, but for columns that follow from these."""
    after = {payload: dict(row) for payload, row in before.items() if payload not in GONE}
    for payload, temperature in ((WARM, 21.5), (ARRAY[0], 5.0)):
        after[payload] |= {"temperature": temperature, "measurements": []}
    # The clock that is no longer asked is one more attribute.
    after[EARLIER] |= {
        "event_time": MEASURED,
        "attributes": [("timestamp", AT.isoformat())],
    }
    after[NAMED] |= {"device_id": DEVICE}
    return after


def told(row: dict[str, Any]) -> dict[str, Any]:
    """What `expected_after` speaks of; in place of the id whether it is another device's."""
    same = {name: row[name] for name in ("record_id", "arrival_time", "sequence", "humidity")}
    same |= {name: row[name] or [] for name in ("measurements", "attributes", "quality_flags")}
    return same | {name: row[name] for name in ("device_id", "event_time", "temperature")}


def test_a_mended_contract_reaches_raw_once_and_touches_nothing_else(
    demo: Demonstration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    findings, as_it_did = audited(demo, capsys), min(raw_objects(demo))
    first, second = (deliver(demo, payloads) for payloads in BATCHES)
    assert (first, second, first & second) != (set(), set(), set())
    curate(demo)
    contract, keys = mended_contract(tmp_path / "mended"), tmp_path / "keys.txt"
    keys.write_text("\n".join([*first, *second, as_it_did]))
    raw, before, ledger = raw_objects(demo), readings(demo), table(demo, "curation_ledger")
    rejects = rejected(demo)
    assert {*by_payload(before)} == {PLAIN, WARM, EARLIER, *ARRAY, *GONE, BESIDE, NAMED}

    dry = interpret_again(demo, contract, keys)
    assert "Nothing was changed. Run again with --apply" in dry
    assert "  2 rows are rejected now; device_id_invalid: 2" in dry
    assert (raw_objects(demo), readings(demo), rejected(demo)) == (raw, before, rejects)
    assert table(demo, "curation_ledger") == ledger

    applied = interpret_again(demo, contract, keys, "--apply")
    assert "  5 rows read differently" in applied
    assert "days were swapped" in applied
    after = readings(demo)
    was, now = by_payload(before), by_payload(after)
    wanted = expected_after(was)
    assert {payload: told(row) for payload, row in now.items()} == {
        payload: told(row) for payload, row in wanted.items()
    }
    renewed = {payload for payload in now if now[payload]["event_id"] != was[payload]["event_id"]}
    assert renewed == {NAMED}
    assert [now[payload] for payload in (PLAIN, ARRAY[1], BESIDE)] == [
        was[payload] for payload in (PLAIN, ARRAY[1], BESIDE)
    ]
    others = [row for row in before if row["payload"] not in was]
    assert [row for row in after if row["payload"] not in was] == others
    assert rejected(demo) - rejects == Counter(("device_id_invalid", each) for each in GONE)

    new = raw_objects(demo) - raw
    entries = {one["object_key"]: one for one in table(demo, "curation_ledger")}
    assert raw < raw_objects(demo)
    assert len(new) == len(first | second)
    left = {one["object_key"] for one in ledger if one["status"] != "superseded"}
    assert {key for key in left if entries[key]["status"] == "superseded"} == first | second
    assert [entries[key]["status"] for key in new] == ["curated"] * len(new)
    assert entries[as_it_did] in ledger

    # No run takes the new objects once more, a second time there is nothing to do, and the accounts
    # add up all the same.
    taken = rows_taken(demo)
    curate(demo)
    assert rows_taken(demo) == taken
    assert "Everything reads as it did" in interpret_again(demo, contract, keys, "--apply")
    assert readings(demo) == after
    assert rejected(demo) - rejects == Counter(("device_id_invalid", each) for each in GONE)
    assert audited(demo, capsys) == findings
