"""How fast a redrive sends: so many records a second, or as fast as they are taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Pace:
    """At most `rate` records a second, in portions of at most a second's; None sets no bound.

    What devices send meanwhile shares the stream's shards and the function's concurrency, so a
    redrive of millions must not come as one burst.
    """

    rate: int | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _free_at: float = field(default=0.0, init=False)

    def portion(self, most: int) -> int:
        """How many records to send at once where `most` could be."""
        return most if self.rate is None else min(most, self.rate)

    def wait(self, records: int) -> None:
        """Sleeps until so many records may be sent. The time for them counts from then."""
        if self.rate is None:
            return
        now = self.clock()
        if self._free_at > now:
            self.sleep(self._free_at - now)
        self._free_at = max(now, self._free_at) + records / self.rate
