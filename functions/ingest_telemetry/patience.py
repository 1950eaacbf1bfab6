"""Patience in an outage: infrastructure trouble is waited out, never taken for bad data.

The failure destination is S3 too, so an outage of S3 or KMS must not use up the mapping's retries:
an attempt that fails is repeated until shortly before the function's timeout, and only then does
the batch fail. 400 retries of four minutes outlast a day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 20.0
# One more attempt has to fit: longer than the S3 client's connect and read timeouts together.
RESERVE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one invocation may keep trying. Both collaborators are passed in, for tests."""

    remaining_seconds: Callable[[], float]
    sleep: Callable[[float], None]

    def pause(self, failures: int) -> bool:
        """Wait for another attempt after so many failures; False when there is no time for it."""
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 16))
        if self.remaining_seconds() - pause < RESERVE_SECONDS:
            return False
        self.sleep(pause)
        return True
