"""`ops redrive`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import sys

import boto3
from botocore.config import Config

from ops.command_line import ProgressLine, moment
from ops.delivery import Function, Stream
from ops.redrive.report import lines_of, trouble_lines
from ops.redrive.run import Redrive
from ops.redrive.selection import Selection
from ops.stack import read_stack
from telemetry_contract.rejection import Reason

# A call of the function lasts up to its timeout of 300 s, while a zone is out of reach.
INVOCATION_TIMEOUT_SECONDS = 330

REDRIVE_DESCRIPTION = """\
Send rejected readings and the failed zone in again, after their cause is mended: a contract that
knows more, a policy that allows more, a function without its bug.

Without --apply nothing is sent: the command says how many of the rejected readings today's
contract would accept under the deployed function's settings. With --apply these, and everything
of the failed zone, go to the function as the records that they were, with their arrival times and
sequence numbers; messages that the rule could not deliver go onto the stream. Nothing is deleted,
so the next run finds the same again; sending it twice does no harm, the curated zone holds it once.
"""

REDRIVE_EXAMPLE = """\
example:
  # what would come of the readings rejected since an hour when gateways were not yet allowed?
  python -m ops redrive --stack-name iot-telemetry-lake --zone rejected \\
      --reason identity_mismatch --since 2026-11-23T08:00Z
  # do it
  python -m ops redrive --stack-name iot-telemetry-lake --zone rejected \\
      --reason identity_mismatch --since 2026-11-23T08:00Z --apply

The account and region are those of the AWS SDK; for the local cloud, first
  . build/local/environment
"""


def add_redrive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `redrive` command's arguments."""
    parser = commands.add_parser(
        "redrive",
        help="send rejected readings and the failed zone in again",
        description=REDRIVE_DESCRIPTION,
        epilog=REDRIVE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--stack-name", required=True, help="the deployed stack")
    parser.add_argument("--zone", choices=("all", "rejected", "failed"), default="all")
    parser.add_argument(
        "--reason",
        action="append",
        default=[],
        metavar="CODE",
        choices=[reason.value for reason in Reason],
        help="only readings rejected for it; may be given more than once (docs/contract.md)",
    )
    parser.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="only what arrived (rejected) or was written (failed) then or later",
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="only what came before it")
    parser.add_argument("--apply", action="store_true", help="send it; without, only say what")
    parser.set_defaults(command=redrive, parser=parser)


def redrive(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Runs a redrive; 1 if something could not be redriven."""
    if options.reason and options.zone == "failed":
        options.parser.error("--reason is about rejected readings; the failed zone has no reasons")
    selection = Selection(
        rejected=options.zone != "failed",
        failed=options.zone != "rejected" and not options.reason,
        since=options.since,
        until=options.until,
        reasons=frozenset(options.reason),
    )
    session = boto3.Session()
    stack = read_stack(session.client("cloudformation"), options.stack_name)
    slow = Config(read_timeout=INVOCATION_TIMEOUT_SECONDS, retries={"total_max_attempts": 1})
    findings = Redrive(
        stack,
        session.client("s3"),
        Function(session.client("lambda", config=slow), stack.function_name),
        Stream(session.client("kinesis"), stack.stream_name),
        progress,
    ).run(selection, apply=options.apply)
    progress.clear()
    print("\n".join(lines_of(findings, stack.name, apply=options.apply)))
    for line in trouble_lines(findings):
        print(line, file=sys.stderr)
    return 1 if findings.troubles else 0
