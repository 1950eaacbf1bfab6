"""What a long command shows while it runs: one line per stage, with counts and seconds.

On a terminal the line is rewritten in place, twice a second; elsewhere (a log, a pipe) it is
printed when a stage begins, every ten seconds while it lasts, and when it ends. A stage that
raises is shown as stopped.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

TERMINAL_INTERVAL_SECONDS = 0.5
LOG_INTERVAL_SECONDS = 10.0


class Stage:
    """One running stage. `show` says how far it is; what was shown last stays on its line."""

    def __init__(self, label: str, clock: Callable[[], float]) -> None:
        self.label = label
        self.text = ""
        self._clock = clock
        self.begun_at = clock()

    def show(self, text: str) -> None:
        """Replace what the line says."""
        self.text = text

    def count(self, done: int, total: int) -> None:
        """Show `done of total`; fits the callbacks of the fleet."""
        self.show(f"{done:,} of {total:,}")

    def line(self, mark: str) -> str:
        """The stage's line with its seconds so far."""
        return f"{mark} {self.label:<34} {self._clock() - self.begun_at:6.1f} s  {self.text}"


class Progress:
    """Shows stages on `out`, one after the other, and keeps how long each took."""

    def __init__(
        self, names: Sequence[str], out: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`names`: the stages' names in the order in which they will come, for the numbering."""
        self.seconds: dict[str, float] = {}
        self._names = list(names)
        self._out = out
        self._clock = clock
        self._is_terminal = out.isatty()
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Stage]:
        """Show a stage while the block runs."""
        number = f"{self._names.index(name) + 1}/{len(self._names)}"
        stage = Stage(f"{number} {title}", self._clock)
        ended = threading.Event()
        interval = TERMINAL_INTERVAL_SECONDS if self._is_terminal else LOG_INTERVAL_SECONDS
        ticker = threading.Thread(
            target=self._tick, args=(stage, ended, interval), name="progress", daemon=True
        )
        self._write(stage.line("."), is_last=False)
        ticker.start()
        mark = "x"
        try:
            yield stage
            mark = "+"
        finally:
            ended.set()
            ticker.join()
            self.seconds[name] = round(self._clock() - stage.begun_at, 2)
            self._write(stage.line(mark), is_last=True)

    def _tick(self, stage: Stage, ended: threading.Event, interval: float) -> None:
        while not ended.wait(interval):
            self._write(stage.line("."), is_last=False)

    def _write(self, line: str, *, is_last: bool) -> None:
        with self._lock:
            if self._is_terminal:
                width = shutil.get_terminal_size().columns - 1
                self._out.write(f"\r\x1b[2K{line[:width]}" + ("\n" if is_last else ""))
            else:
                self._out.write(line + "\n")
            self._out.flush()


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned lines: numbers to the right, all else to the left, a rule under the headers."""
    shown = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(header), *(len(row[i]) for row in shown)) if shown else len(header)
        for i, header in enumerate(headers)
    ]
    numeric = [
        bool(rows) and all(row[i] is None or _is_number(row[i]) for row in rows)
        for i in range(len(headers))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return [line(headers), "  ".join("-" * width for width in widths), *map(line, shown)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
