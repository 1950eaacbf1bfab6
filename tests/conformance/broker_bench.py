"""A broker, its bridge, a rule and the IoT API around them, for the tests of device connections."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from moto.server import DomainDispatcherApplication, create_backend_app
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from werkzeug.serving import WSGIRequestHandler, make_server

from devices.provisioning import DeviceCredentials, provision_fleet
from local.api import ACCOUNT_ID, REGION
from local.glue.spark import cache_folder
from local.intake.certificates import CertificateAuthority
from local.intake.fleet_provisioning import FleetProvisioning
from local.intake.intake import Intake
from local.intake.iot_registry import IotApi, IotRegistry, PolicyProvider, iot_backend
from local.rules.engine import RuleEngine
from local.rules.resources import TopicRuleProvider
from tests.loopback import client_of

WAIT_SECONDS: Final = 20.0
NOT_AUTHORIZED: Final = 135
CONNECTION_LOST: Final = -1
RULE: Final = "telemetry"
_ARN: Final = f"arn:aws:iot:{REGION}:{ACCOUNT_ID}:"
_THING: Final = "${iot:Connection.Thing.ThingName}"
_ATTACHED: Final = {"Bool": {"iot:Connection.Thing.IsAttached": ["true"]}}

CONNECT: Final = {
    "Effect": "Allow",
    "Action": "iot:Connect",
    "Resource": f"{_ARN}client/{_THING}",
    "Condition": _ATTACHED,
}
# The device policy of the template.
TELEMETRY_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        CONNECT,
        {
            "Effect": "Allow",
            "Action": "iot:Publish",
            "Resource": [
                f"{_ARN}topic/dt/*/{_THING}/telemetry",
                f"{_ARN}topic/$aws/rules/{RULE}/dt/*/{_THING}/telemetry",
            ],
            "Condition": _ATTACHED,
        },
    ],
}
# A device that may also be spoken to, and one that speaks to every device.
COMMANDED_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        CONNECT,
        {
            "Effect": "Allow",
            "Action": ["iot:Subscribe", "iot:Receive"],
            "Resource": [f"{_ARN}topicfilter/cmd/{_THING}", f"{_ARN}topic/cmd/{_THING}"],
        },
    ],
}
COMMANDER_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        CONNECT,
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{_ARN}topic/cmd/*"},
    ],
}


# A function as `FleetProvisioning` invokes it.
Hook = Callable[[dict[str, Any]], Any]


@dataclass
class Stream:
    """A Kinesis that keeps what is put; `gate` closed, a put waits."""

    envelopes: list[dict[str, Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def put_record(self, *, StreamName: str, Data: bytes, PartitionKey: str) -> None:
        del StreamName, PartitionKey
        if not self.gate.wait(WAIT_SECONDS):
            raise ConnectionError("the gate stayed closed")
        with self._changed:
            self.envelopes.append(json.loads(Data))
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool]) -> bool:
        """Whether `condition` on the envelopes came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.envelopes), WAIT_SECONDS)

    def of(self, thing: str) -> list[dict[str, Any]]:
        """The envelopes of a thing's topic."""
        with self._changed:
            return [one for one in self.envelopes if one["topic"].split("/")[2:3] == [thing]]


