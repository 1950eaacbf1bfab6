"""What the client makes of readings, and that publishing is independent of the connection."""

import json
import math
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from awscrt import mqtt5

from devices.client import (
    ClientSettings,
    ConnectionSettings,
    DeviceClient,
    Pace,
    QueueFullError,
    WhenFull,
)
from devices.client.__main__ import parser
from devices.client.broker_link import client_options
from devices.client.offline_queue import QueuedMessage
from devices.connection import Endpoint

NOW = datetime(2026, 11, 23, 10, 0, 0, 123_456, tzinfo=UTC)
FAST = Pace(messages_per_second=1_000_000)


class Link:
    """A connection that takes everything once it is there."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.is_connected = False
        self.is_closed = False
        self.sent: list[QueuedMessage] = []
        self.errors: list[Exception] = []
        self.last_failure: str | None = None
        self.failed = threading.Event()

    def connect(self) -> None:
        self.is_connected = True
        self._changed()

    def send(self, messages: Sequence[QueuedMessage]) -> int:
        if self.errors:
            self.failed.set()
            raise self.errors.pop()
        self.sent += messages
        return len(messages)

    def close(self) -> None:
        self.is_closed = True

    @property
    def readings(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.sent]


class Device:
    """A client, and the link that it has made."""

    def __init__(self, queue_file: Path, **settings: Any) -> None:
        self.client = DeviceClient(
            ClientSettings("gateway-1", queue_file, pace=FAST, **settings),
            self._connect,
            lambda: NOW,
        )

    def _connect(self, thing_name: str, changed: Callable[[], None]) -> Link:
        assert thing_name == "gateway-1"
        self.link = Link(changed)
        return self.link


def test_a_reading_gets_its_device_its_time_and_its_number(tmp_path: Path) -> None:
    device = Device(tmp_path / "q", application="plant")
    with device.client as client:
        assert client.publish({"temperature": 21.5}) == 1
        assert client.publish({"temperature": 22, "timestamp": 5, "sequence": 99}) == 2
        assert client.publish({"humidity": 50}, device_id="sensor-7") == 1
        device.link.connect()
        assert client.wait_until_sent(30)
    assert device.link.readings == [
        {
            "device_id": "gateway-1",
            "timestamp": "2026-11-23T10:00:00.123+00:00",
            "temperature": 21.5,
            "sequence": 1,
        },
        {"device_id": "gateway-1", "timestamp": 5, "temperature": 22, "sequence": 2},
        {
            "device_id": "sensor-7",
            "timestamp": "2026-11-23T10:00:00.123+00:00",
            "humidity": 50,
            "sequence": 1,
        },
    ]
    assert {message.topic for message in device.link.sent} == {"dt/plant/gateway-1/telemetry"}


def test_a_number_is_counted_for_the_device_that_the_reading_names(tmp_path: Path) -> None:
    device = Device(tmp_path / "q")
    with device.client as client:
        mixed: list[dict[str, Any]] = [{"x": 1}, {"x": 2, "device_id": "sensor-7"}, {"x": 3}]
        mixed.append({"device_id": None})
        assert client.publish_all(mixed) == [1, 1, 2, 3]
        # The reading's own name stands, so it is counted for that too.
        assert client.publish({"device_id": "sensor-7"}, device_id="sensor-8") == 2
        assert client.publish({}, device_id="sensor-8") == 1
        device.link.connect()
        assert client.wait_until_sent(30)
    assert [(one["device_id"], one["sequence"]) for one in device.link.readings] == [
        *(("gateway-1", 1), ("sensor-7", 1), ("gateway-1", 2), (None, 3)),
        *(("sensor-7", 2), ("sensor-8", 1)),
    ]


def test_why_nothing_is_taken_is_shown(tmp_path: Path) -> None:
    device = Device(tmp_path / "q")
    with device.client as client:
        assert client.last_failure is None
        device.link.last_failure = "not acknowledged: NOT_AUTHORIZED"
        assert client.last_failure == "not acknowledged: NOT_AUTHORIZED"


def test_what_could_not_be_sent_is_left_to_the_next_process(tmp_path: Path) -> None:
    first = Device(tmp_path / "q")
    with first.client as client:
        client.publish_all([{"x": number} for number in range(3)])
        assert client.waiting == 3
        assert not client.wait_until_sent(0)
    assert first.link.is_closed
    assert first.link.sent == []
    second = Device(tmp_path / "q")
    with second.client as client:
        second.link.connect()
        assert client.wait_until_sent(30)
        assert client.publish({"x": 3}) == 4
        assert client.wait_until_sent(30)
    assert [reading["x"] for reading in second.link.readings] == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [{"x": math.nan}, {"x": math.inf}, {"x": {1}}])
def test_a_reading_that_is_no_json_uses_no_number_up(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with Device(tmp_path / "q").client as client:
        with pytest.raises(ValueError, match="not JSON"):
            client.publish_all([{"x": 1}, wrong])
        assert (client.waiting, client.publish({"x": 1})) == (0, 1)


def test_a_full_queue_tells_whoever_publishes_or_counts_what_it_drops(tmp_path: Path) -> None:
    with Device(tmp_path / "a", max_queue_bytes=250).client as client:
        client.publish({})
        with pytest.raises(QueueFullError):
            client.publish_all([{}] * 2)
    dropping = Device(tmp_path / "b", max_queue_bytes=250, when_full=WhenFull.DROP_OLDEST)
    with dropping.client as client:
        client.publish_all([{}] * 9)
        assert client.dropped == 9 - client.waiting > 0


def test_a_failure_of_sending_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    device = Device(tmp_path / "q")
    with device.client as client:
        client.publish({"x": 1})
        device.link.errors = [OSError("the card is full")]
        device.link.connect()
        assert device.link.failed.wait(30)
        # Whatever wakes it makes it try again.
        client.publish({"x": 2})
        assert client.wait_until_sent(30)
    assert [reading["x"] for reading in device.link.readings] == [1, 2]
    assert "the card is full" in caplog.text


def test_the_sdk_is_told_to_keep_nothing_and_to_notice_a_dead_line_soon() -> None:
    settings = ConnectionSettings(
        Endpoint("host", 8883, paced=True), Path("c.pem"), Path("k.pem"), longest_wait_seconds=0.5
    )
    options = client_options("d1", settings)
    queueing = mqtt5.ClientOperationQueueBehaviorType
    assert options["offline_queue_behavior"] is queueing.FAIL_ALL_ON_DISCONNECT
    assert options["session_behavior"] is mqtt5.ClientSessionBehaviorType.CLEAN
    assert options["retry_jitter_mode"] is mqtt5.ExponentialBackoffJitterMode.FULL
    assert (options["min_reconnect_delay_ms"], options["max_reconnect_delay_ms"]) == (500, 500)
    assert options["keep_alive_interval_sec"] == 60
    assert options["client_id"] == "d1"
    assert options["ca_filepath"] is None
    limits = mqtt5.ExtendedValidationAndFlowControlOptions
    assert options["extended_validation_and_flow_control_options"] is limits.AWS_IOT_CORE_DEFAULTS


def test_an_option_has_to_be_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    needed = ["--endpoint=e", "--certificate=c", "--private-key=k", "--queue=q"]
    assert parser().parse_args(["--thing=t", *needed]).thing == "t"
    with pytest.raises(SystemExit):
        parser().parse_args(["--thin=t", *needed])
    assert "--thing" in capsys.readouterr().err


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--help"])
    assert ended.value.code == 0
    assert "sensor | python -m devices.client" in capsys.readouterr().out
