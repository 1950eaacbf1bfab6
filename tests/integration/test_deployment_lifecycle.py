"""The local cloud as a process: found again, ended whole, and never mistaken for another."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.lifecycle import LifecycleError, LocalCloud, clean_environment
from local.web_server import is_listening


@contextmanager
def unchanged_environment() -> Iterator[None]:
    environment = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)


def write_state(folder: Path, pid: int) -> None:
    (folder / "cloud.json").write_text(json.dumps({"pid": pid, "endpoint": "http://127.0.0.1:1"}))


def test_a_cloud_is_up_until_it_is_stopped_and_then_nothing_of_it_is_left(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path)
    with unchanged_environment():
        try:
            cloud.start()
            assert cloud.is_up
            status, endpoint = cloud.status(), cloud.endpoint
            device_port = cloud.device_endpoint().port
            assert (status["ready"], status["intake"]["broker"]) == (True, "running")
            assert LocalCloud(tmp_path).endpoint == endpoint
        finally:
            assert cloud.stop()

    assert not cloud.is_up
    assert not is_listening(int(endpoint.rpartition(":")[2]))
    assert not is_listening(device_port)
    assert not cloud.stop()


def test_a_cloud_that_is_not_up_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="make up"):
        LocalCloud(tmp_path).status()


def test_a_process_that_only_got_the_number_of_an_ended_cloud_is_left_alone(
    tmp_path: Path,
) -> None:
    write_state(tmp_path, os.getpid())
    cloud = LocalCloud(tmp_path)

    assert not cloud.is_up
    assert not cloud.stop()


def test_a_number_that_no_process_has_is_no_problem(tmp_path: Path) -> None:
    write_state(tmp_path, 2**22 + 1)

    assert not LocalCloud(tmp_path).stop()


@pytest.mark.parametrize("which", ["LOCAL_CLOUD_PORT", "LOCAL_DEVICE_PORT"])
def test_a_port_in_use_is_one_line_that_says_how_to_take_another(
    tmp_path: Path, which: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"port": port} if which == "LOCAL_CLOUD_PORT" else {"device_port": port}

        with pytest.raises(LifecycleError) as caught:
            LocalCloud(tmp_path, **ports).start()

    assert str(caught.value).startswith(f"port {port} is in use by another program; {which}=")


def test_nothing_that_leads_to_an_account_of_aws_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.com")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")

    passed_on = clean_environment()

    assert {name for name in passed_on if name.startswith("AWS_")} == {
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_EC2_METADATA_DISABLED",
    }
    assert passed_on["AWS_CONFIG_FILE"] == os.devnull
