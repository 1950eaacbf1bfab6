"""The local cloud, put together in one process: what answers, what runs, and how it all ends.

moto answers what is only kept (S3, the Glue catalogue, IoT's registry, CloudWatch, IAM); everything
that has to happen is ours. Guarantee: when the process is told to end, it ends every process and
thread that it started, whatever it was doing.
"""

import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from moto.awslambda.models import lambda_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.events.models import events_backends
from moto.logs.models import logs_backends

from local.alarms.alarms import Alarms
from local.alarms.moto_store import MotoAlarms, alarm_provider, serve_history
from local.alarms.moto_store import stored_data as stored_metrics
from local.alarms.routes import alarm_routes
from local.api import ACCESS_KEY, ACCOUNT_ID, REGION, Api, Response, Route, json_response
from local.dashboards.dashboard import Dashboards, stored_data
from local.dashboards.resources import dashboard_provider
from local.deployment.account_resources import account_providers
from local.deployment.cloudformation import CloudFormation
from local.deployment.deployer import Deployer
from local.deployment.monitoring_resources import monitoring_providers
from local.events import EventBus
from local.faults.actions import reshard
from local.faults.clock import Clock
from local.faults.door import Door, Struck, around
from local.faults.faults import Faults
from local.faults.processes import Processes
from local.faults.routes import fault_routes
from local.functions.deployed import DeployedFunctions, describe_from_moto
from local.functions.resources import FunctionProvider, LayerProvider, permission_provider
from local.glue.glue import local_glue
from local.glue.spark import cache_folder
from local.intake.broker import BrokerError
from local.intake.certificates import CertificateAuthority
from local.intake.fleet_provisioning import FleetProvisioning, ProvisioningTemplateProvider
from local.intake.intake import Intake
from local.intake.iot_registry import IotApi, IotRegistry, PolicyProvider, iot_backend
from local.intake.mosquitto import NoBroker
from local.kinesis.resources import StreamProvider
from local.kinesis.streams import Streams
from local.logs import LogBuffer, stored_logs
from local.mapping.event_source_mapping import EventSourceMappings, Surroundings
from local.mapping.resources import EventSourceMappingProvider, mapping_routes
from local.metrics import Datum, MetricBuffer
from local.object_store import moto_application
from local.rules.engine import RuleEngine
from local.rules.resources import TopicRuleProvider
from local.web_server import HOST, PortInUseError, WebServer, is_listening

_MAX_INVOCATIONS: Final = 32
_PARENT_CHECK_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CloudSettings:
    """`folder` takes everything that is written; port 0 is a free one."""

    folder: Path
    port: int = 0
    device_port: int = 0
    throttling: bool = False
    # An address of this machine, beside loopback, at which containers find it.
    also_on: str | None = None


