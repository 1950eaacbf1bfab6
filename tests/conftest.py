"""What holds for every suite."""

import gc


def pytest_unconfigure() -> None:
    """Undo the handler's `gc.freeze()`: what it froze, duckdb reports as leaked at exit."""
    gc.unfreeze()
