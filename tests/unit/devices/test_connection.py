"""A device's connection: however the attempt to connect ends, no client is left trying."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devices.connection import Connection, ConnectionRefused, Endpoint
from devices.provisioning import DeviceCredentials

DEVICE = DeviceCredentials("truck-7", "", Path("certificate.pem"), Path("key.pem"))


@dataclass
class Client:
    """The SDK's client: notes what it is told, and stops when it is."""

    on_stopped: Callable[[object], None]
    told: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.told.append("start")

    def stop(self, _: object) -> None:
        self.told.append("stop")
        self.on_stopped(None)


@pytest.mark.parametrize(
    ("ends", "raised", "told"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (TimeoutError(), ConnectionRefused, "truck-7: no answer"),
        (ConnectionRefused("truck-7: not authorized"), ConnectionRefused, "not authorized"),
    ],
)
def test_an_attempt_to_connect_that_fails_or_is_interrupted_stops_the_client(
    monkeypatch: pytest.MonkeyPatch,
    ends: BaseException,
    raised: type[BaseException],
    told: str | None,
) -> None:
    made: list[Client] = []

    def client(**options: Any) -> Client:
        made.append(Client(options["on_lifecycle_stopped"]))
        return made[0]

    def result(_: Future[None], __: float) -> None:
        raise ends

    monkeypatch.setattr("devices.connection.mqtt5_client_builder.mtls_from_path", client)
    monkeypatch.setattr(Future, "result", result)
    with pytest.raises(raised, match=told):
        Connection(Endpoint("broker"), DEVICE).__enter__()
    assert made[0].told == ["start", "stop"]
