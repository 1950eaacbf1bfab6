"""The intake: the broker, and the bridge that carries its messages to the rules.

Guarantee: a message that the broker acknowledged to a device is acknowledged to the broker only
after the rules are through with it (`rule_engine`), by a session that outlives the connection. So a
message is delivered again after a crash, twice rather than never; the pipeline removes the second.
"""

import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from local.intake.broker import BRIDGE, HOST, Broker, BrokerError
from local.intake.certificates import CertificateAuthority
from local.intake.device_access import PROVISIONING_TOPICS, Access, Registration, evaluate
from local.intake.fleet_provisioning import REQUEST_FILTERS, Claim, FleetProvisioning
from local.intake.mosquitto import find_broker
from local.rules.engine import Inbound, RuleEngine
from local.rules.sql import topic_matches

_CONNECT_SECONDS: Final = 20.0
_METRIC_INTERVAL_SECONDS: Final = 1.0
_PROVISIONING: Final = tuple(one.removesuffix("#") for one in PROVISIONING_TOPICS)
# Every topic: `#` leaves those out that begin with `$`.
_SUBSCRIPTIONS: Final = (("#", 1), ("$aws/rules/#", 1))

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publisher:
    """Who published on a topic, as far as the access list tells: None where several may."""

    client_id: str | None
    principal: str | None


class Publishers:
    """Derives the publisher of a topic: mosquitto tells no subscriber who published.

    Its access list lets a certificate publish only where its policies allow; where that is one
    certificate, it was the one that spoke.
    """

    def __init__(self, accesses: Iterable[Access]) -> None:
        self._accesses = tuple(accesses)
        self.of = lru_cache(maxsize=100_000)(self._find)

    def _find(self, topic: str) -> Publisher:
        able = [
            access
            for access in self._accesses
            if any(topic_matches(allowed, topic) for allowed in access.publish)
        ]
        things = {access.thing for access in able}
        principals = {access.certificate_id for access in able}
        return Publisher(
            client_id=things.pop() if len(things) == 1 else None,
            principal=principals.pop() if len(principals) == 1 else None,
        )


