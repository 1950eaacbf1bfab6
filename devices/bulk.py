"""Many devices, one call after another or several at once, at a rate that IoT's quotas allow.

Guarantee: one device that fails keeps no other from its turn; a cause that strikes them all ends
the run after a few. Whatever ended it, what is done is known, and is done.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from botocore.exceptions import ClientError

from devices.errors import DeviceError

WORKERS: Final = 32
# So many in a row have one cause, which the rest would meet too.
_HOPELESS: Final = 10


@dataclass
class Pace:
    """Lets through `rate` a second, None any number."""

    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _free_at: float = field(default=0.0, init=False)

    def wait(self) -> None:
        """Return when the next one may start."""
        if self.rate is None:
            return
        now = self.clock()
        if self._free_at > now:
            self.sleep(self._free_at - now)
        self._free_at = max(now, self._free_at) + 1 / self.rate


@dataclass
class Outcome[Item: Hashable, Result]:
    """What became of each item; one that is in neither had no turn."""

    done: dict[Item, Result] = field(default_factory=dict)
    failed: dict[Item, Exception] = field(default_factory=dict)


def for_each[Item: Hashable, Result](
    items: Sequence[Item],
    act: Callable[[Item], Result],
    pace: Pace,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Outcome[Item, Result]:
    """Do `act` for each item, several at once; `progress` gets (those that had their turn, all).

    A service's refusal and our own errors are the item's failure; others end the run and are raised
    again (no connection, no credentials), as is Ctrl-C.
    """
    outcome: Outcome[Item, Result] = Outcome()
    changing, stopped = threading.Lock(), threading.Event()
    in_a_row = 0

    def turn(item: Item) -> None:
        nonlocal in_a_row
        if stopped.is_set():
            return
        try:
            result, error = _attempt(act, item)
        except BaseException:  # raised again below, in the caller's thread; nobody else starts
            stopped.set()
            raise
        with changing:
            if error is None:
                outcome.done[item] = result  # type: ignore[assignment] # there without an error
                in_a_row = 0
            else:
                outcome.failed[item] = error
                in_a_row += 1
            if in_a_row >= _HOPELESS:
                stopped.set()
            progress(len(outcome.done) + len(outcome.failed), len(items))

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="registration") as pool:
        try:
            turns = []
            for item in items:
                pace.wait()
                turns.append(pool.submit(turn, item))
                if stopped.is_set():
                    break
            for future in turns:
                future.result()
        except BaseException:  # Ctrl-C too: who has no turn yet gets none; raised again
            stopped.set()
            raise
    return outcome


def _attempt[Item, Result](
    act: Callable[[Item], Result], item: Item
) -> tuple[Result | None, Exception | None]:
    try:
        return act(item), None
    except (ClientError, DeviceError) as error:
        return None, error
