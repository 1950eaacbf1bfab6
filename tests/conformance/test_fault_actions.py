"""Faults that are no call's: a killed process, a broker that goes, a stream that changes shape."""

import base64
import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.faults.actions import reshard
from local.faults.faults import Fault, FaultError, Faults
from local.functions.runtime import FunctionRuntime
from local.kinesis.streams import Streams
from tests.conformance.broker_bench import Bench, Device, running_bench
from tests.conformance.fault_bench import FaultBench, ForgottenInTime, running_fault_bench
from tests.conformance.function_bench import function_of
from tests.conformance.kinesis_service import Clock
from tests.conformance.mapping_bench import Bench as MappingBench

pytestmark = pytest.mark.ours("faults are the local cloud's own; AWS's FIS states no such rules")

EXIT_ERROR = "https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html"
ITERATOR_LIFE = "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html"
TAKEOVER = "https://docs.aws.amazon.com/iot/latest/developerguide/security-best-practices.html"
SESSIONS = "https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html"


@pytest.fixture(scope="module")
def served() -> Iterator[FaultBench]:
    with running_fault_bench() as bench:
        yield bench


@pytest.fixture
def bench(served: FaultBench) -> Iterator[FaultBench]:
    yield served
    served.faults.clear()


# ------------------------------------------------------------------------------- kill

# Signs and names itself as the SDKs do, of which this function has none.
HANDLER = """
import os, urllib.request

def handle(event, context):
    request = urllib.request.Request(event["url"], b"written", method="PUT", headers={
        "Authorization": "AWS4-HMAC-SHA256 Credential=testing/20261123/us-east-1/s3/aws4_request",
        "User-Agent": "Botocore/1 app/" + os.environ["AWS_SDK_UA_APP_ID"],
    })
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
    return os.getpid()
"""


