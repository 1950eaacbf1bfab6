"""By device, so many, so fast: what a run takes out of what is waiting, and what it leaves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from events.generate_kinesis import aggregate
from ops.redrive.pace import Pace
from ops.redrive.selection import devices_of
from tests.ingestion import event_of, ingest
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.test_redrive_failed import BATCH_KEY, MESSAGE_KEY, given_up, put, undelivered

ARRIVAL_TIME = {"MISSING_TIMESTAMP_POLICY": "arrival_time"}


def reading(device: str, number: int = 0) -> bytes:
    """Without a time, so rejected until the policy is another."""
    return json.dumps({"device_id": device, "sequence": number}).encode()


def from_thing(thing: str, payload: bytes, client_id: str | None = None) -> bytes:
    return json.dumps(
        {
            "payload_b64": base64.b64encode(payload).decode(),
            "topic": f"dt/fleet/{thing}/telemetry",
            "client_id": client_id or thing,
        }
    ).encode()


def sent_payloads(deployed: Deployed) -> list[bytes]:
    return [row["payload"] for row in deployed.function.accepted]


@pytest.mark.parametrize(
    ("data", "devices"),
    [
        (reading("a"), {"a"}),
        (b'{"deviceId":"a"}', {"a"}),
        (b'{"data":{"device_id":"a"},"deviceId":"b"}', {"a", "b"}),
        (b'[{"device_id":"a"},7,{"device_id":"b"}]', {"a", "b"}),
        (from_thing("gate", reading("a")), {"gate", "a"}),
        (from_thing("gate", b"not json", client_id="other"), {"gate", "other"}),
        (b'{"payload_b64":"!","topic":"dt/fleet/gate/telemetry"}', {"gate"}),
        (b'{"payload_b64":7,"client_id":"gate"}', {"gate"}),
        (b'{"payload_b64":"e30=","client_id":7,"topic":["dt"]}', set()),
        (b'{"payload_b64":"e30=","topic":"dt/other/form"}', set()),
        (aggregate(reading("a"), b"7", from_thing("gate", reading("b"))), {"a", "b", "gate"}),
        (aggregate(aggregate(reading("a"))), set()),
        (aggregate(reading("a"))[:-1], set()),
        (b'{"device_id":7}', set()),
        (b"not json", set()),
        (b"\xff", set()),
        (b"[" * 100_000, set()),
        (b"null", set()),
    ],
)
def test_a_record_is_of_those_that_sent_it_and_of_those_that_it_names(
    data: bytes, devices: set[str]
) -> None:
    assert devices_of(data) == devices


def test_rejected_rows_of_a_device_go_and_its_neighbours_stay(deployed: Deployed) -> None:
    bare = [reading("a", 1), reading("b", 2), b'[{"device_id":"a"},{"device_id":"b"}]']
    enveloped = [from_thing("a", reading("a", 3)), from_thing("b", reading("b", 4))]
    deployed.reject(ingest(event_of([*bare, *enveloped, b"of nobody"])))
    deployed.function.environment |= ARRIVAL_TIME
    chosen: dict[str, Any] = {"devices": frozenset({"a"})}
    dry = deployed.redrive(apply=False, **chosen)
    assert (dry.rows.total(), dry.chosen_rows, dry.of_no_device) == (3, 3, 1)

    deployed.redrive(apply=True, **chosen)
    assert sorted(sent_payloads(deployed)) == sorted(
        [reading("a", 1), b'{"device_id":"a"}', reading("a", 3)]
    )
    assert deployed.redrive(apply=False, **chosen).chosen_rows == 0
    assert deployed.redrive(apply=False).chosen_rows == 3


def test_what_a_gateway_sent_can_be_redriven_by_the_gateway_or_by_the_device(
    deployed: Deployed,
) -> None:
    deployed.reject(
        ingest(event_of([from_thing("gate", reading("a")), from_thing("gate", reading("b"))]))
    )
    deployed.function.environment |= ARRIVAL_TIME | {"IDENTITY_MISMATCH_POLICY": "flag"}
    found = {
        device: deployed.redrive(apply=False, devices=frozenset({device})).chosen_rows
        for device in ("gate", "a", "b", "c")
    }
    assert found == {"gate": 2, "a": 1, "b": 1, "c": 0}


def test_of_a_failed_batch_only_the_devices_records_are_sent_and_the_others_wait(
    deployed: Deployed,
) -> None:
    event = event_of([reading("a", 1), reading("b", 2), b"of nobody", reading("a", 3)])
    put(deployed, BATCH_KEY.format(1), given_up(event))
    put(deployed, BATCH_KEY.format(2), given_up(event_of([reading("b", 4)])))
    findings = deployed.redrive(apply=True, devices=frozenset({"a"}))
    assert (findings.failed_batches, findings.failed_records) == (1, 2)
    assert (findings.sent_records, findings.of_no_device) == (2, 1)
    records = event["Records"]
    assert deployed.function.events == [{"Records": [records[0], records[3]]}]

    assert deployed.redrive(apply=True).sent_records == 3
    assert deployed.function.events[1:] == [
        {"Records": [records[1], records[2]]},
        event_of([reading("b", 4)]),
    ]
    assert deployed.redrive(apply=False).redriven_batches == 2


def test_undelivered_messages_of_a_device_go_and_the_others_stay(deployed: Deployed) -> None:
    put(deployed, MESSAGE_KEY.format("0a"), undelivered(b"of device123"))
    other = undelivered(b"of the other").replace(b"device123", b"other")
    put(deployed, MESSAGE_KEY.format("0b"), other)
    assert deployed.redrive(apply=True, devices=frozenset({"other"})).sent_messages == 1
    [data] = deployed.stream_records()
    assert devices_of(data) == {"other"}


def test_limit_is_kept_across_the_zones_and_the_rest_is_left(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of([reading("a", number) for number in range(4)])))
    deployed.function.environment |= ARRIVAL_TIME
    put(deployed, BATCH_KEY.format(1), given_up(event_of([reading("b", n) for n in range(5)])))
    for name in ("0a", "0b"):
        put(deployed, MESSAGE_KEY.format(name), undelivered(name.encode()))
    dry = deployed.redrive(apply=False, limit=6)
    assert (dry.chosen_rows, dry.chosen_records, dry.chosen_messages) == (4, 2, 0)
    assert dry.left == 5

    sent, left = [], []
    for _ in range(5):
        findings = deployed.redrive(apply=True, limit=3)
        sent.append(findings.sent)
        left.append(findings.left)
    assert (sent, left) == ([3, 3, 3, 2, 0], [8, 5, 2, 0, 0])
    # Each went once: the runs together are one run.
    positions = [r["eventID"] for event in deployed.function.events for r in event["Records"]]
    assert len(positions) == 9
    assert len(sent_payloads(deployed)) == len(set(sent_payloads(deployed))) == 9
    assert len(deployed.stream_records()) == 2


def test_limit_does_not_count_what_stays_rejected(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of([b"no", b"never", reading("a"), b"nowhere", reading("b")])))
    deployed.function.environment |= ARRIVAL_TIME
    findings = deployed.redrive(apply=True, limit=1)
    assert (findings.sent_rows, findings.left) == (1, 1)


def test_rate_cuts_what_is_sent_into_seconds_and_waits_between_them(deployed: Deployed) -> None:
    deployed.reject(ingest(event_of([reading("a", number) for number in range(25)])))
    deployed.function.environment |= ARRIVAL_TIME
    put(deployed, BATCH_KEY.format(1), given_up(event_of([reading("b", n) for n in range(12)])))
    for number in range(3):
        put(deployed, MESSAGE_KEY.format(number), undelivered(b"%d" % number))
    findings = deployed.redrive(apply=True, rate=10)
    assert findings.sent == 40
    assert [len(event["Records"]) for event in deployed.function.events] == [10, 10, 5, 10, 2]
    assert deployed.pauses == pytest.approx([1, 1, 0.5, 1, 0.2])
    assert len(deployed.stream_records()) == 3


def test_without_a_rate_nothing_waits(deployed: Deployed) -> None:
    put(deployed, BATCH_KEY.format(1), given_up(event_of([reading("b", n) for n in range(12)])))
    deployed.redrive(apply=True)
    assert deployed.pauses == []
    assert len(deployed.function.events) == 1


def test_pace_counts_the_time_that_sending_took() -> None:
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(10, lambda: now[0], sleep)
    pace.wait(10)
    now[0] += 0.4  # the call
    pace.wait(10)
    now[0] += 5  # a slow call: no debt is made up for by a burst
    pace.wait(10)
    pace.wait(10)
    assert slept == pytest.approx([0.6, 1.0])
    assert pace.portion(500) == 10
    assert Pace().portion(500) == 500


def test_progress_tells_what_was_sent_while_it_goes_on(deployed: Deployed) -> None:
    put(deployed, BATCH_KEY.format(1), given_up(event_of([reading("b", n) for n in range(3)])))
    deployed.redrive(apply=True, rate=1)
    assert deployed.progress[-3:] == [f"failed zone: {n} records sent" for n in range(3)]
