"""`ops erase`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

import boto3

from ops.audit.catalogue import catalogue_of
from ops.command_line import ProgressLine, stack_command
from ops.curation_job import CurationJob
from ops.erase.report import lines_of, removed_lines
from ops.erase.run import Erasure
from ops.erase.tables import Tables
from ops.erase.zones import Search, Target
from ops.erasures import Erasures
from ops.exchange import superseded_keys
from ops.stack import read_stack
from telemetry_contract.identity import is_device_id

DESCRIPTION = """\
Erase a device: from the raw, rejected and failed zone, from every table and every earlier state of
it, from every version of every object. Without --apply nothing is changed: it says what there is.

What the device sent until now goes; what it sends from now on is new. Other devices' readings stay
as they are: an object that holds some is written again without the device, under a new key, and
exchanged in the ledger. A tombstone keeps the erased out of later runs, replays and redrives, and
tells the audit that they are not missing. What is erased can't be brought back.

Killed or refused on the way, it is finished by running it again. A run of the curation job does
the tables' part. While one, or a run of the summaries or the maintenance, is in progress, nothing
is erased; one of these that begins meanwhile is waited for.
"""

EXAMPLES = """\
examples:
  # what is there of it?
  python -m ops erase --stack-name iot-telemetry-lake --device truck-7
  # erase it; asks for the device id once more
  python -m ops erase --stack-name iot-telemetry-lake --device truck-7 --apply

Exit code: 0 done; 1 not all done, as stderr says; 2 wrongly called, or not confirmed.
"""

NOT_CONFIRMED = 2


def add_erase(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `erase` command's arguments."""
    parser = stack_command(
        commands,
        "erase",
        summary="remove a device from every zone and table, and keep it out",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--device", required=True, metavar="ID", type=device_id, help="the device")
    parser.add_argument("--apply", action="store_true", help="erase it; without, only look")
    parser.add_argument("--yes", action="store_true", help="do not ask for the device id again")
    parser.set_defaults(command=erase)


def erase(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Looks for a device, and erases it."""
    session = boto3.Session()
    now = datetime.now(UTC)
    stack = read_stack(session.client("cloudformation"), options.stack_name)
    s3, catalogue = session.client("s3"), catalogue_of(session)
    target = Target(options.device, now)
    superseded = superseded_keys(catalogue, stack.database_name)
    glue, logs = session.client("glue"), session.client("logs")

    def job_named(name: str) -> CurationJob:
        return CurationJob(name, glue, logs, time.sleep, progress)

    erasure = Erasure(
        s3,
        Search(s3, stack, target, superseded, progress),
        Tables(s3, stack, catalogue, progress),
        Erasures(s3, stack.curated_zone_bucket, stack.database_name),
        job_named(stack.curation_job_name),
        [job_named(name) for name in stack.other_job_names],
        progress,
    )
    findings = erasure.look()
    progress.clear()
    print("\n".join(lines_of(findings, target, stack.name, apply=options.apply)))
    if not options.apply:
        print("Nothing was changed. Run again with --apply to erase it; that can't be undone.")
        return 0
    if not (options.yes or is_confirmed(options.device, sys.stdin)):
        print("Not confirmed: nothing was changed.")
        return NOT_CONFIRMED
    erasure.run(findings, now)
    progress.clear()
    stream = session.client("kinesis").describe_stream_summary(StreamName=stack.stream_name)
    hours = stream["StreamDescriptionSummary"]["RetentionPeriodHours"]
    print("\n".join(removed_lines(findings, options.device, hours)))
    return 0


def is_confirmed(device: str, answers: TextIO) -> bool:
    """Whether the operator types the device's id."""
    print(
        f"This can't be undone. Type the device's id ({device}) to erase it: ", end="", flush=True
    )
    return answers.readline().strip() == device


def device_id(text: str) -> str:
    """A device id of the command line."""
    if not is_device_id(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no device id: 1 to 128 letters, digits and _ - : . @ +"
        )
    return text
