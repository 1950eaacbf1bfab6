"""Log lines to CloudWatch Logs, and back: what functions print, and what dashboards query.

Guarantee: a line that was added is put with its time by the next `flush`, in order; a group that
is not there is made, as Lambda makes its own.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_EVENTS_PER_REQUEST: Final = 10_000
_MAX_REQUEST_BYTES: Final = 1_048_576
_EVENT_OVERHEAD_BYTES: Final = 26
_MAX_LINE: Final = 8_000
_STREAM: Final = "local"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One line of a log; `at` in epoch seconds."""

    group: str
    stream: str
    at: float
    message: str


class LogBuffer:
    """Collects lines and puts them in few calls. Thread-safe. `logs` is a boto3 client."""

    def __init__(self, logs: Any, clock: Callable[[], float] = time.time) -> None:
        self._logs = logs
        self._clock = clock
        self._waiting: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()

    def add(self, group: str, line: str) -> None:
        """Take a line for the next flush."""
        with self._lock:
            self._waiting[group].append((round(self._clock() * 1000), line))

    def flush(self) -> None:
        """Put everything that waits. What CloudWatch Logs does not take is told in our own log."""
        with self._flushing:
            with self._lock:
                waiting, self._waiting = self._waiting, defaultdict(list)
            for group, lines in waiting.items():
                try:
                    self._put(group, lines)
                except Exception:  # noqa: BLE001 - logs must not stop what is logged of
                    _log.warning("CloudWatch Logs did not take %d lines of %s", len(lines), group)

    def _put(self, group: str, lines: Sequence[tuple[int, str]]) -> None:
        exists = self._logs.exceptions.ResourceAlreadyExistsException
        if group not in self._known:
            for create, names in (
                (self._logs.create_log_group, {"logGroupName": group}),
                (
                    self._logs.create_log_stream,
                    {"logGroupName": group, "logStreamName": _STREAM},
                ),
            ):
                try:
                    create(**names)
                except exists:
                    continue
            self._known.add(group)
        for events in requests(lines):
            self._logs.put_log_events(logGroupName=group, logStreamName=_STREAM, logEvents=events)


def requests(lines: Sequence[tuple[int, str]]) -> Iterator[list[dict[str, Any]]]:
    """Lines with their times (epoch milliseconds) as requests of PutLogEvents, each within its
    limits."""
    events: list[dict[str, Any]] = []
    size = 0
    for at, line in lines:
        message = line[:_MAX_LINE] or " "  # an empty message is refused
        cost = len(message.encode()) + _EVENT_OVERHEAD_BYTES
        if events and (len(events) == _EVENTS_PER_REQUEST or size + cost > _MAX_REQUEST_BYTES):
            yield events
            events, size = [], 0
        events.append({"timestamp": at, "message": message})
        size += cost
    if events:
        yield events


def stored_logs(backend: Any) -> Callable[[Sequence[str], tuple[float, float]], list[LogEvent]]:
    """The lines of groups in a stretch of time, from moto's CloudWatch Logs backend."""

    def read(groups: Sequence[str], span: tuple[float, float]) -> list[LogEvent]:
        return [
            LogEvent(name, stream.log_stream_name, event.timestamp / 1000, event.message)
            for name in groups
            if name in backend.groups
            for stream in list(backend.groups[name].streams.values())
            for event in list(stream.events)
            if span[0] <= event.timestamp / 1000 <= span[1]
        ]

    return read
