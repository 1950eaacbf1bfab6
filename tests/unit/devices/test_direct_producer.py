"""The SDK producer: what it reports as put is acknowledged, and only failures are repeated."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from devices.direct_producer import NotPut, Reading, Waiting, put_readings, read_readings


class Stream:
    """A Kinesis that refuses the records whose payload is in `refused`, as often as it says.

    Each of `errors` is raised by one request; where an answer is lost, the records are stored.
    """

    def __init__(
        self, refused: dict[bytes, int] | None = None, errors: list[Exception] | None = None
    ) -> None:
        self.refused = refused or {}
        self.errors = errors or []
        self.stored: list[bytes] = []
        self.requests: list[int] = []

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        assert StreamName == "telemetry"
        self.requests.append(len(Records))
        if self.errors:
            error = self.errors.pop(0)
            if isinstance(error, ReadTimeoutError):
                self.stored += [record["Data"] for record in Records]
            raise error
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


AT_ONCE = Waiting(sleep=lambda _: None)


def error_of(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutRecords")


def readings(count: int, size: int = 20) -> list[Reading]:
    return [Reading("d1", f"{number:0{size}}".encode()) for number in range(count)]


def test_sends_requests_of_at_most_500_records() -> None:
    stream = Stream()
    result = put_readings(stream, "telemetry", readings(1_201))
    assert stream.requests == [500, 500, 201]
    assert result.put == 1_201
    assert stream.stored == [reading.payload for reading in readings(1_201)]


def test_sends_requests_of_at_most_5_mib_with_their_keys() -> None:
    stream = Stream()
    exact = 1024 * 1024 - len("d1")
    put_readings(stream, "telemetry", readings(11, size=exact))
    assert stream.requests == [5, 5, 1]


def test_a_reading_that_kinesis_would_not_take_is_named_after_all_before_it_are_put() -> None:
    stream = Stream()
    large = Reading("d2", b"x" * (1024 * 1024 - 1))
    with pytest.raises(NotPut, match=r"d2 has 1,048,577 bytes .* 3 were put") as raised:
        put_readings(stream, "telemetry", [*readings(3), large, *readings(2)])
    assert raised.value.put == 3
    assert stream.requests == [3]


def test_repeats_only_the_records_that_failed() -> None:
    three, seven = readings(10)[3].payload, readings(10)[7].payload
    stream = Stream({three: 1, seven: 2})
    waits: list[float] = []
    result = put_readings(stream, "telemetry", readings(10), waiting=Waiting(waits.append))
    assert stream.requests == [10, 2, 1]
    assert sorted(stream.stored) == [reading.payload for reading in readings(10)]
    assert (result.put, result.retried, len(waits)) == (10, 3, 2)


def test_no_request_is_sent_before_the_one_before_it_is_through() -> None:
    first = readings(501)[0].payload
    stream = Stream({first: 3})
    put_readings(stream, "telemetry", readings(501), waiting=AT_ONCE)
    assert stream.requests == [500, 1, 1, 1, 1]
    assert stream.stored[-2:] == [first, readings(501)[500].payload]


def test_strict_order_lets_no_reading_of_a_device_overtake_another() -> None:
    given = [Reading(f"d{number % 3}", b"%d" % number) for number in range(12)]
    stream = Stream({reading.payload: 2 for reading in given[::5]})
    put_readings(stream, "telemetry", given, strict_order=True, waiting=AT_ONCE)
    for device in range(3):
        mine = [reading.payload for reading in given if reading.device_id == f"d{device}"]
        assert [payload for payload in stream.stored if payload in mine] == mine
    # As many in a request as there are devices.
    assert max(stream.requests) == 3


@pytest.mark.parametrize(
    "error",
    [
        error_of("ProvisionedThroughputExceededException"),
        error_of("KMSThrottlingException"),
        error_of("InternalFailure"),
        EndpointConnectionError(endpoint_url="https://kinesis"),
        ConnectionClosedError(endpoint_url="https://kinesis"),
    ],
    ids=lambda error: str(error)[:60],
)
def test_a_request_that_failed_whole_is_made_again(error: Exception) -> None:
    stream = Stream(errors=[error])
    result = put_readings(stream, "telemetry", readings(3), waiting=AT_ONCE)
    assert stream.requests == [3, 3]
    assert (result.put, result.retried) == (3, 3)


def test_a_lost_answer_puts_records_twice_rather_than_never() -> None:
    stream = Stream(errors=[ReadTimeoutError(endpoint_url="https://kinesis")])
    assert put_readings(stream, "telemetry", readings(2), waiting=AT_ONCE).put == 2
    assert stream.stored == [reading.payload for reading in readings(2)] * 2


def test_a_refusal_that_would_be_the_same_again_is_raised_at_once() -> None:
    stream = Stream(errors=[error_of("ResourceNotFoundException")])
    with pytest.raises(ClientError, match="ResourceNotFound"):
        put_readings(stream, "telemetry", readings(3), waiting=AT_ONCE)
    assert stream.requests == [3]


def test_says_what_was_not_put_after_the_last_attempt() -> None:
    stream = Stream({readings(1)[0].payload: 1_000})
    with pytest.raises(
        NotPut, match=r"1 records not put on telemetry: ProvisionedThroughput.*; 2 were put"
    ):
        put_readings(stream, "telemetry", readings(3), waiting=AT_ONCE)


def test_a_stream_that_takes_little_at_a_time_is_not_given_up() -> None:
    # Each attempt brings one further record, more attempts than may be fruitless in a row.
    given = readings(40)
    stream = Stream({reading.payload: place for place, reading in enumerate(given)})
    assert put_readings(stream, "telemetry", given, waiting=AT_ONCE).put == 40


def test_waits_grow_and_are_drawn_from_the_whole_of_them() -> None:
    for drawn in (1.0, 0.25):
        waits: list[float] = []
        stream = Stream({readings(1)[0].payload: 11})
        waiting = Waiting(waits.append, partial(float, drawn))
        put_readings(stream, "telemetry", readings(1), waiting=waiting)
        longest = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0]
        assert waits == pytest.approx([drawn * wait for wait in longest])


def test_puts_each_elements_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "readings.json"
    path.write_bytes(b'[{"device_id":"a", "x" : 1.0},\n {"deviceId":"b","x":2e0}]')
    assert read_readings(path) == [
        Reading("a", b'{"device_id":"a", "x" : 1.0}'),
        Reading("b", b'{"deviceId":"b","x":2e0}'),
    ]


@pytest.mark.parametrize("text", ['{"device_id":"b"}', '[{"id":"b"}]', "[1]", "nonsense"])
def test_a_file_that_is_no_array_of_readings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "readings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"readings\.json is not a JSON array of readings"):
        read_readings(path)
