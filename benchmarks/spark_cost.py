"""What a piece of work with Spark has read, by its own event log.

Of each scan of an Iceberg table the log has how many data files the plan left (a figure of the
driver) and how many bytes the tasks read of them; a task counts for a table if it ran its scan.
What never becomes a scan, as a manifest that answers `max(...)`, is only in the bytes that Hadoop's
file system counts for the whole process.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pyspark.sql import SparkSession

from benchmarks.spark_session import cpu_seconds, java

_FILES = "number of result data files"
_ROWS = "number of output rows"
_TABLE = re.compile(r"BatchScan \w+\.\w+\.([\w.]+)")


@dataclass
class TableCost:
    """What was read of one table."""

    files: int = 0
    bytes: int = 0
    rows: int = 0


@dataclass
class Cost:
    """What a piece of work took; `bytes` is all that the process read, raw objects included."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes: int = 0
    tables: dict[str, TableCost] = field(default_factory=dict)

    def of(self, table: str) -> TableCost:
        return self.tables.get(table, TableCost())


@contextmanager
def timed(module: ModuleType, steps: Sequence[str]) -> Iterator[dict[str, float]]:
    """Seconds in each of these functions of a module, for as long as the block lasts."""
    seconds = dict.fromkeys(steps, 0.0)

    def watched(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def run(*arguments: Any) -> Any:
            begin = time.perf_counter()
            try:
                return step(*arguments)
            finally:
                seconds[name] += time.perf_counter() - begin

        return run

    originals = {name: getattr(module, name) for name in steps}
    for name, step in originals.items():
        setattr(module, name, watched(name, step))
    try:
        yield seconds
    finally:
        for name, step in originals.items():
            setattr(module, name, step)


@contextmanager
def measured(spark: SparkSession, logs: Path) -> Iterator[Cost]:
    """The cost of what is done inside; complete once the block has ended."""
    log = _settled(spark, logs)
    position, before, cpu = log.stat().st_size, _bytes_read(spark), cpu_seconds(spark)
    cost = Cost()
    begin = time.perf_counter()
    yield cost
    cost.seconds = time.perf_counter() - begin
    cost.cpu_seconds = cpu_seconds(spark) - cpu
    cost.bytes = _bytes_read(spark) - before
    with _settled(spark, logs).open() as events:
        events.seek(position)
        cost.tables = tables_in(map(json.loads, events))


def tables_in(events: Iterator[dict[str, Any]]) -> dict[str, TableCost]:
    """What the scans in these events have read, by table."""
    files: dict[int, str] = {}
    rows: dict[int, str] = {}
    costs: dict[str, TableCost] = {}
    seen: set[int] = set()
    for event in events:
        kind = event["Event"].rpartition(".")[2]
        if "sparkPlanInfo" in event:
            for table, node in _scans(event["sparkPlanInfo"]):
                for metric in node["metrics"]:
                    if metric["name"] == _FILES:
                        files[metric["accumulatorId"]] = table
                    elif metric["name"] == _ROWS:
                        rows[metric["accumulatorId"]] = table
        elif kind == "SparkListenerDriverAccumUpdates":
            for accumulator, value in event["accumUpdates"]:
                # Adaptive execution tells a plan's figures again.
                if accumulator in files and accumulator not in seen:
                    seen.add(accumulator)
                    costs.setdefault(files[accumulator], TableCost()).files += value
        elif kind == "SparkListenerTaskEnd" and event.get("Task Metrics"):
            updates = {each["ID"]: each for each in event["Task Info"]["Accumulables"]}
            for accumulator in updates.keys() & rows.keys():
                cost = costs.setdefault(rows[accumulator], TableCost())
                cost.bytes += event["Task Metrics"]["Input Metrics"]["Bytes Read"]
                cost.rows += int(updates[accumulator]["Update"])
    return costs


def _scans(plan: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if match := _TABLE.match(plan["nodeName"]):
        yield match[1], plan
    for child in plan["children"]:
        yield from _scans(child)


def _settled(spark: SparkSession, logs: Path) -> Path:
    """The log, once everything that has happened is in it."""
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    (log,) = logs.iterdir()
    return log


def _bytes_read(spark: SparkSession) -> int:
    statistics = java(spark).org.apache.hadoop.fs.FileSystem.getAllStatistics()
    return sum(each.getBytesRead() for each in statistics)
