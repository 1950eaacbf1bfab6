"""The claim certificate's connection to IoT: a request on one topic, its answer on two others.

Guarantee: when the connection is closed, the SDK's client has stopped: one that is dropped while it
runs can end the whole process, since its native threads still call what is gone.

https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder

from devices.connection import FIRST_FAILURE_CODE, Endpoint
from devices.errors import DeviceError

_CONNECT_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0
# The hook has five seconds; a cold start of the local cloud's takes its time.
_ANSWER_SECONDS: Final = 30.0
_FIRST_SERVER_ERROR: Final = 500


class ClaimRefusedError(DeviceError):
    """IoT did not give the device a certificate; the message has its reason."""


class ClaimUnansweredError(ClaimRefusedError):
    """What came of a request is not known; it may have been done."""


@dataclass(frozen=True)
class ClaimFiles:
    """The claim certificate and its key."""

    certificate: Path
    private_key: Path


def claim_client_id(thing_name: str) -> str:
    """The claim policy admits no other: not the thing's own, which a live device may have."""
    return f"claim-{thing_name}"


@contextmanager
def claim_link(endpoint: Endpoint, claim: ClaimFiles, thing_name: str) -> "Iterator[ClaimLink]":
    """A connection by the claim certificate, for `thing_name`. Raises ClaimRefusedError."""
    link = ClaimLink(endpoint, claim, thing_name)
    try:
        link.connect()
        yield link
    finally:
        link.close()


class ClaimLink:
    """Asks one thing at a time; made by `claim_link`, which closes it too."""

    def __init__(self, endpoint: Endpoint, claim: ClaimFiles, thing_name: str) -> None:
        self._thing_name = thing_name
        self._connected: Future[None] = Future()
        self._stopped = threading.Event()
        self._answers: SimpleQueue[mqtt5.PublishPacket] = SimpleQueue()
        self._client = mqtt5_client_builder.mtls_from_path(
            endpoint=endpoint.host,
            port=endpoint.port,
            cert_filepath=str(claim.certificate),
            pri_key_filepath=str(claim.private_key),
            ca_filepath=str(endpoint.ca_file) if endpoint.ca_file else None,
            client_id=claim_client_id(thing_name),
            on_publish_received=lambda received: self._answers.put(received.publish_packet),
            on_lifecycle_connection_success=self._on_success,
            on_lifecycle_connection_failure=self._on_failure,
            on_lifecycle_stopped=lambda _: self._stopped.set(),
        )

    def connect(self) -> None:
        """Start, and wait for the first attempt."""
        self._client.start()
        try:
            self._connected.result(_CONNECT_SECONDS)
        except TimeoutError:
            raise ClaimRefusedError(f"{self._thing_name}: no connection") from None

    def close(self) -> None:
        """Disconnect, and wait until the client has stopped."""
        self._client.stop(mqtt5.DisconnectPacket())
        self._stopped.wait(_STOP_SECONDS)

    def ask(
        self, topic: str, request: Mapping[str, Any], is_ours: Callable[[Any], bool]
    ) -> dict[str, Any]:
        """The answer to a request. A broker that is not AWS's may show us other devices' answers:
        `is_ours` says which is not. Raises ClaimRefusedError, and ClaimUnansweredError if it may
        have been done all the same."""
        accepted, rejected = f"{topic}/accepted", f"{topic}/rejected"
        try:
            self._send(topic, (accepted, rejected), request)
            while True:
                packet = self._answers.get(timeout=_ANSWER_SECONDS)
                answer: dict[str, Any] = json.loads(packet.payload)
                if packet.topic == rejected:
                    raise _refused(answer)
                if packet.topic == accepted and is_ours(answer):
                    return answer
        except (TimeoutError, Empty):
            raise ClaimUnansweredError(f"{self._thing_name}: no answer") from None
        except AwsCrtError as error:
            raise ClaimUnansweredError(f"{self._thing_name}: no answer ({error})") from None

    def _send(self, topic: str, answers: tuple[str, str], request: Mapping[str, Any]) -> None:
        once = mqtt5.QoS.AT_LEAST_ONCE
        listening = self._client.subscribe(
            mqtt5.SubscribePacket([mqtt5.Subscription(each, once) for each in answers])
        ).result(_ANSWER_SECONDS)
        sent = None
        if max(listening.reason_codes) < FIRST_FAILURE_CODE:
            packet = mqtt5.PublishPacket(topic=topic, payload=json.dumps(request), qos=once)
            sent = self._client.publish(packet).result(_ANSWER_SECONDS).puback
        if sent is None or sent.reason_code >= FIRST_FAILURE_CODE:
            raise ClaimRefusedError(
                f"{self._thing_name}: the claim certificate may not ask on {topic}: it needs the "
                "policy of the stack's output ClaimPolicyName"
            )

    def _on_success(self, _: Any) -> None:
        if not self._connected.done():
            self._connected.set_result(None)

    def _on_failure(self, failure: Any) -> None:
        # Only the first attempt counts; later ones are the client's reconnecting.
        if not self._connected.done():
            self._connected.set_exception(
                ClaimRefusedError(f"{self._thing_name}: {failure.exception}")
            )


def _refused(answer: Mapping[str, Any]) -> ClaimRefusedError:
    kind = (
        ClaimUnansweredError
        if answer.get("statusCode", 0) >= _FIRST_SERVER_ERROR
        else ClaimRefusedError
    )
    return kind(f"{answer.get('errorCode')}: {answer.get('errorMessage')}")
