"""The client of devices and gateways, as a process of its own, against a real broker."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devices.client.broker_link import BrokerLink, ConnectionSettings
from devices.client.offline_queue import QueuedMessage
from devices.connection import Endpoint
from devices.provisioning import DeviceCredentials
from tests.conformance.broker_bench import Bench, running_bench

pytestmark = pytest.mark.ours("the client is this project's; AWS documents none that keeps a queue")

READINGS = 120


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("broker")) as running:
        yield running


class Gateway:
    """`python -m devices.client`, fed by its standard input."""

    def __init__(self, bench: Bench, device: DeviceCredentials, queue: Path, *more: str) -> None:
        arguments = {
            "--thing": device.thing_name,
            "--endpoint": bench.intake.endpoint,
            "--ca-file": bench.intake.authority_file,
            "--certificate": device.certificate_file,
            "--private-key": device.private_key_file,
            "--queue": queue,
            "--longest-wait": "0.2",
        }
        options = [str(part) for pair in arguments.items() for part in pair]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devices.client", *options, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def queue(self, count: int) -> list[int]:
        """Hand over readings, one by one; the sequence numbers that it answered with."""
        return [self._queue_one(number) for number in range(count)]

    def _queue_one(self, number: int) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f'{{"temperature": {number % 40}}}\n')
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL, as a power cut for the process."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> int:
        """End its input; the exit code, 0 when everything was acknowledged."""
        self.process.communicate(timeout=60)
        return self.process.returncode


@contextmanager
def network_gone(bench: Bench) -> Iterator[None]:
    """No broker, until the block ends."""
    broker = bench.intake._broker
    assert broker is not None
    # Whoever holds it is restarting the broker, so nobody revives it meanwhile.
    with bench.intake._reloading:
        broker.stop()
        bench.intake._subscribed.clear()
        yield
        broker.start()


def arrived(bench: Bench, thing: str) -> list[dict[str, Any]]:
    payloads = (base64.b64decode(one["payload_b64"]) for one in bench.stream.of(thing))
    return [json.loads(payload) for payload in payloads]


def first_deliveries(bench: Bench, thing: str) -> list[int]:
    """Each sequence number once, in the order in which it first came."""
    return list(dict.fromkeys(reading["sequence"] for reading in arrived(bench, thing)))


def test_nothing_queued_is_lost_or_overtaken_when_the_network_goes_and_the_client_is_killed(
    bench: Bench, tmp_path: Path
) -> None:
    (device,) = bench.register("gateway-1")
    queue = tmp_path / "gateway-1.queue"
    gateway = Gateway(bench, device, queue, "--rate", "200")
    assert gateway.queue(READINGS) == list(range(1, READINGS + 1))
    # The kill comes while it drains: some are through, some are not.
    assert bench.stream.wait_for(lambda _: len(arrived(bench, "gateway-1")) >= READINGS // 4)
    gateway.kill()
    again = Gateway(bench, device, queue, "--rate", "200")
    with network_gone(bench):
        assert again.queue(READINGS) == list(range(READINGS + 1, 2 * READINGS + 1))
        again.kill()
    last = Gateway(bench, device, queue, "--rate", "1000", "--in-flight", "50")
    assert last.queue(1) == [2 * READINGS + 1]
    assert last.end() == 0
    everything = list(range(1, 2 * READINGS + 2))
    assert bench.stream.wait_for(lambda _: everything[-1] in first_deliveries(bench, "gateway-1"))
    assert first_deliveries(bench, "gateway-1") == everything
    assert {reading["device_id"] for reading in arrived(bench, "gateway-1")} == {"gateway-1"}


def test_what_the_broker_refuses_stays_queued_until_it_takes_it(
    bench: Bench, tmp_path: Path
) -> None:
    (device,) = bench.register("gateway-3", policy="commanded")
    refused = Gateway(bench, device, tmp_path / "q", "--patience", "0")
    assert refused.queue(3) == [1, 2, 3]
    assert refused.end() == 1
    bench.register("gateway-3")
    allowed = Gateway(bench, device, tmp_path / "q")
    assert allowed.queue(1) == [4]
    assert allowed.end() == 0
    assert bench.stream.wait_for(lambda _: first_deliveries(bench, "gateway-3") == [1, 2, 3, 4])


def test_the_client_shows_why_the_broker_does_not_take_a_reading(bench: Bench) -> None:
    (device,) = bench.register("gateway-5", policy="commanded")
    host, _, port = bench.intake.endpoint.rpartition(":")
    endpoint = Endpoint(host, int(port), bench.intake.authority_file)
    settings = ConnectionSettings(endpoint, device.certificate_file, device.private_key_file)
    connected = threading.Event()
    link = BrokerLink("gateway-5", settings, connected.set)
    try:
        assert connected.wait(30)
        assert link.last_failure is None
        assert link.send([QueuedMessage(1, "dt/fleet/gateway-5/telemetry", b"{}")]) == 0
        assert link.last_failure == "not acknowledged: NOT_AUTHORIZED"
    finally:
        link.close()


def test_a_line_that_is_no_reading_is_refused_and_the_next_is_taken(
    bench: Bench, tmp_path: Path
) -> None:
    (device,) = bench.register("gateway-4")
    gateway = Gateway(bench, device, tmp_path / "q")
    told, _ = gateway.process.communicate('[1]\nnonsense\n{"x": 1}\n', timeout=60)
    assert told.splitlines() == ["refused", "refused", "1"]
    assert gateway.process.returncode == 1
    assert bench.stream.wait_for(lambda _: first_deliveries(bench, "gateway-4") == [1])


def test_basic_ingest_reaches_the_rule_by_its_name(bench: Bench, tmp_path: Path) -> None:
    (device,) = bench.register("gateway-2")
    gateway = Gateway(bench, device, tmp_path / "q", "--basic-ingest", "telemetry")
    gateway.queue(2)
    assert gateway.end() == 0
    assert bench.stream.wait_for(lambda _: first_deliveries(bench, "gateway-2") == [1, 2])
    # Basic Ingest takes its prefix off: the rule sees the plain topic.
    assert {one["topic"] for one in bench.stream.of("gateway-2")} == {
        "dt/fleet/gateway-2/telemetry"
    }
