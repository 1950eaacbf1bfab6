"""Metrics: from what a function prints (embedded metric format) to CloudWatch.

Guarantee: every value of a valid document becomes data under each of its sets of dimensions, as
CloudWatch extracts it; a line that is no such document is left to the log.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
_MAX_DATA_PER_CALL: Final = 1000
_MAX_VALUES: Final = 100
_MAX_DIMENSIONS: Final = 30
# What waits while CloudWatch does not answer; older data is dropped first.
_MAX_WAITING: Final = 50_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Datum:
    """Values of one metric under one set of dimensions; `at` in epoch seconds."""

    namespace: str
    name: str
    values: tuple[float, ...]
    at: float
    unit: str = "None"
    dimensions: Mapping[str, str] = field(default_factory=dict)

    def as_request(self) -> dict[str, Any]:
        """As an element of PutMetricData's `MetricData`."""
        return {
            "MetricName": self.name,
            "Dimensions": [{"Name": k, "Value": v} for k, v in self.dimensions.items()],
            "Timestamp": datetime.fromtimestamp(self.at, UTC),
            "Unit": self.unit,
            "Values": list(self.values),
            "Counts": [1.0] * len(self.values),
        }


def embedded_metrics(line: str) -> list[Datum] | None:
    """The data of a line in the embedded metric format; None if the line is not in it."""
    if '"_aws"' not in line:
        return None
    try:
        document: Any = json.loads(line)
        blob = document["_aws"]
        at = blob["Timestamp"] / 1000
        directives = blob["CloudWatchMetrics"]
        return [datum for directive in directives for datum in _extract(document, directive, at)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _extract(document: Mapping[str, Any], directive: Mapping[str, Any], at: float) -> list[Datum]:
    dimension_sets = directive.get("Dimensions") or [[]]
    data = []
    for names in dimension_sets:
        if len(names) > _MAX_DIMENSIONS:
            raise ValueError(f"more than {_MAX_DIMENSIONS} dimensions")
        dimensions = {name: str(document[name]) for name in names}
        for metric in directive["Metrics"]:
            name, unit = metric["Name"], metric.get("Unit", "None")
            values = _values(document.get(name))
            if values:
                data.append(Datum(directive["Namespace"], name, values, at, unit, dimensions))
    return data


def _values(target: object) -> tuple[float, ...]:
    """A number or an array of up to 100 numbers; a metric without a value gives no data."""
    if target is None:
        return ()
    targets = target if isinstance(target, list) else [target]
    numbers = [v for v in targets if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(targets) > _MAX_VALUES or len(numbers) != len(targets):
        raise ValueError("a metric's value must be a number or up to 100 numbers")
    return tuple(float(number) for number in numbers)


class _PutMetricData(Protocol):
    # boto3 spells its arguments so.
    def __call__(self, *, Namespace: str, MetricData: list[dict[str, Any]]) -> object: ...  # noqa: N803


class MetricBuffer:
    """Collects data and puts it in few calls. Thread-safe.

    `flush` may be called by anyone; `start` does so every `interval_seconds` until `stop`.
    """

    def __init__(self, put_metric_data: _PutMetricData, interval_seconds: float = 1.0) -> None:
        self._put = put_metric_data
        self._interval = interval_seconds
        self._waiting: deque[Datum] = deque(maxlen=_MAX_WAITING)
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, *data: Datum) -> None:
        """Take `data` for the next flush."""
        with self._lock:
            self._waiting.extend(data)

    def flush(self) -> None:
        """Put everything that waits. Data that CloudWatch did not take waits for the next flush."""
        with self._flushing:
            with self._lock:
                data = list(self._waiting)
                self._waiting.clear()
            for namespace in dict.fromkeys(datum.namespace for datum in data):
                self._put_namespace(namespace, [d for d in data if d.namespace == namespace])

    def _put_namespace(self, namespace: str, data: list[Datum]) -> None:
        for start in range(0, len(data), _MAX_DATA_PER_CALL):
            part = data[start : start + _MAX_DATA_PER_CALL]
            try:
                self._put(Namespace=namespace, MetricData=[datum.as_request() for datum in part])
            except Exception:  # noqa: BLE001 - metrics must not stop records, whatever is raised
                _log.warning("CloudWatch did not take %d data of %s", len(part), namespace)
                self.add(*part)

    def start(self) -> None:
        """Flush from time to time in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self.flush()

    def stop(self) -> None:
        """End the thread and put what is left."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()


def counts(
    namespace: str, dimensions: Mapping[str, str], values: Mapping[str, float], at: float
) -> Iterable[Datum]:
    """One datum of unit Count for each entry of `values`."""
    return [
        Datum(namespace, name, (value,), at, "Count", dict(dimensions))
        for name, value in values.items()
    ]
