"""Compares what starting costs: the CPU time from a bare interpreter to a handler ready for work.

Lambda bills the init phase and a cold start waits for it. Each program runs in processes of its
own, in turns; the median counts, less what the interpreter alone takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.consumer import machine
from benchmarks.our_consumer import ENVIRONMENT

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = tuple(REPOSITORY / root for root in ("functions", "layers/contract", "."))
BUILT = tuple(
    REPOSITORY / ".aws-sam" / "build" / part
    for part in ("IngestTelemetryFunction", "ContractLayer/python", "ColumnarLayer/python")
)
CPU_TIME = "import time; print(time.process_time_ns())"


@dataclass(frozen=True)
class Program:
    """What is started: its text, where it imports from, and whether from there alone."""

    name: str
    text: str
    roots: tuple[Path, ...] = SOURCES
    is_alone: bool = False


PROGRAMS = (
    Program("this project's handler, from its sources", "import ingest_telemetry.handler"),
    Program(
        "Powertools Logger, Metrics, BatchProcessor, parser; boto3 S3 client",
        "import boto3; from aws_lambda_powertools import Logger, Metrics; "
        "import benchmarks.usual_consumer; Logger(); Metrics(); boto3.client('s3')",
    ),
    Program(
        "standard library; boto3 S3 client",
        "import base64, datetime, gzip, json, boto3; boto3.client('s3')",
    ),
)
AS_BUILT = Program(
    "this project's handler, as `make build` made it",
    "import ingest_telemetry.handler",
    BUILT,
    True,
)
BARE = Program("the interpreter alone", "pass")
EXAMPLE = """\
example:
  python -m benchmarks.cold_start --rounds 9
"""


@dataclass(frozen=True)
class Start:
    """CPU milliseconds of one program's start."""

    program: str
    cpu_milliseconds: float


def compare(rounds: int) -> list[Start]:
    """Every program's start, measured `rounds` times in turns; the built one if it is there."""
    programs = [*([AS_BUILT] if all(root.exists() for root in BUILT) else []), *PROGRAMS]
    times: dict[Program, list[float]] = {program: [] for program in [BARE, *programs]}
    with tempfile.TemporaryDirectory() as cache:
        for program in programs:
            _milliseconds(program, cache)
        for _ in range(rounds):
            for program, measured in times.items():
                measured.append(_milliseconds(program, cache))
    bare = statistics.median(times[BARE])
    return [Start(program.name, statistics.median(times[program]) - bare) for program in programs]


def _milliseconds(program: Program, cache: str) -> float:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, program.roots)),
        # Bytecode of its own, filled by a first run: compiling is no part of the comparison.
        "PYTHONPYCACHEPREFIX": cache,
        **ENVIRONMENT,
    }
    flags = ["-S"] if program.is_alone else []
    finished = subprocess.run(
        [sys.executable, *flags, "-c", f"{program.text}; {CPU_TIME}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(finished.stdout.splitlines()[-1]) / 1_000_000


def run(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cold_start",
        description="CPU of starting the consumer beside what a user would write.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=9, help="starts of each program (9)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("it takes at least one round")
    starts = compare(options.rounds)
    if options.json:
        print(json.dumps([asdict(start) for start in starts], indent=2))
        return 0
    width = max(len(start.program) for start in starts)
    print(f"Median of {options.rounds} starts in turns, less the interpreter's own; {machine()}\n")
    print(f"{'program':<{width}}  CPU ms")
    for start in starts:
        print(f"{start.program:<{width}}  {start.cpu_milliseconds:>6.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
