"""The connection to the broker: MQTT 5 over mutual TLS by awsiotsdk, QoS 1.

Guarantee: a message counts as acknowledged when the broker's PUBACK has come and is no refusal.
The SDK reconnects by itself, exponentially and with full jitter; it keeps nothing for later, since
what waits is in the queue on disk.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from devices.client.offline_queue import QueuedMessage
from devices.connection import FIRST_FAILURE_CODE, Endpoint

_STOP_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionSettings:
    """Where to connect, as whom, and how soon a dead line is noticed and tried again.

    `basic_ingest_rule` publishes straight to a rule, at a quarter of the price per message. The
    SDK's own keep-alive is 20 minutes: for so long a line that is gone without a word would
    look alive.
    """

    endpoint: Endpoint
    certificate_file: Path
    private_key_file: Path
    keep_alive_seconds: int = 60
    acknowledgement_seconds: int = 30
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 120.0
    basic_ingest_rule: str | None = None

    @property
    def topic_prefix(self) -> str:
        """What Basic Ingest puts before a topic. Readings that waited take today's rule."""
        return f"$aws/rules/{self.basic_ingest_rule}/" if self.basic_ingest_rule else ""


class BrokerLink:
    """Connects in the background and stays connected until `close`."""

    def __init__(
        self, thing_name: str, settings: ConnectionSettings, changed: Callable[[], None]
    ) -> None:
        self._thing_name = thing_name
        self._patience_seconds = settings.acknowledgement_seconds + _STOP_SECONDS
        self._topic_prefix = settings.topic_prefix
        self._changed = changed
        # Apart, since a device that is let in again is not yet one whose reading is taken.
        self._no_connection: str | None = None
        self._not_acknowledged: str | None = None
        self._is_connected = threading.Event()
        self._stopped = threading.Event()
        self._client = mqtt5_client_builder.mtls_from_path(
            on_lifecycle_connection_success=self._on_success,
            on_lifecycle_connection_failure=self._on_failure,
            on_lifecycle_disconnection=self._on_disconnection,
            on_lifecycle_stopped=lambda _: self._stopped.set(),
            **client_options(thing_name, settings),
        )
        self._client.start()

    @property
    def is_connected(self) -> bool:
        """Whether the broker has let the device in, and the line is not known to be broken."""
        return self._is_connected.is_set()

    @property
    def last_failure(self) -> str | None:
        """Why the broker has not let the device in, or not acknowledged; None when it has."""
        return self._no_connection or self._not_acknowledged

    def send(self, messages: Sequence[QueuedMessage]) -> int:
        """Send in order and wait; how many from the first on were acknowledged without a gap."""
        futures = [
            self._client.publish(
                mqtt5.PublishPacket(
                    topic=self._topic_prefix + message.topic,
                    payload=message.payload,
                    qos=mqtt5.QoS.AT_LEAST_ONCE,
                )
            )
            for message in messages
        ]
        for number, future in enumerate(futures):
            if reason := self._refusal(future):
                self._not_acknowledged = f"not acknowledged: {reason}"
                _log.warning("%s: %s", self._thing_name, self._not_acknowledged)
                return number
        self._not_acknowledged = None
        return len(futures)

    def close(self) -> None:
        """Disconnect and wait for that."""
        self._client.stop()
        self._stopped.wait(_STOP_SECONDS)

    def _refusal(self, future: Future[Any]) -> str | None:
        try:
            code = future.result(self._patience_seconds).puback.reason_code
        except Exception as error:  # noqa: BLE001 - the SDK fails futures with what it likes
            return str(error) or type(error).__name__
        return None if code < FIRST_FAILURE_CODE else str(code.name)

    def _on_success(self, _: Any) -> None:
        _log.info("%s: connected", self._thing_name)
        self._no_connection = None
        self._is_connected.set()
        self._changed()

    def _on_failure(self, failure: Any) -> None:
        code = failure.connack_packet.reason_code if failure.connack_packet else ""
        self._no_connection = f"no connection: {code or failure.exception}"
        _log.warning("%s: %s", self._thing_name, self._no_connection)

    def _on_disconnection(self, lost: Any) -> None:
        self._is_connected.clear()
        _log.warning("%s: connection lost: %s", self._thing_name, lost.exception)


def client_options(thing_name: str, settings: ConnectionSettings) -> dict[str, Any]:
    """What the SDK is told. Public, since a wrong one shows only in an outage."""
    endpoint = settings.endpoint
    first_wait = round(settings.first_wait_seconds * 1_000)
    longest_wait = round(settings.longest_wait_seconds * 1_000)
    limits = mqtt5.ExtendedValidationAndFlowControlOptions
    return {
        "endpoint": endpoint.host,
        "port": endpoint.port,
        "cert_filepath": str(settings.certificate_file),
        "pri_key_filepath": str(settings.private_key_file),
        "ca_filepath": str(endpoint.ca_file) if endpoint.ca_file else None,
        # Thing policy variables resolve only where the client id is the thing's name.
        "client_id": thing_name,
        # The queue on disk is the only one: a second one would send messages past its order.
        "offline_queue_behavior": mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
        "session_behavior": mqtt5.ClientSessionBehaviorType.CLEAN,
        "extended_validation_and_flow_control_options": (
            limits.AWS_IOT_CORE_DEFAULTS if endpoint.paced else limits.NONE
        ),
        "keep_alive_interval_sec": settings.keep_alive_seconds,
        "ack_timeout_sec": settings.acknowledgement_seconds,
        "retry_jitter_mode": mqtt5.ExponentialBackoffJitterMode.FULL,
        "min_reconnect_delay_ms": min(first_wait, longest_wait),
        "max_reconnect_delay_ms": longest_wait,
    }
