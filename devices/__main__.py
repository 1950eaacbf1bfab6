"""The fleet's commands: `python -m devices <command> --help`."""

import argparse
import sys
from collections.abc import Callable, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from devices.connection import ConnectionRefused
from devices.direct_producer import NotPut, add_produce
from devices.errors import DeviceError
from devices.registry_commands import add_registry_commands
from devices.simulate import add_simulate

_EPILOG = """\
The same commands act on AWS (credentials and region as for the AWS CLI) and, after `make up` and
`. build/local/environment`, on the local cloud.
"""


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    arguments = argparse.ArgumentParser(
        prog="python -m devices",
        description="Commands for devices: who they are, and what they send.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = arguments.add_subparsers(required=True, metavar="COMMAND")
    add_registry_commands(commands)
    add_simulate(commands)
    add_produce(commands)
    return arguments


def run(argv: Sequence[str]) -> int:
    """The command line; returns the exit code: 0 done, 1 not all done, 2 wrongly called."""
    options = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    caused_outside = (DeviceError, ClientError, BotoCoreError, ConnectionRefused, NotPut)
    try:
        return command(options)
    except (*caused_outside, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
