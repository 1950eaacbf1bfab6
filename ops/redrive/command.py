"""`ops redrive`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import sys

import boto3
from botocore.config import Config

from ops.command_line import ProgressLine, moment, stack_command
from ops.delivery import Function, Stream
from ops.redrive.pace import Pace
from ops.redrive.report import lines_of, trouble_lines
from ops.redrive.run import Redrive
from ops.redrive.selection import Selection
from ops.stack import read_stack
from telemetry_contract.rejection import Reason

# A call of the function lasts up to its timeout of 300 s, while a zone is out of reach.
INVOCATION_TIMEOUT_SECONDS = 330
INTERRUPTED = 130

DESCRIPTION = """\
Send rejected readings and the failed zone in again, after their cause is mended: a contract that
knows more, a policy that allows more, a function without its bug.

Without --apply nothing is sent: the command says what is waiting, and how much of the rejected
readings today's contract would accept under the deployed function's settings. With --apply these,
and everything of the failed zone, go to the function as the records that they were, with their
arrival times and sequence numbers; messages that the rule could not deliver go onto the stream.

Nothing is deleted. What was sent is marked and no longer counts as waiting, so that the next run
goes on where this one ended. To send it twice does no harm: the curated zone holds a reading once.
"""

EXAMPLES = """\
examples:
  # what is waiting, and what would come of it?
  python -m ops redrive --stack-name iot-telemetry-lake

  # gateways were not yet allowed this morning: try a hundred of their readings, then all of them
  python -m ops redrive --stack-name iot-telemetry-lake --zone rejected \\
      --reason identity_mismatch --since 2026-11-23T08:00Z --limit 100 --apply
  python -m ops redrive --stack-name iot-telemetry-lake --zone rejected \\
      --reason identity_mismatch --since 2026-11-23T08:00Z --apply

  # one device's records of an outage, slowly beside the live traffic
  python -m ops redrive --stack-name iot-telemetry-lake --zone failed \\
      --device press-7 --rate 200 --apply

A record is a device's if the device sent it (its client id, the thing in its topic) or if it names
the device. Of a failed batch only the device's records are sent, the others stay waiting; an array
that holds readings of several devices goes in whole, but for those of erased devices.

Exit code: 0 done; 1 something could not be redriven, as stderr says; 2 wrongly called; 130 stopped.
The account and region are those of the AWS SDK; for the local cloud, first
  . build/local/environment
"""


def add_redrive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `redrive` command's arguments."""
    parser = stack_command(
        commands,
        "redrive",
        summary="send rejected readings and the failed zone in again",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--apply", action="store_true", help="send it; without, only say what would be sent"
    )

    what = parser.add_argument_group("what to redrive (everything that is waiting, unless said)")
    add = what.add_argument
    add("--zone", choices=("all", "rejected", "failed"), default="all", help="only this zone")
    add(
        "--reason",
        action="append",
        default=[],
        metavar="CODE",
        choices=[reason.value for reason in Reason],
        help="only readings rejected for it (codes: docs/contract.md); may be given more than once",
    )
    add(
        "--device",
        action="append",
        default=[],
        metavar="ID",
        help="only records of this device; may be given more than once",
    )
    add(
        "--since",
        type=moment,
        metavar="TIME",
        help="only what arrived (rejected) or was written (failed) then or later",
    )
    add("--until", type=moment, metavar="TIME", help="only what came before it")
    add("--again", action="store_true", help="also what is marked as redriven")

    how = parser.add_argument_group("how much and how fast")
    add = how.add_argument
    add("--limit", type=count, metavar="N", help="send at most N records; says how many are left")
    add("--rate", type=count, metavar="N", help="send at most N records a second")
    parser.set_defaults(command=redrive)


def count(text: str) -> int:
    """A number of records of the command line."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of records, 1 or more")
    return int(text)


def selection_of(options: argparse.Namespace) -> Selection:
    """What the command line chooses; ends the process if its arguments exclude each other."""
    if options.reason and options.zone == "failed":
        options.parser.error("--reason is about rejected readings; the failed zone has no reasons")
    if options.since and options.until and options.since >= options.until:
        options.parser.error("--since has to be before --until, or there is nothing between them")
    return Selection(
        rejected=options.zone != "failed",
        failed=options.zone != "rejected" and not options.reason,
        since=options.since,
        until=options.until,
        reasons=frozenset(options.reason),
        devices=frozenset(options.device),
        limit=options.limit,
        again=options.again,
    )


def redrive(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Runs a redrive; 1 if something could not be redriven."""
    selection = selection_of(options)
    session = boto3.Session()
    stack = read_stack(session.client("cloudformation"), options.stack_name)
    slow = Config(read_timeout=INVOCATION_TIMEOUT_SECONDS, retries={"total_max_attempts": 1})
    findings = Redrive(
        stack,
        session.client("s3"),
        Function(session.client("lambda", config=slow), stack.function_name),
        Stream(session.client("kinesis"), stack.stream_name),
        progress,
        Pace(options.rate),
    ).run(selection, apply=options.apply)
    progress.clear()
    print("\n".join(lines_of(findings, stack.name, selection, apply=options.apply)))
    for line in trouble_lines(findings):
        print(line, file=sys.stderr)
    if findings.was_interrupted:
        return INTERRUPTED
    return 1 if findings.troubles else 0
