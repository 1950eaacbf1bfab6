"""The failed zone: batches go to the function as they were, messages onto the stream."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from ops.delivery import MAX_FRUITLESS_PUTS, MAX_PUT_BYTES, Stream
from ops.errors import OperationError
from tests.ingestion import event_of, ingest
from tests.unit.ops.conftest import Deployed

GOOD = b'{"device_id":"device123","timestamp":"2026-11-23T10:00:00Z","temperature":20.5}'
HEARTBEAT = b'{"device_id":"device123","temperature":20.5}'
BATCH_KEY = "aws/lambda/6f1b/shardId-000000000000/2026/11/23/2026-11-23T10.00.00-{}"
MESSAGE_KEY = "iot/2026/11/23/10/{}.json"


def given_up(event: dict[str, Any]) -> bytes:
    """What Lambda writes to the destination when it gives up on a batch."""
    return json.dumps(
        {
            "requestContext": {"requestId": "0", "approximateInvokeCount": 301},
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": "2026-11-23T10:00:00.000Z",
            "KinesisBatchInfo": {
                "shardId": "shardId-000000000000",
                "startSequenceNumber": "1",
                "endSequenceNumber": "2",
                "batchSize": len(event["Records"]),
            },
            "payload": json.dumps(event),
        }
    ).encode()


def undelivered(payload: bytes) -> bytes:
    """What the rule's error action writes when it could not reach the stream."""
    return json.dumps(
        {
            "ruleName": "telemetry",
            "topic": "dt/fleet/device123/telemetry",
            "cloudwatchTraceId": "1f2e",
            "clientId": "device123",
            "sourceIp": "192.0.2.7",
            "base64OriginalPayload": base64.b64encode(payload).decode(),
            "failures": [{"failedAction": "KinesisAction", "errorMessage": "throttled"}],
        }
    ).encode()


def put(deployed: Deployed, key: str, body: bytes) -> None:
    deployed.s3.put_object(Bucket="failed-zone", Key=key, Body=body)


def test_batch_given_up_goes_to_the_function_as_the_event_that_it_was(deployed: Deployed) -> None:
    event = event_of([GOOD, b"not json", GOOD])
    put(deployed, BATCH_KEY.format(1), given_up(event))
    dry = deployed.redrive(apply=False)
    assert (dry.failed_batches, dry.failed_records) == (1, 3)
    assert deployed.function.events == []

    findings = deployed.redrive(apply=True)
    assert deployed.function.events == [event]
    assert findings.sent_records == 3
    assert (findings.accepted_by_function, findings.rejected_by_function) == (2, 1)


def test_batch_redriven_twice_gives_the_same_event_ids(deployed: Deployed) -> None:
    put(deployed, BATCH_KEY.format(1), given_up(event_of([GOOD, HEARTBEAT, HEARTBEAT])))
    deployed.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    deployed.redrive(apply=True)
    once = Counter(row["event_id"] for row in deployed.function.accepted)
    deployed.redrive(apply=True, again=True)
    assert len(once) == 3
    assert Counter(row["event_id"] for row in deployed.function.accepted) == once + once


def test_batch_that_still_fails_is_named_and_leaves_the_others_alone(deployed: Deployed) -> None:
    poison = event_of([b"poison"])
    put(deployed, BATCH_KEY.format(1), given_up(poison))
    put(deployed, BATCH_KEY.format(2), given_up(event_of([GOOD])))
    deployed.function.fail_on = base64.b64encode(b"poison")
    findings = deployed.redrive(apply=True)
    assert findings.sent_records == 1
    [trouble] = findings.troubles
    assert BATCH_KEY.format(1) in trouble
    assert "ZeroDivisionError" in trouble


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "holds no payload"),
        (b"[]", "no JSON object"),
        (b"\xff", "not JSON"),
        (b'{"payload":"{}"}', "no Kinesis event"),
        (b'{"payload":"<html>"}', "no Kinesis event"),
        (b'{"payload":"{\\"Records\\":[{}]}"}', "no Kinesis event"),
    ],
)
def test_object_without_a_batch_is_named_with_what_to_do(
    deployed: Deployed, body: bytes, words: str
) -> None:
    put(deployed, BATCH_KEY.format(1), body)
    put(deployed, BATCH_KEY.format(2), given_up(event_of([GOOD])))
    findings = deployed.redrive(apply=True)
    assert findings.sent_records == 1
    [trouble] = findings.troubles
    assert words in trouble
    assert f"s3://failed-zone/{BATCH_KEY.format(1)}" in trouble


def test_undelivered_message_goes_onto_the_stream_in_the_rules_envelope(deployed: Deployed) -> None:
    put(deployed, MESSAGE_KEY.format("0a"), undelivered(GOOD))
    assert deployed.redrive(apply=False).undelivered_messages == 1
    assert deployed.stream_records() == []

    findings = deployed.redrive(apply=True)
    assert findings.sent_messages == 1
    assert deployed.function.events == []
    [row] = ingest(event_of(deployed.stream_records())).accepted
    assert row["payload"] == GOOD
    assert row["identity"] == "verified"
    assert (row["topic"], row["client_id"]) == ("dt/fleet/device123/telemetry", "device123")
    # The error action says neither: the object's own time stands in, a principal is not made up.
    [written] = deployed.s3.list_objects_v2(Bucket="failed-zone", Prefix="iot/")["Contents"]
    assert (row["broker_time"], row["principal"]) == (written["LastModified"], None)