@pytest.fixture
def invoke(bench: FaultBench, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Invokes a function that puts an object under a key; the invocation."""
    function = function_of("ingest", HANDLER, tmp_path)
    runtime = FunctionRuntime(lambda: function, tmp_path, processes=bench.processes)

    def put(key: str) -> Any:
        url = f"{bench.endpoint}/{bench.bucket}/{key}"
        return runtime.invoke(json.dumps({"url": url}).encode())

    yield put
    runtime.stop()


@pytest.mark.documented(EXIT_ERROR)
@pytest.mark.parametrize(("when", "is_written"), [("before", False), ("after", True)])
def test_a_function_is_killed_at_its_call(
    bench: FaultBench, invoke: Callable[[str], Any], when: str, is_written: bool
) -> None:
    bench.faults.inject("kill", on="s3:PutObject", when=when, process="INGEST")
    invocation = invoke(f"killed-{when}")
    assert invocation.error == "Unhandled"
    error = json.loads(invocation.payload)
    assert error["errorType"] == "Runtime.ExitError"
    assert "signal: 9" in error["errorMessage"]
    assert (f"killed-{when}" in bench.stored()) is is_written
    assert bench.faults.fired("kill") == 1
    # The next invocation has a process of its own.
    assert invoke(f"again-{when}").error is None
    assert f"again-{when}" in bench.stored()


def test_nobody_else_is_killed_nor_counted(bench: FaultBench, invoke: Callable[[str], Any]) -> None:
    bench.faults.inject("kill", on="s3:PutObject", process="curate", times=0)
    assert invoke("spared").error is None
    bench.faults.inject("kill", "any", on="s3:PutObject", times=0)
    bench.client("s3").put_object(Bucket=bench.bucket, Key="mine", Body=b"x")
    for claimed in (f"local-{'0' * 32}", str(os.getpid())):
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{bench.endpoint}/{bench.bucket}/claimed",
            b"x",
            method="PUT",
            headers={
                "Authorization": "AWS4-HMAC-SHA256 Credential=t/1/us-east-1/s3/aws4_request",
                "User-Agent": f"app/{claimed}",
            },
        )
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()
    assert [one["matched"] for one in bench.faults.shown()] == [0, 0]


def test_a_process_that_has_ended_is_forgotten(
    bench: FaultBench, invoke: Callable[[str], Any]
) -> None:
    bench.faults.inject("kill", on="s3:PutObject")
    invoke("gone")
    pid = json.loads(invoke("there").payload)
    known = bench.processes._running.values()
    assert [process.pid for process in known] == [pid]


def test_no_process_is_known_whose_number_may_be_anothers(tmp_path: Path) -> None:
    processes = ForgottenInTime()
    function = function_of("exiting", "import os\ndef handle(event, _): os._exit(3)", tmp_path)
    runtime = FunctionRuntime(lambda: function, tmp_path, processes=processes)
    for _ in range(3):
        assert runtime.invoke(b"{}").error == "Unhandled"
    runtime.stop()
    assert (len(processes.forgotten), processes.reaped) == (3, [])


# ---------------------------------------------------------------------------- reshard


def sharded(clock: Clock, shards: int = 3) -> Streams:
    streams = Streams(clock)
    streams.create_stream(StreamName="telemetry", ShardCount=shards)
    return streams


def shape(streams: Streams) -> list[tuple[str, str]]:
    """The open shards' ranges."""
    listed = streams.list_shards(StreamName="telemetry", ShardFilter={"Type": "AT_LATEST"})
    ranges = [shard["HashKeyRange"] for shard in listed["Shards"]]
    return sorted((one["StartingHashKey"], one["EndingHashKey"]) for one in ranges)


def test_the_seed_chooses_what_is_split_or_merged(clock: Clock) -> None:
    shapes = []
    for seed in (*range(12), *range(12)):
        streams = sharded(clock)
        reshard(streams, Fault("", "reshard", seed=seed))
        shapes.append(tuple(shape(streams)))
    assert shapes[:12] == shapes[12:]
    assert {len(one) for one in shapes} == {2, 4}
    assert len(set(shapes)) == 2 + 3  # each of two merges, each of three splits


def test_the_last_shard_can_only_be_split(clock: Clock) -> None:
    for seed in range(6):
        streams = sharded(clock, 1)
        reshard(streams, Fault("", "reshard", seed=seed))
        assert len(shape(streams)) == 2


def test_no_record_is_lost_over_a_reshard(bench: FaultBench) -> None:
    for number in range(40):
        if number % 10 == 9:
            bench.faults.inject("reshard", seed=number, where="tele")
        bench.put(bench.client("kinesis"), b"%d" % number, f"device-{number}")
    assert {b"%d" % number for number in range(40)} <= set(bench.records())
    assert [one["fired"] for one in bench.faults.shown()] == [1, 1, 1, 1]


def test_a_stream_is_scaled_to_a_number_of_shards(clock: Clock) -> None:
    streams = sharded(clock, 2)
    reshard(streams, Fault("", "reshard", shards=4))
    assert len(shape(streams)) == 4


@pytest.mark.parametrize(
    ("settings", "why"), [({"where": "none"}, "no such stream"), ({"shards": 99}, "over double")]
)
def test_a_reshard_that_can_not_be_done_is_refused_and_not_counted(
    bench: FaultBench, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(FaultError, match=why):
        bench.faults.inject("reshard", **settings)
    assert bench.faults.shown() == []


# -------------------------------------------------------------------------- clock jump


@pytest.mark.ours("what is cleared is as if it had not been")
def test_a_clock_that_jumped_goes_back_when_the_jumps_are_cleared(bench: FaultBench) -> None:
    kinesis = bench.client("kinesis")
    before = bench.put(kinesis, b"before", "clocked")
    place = kinesis.get_shard_iterator(
        StreamName=bench.stream, ShardId=before["ShardId"], ShardIteratorType="LATEST"
    )["ShardIterator"]
    bench.faults.inject("clock-jump", seconds=250)
    bench.faults.inject("clock-jump", name="further", seconds=100)
    bench.faults.clear("further")
    kinesis.get_records(ShardIterator=place)  # it would have expired after 300
    bench.faults.clear()
    bench.faults.inject("clock-jump", seconds=250)
    kinesis.get_records(ShardIterator=place)
    bench.faults.clear()


@pytest.mark.documented(ITERATOR_LIFE)
def test_iterators_expire_in_a_clock_jump_and_records_arrive_in_order(bench: FaultBench) -> None:
    kinesis = bench.client("kinesis")
    placed = bench.put(kinesis, b"before", "clocked")
    place = kinesis.get_shard_iterator(
        StreamName=bench.stream,
        ShardId=placed["ShardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=placed["SequenceNumber"],
    )["ShardIterator"]
    assert kinesis.get_records(ShardIterator=place)["Records"][0]["Data"] == b"before"
    bench.faults.inject("clock-jump", seconds=301)
    with pytest.raises(kinesis.exceptions.ExpiredIteratorException):
        kinesis.get_records(ShardIterator=place)
    bench.put(kinesis, b"ahead", "clocked")
    bench.faults.inject("clock-jump", seconds=-301)
    bench.put(kinesis, b"back", "clocked")
    assert bench.faults.fired("clock-jump") == bench.faults.fired("clock-jump-2") == 1
    records = kinesis.get_records(ShardIterator=place)["Records"]
    assert [record["Data"] for record in records] == [b"before", b"ahead", b"back"]
    arrivals = [record["ApproximateArrivalTimestamp"] for record in records]
    assert arrivals == sorted(arrivals)


@pytest.mark.documented(
    "https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html"
)
@pytest.mark.parametrize("seconds", [-3_600, 3_600])
def test_a_mapping_goes_on_after_a_clock_jump(seconds: float) -> None:
    bench = MappingBench()
    bench.mapping()
    bench.put("before")
    bench.run(seconds=2)
    bench.now += seconds
    bench.put("after")
    bench.run(seconds=15)
    assert bench.records() == ["before", "after"]


# ------------------------------------------------------------------------------ broker


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("broker")) as running:
        yield running


class Returning(Device):
    """A device that keeps its session and says how often it was connected and cut off."""

    def __init__(self, bench: Bench, thing: str, policy: str) -> None:
        self.connections = self.cut_offs = 0
        credentials = bench.register(thing, policy=policy)[0]
        super().__init__(bench.port, bench.intake.authority_file, credentials, clean=False)

    def _on_connect(self, *given: Any) -> None:
        super()._on_connect(*given)
        with self._changed:
            self.connections += 1
            self._changed.notify_all()

    def _on_disconnect(self, *given: Any) -> None:
        with self._changed:
            self.cut_offs += 1
        super()._on_disconnect(*given)


def faults_of(devices: Bench) -> Faults:
    """The broker's faults, as the local cloud has them."""
    return Faults(
        {
            "broker-restart": lambda fault: devices.intake.restart_broker(fault.seconds),
            "broker-disconnect": lambda _: devices.intake.disconnect_clients(),
        }
    )


def broker_process(devices: Bench) -> int:
    return int((devices.folder / "intake/broker.pid").read_text())


@pytest.mark.documented(TAKEOVER)
def test_clients_are_cut_off_while_the_broker_goes_on(devices: Bench) -> None:
    device = Returning(devices, "cut-off", "commanded")
    device.connect()
    device.subscribe("cmd/cut-off")
    before, faults = broker_process(devices), faults_of(devices)
    faults.inject("broker-disconnect")
    assert faults.fired("broker-disconnect") == 1
    # The client connects again by itself and finds its session, its subscription included.
    assert device.wait_for(lambda _: device.connections == 2)
    assert device.cut_offs == 1
    assert device.session_present
    assert broker_process(devices) == before
    commander = devices.device(devices.register("order", policy="commander")[0]).connect()
    assert commander.publish("cmd/cut-off", b"go") == 0
    assert device.wait_for(lambda received: received == [b"go"])
    device.close()
    commander.close()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("broker-disconnect", marks=pytest.mark.documented(SESSIONS)),
        pytest.param("broker-restart", marks=pytest.mark.ours("AWS's broker is not one process")),
    ],
)
def test_what_was_acknowledged_reaches_the_stream(devices: Bench, kind: str) -> None:
    thing = f"through-{kind}"
    device = devices.device(devices.register(thing)[0], clean=False).connect()
    payloads = [b"%d" % number for number in range(300)]
    devices.stream.gate.clear()
    try:
        # More than the bridge has in flight: most wait in the broker.
        assert set(device.publish_all(f"dt/fleet/{thing}/telemetry", payloads)) == {0}
        faults = faults_of(devices)
        faults.inject(kind)
        assert faults.fired(kind) == 1
    finally:
        devices.stream.gate.set()
    assert devices.stream.wait_for(
        lambda _: (
            {one["payload_b64"] for one in devices.stream.of(thing)}
            >= {one["payload_b64"] for one in map(enveloped, payloads)}
        )
    )
    device.close()


def enveloped(payload: bytes) -> dict[str, str]:
    return {"payload_b64": base64.b64encode(payload).decode()}


def test_a_restart_is_another_process_after_its_pause(devices: Bench) -> None:
    before, faults = broker_process(devices), faults_of(devices)
    faults.inject("broker-restart", seconds=0.3)
    assert broker_process(devices) != before
    device = devices.device(devices.register("after-restart")[0]).connect()
    assert device.publish("dt/fleet/after-restart/telemetry", b"{}") == 0
    device.close()
