"""A front door with our Kinesis, moto's services and faults around it, for the tests of faults."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app

from local.api import REGION, Api
from local.faults.actions import reshard
from local.faults.clock import Clock
from local.faults.door import Door
from local.faults.faults import Faults
from local.faults.processes import Processes
from local.faults.routes import fault_routes
from local.kinesis.streams import Streams
from local.web_server import WebServer


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
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"total_max_attempts": attempts}),
        )

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


@contextmanager
def running_fault_bench() -> Iterator[FaultBench]:
    """Serve it on a free port of the loopback."""
    faults, clock, processes = Faults(), Clock(), Processes()
    streams = Streams(clock.now_ms)
    faults.actions["reshard"] = lambda fault: reshard(streams, fault)
    faults.actions["clock-jump"] = lambda fault: clock.jump(fault.seconds)
    moto = DomainDispatcherApplication(create_backend_app)
    api = Api(streams.operations(), fault_routes(faults), {}, moto)
    server = WebServer(0, Door(api, faults, processes))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    endpoint = f"http://127.0.0.1:{server.port}"
    bench = FaultBench(endpoint, faults, streams, clock, processes, f"faults-{uuid4().hex}")
    try:
        streams.create_stream(StreamName=bench.stream, ShardCount=2)
        bench.client("s3").create_bucket(Bucket=bench.bucket)
        yield bench
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
