"""Compares the consumer with what a user would write, on the same records in one run.

CPU time of the process, never wall clock. The consumers take turns, round by round, so that a
machine that grows slower or faster does so for all of them. The fastest round counts: other work on
the machine, which takes the caches away, only ever adds to the others (the documentation of
Python's timeit says why). All must accept, reject and flag the same number
of readings, or the comparison means nothing and the run fails.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.object_store import ObjectStore
from benchmarks.our_consumer import OurConsumer
from benchmarks.plain_consumer import PlainConsumer
from benchmarks.records import Batch, make_batch
from benchmarks.usual_consumer import UsualConsumer

EXAMPLE = """\
example:
  python -m benchmarks.consumer                  # the figures of benchmarks/README.md
  python -m benchmarks.consumer --records 1000 --rounds 3 --json
"""
OURS = "this project: typed Parquet and the verbatim payload"
CONSUMERS: Mapping[str, Callable[[ObjectStore], Consumer]] = {
    OURS: OurConsumer,
    "Powertools BatchProcessor and pydantic, gzipped NDJSON": UsualConsumer,
    "json.loads and checks by hand, gzipped NDJSON": PlainConsumer,
}


class Consumer(Protocol):
    """Takes a Lambda event and stores what is in it."""

    accepted: int
    rejected: int
    flagged: int

    def __call__(self, event: dict[str, Any]) -> object: ...


class VerdictsDifferError(Exception):
    """The consumers don't agree on the same records, so their times can't be compared."""


@dataclass(frozen=True)
class Measured:
    """One consumer's figures; times are CPU microseconds per record."""

    consumer: str
    cpu_microseconds: float
    median: float
    times_ours: float
    accepted: int
    rejected: int
    flagged: int
    stored_bytes_per_record: float


@dataclass(frozen=True)
class Comparison:
    """What one run found, and on what."""

    records: int
    bad_records: int
    payload_bytes_per_record: float
    rounds: int
    machine: str
    python: str
    event_parse_microseconds: float
    consumers: list[Measured]


def compare(records: int, rounds: int, seed: int) -> Comparison:
    """Runs every consumer `rounds` times, in turns; raises VerdictsDifferError."""
    batch = make_batch(records, seed)
    stores = {name: ObjectStore() for name in CONSUMERS}
    consumers = {name: build(stores[name]) for name, build in CONSUMERS.items()}
    for consumer in consumers.values():
        consumer(batch.event)  # imports, caches and pools are filled outside the measurement
    _require_equal_verdicts(batch, consumers)

    body = json.dumps(batch.event)
    times: dict[str, list[float]] = {name: [] for name in consumers}
    parses: list[float] = []
    for _ in range(rounds):
        parses.append(_cpu_microseconds(json.loads, body, records))
        for name, consumer in consumers.items():
            times[name].append(_cpu_microseconds(consumer, batch.event, records))
    _require_equal_verdicts(batch, consumers)

    ours = min(times[OURS])
    return Comparison(
        records=records,
        bad_records=batch.bad,
        payload_bytes_per_record=batch.payload_bytes / records,
        rounds=rounds,
        machine=machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        event_parse_microseconds=min(parses),
        consumers=[
            Measured(
                consumer=name,
                cpu_microseconds=min(times[name]),
                median=statistics.median(times[name]),
                times_ours=min(times[name]) / ours,
                accepted=consumer.accepted,
                rejected=consumer.rejected,
                flagged=consumer.flagged,
                stored_bytes_per_record=stores[name].stored_bytes / records,
            )
            for name, consumer in consumers.items()
        ],
    )


def _cpu_microseconds[T](work: Callable[[T], object], given: T, records: int) -> float:
    # Once unmeasured: in a warm function nobody else has just used the processor's caches.
    work(given)
    gc.collect()
    start = time.process_time_ns()
    work(given)
    return (time.process_time_ns() - start) / 1_000 / records


def _require_equal_verdicts(batch: Batch, consumers: Mapping[str, Consumer]) -> None:
    for name, consumer in consumers.items():
        if (consumer.accepted, consumer.rejected) != (batch.good, batch.bad):
            raise VerdictsDifferError(
                f"{name}: accepted {consumer.accepted:,} and rejected {consumer.rejected:,}, "
                f"but {batch.good:,} records are good and {batch.bad:,} bad"
            )
    flagged = {name: consumer.flagged for name, consumer in consumers.items()}
    if len(set(flagged.values())) > 1:
        raise VerdictsDifferError(f"the consumers flagged different numbers of readings: {flagged}")


def machine() -> str:
    """The processor's kind, and how many of it the process may use."""
    information = Path("/proc/cpuinfo")
    kind = platform.processor() or platform.machine()
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                kind = line.partition(":")[2].strip()
                break
    return f"{os.process_cpu_count()} x {kind}, {platform.system()} {platform.machine()}"


def lines_of(found: Comparison) -> list[str]:
    """The comparison as an aligned table."""
    head = ("consumer", "CPU us/record", "(median)", "x ours", "bytes/record")
    rows: list[tuple[str, ...]] = [
        (
            measured.consumer,
            f"{measured.cpu_microseconds:.1f}",
            f"({measured.median:.1f})",
            f"{measured.times_ours:.1f}",
            f"{measured.stored_bytes_per_record:.0f}",
        )
        for measured in found.consumers
    ]
    rows.append(
        (
            "(the runtime's own parse of the event)",
            f"{found.event_parse_microseconds:.1f}",
            *[""] * 3,
        )
    )
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    table = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    first = found.consumers[0]
    return [
        f"{found.records:,} records with payloads of {found.payload_bytes_per_record:.0f} bytes, "
        f"{found.bad_records:,} of them bad; the fastest of {found.rounds} rounds in turns",
        f"{found.machine}, {found.python}",
        "",
        *table,
        "",
        f"Each accepted {first.accepted:,} and rejected {first.rejected:,}; it flagged "
        f"{first.flagged:,} of the accepted.",
    ]


def run(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.consumer",
        description="CPU per record of the consumer beside what a user would write, in one run.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--records", type=int, default=10_000, help="records of the batch (10000)")
    parser.add_argument("--rounds", type=int, default=9, help="times that each is measured (9)")
    parser.add_argument("--seed", type=int, default=20261123, help="of the records")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if not 1 <= options.records <= 10_000 or options.rounds < 1:
        parser.error("a batch has 1 to 10000 records, and it takes at least one round")
    try:
        found = compare(options.records, options.rounds, options.seed)
    except VerdictsDifferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(found), indent=2) if options.json else "\n".join(lines_of(found)))
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
