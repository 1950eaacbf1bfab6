"""A device's or gateway's way to the lake: `publish` and forget.

Guarantee: what `publish` has taken is on disk, and is sent in order until the broker has
acknowledged it, by this process or by the next one that opens the same queue. Each device's
`sequence` goes up by one with every reading that was taken, across restarts.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from devices.client.broker_link import BrokerLink, ConnectionSettings
from devices.client.drain import Drain, Link, Pace
from devices.client.offline_queue import NewMessage, OfflineQueue, WhenFull

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClientSettings:
    """Who publishes where (`dt/<application>/<thing_name>/telemetry`), and how much may wait."""

    thing_name: str
    queue_file: Path
    application: str = "fleet"
    max_queue_bytes: int = 64 * 1024 * 1024
    when_full: WhenFull = WhenFull.REFUSE_NEWEST
    pace: Pace = field(default_factory=Pace)


class ClosableLink(Link, Protocol):
    """A link, how it fails and how it ends."""

    @property
    def last_failure(self) -> str | None: ...

    def close(self) -> None: ...


# Gets the thing's name, and what to call when the link has connected.
Connect = Callable[[str, Callable[[], None]], ClosableLink]


def by_mqtt(settings: ConnectionSettings) -> Connect:
    """Connect to a broker, AWS IoT Core's or another's."""
    return lambda thing_name, changed: BrokerLink(thing_name, settings, changed)


class DeviceClient:
    """Use as a context manager; `publish` may be called by several threads.

    Raises QueueInUseError and QueueDamagedError. That there is no connection is no error.
    """

    def __init__(
        self,
        settings: ClientSettings,
        connect: Connect,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._now = now
        self._queue = OfflineQueue(
            settings.queue_file, settings.max_queue_bytes, settings.when_full
        )
        self._changed = threading.Condition()
        self._is_woken = self._is_closing = False
        self._link = connect(settings.thing_name, self._wake)
        self._drain = Drain(self._queue, self._link, settings.pace, time.monotonic, random.random)
        self._thread = threading.Thread(target=self._run, name="device-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(self, reading: Mapping[str, Any], device_id: str | None = None) -> int:
        """Queue a reading; its sequence number. For more at once, `publish_all`: one fsync.

        `device_id` and `timestamp` (now) are added where the reading lacks them, `sequence` always,
        counted for the device that the reading then names. A gateway that speaks for others names
        the device, here or in the reading. Raises QueueFullError,
        MessageTooLargeError and ValueError (no JSON); then nothing was queued.
        """
        return self.publish_all([reading], device_id)[0]

    def publish_all(
        self, readings: Sequence[Mapping[str, Any]], device_id: str | None = None
    ) -> list[int]:
        """Queue all of the readings or, raising as `publish` does, none."""
        device = device_id or self._settings.thing_name
        topic = f"dt/{self._settings.application}/{self._settings.thing_name}/telemetry"
        timestamp = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        stamps = {"device_id": device, "timestamp": timestamp}
        sequences = self._queue.append(
            [
                NewMessage(
                    _counted_for(reading, device), topic, partial(_encode, {**stamps, **reading})
                )
                for reading in readings
            ]
        )
        self._wake()
        return sequences

    @property
    def waiting(self) -> int:
        """How many readings the broker has not acknowledged yet."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """How many readings the queue has ever dropped for want of room (`DROP_OLDEST`)."""
        return self._queue.dropped

    @property
    def last_failure(self) -> str | None:
        """Why the broker has not taken the reading that was tried last, or not let the device in;
        None when it has. The same reason again and again, while `waiting` grows, does not mend
        itself: a policy that does not allow the topic, say, which holds up all readings behind."""
        return self._link.last_failure

    def wait_until_sent(self, timeout_seconds: float) -> bool:
        """Whether everything was acknowledged in that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout_seconds)

    def close(self) -> None:
        """Disconnect and leave what waits to the next process that opens the queue."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        # First, since it ends the waiting for acknowledgements.
        self._link.close()
        self._thread.join()
        self._queue.close()

    def _wake(self) -> None:
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._is_closing:
            self._is_woken = False
            wait = self._step()
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_woken or self._is_closing, wait)

    def _step(self) -> float | None:
        try:
            return self._drain.step()
        except Exception:  # noqa: BLE001 - a full disk, or a bug: what waits is kept and tried again
            _log.exception("%s: could not send", self._settings.thing_name)
            return self._settings.pace.longest_wait_seconds


def _counted_for(reading: Mapping[str, Any], device: str) -> str:
    # Whatever else stands there the lake rejects; it must not stop the ones beside it.
    named = reading.get("device_id", device)
    return named if isinstance(named, str) else device


def _encode(reading: dict[str, Any], sequence: int) -> bytes:
    try:
        return json.dumps(reading | {"sequence": sequence}, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"a reading is not JSON: {error}") from None