def test_message_of_no_mqtt_client_has_no_client_id(deployed: Deployed) -> None:
    body = undelivered(GOOD).replace(b'"clientId": "device123"', b'"clientId": "N/A"')
    put(deployed, MESSAGE_KEY.format("0a"), body)
    deployed.redrive(apply=True)
    [row] = ingest(event_of(deployed.stream_records())).accepted
    assert (row["client_id"], row["identity"]) == (None, "verified")


def test_messages_put_twice_are_the_same_events_at_the_same_times(deployed: Deployed) -> None:
    put(deployed, MESSAGE_KEY.format("0a"), undelivered(HEARTBEAT))
    put(deployed, MESSAGE_KEY.format("0b"), undelivered(HEARTBEAT))
    deployed.redrive(apply=True)
    deployed.redrive(apply=True, again=True)
    datas = deployed.stream_records()
    assert len(datas) == 4
    written = deployed.s3.list_objects_v2(Bucket="failed-zone")["Contents"][0]["LastModified"]
    arrivals = [written + timedelta(hours=hours) for hours in (1, 14)]
    rows = [
        ingest(event_of(part, arrival=at), missing_timestamp_policy="arrival_time").accepted
        for part, at in zip((datas[:2], datas[2:]), arrivals, strict=True)
    ]
    # The curated zone is merged by id within the hours of the event times: both have to be equal.
    first, second = ({(row["event_id"], row["event_time"]) for row in part} for part in rows)
    assert len(first) == 2
    assert first == second


def test_object_that_no_error_action_wrote_is_named(deployed: Deployed) -> None:
    put(deployed, MESSAGE_KEY.format("0a"), b'{"topic":"dt/fleet/device123/telemetry"}')
    put(deployed, MESSAGE_KEY.format("0b"), undelivered(GOOD))
    findings = deployed.redrive(apply=True)
    assert findings.sent_messages == 1
    [trouble] = findings.troubles
    assert MESSAGE_KEY.format("0a") in trouble


def test_selects_failed_objects_by_the_time_of_writing(deployed: Deployed) -> None:
    put(deployed, BATCH_KEY.format(1), given_up(event_of([GOOD])))
    written = deployed.s3.list_objects_v2(Bucket="failed-zone")["Contents"][0]["LastModified"]
    second = timedelta(seconds=1)
    assert deployed.redrive(apply=False, since=written).failed_batches == 1
    assert deployed.redrive(apply=False, since=written + second).failed_batches == 0
    assert deployed.redrive(apply=False, until=written + second).failed_batches == 1
    assert deployed.redrive(apply=False, until=written).failed_batches == 0


class StingyStream:
    """A Kinesis client that takes every `takes`-th record it is offered, or none."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.offered = 0
        self.taken: list[bytes] = []
        self.calls: list[int] = []

    def put_records(self, *, StreamName: str, Records: list[Any]) -> dict[str, Any]:
        assert StreamName == "telemetry"
        assert len(Records) <= 500
        assert sum(len(record["Data"]) for record in Records) <= MAX_PUT_BYTES
        self.calls.append(len(Records))
        answers: list[dict[str, str]] = []
        for record in Records:
            self.offered += 1
            if self.takes and self.offered % self.takes == 0:
                self.taken.append(record["Data"])
                answers.append({"SequenceNumber": "1", "ShardId": "shardId-000000000000"})
            else:
                answers.append({"ErrorCode": "ProvisionedThroughputExceededException"})
        return {"FailedRecordCount": 0, "Records": answers}


def stream_over(client: StingyStream, pauses: list[float]) -> Stream:
    return Stream(client, "telemetry", pauses.append)  # type: ignore[arg-type]  # a fake


def test_puts_again_what_the_stream_refused_until_all_is_taken() -> None:
    client, pauses = StingyStream(takes=3), list[float]()
    datas = [b"%d" % number for number in range(1_200)]
    stream_over(client, pauses).put([("key", data) for data in datas])
    assert Counter(client.taken) == Counter(datas)
    assert client.calls[0] == 500
    assert pauses


def test_puts_within_the_size_of_a_call() -> None:
    client = StingyStream(takes=1)
    stream_over(client, []).put([("key", bytes(900_000))] * 12)
    assert client.calls == [5, 5, 2]


def test_gives_up_on_a_stream_that_takes_nothing() -> None:
    client, pauses = StingyStream(takes=0), list[float]()
    with pytest.raises(OperationError, match="ProvisionedThroughputExceededException"):
        stream_over(client, pauses).put([("key", b"data")])
    assert len(client.calls) == MAX_FRUITLESS_PUTS
