"""Writes `events/kinesis/*.json` and `events/expected.json` from the sample payloads.

The records' data is base64 in base64, which nobody can edit by hand; what goes into each event,
and what must come of it, stands in `EVENTS` below in names of files of `events/readings/`. The
expectation is declared here, never computed by the code that it is to test.

    python -m events.generate_kinesis           # write them anew
    python -m events.generate_kinesis --check   # fail if they are not what this would write
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
READINGS = FOLDER / "readings"
KINESIS = FOLDER / "kinesis"
EXPECTED = FOLDER / "expected.json"

# Every sample payload arrives at this moment; the samples' times are written for it.
ARRIVAL = datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC)
SHARD = "shardId-000000000000"
FIRST_SEQUENCE_NUMBER = 49590338271490256608559692538361571095921575989136588898
CERTIFICATE_ID = "5ac2fd0d4e3f1d6cbd0c2b8f5f1f3a0e6a1c9d6f7b8e0a4c3d2e1f0a9b8c7d6e"


@dataclass(frozen=True)
class Sent:
    """One Kinesis record: a payload, and how it came."""

    files: tuple[str, ...]
    """Names in `events/readings/` without `.json`; more than one are joined to one array."""
    thing: str | None = None
    """The thing in the topic when it came through the IoT rule; None for an SDK producer."""
    data: bytes | None = None
    """The record's data itself, for what is neither."""

    def record_data(self, place: int) -> bytes:
        """The bytes that stand on the stream."""
        if self.data is not None:
            return self.data
        payloads = [(READINGS / f"{name}.json").read_bytes() for name in self.files]
        payload = payloads[0] if len(payloads) == 1 else b"[" + b",".join(payloads) + b"]"
        if self.thing is None:
            return payload
        envelope = {
            "payload_b64": base64.b64encode(payload).decode(),
            "topic": f"dt/fleet/{self.thing}/telemetry",
            "client_id": self.thing,
            "principal": CERTIFICATE_ID,
            "broker_time": int(ARRIVAL.timestamp() * 1000) - 120 + place,
            "ingest_id": f"00000000-0000-4000-8000-{place:012}",
            "trace_id": f"11111111-1111-4111-8111-{place:012}",
        }
        return json.dumps(envelope, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Expected:
    """What the function answers: readings accepted, and readings rejected by reason."""

    accepted: int
    rejected: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        rejected = sum(self.rejected.values())
        return {
            "received": self.accepted + rejected,
            "accepted": self.accepted,
            "rejected": rejected,
            "rejected_by_reason": dict(sorted(self.rejected.items())),
        }


def by_rule(thing: str, *files: str) -> Sent:
    """A payload published on the thing's topic and put on the stream by the IoT rule."""
    return Sent(files, thing)


def by_sdk(*files: str) -> Sent:
    """A payload put straight to the stream by an SDK producer."""
    return Sent(files)


def aggregate(*datas: bytes) -> bytes:
    """A KPL aggregate of user records under one partition key.

    https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
    """
    records = (b"\x08\x00" + _field(3, data) for data in datas)
    message = _field(1, b"sample") + b"".join(_field(3, record) for record in records)
    digest = md5(message, usedforsecurity=False).digest()
    return b"\xf3\x89\x9a\xc2" + message + digest


def _field(number: int, value: bytes) -> bytes:
    size, length = len(value), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def by_kpl(*sent: Sent) -> Sent:
    """What an SDK producer sends, aggregated to one record."""
    return Sent((), data=aggregate(*(one.record_data(0) for one in sent)))


def damaged(sent: Sent) -> Sent:
    """A record of whose data the end is missing."""
    return Sent((), data=sent.record_data(0)[:-1])


EVENTS: dict[str, tuple[tuple[Sent, ...], Expected]] = {
    "rule_envelope": (
        (
            by_rule("device123", "station.event_time_offset_assumed.pass"),
            by_rule("asset-001", "vehicle.pass"),
            by_rule("greenhouse-7", "climate.pass"),
        ),
        Expected(3),
    ),
    "bare_sdk_records": (
        (
            by_sdk("station.event_time_offset_assumed.pass"),
            by_sdk("vehicle.pass"),
            by_sdk("unknown_fields.pass"),
        ),
        Expected(3),
    ),
    "sensor_boxes": (
        (
            by_rule("5e:44:3b:f3:79:c8", "sensor_box.pass"),
            by_rule("5e:44:3b:f3:79:c8", "sensor_box_of_2020.event_time_far_from_arrival.pass"),
            by_sdk("nested.temperature_out_of_range.light_wrong_type.pass"),
        ),
        Expected(3),
    ),
    "array_payload": (
        (
            by_rule("device123", "array.pass"),
            by_rule(
                "device123", "minimal.pass", "device_id_missing.fail", "identity_mismatch.fail"
            ),
            by_sdk("vehicle.pass", "not_an_object.number.fail", "climate.pass"),
        ),
        Expected(6, {"device_id_missing": 1, "identity_mismatch": 1, "not_an_object": 1}),
    ),
    "mixed_good_and_bad": (
        (
            by_rule("device123", "minimal.pass"),
            by_rule("device123", "not_json.truncated.fail"),
            by_rule("asset-001", "vehicle.pass"),
            by_rule("device123", "identity_mismatch.fail"),
            by_sdk("timestamp_out_of_range.future.fail"),
            by_sdk("climate.pass"),
            by_sdk("not_utf8.fail"),
            by_rule("device123", "timestamp_missing.fail"),
            Sent((), data=b'{"payload_b64":"not base64!","topic":"dt/fleet/device123/telemetry"}'),
            by_rule("device123", "latitude.latitude_out_of_range.pass"),
        ),
        Expected(
            4,
            {
                "identity_mismatch": 1,
                "malformed_envelope": 1,
                "not_json": 1,
                "not_utf8": 1,
                "timestamp_missing": 1,
                "timestamp_out_of_range": 1,
            },
        ),
    ),
    "aggregated_records": (
        (
            by_kpl(
                by_sdk("vehicle.pass"),
                by_sdk("not_json.truncated.fail"),
                by_sdk("minimal.pass", "climate.pass"),
                by_rule("asset-001", "vehicle.pass"),
            ),
            by_sdk("station.event_time_offset_assumed.pass"),
            damaged(by_kpl(by_sdk("climate.pass"))),
        ),
        Expected(5, {"malformed_aggregate": 1, "not_json": 1}),
    ),
    "empty_batch": ((), Expected(0)),
}


def kinesis_event(sent: tuple[Sent, ...]) -> dict[str, Any]:
    """The event that Lambda's event source mapping would call the function with."""
    return {"Records": [kinesis_record(one.record_data(i), i) for i, one in enumerate(sent)]}


def kinesis_record(data: bytes, place: int = 0, *, sequence: str | None = None) -> dict[str, Any]:
    """One record of a Lambda event, `place` records after the first; `data` as on the stream."""
    sequence = sequence or str(FIRST_SEQUENCE_NUMBER + place)
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "sample",
            "sequenceNumber": sequence,
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": ARRIVAL.timestamp(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{SHARD}:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/ingest-telemetry",
        "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry",
    }


def generated_files() -> dict[Path, str]:
    """The text of every file that this module writes."""
    files = {
        KINESIS / f"{name}.json": _text(kinesis_event(sent)) for name, (sent, _) in EVENTS.items()
    }
    files[EXPECTED] = _text(
        {f"kinesis/{name}.json": expected.as_json() for name, (_, expected) in EVENTS.items()}
    )
    return files


def stale_files() -> list[str]:
    """Names of files that are missing, differ from what would be written, or are left over."""
    wanted = generated_files()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    left_over = [path for path in KINESIS.iterdir() if path not in wanted]
    return sorted(str(path.relative_to(FOLDER)) for path in stale + left_over)


def _text(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def run(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m events.generate_kinesis",
        description="Write the sample Lambda events from the sample payloads.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if any is stale")
    if parser.parse_args(arguments).check:
        stale = stale_files()
        for name in stale:
            print(f"events/{name} is stale: run python -m events.generate_kinesis", file=sys.stderr)
        return 1 if stale else 0
    KINESIS.mkdir(exist_ok=True)
    for path, text in generated_files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
