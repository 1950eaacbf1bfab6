"""`ops audit`: its arguments, and how it is run against a deployed stack."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3

from ops.audit.audit import Terms, audit_stack
from ops.audit.catalogue import catalogue_of
from ops.audit.evidence import Sources
from ops.audit.findings import Scope
from ops.audit.report import json_of, lines_of
from ops.command_line import ProgressLine, moment, stack_command
from ops.stack import read_stack

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

DEFAULT_SETTLE_MINUTES = 15

DESCRIPTION = """\
Compare the stream, the zones, the ledger and the curated tables, and name every record, object or
row that is missing, extra or altered. Nothing is changed.

What is on the stream must be in the raw, rejected or failed zone; each raw object must have the
bytes that its name was made from, and be taken by a run; each accepted reading must be one curated
row, as it was accepted; each curated row must have been accepted; each run's account must add up.
"""

EXAMPLES = """\
examples:
  # everything that the stack holds
  python -m ops audit --stack-name iot-telemetry-lake
  # one day, for a program
  python -m ops audit --stack-name iot-telemetry-lake \\
      --since 2026-11-24 --until 2026-11-25 --json

Exit code: 0 nothing found, 1 something found, or it could not be audited, 2 wrongly called.
"""


def add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `audit` command's arguments."""
    parser = stack_command(
        commands,
        "audit",
        summary="name every record or row that is missing, extra or altered",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help="only what arrived then or later"
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="only what arrived before")
    parser.add_argument(
        "--settle-minutes",
        type=int,
        default=DEFAULT_SETTLE_MINUTES,
        metavar="N",
        help="how long a record may be on its way to a zone (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="all findings, as one JSON object")
    parser.set_defaults(command=audit)


def audit(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Runs an audit; 1 if it found something."""
    session = boto3.Session()
    stack = read_stack(session.client("cloudformation"), options.stack_name)
    sources = Sources(
        stack=stack,
        s3=session.client("s3"),
        kinesis=session.client("kinesis"),
        catalogue=catalogue_of(session),
        progress=progress,
    )
    terms = Terms(
        settle=timedelta(minutes=options.settle_minutes),
        look_back=look_back_of(session.client("glue"), stack.curation_job_name),
    )
    audited = audit_stack(sources, Scope(options.since, options.until), terms, datetime.now(UTC))
    progress.clear()
    told: Iterable[str] = (
        [json_of(audited)] if options.json else lines_of(audited, options.stack_name)
    )
    print("\n".join(told))
    return 1 if audited.findings else 0


def look_back_of(glue: GlueClient, job_name: str) -> timedelta:
    """How far back the deployed job's runs look, by its arguments."""
    arguments = glue.get_job(JobName=job_name)["Job"].get("DefaultArguments", {})
    return timedelta(minutes=int(arguments["--look_back_minutes"]))
