"""The clock of the local cloud's services, which a fault can move.

Kinesis, event source mappings, rules, Glue, CloudFormation, metrics and alarms go by it. The
processes that they start, functions and jobs, have the machine's clock, as do devices, producers
and logs.
"""

import threading
import time
from datetime import UTC, datetime


class Clock:
    """The wall clock with an offset. Thread-safe."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._lock = threading.Lock()

    def jump(self, seconds: float) -> None:
        """Go forward by so much, or back."""
        with self._lock:
            self._offset += seconds

    @property
    def ahead(self) -> float:
        """By how many seconds it is ahead of the machine's clock."""
        return self._offset

    def now(self) -> float:
        """Epoch seconds."""
        return time.time() + self._offset

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return time.time_ns() // 1_000_000 + round(self._offset * 1000)

    def utc_now(self) -> datetime:
        """The same as a datetime."""
        return datetime.fromtimestamp(self.now(), UTC)
