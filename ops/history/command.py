"""`ops import`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import sys

import boto3
from botocore.config import Config

from ops.command_line import ProgressLine, moment, stack_command
from ops.delivery import Function
from ops.erasures import Erasures
from ops.history.report import lines_of, trouble_lines
from ops.history.run import IMPORTED_PREFIX, Import, Terms
from ops.history.sources import sources_in
from ops.redrive.command import INTERRUPTED, INVOCATION_TIMEOUT_SECONDS, count
from ops.redrive.marks import Marks
from ops.redrive.pace import Pace
from ops.redrive.rejected import limits_of
from ops.stack import read_stack

DESCRIPTION = """\
Bring in messages that were kept before this lake, through the contract: each goes to the deployed
function as a device's message would, and becomes a raw row or a rejected one with its reason.

Read are NDJSON, JSON arrays, single JSON objects and objects without anything between them (as
Firehose writes them), each also gzipped, from a prefix in S3 or from files on this machine.

Without --apply nothing is sent: the command says how many readings would be accepted, and how many
rejected for which reason, under the deployed function's settings. What was sent is marked and
passed over by the next run. To send it twice does no harm: the curated zone holds a reading once,
also if the stream brought it before.
"""

EXAMPLES = """\
examples:
  # what would become of it?
  python -m ops import --stack-name iot-telemetry-lake s3://old-archive/telemetry/2025/

  # try a thousand messages, then all of them, at most 2,000 a second
  python -m ops import --stack-name iot-telemetry-lake s3://old-archive/telemetry/2025/ \\
      --limit 1000 --apply
  python -m ops import --stack-name iot-telemetry-lake s3://old-archive/telemetry/2025/ \\
      --rate 2000 --apply

  # files that were copied since: say when they had arrived
  python -m ops import --stack-name iot-telemetry-lake ./export --arrived 2025-06-30 --apply

A message has arrived when its file was written, unless --arrived says another time: the contract
refuses event times long after their arrival, and marks those long before it. What is of an erased
device stays out, unless --arrived says that it arrived after the erasure.

Exit code: 0 done; 1 something could not be imported, as stderr says; 2 wrongly called; 130 stopped.
"""


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `import` command's arguments."""
    parser = stack_command(
        commands,
        "import",
        summary="bring in messages that were kept before this lake, through the contract",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add = parser.add_argument
    add("place", metavar="PLACE", help="s3://bucket/prefix, or a file or folder of this machine")
    add("--apply", action="store_true", help="send it; without, only say what would become of it")
    add("--arrived", type=moment, metavar="TIME", help="when all of it arrived (ISO 8601)")
    add("--limit", type=count, metavar="N", help="send at most N messages")
    add("--rate", type=count, metavar="N", help="send at most N messages a second")
    add("--again", action="store_true", help="also what is marked as imported")
    parser.set_defaults(command=import_history)


def import_history(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Runs an import; 1 if something could not be imported."""
    session = boto3.Session()
    stack = read_stack(session.client("cloudformation"), options.stack_name)
    s3 = session.client("s3")
    slow = Config(read_timeout=INVOCATION_TIMEOUT_SECONDS, retries={"total_max_attempts": 1})
    function = Function(session.client("lambda", config=slow), stack.function_name)
    terms = Terms(options.arrived, options.limit, again=options.again)
    findings = Import(
        function,
        stack.stream_arn,
        limits_of(function.environment(), function.name),
        Marks(s3, stack.raw_zone_bucket, prefix=IMPORTED_PREFIX),
        progress,
        Pace(options.rate),
        Erasures(s3, stack.curated_zone_bucket, stack.database_name).tombstones(),
    ).run(sources_in(options.place, s3), terms, apply=options.apply)
    progress.clear()
    print("\n".join(lines_of(findings, options.place, stack.name, terms, apply=options.apply)))
    for line in trouble_lines(findings):
        print(line, file=sys.stderr)
    if findings.was_interrupted:
        return INTERRUPTED
    return 1 if findings.troubles else 0
