"""From MQTT devices to curated rows, on the deployed template.

What is expected follows from the seed's shares alone (600 messages: 2 % bad, 5 % sent again, of
the others 3 % late) and from the payloads that the tests themselves put: never from what the
pipeline says.
"""

import json
import os
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from devices.direct_producer import Reading, put_readings
from local.demo.curation import curate
from local.demo.demo import Demonstration, wait_until_ingested
from local.demo.lake import connect
from local.demo.output import write

# 50,000 is what the pipeline is to bear; fewer are enough to see a loss, and quicker.
PRODUCER_RECORDS = int(os.environ.get("E2E_PRODUCER_RECORDS", "3000"))
PRODUCERS = 4


def rows(demo: Demonstration, sql: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = connect(demo.lake).execute(sql).fetchall()
    return found


def test_every_figure_is_what_the_seed_says(demo: Demonstration) -> None:
    written = demo.written
    assert [e for e in written["equations"] if not e["holds"]] == []
    assert written["adds_up"]
    names = ("sent", "acknowledged", "received", "accepted", "duplicates", "dropped", "curated")
    assert {name: written[name] for name in names} == {
        "sent": 600,
        "acknowledged": 600,
        "received": 600,
        "accepted": 588,
        "duplicates": 30,
        "dropped": 0,
        "curated": 558,
    }
    assert written["late"] == 17
    assert sum(written["rejected"].values()) == 12
    # Twelve bad messages break eleven rules in turn, so one of them twice.
    assert sorted(written["rejected"].values()) == [1] * 10 + [2]


def test_curated_rows_carry_the_devices_the_registry_and_their_own_bytes(
    demo: Demonstration,
) -> None:
    found = rows(
        demo,
        "SELECT device_id, device_model, payload, identity, temperature FROM readings"
        " WHERE device_id LIKE 'tracker-%'",
    )
    assert {device for device, *_ in found} == {f"tracker-{n:03}" for n in range(1, 5)}
    assert all(model is not None for _, model, *_ in found)
    assert {identity for *_, identity, _ in found} == {"verified"}
    for device, _, payload, _, temperature in found:
        sent = json.loads(bytes(payload))
        assert device in (sent.get("device_id"), sent.get("deviceId"))
        assert temperature in (sent["temperature"], None)


def test_writes_its_figures_and_a_page(demo: Demonstration) -> None:
    write(demo.cloud.folder, demo.written, demo.page)
    kept = json.loads((demo.cloud.folder / "result.json").read_text())
    wanted = "sent acknowledged received accepted rejected duplicates dropped late curated"
    assert set(wanted.split()) | {"adds_up", "seconds"} <= set(kept)
    assert set(kept["seconds"]) == {
        *("cloud", "deploy", "provision", "publish", "ingest", "curate", "query")
    }
    assert "Everything adds up." in (demo.cloud.folder / "report.html").read_text()


def test_the_crawler_made_raw_data_queryable(demo: Demonstration) -> None:
    glue = demo.lake.client("glue")
    table = glue.get_table(DatabaseName=demo.lake.database, Name="raw_data")["Table"]
    assert [key["Name"] for key in table["PartitionKeys"]] == ["ingest_date", "ingest_hour"]
    columns = {c["Name"]: c["Type"] for c in table["StorageDescriptor"]["Columns"]}
    assert (columns["event_id"], columns["payload"]) == ("string", "binary")


def test_running_the_workflow_again_adds_nothing(demo: Demonstration) -> None:
    before = rows(demo, "SELECT event_id, run_id FROM readings ORDER BY ALL")
    runs = rows(demo, "SELECT count(*) FROM curation_runs")[0][0]
    curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
    assert rows(demo, "SELECT event_id, run_id FROM readings ORDER BY ALL") == before
    account = "SELECT rows_in, curated, duplicates FROM curation_runs ORDER BY started_at"
    accounts = rows(demo, account)
    assert len(accounts) == runs + 1
    assert accounts[-1] == (0, 0, 0)


def test_records_of_four_producers_at_once_a_third_of_them_twice_are_readings_once(
    demo: Demonstration,
) -> None:
    stream = demo.outputs["TelemetryStreamName"]
    now = datetime.now(UTC).isoformat()
    payloads = [
        json.dumps(
            {"device_id": f"gateway-{n % 50}", "timestamp": now, "sequence": n, "temperature": 20.5}
        ).encode()
        for n in range(PRODUCER_RECORDS)
    ]
    shares = [payloads[n::PRODUCERS] for n in range(PRODUCERS)]
    errors: list[BaseException] = []

    def produce(share: list[bytes]) -> None:
        try:
            readings = [Reading(json.loads(payload)["device_id"], payload) for payload in share]
            client = demo.lake.client("kinesis")
            result = put_readings(client, stream, readings + readings[::3])
            assert result.put == len(readings) + len(readings[::3])
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=produce, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    put = sum(len(share) + len(share[::3]) for share in shares)
    wait_until_ingested(demo.lake, demo.outputs, demo.cloud, 600 + put)
    curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
    found = Counter(
        bytes(payload)
        for (payload,) in rows(
            demo, "SELECT payload FROM readings WHERE device_id LIKE 'gateway-%'"
        )
    )
    assert found == Counter(payloads)
    duplicates = rows(demo, "SELECT duplicates FROM curation_runs ORDER BY started_at")[-1][0]
    assert duplicates == put - PRODUCER_RECORDS
    # Nobody stood behind these records: no certificate, so nothing is verified.
    identities = rows(
        demo, "SELECT DISTINCT identity FROM readings WHERE device_id LIKE 'gateway-%'"
    )
    assert identities == [("claimed",)]
