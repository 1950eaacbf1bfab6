"""What holds for every suite."""

import gc
import os
import time
from typing import Any

import pytest

# A user's machine is seldom on UTC: an offset of half hours, in summer another one, shows what
# leans on the machine's zone. Without the system's zone files it is UTC.
os.environ["TZ"] = "America/St_Johns"
time.tzset()


def pytest_unconfigure() -> None:
    """Undo the handler's `gc.freeze()`: what it froze, duckdb reports as leaked at exit."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under `-n 2`, deal out whole modules in their order, so that what is costly in a module, such
    as a deployment, is made once."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _dealt_out_together
    return scheduler


def _dealt_out_together(nodeid: str) -> str:
    """The module, but for those that share the suite's one demo."""
    module = nodeid.partition("::")[0]
    shares_the_demo = module.startswith("tests/e2e/") and "test_interrupt" not in module
    return "tests/e2e" if shares_the_demo else module
