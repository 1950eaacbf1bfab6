"""What holds for every suite."""

import gc
import os
import time

# A user's machine is seldom on UTC: an offset of half hours, in summer another one, shows what
# leans on the machine's zone. Without the system's zone files it is UTC.
os.environ["TZ"] = "America/St_Johns"
time.tzset()


def pytest_unconfigure() -> None:
    """Undo the handler's `gc.freeze()`: what it froze, duckdb reports as leaked at exit."""
    gc.unfreeze()