class Cloud:
    """Every part of the local cloud. `start` returns when it answers; `stop` ends all of it."""

    def __init__(self, settings: CloudSettings) -> None:
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._servers = [WebServer(settings.port, self._answer)]
        port = self._servers[0].port
        self.endpoint = f"http://{HOST}:{port}"
        if settings.also_on:
            self._servers.append(WebServer(port, self._answer, settings.also_on))
        self._clients = cache(partial(local_client, endpoint=self.endpoint))
        clock, processes = Clock(), Processes()
        self._clock = clock
        self._faults = Faults()
        self.streams = Streams(clock.now_ms, throttling=settings.throttling)
        # As the parts in this process reach them: a fault strikes their calls like any other.
        streams = Struck(self.streams, "kinesis", self._faults)
        self._metrics = MetricBuffer(self._clients("cloudwatch").put_metric_data)
        self._logs = LogBuffer(self._clients("logs"))
        self._executor = ThreadPoolExecutor(_MAX_INVOCATIONS, "invocation")
        folder = settings.folder
        functions = lambda_backends[ACCOUNT_ID][REGION]
        self._functions = DeployedFunctions(
            describe_from_moto(functions),
            folder / "functions",
            self.endpoint,
            self._add_machine_metrics,
            processes,
            self._logs.add,
        )
        self._mappings = EventSourceMappings(
            Surroundings(
                kinesis=streams,
                invoke=around(self._functions.invoke, "lambda:Invoke", self._faults),
                put_object=self._clients("s3").put_object,
                add_metrics=self._metrics.add,
                executor=self._executor,
                role_arn=self._functions.role_arn,
                now=clock.now,
            )
        )
        bus = EventBus(
            events_backends[ACCOUNT_ID][REGION],
            self._clients("sns"),
            clock.utc_now,
            self._metrics.add,
        )
        self._glue = local_glue(
            self._clients,
            self.endpoint,
            folder / "glue",
            clock.utc_now,
            processes,
            partial(bus.tell, "aws.glue"),
        )
        self._rules = RuleEngine(streams, self._clients("s3"), clock.now)
        self._rules.admit = around(lambda _rule: None, "iot:RunRule", self._faults)
        issuer = CertificateAuthority()
        registry = IotRegistry(issuer, iot_backend())
        provisioning = FleetProvisioning(
            registry,
            self._functions.invoke,
            lambda: self.intake.reload_access(),  # noqa: PLW0108 - there is no intake yet
            clock.now,
        )
        self.intake = Intake(
            folder=folder / "intake",
            cache=cache_folder(),
            engine=self._rules,
            authority=issuer,
            registrations=registry.registrations,
            provisioning=provisioning,
            add_metrics=self._metrics.add,
            port=settings.device_port,
        )
        self.dashboards = Dashboards(
            self._clients("cloudwatch"),
            stored_data(cloudwatch_backends[ACCOUNT_ID][REGION]),
            stored_logs(logs_backends[ACCOUNT_ID][REGION]),
        )
        store = MotoAlarms(cloudwatch_backends[ACCOUNT_ID][REGION])
        serve_history(store)
        self._alarms = Alarms(
            store,
            stored_metrics(cloudwatch_backends[ACCOUNT_ID][REGION]),
            self._clients("sns"),
            self._clients("lambda"),
            clock.now,
        )
        providers = [
            *account_providers(self._clients),
            *monitoring_providers(self._clients),
            alarm_provider(self._clients("cloudwatch"), store),
            dashboard_provider(self._clients("cloudwatch")),
            *self._glue.providers(),
            StreamProvider(self.streams),
            FunctionProvider(self._clients("lambda"), functions, self._functions),
            LayerProvider(self._clients("lambda")),
            permission_provider(self._clients("lambda")),
            EventSourceMappingProvider(self._mappings),
            TopicRuleProvider(self._rules, registry),
            PolicyProvider(iot_backend(), self.intake.reload_access),
            ProvisioningTemplateProvider(provisioning),
        ]
        self.cloudformation = CloudFormation(
            Deployer({one.resource_type: one for one in providers}, clock.utc_now),
            self._fetch,
            clock.utc_now,
        )
        api = Api(
            {**self.streams.operations(), **self._glue.operations()},
            [
                *mapping_routes(self._mappings),
                *self._functions.routes(),
                *self.dashboards.routes(),
                *fault_routes(self._faults),
                *alarm_routes(self._alarms, self._collect_metrics, clock.now),
                *local_routes(self.status),
            ],
            {"cloudformation": self.cloudformation.answer},
            IotApi(
                registry,
                moto_application(),
                self.intake.reload_access,
                lambda: self.intake.endpoint,
                lambda name, enabled: self._rules.enable(name, enabled=enabled),
            ),
        )
        self._faults.actions.update(
            {
                "broker-restart": lambda fault: self.intake.restart_broker(fault.seconds),
                "broker-disconnect": lambda _: self.intake.disconnect_clients(),
                "reshard": partial(reshard, self.streams),
                "clock-jump": lambda fault: clock.jump(fault.seconds),
            }
        )
        self._door = Door(api, self._faults, processes)
        self._ended = threading.Event()
        self._ready = False

    def start(self) -> None:
        """Answer requests from now on; NoBroker or BrokerError if there can't be an intake."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
        self._metrics.start()
        threading.Thread(target=self._measure_streams, name="stream-metrics", daemon=True).start()
        self.intake.start()
        self._alarms.start(self._collect_metrics)
        self._ready = True

    def stop(self) -> None:
        """End every part; each gets its turn even if another fails."""
        self._ended.set()
        parts: list[tuple[str, Callable[[], object]]] = [
            ("alarms", self._alarms.stop),
            ("intake", self.intake.stop),
            ("mappings", self._mappings.stop),
            ("functions", self._functions.stop),
            ("glue", self._glue.stop),
            ("invocations", partial(self._executor.shutdown, cancel_futures=True)),
            ("metrics", self._metrics.stop),
            ("logs", self._logs.flush),
            *(("server", server.shutdown) for server in self._servers),
            *(("socket", server.server_close) for server in self._servers),
        ]
        for name, stop in parts:
            try:
                stop()
            except Exception:  # noqa: BLE001 - the other parts have to end all the same
                _log.exception("stopping the %s", name)

    def status(self) -> dict[str, Any]:
        """What GET /_local/status tells."""
        return {
            "ready": self._ready,
            "mappings": self._mappings.status(),
            "intake": dict(self.intake.status()),
            "workflows": self._glue.status(),
            "faults": self._faults.shown(),
        }

    def _answer(self, environ: Any, start_response: Any) -> Any:
        return self._door(environ, start_response)

    def _fetch(self, bucket: str, key: str) -> bytes:
        body: bytes = self._clients("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def _measure_streams(self) -> None:
        while not self._ended.wait(5):
            self._take_stream_metrics()
            self._logs.flush()

    def _take_stream_metrics(self) -> None:
        now = self._clock.now()
        for stream, name, value, unit in self.streams.take_metrics():
            dimensions = {"StreamName": stream}
            self._metrics.add(Datum("AWS/Kinesis", name, (value,), now, unit, dimensions))

    def _add_machine_metrics(self, *data: Datum) -> None:
        """Take what functions measured by the machine's clock, as of the services' clock."""
        ahead = self._clock.ahead
        self._metrics.add(*(replace(datum, at=datum.at + ahead) for datum in data))

    def _collect_metrics(self) -> None:
        """Put to CloudWatch whatever the parts have counted so far."""
        self._take_stream_metrics()
        self._metrics.add(*self._rules.take_metrics())
        self._metrics.flush()


def local_client(service: str, *, endpoint: str) -> Any:
    """A boto3 client of the local cloud for its own parts: what fails, fails at once."""
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=_MAX_INVOCATIONS)
    # The stubs know services by their literal names only.
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=ACCESS_KEY,
        config=config,
    )


def local_routes(status: Callable[[], dict[str, Any]]) -> list[Route]:
    """The local cloud's own pages."""

    def show(*_: object) -> Response:
        return json_response(status())

    return [Route("GET", re.compile("/_local/status"), show)]


