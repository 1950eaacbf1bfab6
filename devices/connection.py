"""One device's connection to the broker: MQTT 5 over mutual TLS, by the client used on AWS too.

Guarantee: a message is counted as acknowledged when the broker's PUBACK for it has come, and the
caller learns for every message whether it was acknowledged or why not.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from devices.provisioning import DeviceCredentials

_CONNECT_SECONDS: Final = 30.0
# PUBACK codes from here on say that the broker did not take the message:
# https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901124
FIRST_FAILURE_CODE: Final = 0x80
# IoT Core takes 100 unacknowledged messages per connection; more would only wait in the client.
_MAX_IN_FLIGHT: Final = 100

# Gets None when the broker has acknowledged, else the reason why it has not.
Acknowledged = Callable[[str | None], None]


class ConnectionRefused(Exception):  # noqa: N818 - the broker's answer, not a fault of this program
    """The broker does not let the device connect; the message says why."""


@dataclass(frozen=True)
class Endpoint:
    """Where devices connect: `describe_endpoint`'s host and port, and whom to trust.

    `ca_file` None trusts the system's authorities, as AWS IoT Core needs. `paced` keeps the SDK's
    default of 100 messages per second and connection, which is IoT Core's own limit; the local
    broker has none.
    """

    host: str
    port: int = 8883
    ca_file: Path | None = None
    paced: bool = False


def parse_endpoint(address: str, ca_file: Path | None = None, paced: bool = False) -> Endpoint:
    """An endpoint from `host` or `host:port`, as DescribeEndpoint gives it."""
    host, _, port = address.partition(":")
    return Endpoint(host, int(port or 8883), ca_file, paced)


class Connection:
    """A connected device. Use as a context manager; `publish` may be called by one thread."""

    def __init__(self, endpoint: Endpoint, device: DeviceCredentials) -> None:
        self._device = device
        self._slots = threading.BoundedSemaphore(_MAX_IN_FLIGHT)
        self._connected: Future[None] = Future()
        self._stopped = threading.Event()
        limits = mqtt5.ExtendedValidationAndFlowControlOptions
        self._client = mqtt5_client_builder.mtls_from_path(
            endpoint=endpoint.host,
            port=endpoint.port,
            cert_filepath=str(device.certificate_file),
            pri_key_filepath=str(device.private_key_file),
            ca_filepath=str(endpoint.ca_file) if endpoint.ca_file else None,
            # Thing policy variables resolve only where the client id is the thing's name.
            client_id=device.thing_name,
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_POST_SUCCESS,
            session_expiry_interval_sec=3600,
            extended_validation_and_flow_control_options=(
                limits.AWS_IOT_CORE_DEFAULTS if endpoint.paced else limits.NONE
            ),
            # What is in flight when the connection breaks is sent again on the next one.
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_QOS0_PUBLISH_ON_DISCONNECT,
            min_reconnect_delay_ms=200,
            max_reconnect_delay_ms=2000,
            on_lifecycle_connection_success=self._on_success,
            on_lifecycle_connection_failure=self._on_failure,
            on_lifecycle_stopped=lambda _: self._stopped.set(),
        )

    def __enter__(self) -> "Connection":
        try:
            self._client.start()
            self._connected.result(_CONNECT_SECONDS)
        except BaseException as error:
            # Ctrl-C too: the block is not entered, so nobody else would stop the client.
            self.close()
            if isinstance(error, TimeoutError):
                raise ConnectionRefused(f"{self._device.thing_name}: no answer") from None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, end the session (nothing is waited for in it), and wait for that."""
        self._client.stop(mqtt5.DisconnectPacket(session_expiry_interval_sec=0))
        self._stopped.wait(_CONNECT_SECONDS)

    def publish(self, topic: str, payload: bytes, acknowledged: Acknowledged) -> None:
        """Send with QoS 1; `acknowledged` is called once, from a thread of the client.

        Waits while as many messages as the broker allows are unacknowledged.
        """
        # One slot for each message in flight, given back by the callback below.
        self._slots.acquire()
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)

        def done(future: Future[Any]) -> None:
            self._slots.release()
            acknowledged(_reason(future))

        self._client.publish(packet).add_done_callback(done)

    def _on_success(self, _: Any) -> None:
        if not self._connected.done():
            self._connected.set_result(None)

    def _on_failure(self, failure: Any) -> None:
        # Only the first attempt counts as refused; later ones are the client's reconnecting.
        if not self._connected.done():
            code = failure.connack_packet.reason_code if failure.connack_packet else ""
            self._connected.set_exception(
                ConnectionRefused(f"{self._device.thing_name}: {code or failure.exception}")
            )


def _reason(future: Future[Any]) -> str | None:
    error = future.exception()
    if error is not None:
        return str(error)
    code = future.result().puback.reason_code
    return None if code < FIRST_FAILURE_CODE else code.name
