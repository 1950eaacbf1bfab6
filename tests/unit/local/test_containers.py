"""What a container of `sam local invoke` is told, and where it finds this machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.containers import NoContainersError, bridge_address, write_variables

OUTPUTS = {"RawZoneBucketName": "raw-1", "RejectedZoneBucketName": "rejected-1"}


def docker_answers(monkeypatch: pytest.MonkeyPatch, network: dict[str, str]) -> None:
    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        assert command[0] == "docker"
        return subprocess.CompletedProcess(command, 0, json.dumps(network) + "\n", "")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(subprocess, "run", run)


def test_bridge_is_where_docker_says(monkeypatch: pytest.MonkeyPatch) -> None:
    docker_answers(monkeypatch, {"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.254"})
    assert bridge_address() == "172.20.0.254"


def test_bridge_is_the_first_address_until_docker_names_a_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker_answers(monkeypatch, {"Subnet": "172.17.0.0/16"})
    assert bridge_address() == "172.17.0.1"


def test_without_docker_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(NoContainersError, match="no docker on this machine"):
        bridge_address()


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [("172.17.0.1", "http://172.17.0.1:4780"), (None, "http://host.docker.internal:4780")],
)
def test_variables_name_the_endpoint_and_the_stacks_buckets(
    tmp_path: Path, address: str | None, endpoint: str
) -> None:
    file = tmp_path / "sam-local.json"
    write_variables(file, "http://127.0.0.1:4780", address, OUTPUTS)
    assert json.loads(file.read_text()) == {
        "IngestTelemetryFunction": {
            "AWS_ENDPOINT_URL": endpoint,
            "RAW_ZONE_BUCKET": "raw-1",
            "REJECTED_ZONE_BUCKET": "rejected-1",
        }
    }