def serve(settings: CloudSettings, bound_to: int | None = None) -> int:
    """Run the local cloud in this process until it is told to end (SIGTERM or Ctrl-C), or until the
    process `bound_to` is its parent no longer, were it already gone when this one began; the exit
    code. What goes wrong is one line that is printed.

    When it answers, `cloud.json` in its folder says where, for whoever started it.
    """
    # SAM's translator and moto ask the environment.
    os.environ["AWS_DEFAULT_REGION"] = REGION
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    try:
        if settings.device_port and is_listening(settings.device_port):
            # Told like the other troubles of a start, below.
            raise PortInUseError(settings.device_port, "LOCAL_DEVICE_PORT")  # noqa: TRY301
        cloud = Cloud(settings)
    except PortInUseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        cloud.start()
        _write_state(settings.folder, cloud)
        while bound_to in (None, os.getppid()) and not ended.wait(_PARENT_CHECK_SECONDS):
            pass
    except (NoBroker, BrokerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        _log.info("the local cloud ends")
        cloud.stop()
    return 0


def _write_state(folder: Path, cloud: Cloud) -> None:
    state = {
        "pid": os.getpid(),
        "endpoint": cloud.endpoint,
        "device_endpoint": cloud.intake.endpoint,
        "device_authority": str(cloud.intake.authority_file),
    }
    # Whole or not at all: its presence says that the cloud is ready.
    draft = folder / "cloud.json.new"
    draft.write_text(json.dumps(state))
    draft.replace(folder / "cloud.json")
