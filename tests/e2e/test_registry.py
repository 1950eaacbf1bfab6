"""Readings of a device that was moved in IoT's registry are curated as what it said of the time.

The function, the table and the job are the real ones; nothing is put into a table by hand.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from devices.direct_producer import Reading, put_readings
from devices.provisioning import Device, Registrar
from local.demo.curation import curate
from local.demo.demo import Demonstration
from local.demo.lake import connect

SECOND = timedelta(seconds=1)


def export(demo: Demonstration) -> dict[str, Any]:
    """Have the registry exported, as its schedule would; the function's answer."""
    functions = demo.lake.client("lambda").list_functions()["Functions"]
    (name,) = (f["FunctionName"] for f in functions if "ExportRegistry" in f["FunctionName"])
    invoked = demo.lake.client("lambda").invoke(FunctionName=name)
    answer: dict[str, Any] = json.loads(invoked["Payload"].read())
    assert "FunctionError" not in invoked, answer
    return answer


def announce(demo: Demonstration, thing: str, **attributes: str) -> None:
    iot, policy = demo.lake.client("iot"), demo.outputs["DevicePolicyName"]
    Registrar(iot, policy, Path()).announce(Device(thing, attributes))


def test_a_moved_device_keeps_its_past(demo: Demonstration) -> None:
    export(demo)  # the devices of the fleet
    announce(demo, "mover-1", site="depot", model="TX-2", axles="3")
    first = export(demo)
    assert export(demo)["changes"] == 0
    announce(demo, "mover-1", site="harbour", model="TX-2")
    moved = datetime.fromisoformat(export(demo)["valid_from"])
    assert first["changes"] == 1
    assert datetime.fromisoformat(first["valid_from"]) < moved

    # What happened before the move, long before there was any export too, comes after it.
    times = [moved - 3600 * SECOND, moved - SECOND / 1000, moved, moved + SECOND]
    readings = [
        Reading(
            "mover-1",
            json.dumps(
                {"device_id": "mover-1", "timestamp": at.isoformat(), "sequence": number}
            ).encode(),
        )
        for number, at in enumerate(times)
    ]
    put_readings(demo.lake.client("kinesis"), demo.outputs["TelemetryStreamName"], readings)
    found = _curated(demo, "mover-1", len(times))
    assert found == [
        (0, "depot", "TX-2", ["axles"]),
        (1, "depot", "TX-2", ["axles"]),
        (2, "harbour", "TX-2", []),
        (3, "harbour", "TX-2", []),
    ]


def _curated(demo: Demonstration, device: str, expected: int) -> list[tuple[Any, ...]]:
    sql = (
        "SELECT sequence, device_site, device_model, coalesce(map_keys(device_attributes), [])"
        " FROM readings WHERE device_id = ? ORDER BY sequence"
    )
    found: list[tuple[Any, ...]] = []
    # The consumer gathers a batch for a second; a run that came too early is made good by the next.
    for _ in range(3):
        curate(demo.lake.client("glue"), demo.outputs["CurationWorkflowName"])
        found = connect(demo.lake).execute(sql, [device]).fetchall()
        if len(found) == expected:
            break
    return found
