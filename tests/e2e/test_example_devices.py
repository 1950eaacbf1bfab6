"""Devices that exist already, each as a process of its own, through the deployed stack to raw."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest

from devices.provisioning import DeviceCredentials, provision_fleet
from local.demo.demo import Demonstration
from local.lifecycle import LocalCloud
from tests.integration.deployed_stack import client, update

WAIT_SECONDS: Final = 90.0
TOPIC: Final = "asset/tracker"
READINGS: Final = 100


@pytest.fixture(scope="module")
def cloud(demo: Demonstration) -> Iterator[LocalCloud]:
    """The demo's, while its stack takes the older fleet's topic too."""
    assert update(demo.cloud, SecondTopicFilter=TOPIC)["StackStatus"] == "UPDATE_COMPLETE"
    yield demo.cloud
    assert update(demo.cloud, SecondTopicFilter="")["StackStatus"] == "UPDATE_COMPLETE"


@contextmanager
def running(name: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """An example as a process; what it prints is to be read."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"devices.examples.{name}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TZ": "UTC"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def registered(cloud: LocalCloud, thing: str) -> tuple[DeviceCredentials, list[str]]:
    """A device with the stack's policy, and the arguments by which an example is it."""
    policy, folder = cloud.outputs()["DevicePolicyName"], cloud.folder / "test-devices"
    (device,) = provision_fleet(client(cloud, "iot"), [thing], policy, folder)
    endpoint = cloud.device_endpoint()
    options: dict[str, str | Path | None] = {
        "--endpoint": f"{endpoint.host}:{endpoint.port}",
        "--ca-file": endpoint.ca_file,
        "--certificate": device.certificate_file,
        "--private-key": device.private_key_file,
    }
    return device, [str(part) for pair in options.items() for part in pair]


def rows_of(cloud: LocalCloud, device: str) -> list[dict[str, Any]]:
    """The raw rows of a device."""
    s3, bucket = client(cloud, "s3"), cloud.outputs()["RawZoneBucketName"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="raw_data/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    bodies = [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
    rows = [row for body in bodies for row in pq.read_table(io.BytesIO(body)).to_pylist()]
    return [row for row in rows if row["device_id"] == device]


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def read_until(lines: Any, wanted: str) -> None:
    """Read what a process prints up to that line."""
    for line in lines:
        if line.strip() == wanted:
            return
    raise AssertionError(f"it ended without saying {wanted!r}")


def test_nothing_in_the_older_sdks_queue_is_lost_when_its_device_is_cut_off(
    cloud: LocalCloud,
) -> None:
    device, options = registered(cloud, "tracker-with-older-sdk")
    more = ["--client-id", device.thing_name, "--asset", "asset-007"]
    more += ["--interval", "0.05", "--readings", str(READINGS), "--draining-hertz", "20"]
    with running("tracker_with_older_sdk", *options, *more) as tracker:
        read_until(tracker.stdout, "20")
        # It goes on publishing while there is no broker, and after it.
        cloud.inject("broker-restart", seconds=2)
        read_until(tracker.stdout, str(READINGS))
        expected = set(range(1, READINGS + 1))
        assert wait_until(
            lambda: {row["sequence"] for row in rows_of(cloud, "asset-007")} == expected
        )
        tracker.kill()
        assert "offline" in tracker.communicate()[1].split()
    rows = rows_of(cloud, "asset-007")
    assert {(row["topic"], row["identity"]) for row in rows} == {(TOPIC, "claimed")}
    # What was sent twice is one event.
    assert len({row["event_id"] for row in rows}) == READINGS


def test_a_station_with_the_sdk_is_verified_by_its_topic(cloud: LocalCloud) -> None:
    device, options = registered(cloud, "station-with-sdk")
    with running("station_with_sdk", *options, "--thing", device.thing_name) as station:
        told, _ = station.communicate(timeout=WAIT_SECONDS)
    assert told.splitlines() == [f"{number} SUCCESS" for number in range(1, 11)]
    assert wait_until(lambda: len(rows_of(cloud, device.thing_name)) >= 10)
    rows = rows_of(cloud, device.thing_name)
    assert {row["sequence"] for row in rows} == set(range(1, 11))
    assert {(row["identity"], *row["quality_flags"]) for row in rows} == {("verified",)}


def test_a_producer_with_boto3_needs_neither_topic_nor_offset(cloud: LocalCloud) -> None:
    stream = cloud.outputs()["TelemetryStreamName"]
    with running("producer_with_boto3", "--stream", stream) as producer:
        told, _ = producer.communicate(timeout=WAIT_SECONDS)
    assert told == "10 put\n"
    assert wait_until(lambda: len(rows_of(cloud, "device123")) >= 10)
    rows = rows_of(cloud, "device123")
    assert {row["sequence"] for row in rows} == set(range(10))
    assert {(row["identity"], *row["quality_flags"]) for row in rows} == {
        ("claimed", "event_time_offset_assumed")
    }
