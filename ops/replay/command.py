"""`ops replay`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import re
import time
from datetime import UTC, date, datetime
from pathlib import Path

import boto3

from ops.audit.catalogue import catalogue_of
from ops.command_line import ProgressLine, stack_command
from ops.delivery import Function
from ops.errors import OperationError
from ops.exchange import superseded_keys
from ops.redrive.rejected import limits_of
from ops.replay.interpret import Choice, Interpretation
from ops.replay.report import lines_of, reread_lines
from ops.replay.run import Replay, Selection
from ops.stack import Stack, read_stack

DESCRIPTION = """\
Build readings anew from raw: a range of days, a device, or raw objects by name. After a change of
the device registry or of the job, or when raw objects were restored.

With --interpret-again the stored payloads are read again by the contract as it is here (it has to
be the deployed one), under the deployed function's settings: so that a mended contract reaches what
is in raw already. Objects that read differently are written anew and exchanged in the ledger; what
is rejected now goes to the rejected zone and leaves the tables. An object is exchanged whole, also
where the days or the device choose only some of its rows.

Without --apply nothing is changed: the command says, day by day, what would be added, removed and
changed. With --apply each day that differs is swapped at once; who reads meanwhile sees it as it
was or as it is. It is a run of the curation job, so none may be running. The same replay again
changes nothing; one that was stopped is finished by running it again.
"""

EXAMPLES = """\
examples:
  # what would become of three days?
  python -m ops replay --stack-name iot-telemetry-lake --days 2026-11-01:2026-11-03
  # do it, for one device
  python -m ops replay --stack-name iot-telemetry-lake --days 2026-11-01:2026-11-03 \\
      --device truck-7 --apply
  # take what was too old for the limit of age into readings after all
  python -m ops replay --stack-name iot-telemetry-lake --late --apply
  # after a contract fix was deployed: what would it make of November?
  python -m ops replay --stack-name iot-telemetry-lake --interpret-again \\
      --days 2026-11-01:2026-11-30

Exit code: 0 done; 1 not done, as stderr says; 2 wrongly called.
"""


def add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `replay` command's arguments."""
    parser = stack_command(
        commands,
        "replay",
        summary="build days, a device or raw objects anew from raw",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--days", type=days_of, metavar="FIRST:LAST", help="days of event time (UTC), both included"
    )
    parser.add_argument("--device", metavar="ID", help="one device")
    parser.add_argument(
        "--objects", type=Path, metavar="FILE", help="raw objects: a file with one key a line"
    )
    parser.add_argument("--late", action="store_true", help="rows of late_readings instead of raw")
    parser.add_argument(
        "--interpret-again",
        action="store_true",
        help="first read the stored payloads again, by the contract as it is now",
    )
    parser.add_argument("--apply", action="store_true", help="do it; without, only say what")
    parser.set_defaults(command=replay)


def replay(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Runs a replay."""
    if not (options.days or options.device or options.objects or options.late) and not (
        options.interpret_again
    ):
        options.parser.error("say what to replay: --days, --device, --objects or --late")
    if options.late and options.objects:
        options.parser.error("--late is about late_readings, which know no objects")
    if options.late and options.interpret_again:
        options.parser.error("--interpret-again is about raw objects, --late is not")
    selection = Selection(options.days, options.device, keys_in(options.objects), late=options.late)
    session = boto3.Session()
    stack = read_stack(session.client("cloudformation"), options.stack_name)
    job = Replay(
        job_name=stack.curation_job_name,
        curated_bucket=stack.curated_zone_bucket,
        glue=session.client("glue"),
        logs=session.client("logs"),
        s3=session.client("s3"),
        pause=time.sleep,
        progress=progress,
    )
    if options.interpret_again:
        return interpret_again(job, selection, stack, session, apply=options.apply)
    outcome = job.run(selection, datetime.now(UTC), apply=options.apply)
    progress.clear()
    print("\n".join(lines_of(outcome, stack.name)))
    return 0


def interpret_again(
    job: Replay, selection: Selection, stack: Stack, session: boto3.Session, *, apply: bool
) -> int:
    """Interprets raw objects again, and replays those that read differently."""
    function = Function(session.client("lambda"), stack.function_name)
    limits = limits_of(function.environment(), function.name)
    superseded = superseded_keys(catalogue_of(session), stack.database_name)
    first, _, last = (selection.days or "").partition(":")
    days = (date.fromisoformat(first), date.fromisoformat(last)) if first else None
    choice = Choice(days, selection.device, frozenset(selection.objects))
    interpretation = Interpretation(job.s3, stack, limits, superseded, job.progress)
    if apply:
        job.job.require_free()  # or it might take the new objects beside the old ones
    reread = interpretation.run(choice, apply=apply)
    lines = list(reread_lines(reread, stack.name, apply=apply))
    if apply and reread.exchanges:
        outcome = job.exchange(reread.exchanges, datetime.now(UTC))
        lines += lines_of(outcome, stack.name)
    print("\n".join(lines))
    return 0


def days_of(text: str) -> str:
    """FIRST:LAST, or one day, as the job takes it."""
    first, _, last = text.partition(":")
    try:
        if date.fromisoformat(first) > date.fromisoformat(last or first):
            raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no range of days such as 2026-11-01:2026-11-03"
        ) from error
    return f"{first}:{last or first}"


def keys_in(file: Path | None) -> tuple[str, ...]:
    """The keys in a file, one a line; OperationError if there are none."""
    if file is None:
        return ()
    try:
        keys = tuple(line for line in re.split(r"\r?\n", file.read_text().strip()) if line)
    except (OSError, UnicodeDecodeError) as error:
        raise OperationError(f"{file} cannot be read: {error}") from error
    if not keys:
        raise OperationError(f"{file} holds no keys: one a line, as `ops audit --json` names them")
    return keys
