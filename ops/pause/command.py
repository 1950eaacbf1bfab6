"""`ops pause` and `ops resume`: their arguments, and what they print."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime

import boto3

from ops.command_line import ProgressLine
from ops.pause.parts import PARTS, Clients, pause, resume
from ops.stack import read_stack

PAUSE = """\
Stop a part of a stack:

  ingestion  the mapping from the stream to the function; the stream keeps what arrives
  curation   the schedule of the curation workflow; the raw zone keeps what arrives
  rule       the rules from the broker to the stream: LOSES what is published meanwhile

Ingestion and curation lose nothing, and the command says until when. A deployment that changes the
mapping enables it again; ConsumerEnabled=false and CurationEnabled=false are the same for good.
It acts at once.
"""

RESUME = """\
Let a part of a stack go on that `pause` has stopped, or the alarm on rejected readings has. It goes
on where it stopped. It acts at once.
"""

EXIT_CODES = """
Exit code: 0 done; 1 not done, as stderr says; 2 wrongly called.
"""

PAUSE_EXAMPLES = f"""\
examples:
  # before work on a zone: says until when nothing is lost
  python -m ops pause ingestion --stack-name iot-telemetry-lake
  # no curation runs for a while; the raw zone goes on filling
  python -m ops pause curation --stack-name iot-telemetry-lake
{EXIT_CODES}"""

RESUME_EXAMPLES = f"""\
examples:
  # read on where it stopped
  python -m ops resume ingestion --stack-name iot-telemetry-lake
  python -m ops resume curation --stack-name iot-telemetry-lake
{EXIT_CODES}"""


def add_pause(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `pause` and the `resume` command's arguments."""
    for name, summary, description, examples in (
        ("pause", "stop ingestion or curation without loss", PAUSE, PAUSE_EXAMPLES),
        ("resume", "go on with what was paused", RESUME, RESUME_EXAMPLES),
    ):
        parser = commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("part", choices=PARTS, help="what it is about")
        parser.add_argument("--stack-name", required=True, help="the deployed stack")
        if name == "pause":
            parser.add_argument(
                "--lose-messages",
                action="store_true",
                help="yes, what is published while the rule is stopped may be lost",
            )
        parser.set_defaults(command=_command, parser=parser, is_pause=name == "pause")


def _command(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Pauses or resumes a part."""
    if options.is_pause and options.part == "rule" and not options.lose_messages:
        options.parser.error(
            "a stopped rule loses what is published meanwhile: `pause ingestion` loses nothing. "
            "If it has to be, add --lose-messages"
        )
    session = boto3.Session()
    stacks = session.client("cloudformation")
    stack = read_stack(stacks, options.stack_name)
    clients = Clients(
        stacks=stacks,
        functions=session.client("lambda"),
        streams=session.client("kinesis"),
        glue=session.client("glue"),
        iot=session.client("iot"),
        wait=time.sleep,
    )
    if options.is_pause:
        lines = pause(options.part, stack, clients, datetime.now(UTC))
        lines.append(
            f"To go on: python -m ops resume {options.part} --stack-name {options.stack_name}"
        )
    else:
        lines = resume(options.part, stack, clients)
    progress.clear()
    print("\n".join(lines))
    return 0
