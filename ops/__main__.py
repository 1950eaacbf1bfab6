"""The operator's commands: `python -m ops <command> --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from ops.audit.command import add_audit
from ops.command_line import ProgressLine
from ops.cost.command import add_cost
from ops.erase.command import add_erase
from ops.errors import OperationError
from ops.history.command import add_import
from ops.pause.command import add_pause
from ops.redrive.command import add_redrive
from ops.replay.command import add_replay

DESCRIPTION = """\
Commands for whoever runs a deployed stack: look after what it holds, and mend it.

redrive, replay, import and erase change something only with --apply; without, they say what they
would do. pause and resume act at once. audit and cost change nothing. Every command may be stopped
and run again.
"""

EPILOG = """\
`python -m ops COMMAND --help` has a command's arguments, examples and exit codes. The account and
the region are those of the AWS SDK (AWS_PROFILE, AWS_REGION). For the local cloud, first
  . build/local/environment
"""


def run(arguments: Sequence[str], progress: ProgressLine | None = None) -> int:
    """The command line; returns the exit code: 0 done, 1 not all done, 2 wrongly called."""
    parser = argparse.ArgumentParser(
        prog="python -m ops",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_redrive(commands)
    add_audit(commands)
    add_replay(commands)
    add_import(commands)
    add_pause(commands)
    add_cost(commands)
    add_erase(commands)
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace, ProgressLine], int] = options.command
    progress = progress or ProgressLine(sys.stderr)
    try:
        return command(options, progress)
    except (OperationError, ClientError, BotoCoreError) as error:
        progress.clear()
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
