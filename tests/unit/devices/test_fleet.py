"""The replay of a file, as far as no broker is needed."""

from pathlib import Path

import pytest

from devices.connection import Endpoint, parse_endpoint
from devices.fleet import devices_in_replay, replay_file


def test_a_replay_names_each_device_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "readings.json"
    path.write_bytes(b'[{"device_id":"b"},{"device_id":"a"},{"device_id":"b"}]')
    assert devices_in_replay(path) == ("b", "a")


@pytest.mark.parametrize("text", ['{"device_id":"b"}', '[{"id":"b"}]', "[1]", "nonsense"])
def test_a_file_that_is_no_array_of_readings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "readings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a JSON array of readings"):
        devices_in_replay(path)


def test_a_replay_needs_credentials_for_every_device(tmp_path: Path) -> None:
    path = tmp_path / "readings.json"
    path.write_bytes(b'[{"device_id":"b"}]')
    with pytest.raises(ValueError, match="no credentials for b"):
        replay_file(path, Endpoint("localhost"), ())


def test_an_endpoint_without_a_port_has_the_port_of_mqtt_over_tls() -> None:
    assert parse_endpoint("x-ats.iot.eu-west-1.amazonaws.com").port == 8883
    assert parse_endpoint("localhost:12345") == Endpoint("localhost", 12345)