class Device:
    """A plain MQTT 5 client with a certificate, which reports what the broker answers."""

    def __init__(
        self,
        port: int,
        authority_file: Path,
        credentials: DeviceCredentials | None,
        client_id: str | None = None,
        clean: bool = True,
    ) -> None:
        self._port = port
        self._clean = clean
        self._connected = threading.Event()
        self._subscribed = threading.Event()
        self._gone = threading.Event()
        context = ssl.create_default_context(cafile=str(authority_file))
        if credentials is not None:
            context.load_cert_chain(credentials.certificate_file, credentials.private_key_file)
        name = client_id or (credentials.thing_name if credentials else "nobody")
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5
        )
        self._client.tls_set_context(context)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._answers: dict[int, int] = {}
        self._granted: list[int] = []
        self._changed = threading.Condition()
        self.received: list[bytes] = []
        self.session_present = False

    def connect(self) -> "Device":
        """Connect; ConnectionError where the broker doesn't let it."""
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 0 if self._clean else 3600
        try:
            self._client.connect(
                "localhost", self._port, clean_start=self._clean, properties=session
            )
            # With TLS 1.3 the broker's refusal comes after the handshake.
            while not self._connected.is_set():
                code = self._client.loop(timeout=1.0)
                if code != mqtt.MQTT_ERR_SUCCESS:
                    raise ConnectionError(mqtt.error_string(code))
        except ssl.SSLError as error:
            raise ConnectionError(str(error)) from None
        self._client.loop_start()
        return self

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> int:
        """The reason code of the broker's answer; 0 at once for QoS 0."""
        return self.publish_all(topic, [payload], qos)[0]

    def publish_all(self, topic: str, payloads: list[bytes], qos: int = 1) -> list[int]:
        """Publish without waiting in between; the answers' reason codes, or CONNECTION_LOST."""
        sent = [self._client.publish(topic, payload, qos).mid for payload in payloads]
        if qos == 0:
            return [0] * len(payloads)
        with self._changed:
            self._changed.wait_for(
                lambda: self._gone.is_set() or self._answers.keys() >= set(sent), WAIT_SECONDS
            )
            return [self._answers.get(mid, CONNECTION_LOST) for mid in sent]

    def publish_retained(self, topic: str, payload: bytes) -> int:
        """The reason code of the broker's answer, or CONNECTION_LOST."""
        mid = self._client.publish(topic, payload, 1, retain=True).mid
        with self._changed:
            self._changed.wait_for(
                lambda: self._gone.is_set() or mid in self._answers, WAIT_SECONDS
            )
            return self._answers.get(mid, CONNECTION_LOST)

    @property
    def is_gone(self) -> bool:
        """Whether the broker, or the line, has ended the connection."""
        return self._gone.is_set()

    def subscribe(self, topic_filter: str) -> list[int]:
        """Subscribe and wait for the broker's answer: the reason codes, the granted QoS or more."""
        self._subscribed.clear()
        self._client.subscribe(topic_filter, qos=1)
        assert self._subscribed.wait(WAIT_SECONDS)
        return self._granted

    def wait_for(self, condition: Callable[[list[bytes]], bool]) -> bool:
        """Whether `condition` on the received payloads came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.received), WAIT_SECONDS)

    def vanish(self) -> None:
        """Break the line without a word, as a device that loses power."""
        line = self._client.socket()
        assert line is not None
        line.close()
        self._client.loop_stop()

    def close(self) -> None:
        """Disconnect properly."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Any, data: Any, flags: Any, code: Any, *_: Any) -> None:
        del client, data
        self.session_present = flags.session_present
        if not code.is_failure:
            self._connected.set()

    def _on_subscribe(self, client: Any, data: Any, mid: int, codes: Any, *_: Any) -> None:
        del client, data, mid
        self._granted = [code.value for code in codes]
        self._subscribed.set()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self._gone.set()
            self._changed.notify_all()

    def _on_publish(self, client: Any, data: Any, mid: int, code: Any, *_: Any) -> None:
        del client, data
        with self._changed:
            self._answers[mid] = code.value
            self._changed.notify_all()

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        del client, data
        with self._changed:
            self.received.append(message.payload)
            self._changed.notify_all()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Bench:
    """Everything around the broker that a test may want to reach."""

    intake: Intake
    engine: RuleEngine
    stream: Stream
    iot: Any
    policies: PolicyProvider
    folder: Path
    provisioning: FleetProvisioning
    # Functions by name, and the time by which ownership tokens expire.
    hooks: dict[str, Hook]
    now: list[float]

    @property
    def port(self) -> int:
        return int(self.intake.endpoint.rpartition(":")[2])

    def register(self, *things: str, policy: str = "telemetry") -> list[DeviceCredentials]:
        """Registered devices, by the plain order of AWS's API calls."""
        return list(provision_fleet(self.iot, things, policy, self.folder / "devices"))

    def device(self, credentials: DeviceCredentials | None, **options: Any) -> Device:
        """An MQTT client for them, not yet connected."""
        return Device(self.port, self.intake.authority_file, credentials, **options)


@contextmanager
def running_bench(folder: Path) -> Iterator[Bench]:
    """Start broker, bridge and API on free ports of the loopback; stop them all."""
    issuer = CertificateAuthority()
    stream = Stream()
    stream.gate.set()
    engine = RuleEngine(stream, None)
    registry = IotRegistry(issuer, iot_backend())
    provisioning = FleetProvisioning(
        registry,
        lambda name, event: hooks[name](json.loads(event)),
        lambda: intake.reload_access(),  # noqa: PLW0108 - there is no intake yet
        lambda: now[0],
    )
    hooks: dict[str, Hook] = {}
    now = [1_795_503_600.0]
    intake = Intake(
        folder=folder / "intake",
        cache=cache_folder(),
        engine=engine,
        authority=issuer,
        registrations=registry.registrations,
        provisioning=provisioning,
    )
    moto = DomainDispatcherApplication(create_backend_app)
    api = IotApi(registry, moto, intake.reload_access, lambda: intake.endpoint)
    server = make_server("127.0.0.1", 0, api, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    policies = PolicyProvider(iot_backend(), intake.reload_access)
    for name, document in (
        ("telemetry", TELEMETRY_POLICY),
        ("commanded", COMMANDED_POLICY),
        ("commander", COMMANDER_POLICY),
    ):
        policies.create("Policy", name, {"PolicyDocument": document})
    TopicRuleProvider(engine, registry).create("Rule", RULE, _RULE_PROPERTIES)
    iot = client_of(f"http://127.0.0.1:{server.port}", "iot")
    try:
        intake.start()
        yield Bench(intake, engine, stream, iot, policies, folder, provisioning, hooks, now)
    finally:
        stream.gate.set()
        intake.stop()
        server.shutdown()
        server.server_close()
        iot_backend().reset()


_RULE_PROPERTIES: Final[dict[str, Any]] = {
    "RuleName": RULE,
    "TopicRulePayload": {
        "AwsIotSqlVersion": "2016-03-23",
        "Sql": "SELECT encode(*, 'base64') AS payload_b64, topic() AS topic, clientid() AS "
        "client_id, principal() AS principal FROM 'dt/+/+/telemetry'",
        "Actions": [
            {"Kinesis": {"StreamName": "s", "PartitionKey": "${topic(3)}", "RoleArn": "r"}}
        ],
    },
}
