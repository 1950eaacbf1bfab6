"""The SDK producer: what it reports as put is acknowledged, and only failures are repeated."""

from pathlib import Path
from typing import Any

import pytest

from devices.direct_producer import NotPut, Reading, put_readings, read_readings


class Stream:
    """A Kinesis that refuses the records whose payload is in `refused`, as often as it says."""

    def __init__(self, refused: dict[bytes, int] | None = None) -> None:
        self.refused = refused or {}
        self.stored: list[bytes] = []
        self.requests: list[int] = []

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        assert StreamName == "telemetry"
        self.requests.append(len(Records))
        answers = []
        for record in Records:
            if self.refused.get(record["Data"], 0) > 0:
                self.refused[record["Data"]] -= 1
                answers.append({"ErrorCode": "ProvisionedThroughputExceededException"})
            else:
                self.stored.append(record["Data"])
                answers.append({"SequenceNumber": "1", "ShardId": "shardId-0"})
        failed = sum("ErrorCode" in answer for answer in answers)
        return {"FailedRecordCount": failed, "Records": answers}


def readings(count: int, size: int = 20) -> list[Reading]:
    return [Reading("d1", f"{number:0{size}}".encode()) for number in range(count)]


def test_sends_requests_of_at_most_500_records() -> None:
    stream = Stream()
    result = put_readings(stream, "telemetry", readings(1_201))
    assert stream.requests == [500, 500, 201]
    assert result.put == 1_201
    assert stream.stored == [reading.payload for reading in readings(1_201)]


def test_sends_requests_of_at_most_10_mib() -> None:
    stream = Stream()
    put_readings(stream, "telemetry", readings(20, size=1_000_000))
    assert stream.requests == [10, 10]


def test_repeats_only_the_records_that_failed() -> None:
    three, seven = readings(10)[3].payload, readings(10)[7].payload
    stream = Stream({three: 1, seven: 2})
    waits: list[float] = []
    result = put_readings(stream, "telemetry", readings(10), waits.append)
    assert stream.requests == [10, 2, 1]
    assert sorted(stream.stored) == [reading.payload for reading in readings(10)]
    assert (result.put, result.retried, len(waits)) == (10, 3, 2)


def test_says_what_was_not_put_after_the_last_attempt() -> None:
    stream = Stream({readings(1)[0].payload: 1_000})
    with pytest.raises(NotPut, match="1 records not put on telemetry: ProvisionedThroughput"):
        put_readings(stream, "telemetry", readings(3), lambda _: None)


def test_puts_each_elements_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "readings.json"
    path.write_bytes(b'[{"device_id":"a", "x" : 1.0},\n {"device_id":"b","x":2e0}]')
    assert read_readings(path) == [
        Reading("a", b'{"device_id":"a", "x" : 1.0}'),
        Reading("b", b'{"device_id":"b","x":2e0}'),
    ]
