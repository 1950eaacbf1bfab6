"""Publishes what a fleet has planned at the moments it has planned, thousands of devices at once.

Guarantee: each message is handed to its device's client once, in the plan's order, and the result
says of every one whether the broker acknowledged it. A late broker makes the schedule late, never
shorter.
"""

import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from devices.behaviour import Publication
from devices.connection import Acknowledged, Connection, Endpoint
from devices.provisioning import DeviceCredentials

# TLS handshakes at a time: the broker makes one after the other.
_CONNECTING: Final = 16
_PROGRESS_SECONDS: Final = 0.5
# When none has come for so long after the last message, the rest counts as not acknowledged.
_PATIENCE_SECONDS: Final = 120.0
# Besides one for each connection.
_OTHER_FILES: Final = 500

Progress = Callable[[int, int], None]


class Speaker(Protocol):
    """What a device publishes with: `devices.connection.Connection` or a fake."""

    def publish(self, topic: str, payload: bytes, acknowledged: Acknowledged) -> None:
        """Send with QoS 1; `acknowledged` is called once."""


@dataclass(frozen=True)
class Clock:
    """The time that the schedule goes by, in seconds."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Published:
    """What became of the messages. `slowest_seconds` is how far the schedule fell behind."""

    sent: int
    acknowledged: int
    slowest_seconds: float
    not_acknowledged: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def connected(
    endpoint: Endpoint, devices: Sequence[DeviceCredentials], progress: Progress | None = None
) -> Iterator[dict[str, Connection]]:
    """Every device's connection, by its name; all are closed when the block is left.

    Raises ConnectionRefused where the broker does not let a device connect.
    """
    allow_files(len(devices) + _OTHER_FILES)
    opened: dict[str, Connection] = {}

    def open_one(device: DeviceCredentials) -> None:
        # To make a client takes longer than its handshake: both are done several at once.
        connection = Connection(endpoint, device)
        connection.__enter__()
        opened[device.thing_name] = connection

    try:
        with _workers() as pool:
            try:
                for done, _ in enumerate(pool.map(open_one, devices), 1):
                    if progress is not None:
                        progress(done, len(devices))
            finally:
                pool.shutdown(cancel_futures=True)
        yield opened
    finally:
        with _workers() as pool:
            list(pool.map(Connection.close, opened.values()))


def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CONNECTING, thread_name_prefix="connect")


def allow_files(wanted: int) -> None:
    """Raise this process's limit of open files to what so many connections need.

    ValueError where the system does not let it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ValueError(f"{wanted} files have to be open, {hard} may be: raise `ulimit -Hn`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def publish(
    publications: Iterable[Publication],
    speakers: Mapping[str, Speaker],
    topic_prefix: str,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Published:
    """Publish everything, the first moment being now, and wait for the acknowledgements."""
    clock = clock or Clock()
    planned = tuple(publications)
    ledger = _Ledger()
    began, slowest, shown = clock.now(), 0.0, 0.0
    for number, publication in enumerate(planned):
        early = publication.at - (clock.now() - began)
        if early > 0:
            clock.sleep(early)
        slowest = max(slowest, -early)
        topic = f"{topic_prefix}/{publication.device_id}/telemetry"
        speakers[publication.device_id].publish(topic, publication.payload, ledger.record)
        if progress is not None and publication.at >= shown + _PROGRESS_SECONDS:
            shown = publication.at
            progress(number + 1, len(planned))
    ledger.wait_until(len(planned))
    if progress is not None:
        progress(len(planned), len(planned))
    refused = dict(ledger.refused)
    if silent := len(planned) - ledger.through:
        refused["no acknowledgement"] = silent
    return Published(len(planned), ledger.acknowledged, round(slowest, 1), refused)


class _Ledger:
    """Which messages are through, counted from the clients' threads."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.refused: Counter[str] = Counter()
        self._changed = threading.Condition()

    @property
    def through(self) -> int:
        return self.acknowledged + self.refused.total()

    def record(self, reason: str | None) -> None:
        with self._changed:
            if reason is None:
                self.acknowledged += 1
            else:
                self.refused[reason] += 1
            self._changed.notify_all()

    def wait_until(self, done: int) -> None:
        """Return when `done` are through, or none has been for a long time."""
        with self._changed:
            while (before := self.through) < done:
                if not self._changed.wait_for(lambda: self.through > before, _PATIENCE_SECONDS):
                    return
