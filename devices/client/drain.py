"""From the queue to the broker: in order, at a bounded rate, again until it is acknowledged.

Guarantee: a message leaves the queue only when the broker has acknowledged it and all before it.
With one message in flight (the default) the broker gets them in their order whatever happens. With
more, a message that the broker refuses while it takes the ones behind it comes after those, and
they come again: IoT Core refuses like that when a quota is exceeded, and it promises no order by
itself either. The sequence number tells.

The price of that order: a message that the broker refuses for good (its policy does not allow the
topic, say) is tried for ever and holds up all behind it. Nothing is set aside, since what looks
permanent mostly is a policy that is being mended; `DeviceClient.last_failure` has the reason.

Nothing here sleeps or reads a clock of its own: `step` says when it wants to be called again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from devices.client.offline_queue import OfflineQueue, QueuedMessage

# Longer than any pause: more would only overflow some day.
_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True)
class Pace:
    """How fast to send, and how long to wait after a failure.

    IoT Core takes 100 messages a second and connection. The bound holds for new readings too, which
    wait behind the old ones: with 20 a second, an hour of one a second is through in 190 seconds.
    """

    messages_per_second: float = 20.0
    max_in_flight: int = 1
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.messages_per_second <= 0:
            raise ValueError("the rate has to be more than 0 messages a second")
        if self.max_in_flight < 1:
            raise ValueError("at least one message has to be in flight")

    def wait_seconds(self, failures: int, random: Callable[[], float]) -> float:
        """Exponential back-off with full jitter, so that a fleet does not come back all at once.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        doublings = min(failures - 1, _MOST_DOUBLINGS)
        return random() * min(self.longest_wait_seconds, self.first_wait_seconds * (1 << doublings))


class Link(Protocol):
    """The connection to the broker, as far as draining needs it."""

    @property
    def is_connected(self) -> bool: ...

    def send(self, messages: Sequence[QueuedMessage]) -> int:
        """Send in order; how many, counted from the first, were acknowledged without a gap."""
        ...


class Drain:
    """Sends what is queued. `step` is for one thread."""

    def __init__(
        self,
        queue: OfflineQueue,
        link: Link,
        pace: Pace,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._link = link
        self._pace = pace
        self._now = now
        self._random = random
        self._not_before = now()
        self._failures = 0

    def step(self) -> float | None:
        """Send what is due. Seconds until there is more to do; None: when something has changed."""
        if not self._link.is_connected:
            return None
        wait = self._not_before - self._now()
        if wait > 0:
            return wait
        messages = self._queue.oldest(self._pace.max_in_flight)
        if not messages:
            return None
        sent = self._link.send(messages)
        self._queue.remove(messages[:sent])
        if sent == len(messages):
            self._failures = 0
            wait = sent / self._pace.messages_per_second
        else:
            self._failures += 1
            wait = self._pace.wait_seconds(self._failures, self._random)
        self._not_before = self._now() + wait
        return wait
