"""A bad day: everything that may fail between devices and the curated zone does, and nothing shows.

What is expected are the payloads whose acknowledgement this module has seen, each once.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from devices.connection import Connection
from devices.direct_producer import Reading, put_readings
from devices.provisioning import provision_fleet
from local.demo.curation import curate, run_workflow
from local.demo.demo import Demonstration, wait_until_ingested
from local.demo.lake import connect

DEVICES = [f"storm-{number}" for number in range(3)]
MESSAGES = 300
PRODUCER_RECORDS = 2_000
WAIT_SECONDS = 120.0

# name, kind, settings. A call is struck by the first that it matches: together they strike each of
# a function's first writes in turn, so two batches are enough for all of them.
ON_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    # The producer's requests: an SDK makes three attempts.
    ("producer throttled", "throttle", {"on": "kinesis:PutRecords"}),
    ("producer's answer lost", "lose-response", {"on": "kinesis:PutRecords"}),
    ("producer failed", "error", {"on": "kinesis:PutRecords", "skip": 1}),
    # The rule's: one of a message each.
    ("rule throttled", "throttle", {"on": "kinesis:PutRecord", "probability": 0.05, "seed": 1}),
    ("rule failed", "error", {"on": "kinesis:PutRecord", "probability": 0.05, "seed": 2}),
    ("rule's answer lost", "lose-response", {"on": "kinesis:PutRecord", "skip": 50, "times": 5}),
    ("rule's record twice", "duplicate", {"on": "kinesis:PutRecord", "skip": 90, "times": 5}),
    # The mapping's.
    ("poll throttled", "throttle", {"on": "kinesis:GetRecords", "times": 2}),
    ("poll failed", "error", {"on": "kinesis:GetShardIterator"}),
    ("batch twice", "duplicate", {"on": "lambda:Invoke"}),
    ("function throttled", "throttle", {"on": "lambda:Invoke"}),
    ("function's answer lost", "lose-response", {"on": "lambda:Invoke"}),
    # The function's, on the raw zone.
    ("write throttled", "throttle", {"on": "s3:PutObject", "where": "raw_data/", "times": 2}),
    ("write failed", "error", {"on": "s3:PutObject", "where": "raw_data/"}),
    ("write's answer lost", "lose-response", {"on": "s3:PutObject", "where": "raw_data/"}),
    ("write slow", "delay", {"on": "s3:PutObject", "where": "raw_data/", "seconds": 0.5}),
    ("function killed", "kill", {"on": "s3:PutObject", "where": "raw_data/", "process": "ingest"}),
]


@pytest.fixture(autouse=True)
def no_faults_afterwards(demo: Demonstration) -> Iterator[None]:
    yield
    demo.cloud.clear_faults()


class Accepted:
    """The payloads that were acknowledged, from any thread."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.refused: list[str] = []
        self._changed = threading.Condition()

    def add(self, payload: bytes, refused: str | None = None) -> None:
        with self._changed:
            if refused is None:
                self.payloads.append(payload)
            else:
                self.refused.append(refused)
            self._changed.notify_all()

    def wait_for(self, count: int) -> bool:
        """Whether so many were acknowledged in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.payloads) >= count, WAIT_SECONDS)


def readings_of(device: str, numbers: Sequence[int]) -> list[bytes]:
    now = datetime.now(UTC).isoformat()
    return [
        json.dumps(
            {"device_id": device, "timestamp": now, "sequence": number, "temperature": 20.5}
        ).encode()
        for number in numbers
    ]


def fired(demo: Demonstration) -> dict[str, int]:
    return {fault["name"]: fault["fired"] for fault in demo.cloud.faults()}


def test_every_accepted_reading_is_curated_once_whatever_failed(demo: Demonstration) -> None:
    cloud, lake, outputs = demo.cloud, demo.lake, demo.outputs
    devices = provision_fleet(
        lake.client("iot"), DEVICES, outputs["DevicePolicyName"], cloud.folder / "devices"
    )
    accepted, stream = Accepted(), outputs["TelemetryStreamName"]
    for name, kind, settings in ON_CALLS:
        cloud.inject(kind, name=name, **settings)

    with ExitStack() as open_until_acknowledged:
        connections = [
            open_until_acknowledged.enter_context(Connection(cloud.device_endpoint(), device))
            for device in devices
        ]

        def publish(numbers: range) -> None:
            for device, connection in zip(DEVICES, connections, strict=True):
                for payload in readings_of(device, numbers):
                    connection.publish(
                        f"dt/fleet/{device}/telemetry", payload, partial(accepted.add, payload)
                    )

        def produce(numbers: range) -> None:
            payloads = readings_of("storm-gateway", numbers)
            readings = [Reading(f"storm-{n % 20}", payload) for n, payload in enumerate(payloads)]
            put_readings(lake.client("kinesis"), stream, readings)
            for payload in payloads:
                accepted.add(payload)

        publish(range(MESSAGES // 3))
        cloud.inject("broker-disconnect")
        publish(range(MESSAGES // 3, 2 * MESSAGES // 3))
        produce(range(PRODUCER_RECORDS // 2))
        cloud.inject("broker-restart", seconds=0.5)
        cloud.inject("reshard", seed=3)
        publish(range(2 * MESSAGES // 3, MESSAGES))
        produce(range(PRODUCER_RECORDS // 2, PRODUCER_RECORDS))
        cloud.inject("clock-jump", seconds=400)
        everything = len(DEVICES) * MESSAGES + PRODUCER_RECORDS
        assert accepted.wait_for(everything), f"{len(accepted.payloads)} of {everything}"
    assert accepted.refused == []
    cloud.inject("clock-jump", name="clock back", seconds=-400)
    wait_until_ingested(lake, outputs, cloud, 600 + everything)
    assert [name for name, count in fired(demo).items() if not count] == []

    # The job commits and is killed before it hears so: the next run finds the commit and adds the
    # rest, not the same again.
    cloud.inject(
        "kill", name="job killed", on="glue:UpdateTable", where='"readings"', process="curate"
    )
    glue, workflow = lake.client("glue"), outputs["CurationWorkflowName"]
    run = run_workflow(glue, workflow, lambda _: None)
    assert run["Statistics"]["FailedActions"] == 1
    assert fired(demo)["job killed"] == 1
    curate(glue, workflow)

    rows = "SELECT payload FROM readings WHERE device_id LIKE 'storm-%'"
    found = Counter(bytes(payload) for (payload,) in connect(lake).execute(rows).fetchall())
    assert len(set(accepted.payloads)) == everything
    assert found == dict.fromkeys(accepted.payloads, 1)
