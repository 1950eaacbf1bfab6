"""Work beside a request: a thread in the local cloud, what a test runs when it wants to."""

import threading
from collections.abc import Callable
from typing import Protocol


class Work(Protocol):
    """Something that was begun and can be waited for."""

    def join(self) -> None:
        """Wait until it has ended."""


Spawn = Callable[[Callable[[], None], str], Work]


def spawn_thread(work: Callable[[], None], name: str) -> Work:
    """Run `work` in a thread of its own."""
    thread = threading.Thread(target=work, name=name)
    thread.start()
    return thread