class Intake:
    """Broker, access list and bridge as one part: start, reload_access, stop, status.

    `registrations` reads the IoT registry; `add_metrics` takes the engine's data once a second.
    """

    def __init__(
        self,
        *,
        folder: Path,
        cache: Path,
        engine: RuleEngine,
        authority: CertificateAuthority,
        registrations: Callable[[], Iterable[Registration]],
        provisioning: FleetProvisioning | None = None,
        add_metrics: Callable[..., None] | None = None,
        port: int = 0,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._engine = engine
        self._authority = authority
        self._registrations = registrations
        self._provisioning = provisioning
        # Of its own: an answer waits for a function, and for the broker to go by what it changed.
        self._answering = ThreadPoolExecutor(1, "provisioning")
        self._add_metrics = add_metrics
        self._port = port
        self._broker: Broker | None = None
        self._client: mqtt.Client | None = None
        self._subscribed = threading.Event()
        self._stopping = threading.Event()
        self._publishers = Publishers(())
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._requested = 0
        self._applied = 0
        self._errors = 0
        self._crashes = 0
        self._keeper: threading.Thread | None = None

    @property
    def endpoint(self) -> str:
        """host:port for devices, as DescribeEndpoint gives it."""
        return f"localhost:{self._broker.port if self._broker else self._port}"

    @property
    def authority_file(self) -> Path:
        """The root certificate for devices to trust."""
        return self._started().files.authority

    def start(self) -> None:
        """Start broker and bridge; returns when messages would reach the rules.

        Raises NoBroker without a broker's program, BrokerError if it can't run.
        """
        self._stopping.clear()
        program = find_broker(self._cache)
        self._broker = Broker(program, self._folder, self._authority, self._port)
        self._broker.prepare()
        self._broker.start()
        try:
            self._connect_bridge()
            self.reload_access()
            # From here the bridge's session is on disk: even a killed broker knows who waits.
            self._broker.save()
        except BaseException:  # Ctrl-C too: nothing may stay behind; raised again
            self.stop()
            raise
        self._keeper = threading.Thread(target=self._keep_up, name="intake", daemon=True)
        self._keeper.start()

    def reload_access(self) -> None:
        """Put the registry's present state into effect; returns when the broker goes by it.

        Callers at the same time share one reload.
        """
        with self._lock:
            self._requested += 1
            ticket = self._requested
        with self._reloading:
            if self._applied >= ticket or self._broker is None:
                return
            with self._lock:
                upto = self._requested
            self._start_again_if_ended(self._broker)
            # Without its connection the bridge's session would end: see `broker`.
            self._wait_for_bridge()
            allowed, refused = evaluate(self._registrations())
            self._publishers = Publishers(allowed)
            self._broker.set_access(allowed, refused)
            self._applied = upto

    def restart_broker(self, pause_seconds: float = 0) -> None:
        """End the broker and start it again on the same port: the bridge and devices reconnect."""
        broker = self._started()
        with self._reloading:
            broker.stop()
            self._subscribed.clear()
            if not self._stopping.wait(pause_seconds):
                broker.start()

    def disconnect_clients(self) -> None:
        """Cut off every device and the bridge, which connect again; the broker goes on."""
        with self._reloading:
            self._started().disconnect_clients()

    def stop(self) -> None:
        """End bridge and broker. What was acknowledged and not handled is in the broker's files."""
        self._stopping.set()
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
        self._answering.shutdown(cancel_futures=True)
        if self._keeper is not None:
            self._keeper.join()  # before the broker is ended, which it might start again
            self._keeper = None
        if self._broker is not None:
            self._broker.stop()
        self._flush_metrics()

    def status(self) -> Mapping[str, Any]:
        """Counts of messages and the state of the parts, for `/_local/status`."""
        counts = self._engine.counts()
        names = ("received", "matched", "put", "failed_over", "lost", "dropped_too_large")
        more = ("parse_errors", "filtered", "unmatched", "rule_not_found", "throttled")
        broker = self._broker
        return {name: counts.get(name, 0) for name in (*names, *more)} | {
            "errors": self._errors,
            "broker_crashes": self._crashes,
            "endpoint": self.endpoint,
            "broker": "running" if broker is not None and broker.running else "stopped",
            "bridge": "connected" if self._subscribed.is_set() else "disconnected",
            "rules": sorted(self._engine.rules),
        }

    def _started(self) -> Broker:
        if self._broker is None:
            raise BrokerError("the intake has not been started")
        return self._broker

    def _connect_bridge(self) -> None:
        broker = self._started()
        certificate, key = broker.files.credentials(BRIDGE)
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=BRIDGE,
            # Half the work per message of MQTT 5, of which the bridge needs nothing; a session of
            # this version doesn't expire.
            protocol=mqtt.MQTTv311,
            clean_session=False,
            manual_ack=True,
        )
        context = ssl.create_default_context(cafile=str(broker.files.authority))
        context.load_cert_chain(certificate, key)
        client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.reconnect_delay_set(min_delay=0.1, max_delay=1)
        self._client = client
        client.connect(HOST, broker.port)
        client.loop_start()
        self._wait_for_bridge()

    def _wait_for_bridge(self) -> None:
        if not self._subscribed.wait(_CONNECT_SECONDS):
            raise BrokerError("the bridge could not subscribe: see the broker's log")

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([*_SUBSCRIPTIONS, *((topic, 1) for topic in REQUEST_FILTERS)])

    def _on_subscribe(self, client: mqtt.Client, data: Any, mid: int, codes: Any, *_: Any) -> None:
        del client, data, mid
        if all(not code.is_failure for code in codes):
            self._subscribed.set()
        else:
            _log.error("the broker refuses the bridge's subscriptions: %s", codes)

    def _on_disconnect(self, *_: Any) -> None:
        self._subscribed.clear()
        if not self._stopping.is_set():
            _log.warning("the bridge lost the broker; connecting again")

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        del data
        publisher = self._publishers.of(message.topic)
        if message.topic.startswith(_PROVISIONING):
            claim = Claim(publisher.client_id, publisher.principal)
            self._answering.submit(self._answer, client, message.topic, message.payload, claim)
            if message.qos:
                client.ack(message.mid, message.qos)
            return
        try:
            self._engine.handle(
                Inbound(message.topic, message.payload, publisher.client_id, publisher.principal)
            )
        except Exception:  # noqa: BLE001 - our bug: the message stays unacknowledged, comes again
            self._errors += 1
            _log.exception("a message on %s could not be handled", message.topic)
            return
        if message.qos:
            client.ack(message.mid, message.qos)

    def _answer(self, client: mqtt.Client, topic: str, payload: bytes, claim: Claim) -> None:
        if self._provisioning is None:
            return
        try:
            client.publish(*self._provisioning.answer(topic, payload, claim), qos=1)
        except Exception:  # noqa: BLE001 - our bug: the device asks again
            self._errors += 1
            _log.exception("a request on %s could not be answered", topic)

    def _keep_up(self) -> None:
        while not self._stopping.wait(_METRIC_INTERVAL_SECONDS):
            self._flush_metrics()
            self._revive_broker()

    def _revive_broker(self) -> None:
        broker = self._broker
        # Who holds the lock is restarting the broker, or looks after it itself.
        if broker is None or broker.running or not self._reloading.acquire(blocking=False):
            return
        try:
            self._start_again_if_ended(broker)
        except BrokerError:
            _log.exception("the broker does not start; trying again")
        finally:
            self._reloading.release()

    def _start_again_if_ended(self, broker: Broker) -> None:
        """Start a broker again that has ended by itself. mosquitto 2.0 may crash when a device
        comes back to a session that it had kept over a reload of the access list."""
        if broker.running or self._stopping.is_set():
            return
        _log.error("the broker has ended by itself; starting it again")
        self._crashes += 1
        broker.stop()  # what is left of it
        self._subscribed.clear()
        broker.start()

    def _flush_metrics(self) -> None:
        data = self._engine.take_metrics()
        if self._add_metrics is not None and data:
            self._add_metrics(*data)
