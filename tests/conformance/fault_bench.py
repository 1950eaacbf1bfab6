"""A front door with our Kinesis, moto's services and faults around it, for the tests of faults."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from local.api import Api
from local.faults.actions import reshard
from local.faults.clock import Clock
from local.faults.door import Door
from local.faults.faults import Faults
from local.faults.processes import Processes, has_ended
from local.faults.routes import fault_routes
from local.kinesis.streams import Streams
from tests.loopback import client_of, empty_moto, served


@dataclass(frozen=True)
class FaultBench:
    """What stands behind the door, and the bucket and the stream that are there."""

    endpoint: str
    faults: Faults
    streams: Streams
    clock: Clock
    processes: Processes
    bucket: str
    stream: str = "telemetry"

    def client(self, service: str, attempts: int = 1) -> Any:
        """A boto3 client, which by default does not try again by itself."""
        return client_of(self.endpoint, service, attempts=attempts)

    def stored(self) -> list[str]:
        """The keys of the bucket."""
        listed = self.client("s3").list_objects_v2(Bucket=self.bucket)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def records(self) -> list[bytes]:
        """All records of the stream, parents before children."""
        found: list[bytes] = []
        for shard in self.streams.list_shards(StreamName=self.stream)["Shards"]:
            place = self.streams.get_shard_iterator(
                StreamName=self.stream,
                ShardId=shard["ShardId"],
                ShardIteratorType="TRIM_HORIZON",
            )["ShardIterator"]
            answer = self.streams.get_records(ShardIterator=place)
            found += [record["Data"] for record in answer["Records"]]
        return found

    def put(self, client: Any, data: bytes = b"reading", key: str = "device-001") -> Any:
        """Put one record with `client`, boto3's or the streams themselves."""
        return client.put_record(StreamName=self.stream, Data=data, PartitionKey=key)


class ForgottenInTime(Processes):
    """Those whose number was no longer their own when they were forgotten are `reaped`."""

    def __init__(self) -> None:
        super().__init__()
        self.reaped: list[int] = []
        self.forgotten: list[int] = []

    def ended(self, app_id: str) -> None:
        pid = self._running[app_id].pid
        self.forgotten.append(pid)
        try:
            has_ended(pid)
        except ChildProcessError:
            self.reaped.append(pid)
        super().ended(app_id)


@contextmanager
def running_fault_bench() -> Iterator[FaultBench]:
    """Serve it on a free port of the loopback."""
    faults, clock, processes = Faults(), Clock(), Processes()
    streams = Streams(clock.now_ms)
    faults.actions["reshard"] = lambda fault: reshard(streams, fault)
    faults.actions["clock-jump"] = lambda fault: clock.jump(fault.seconds)
    api = Api(streams.operations(), fault_routes(faults), {}, empty_moto())
    with served(Door(api, faults, processes)) as endpoint:
        bench = FaultBench(endpoint, faults, streams, clock, processes, f"faults-{uuid4().hex}")
        streams.create_stream(StreamName=bench.stream, ShardCount=2)
        bench.client("s3").create_bucket(Bucket=bench.bucket)
        yield bench
