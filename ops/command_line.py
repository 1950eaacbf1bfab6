"""What the commands share: how they are called, how they show progress, how a time is written."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TextIO


def stack_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A command about a deployed stack, which --stack-name names; it still needs its `command`."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--stack-name", required=True, metavar="NAME", help="the deployed stack")
    parser.set_defaults(parser=parser)
    return parser


class ProgressLine:
    """One line on a terminal that is written over; elsewhere a line for every hundredth step."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._steps = 0

    def __call__(self, text: str) -> None:
        self._steps += 1
        if self._out.isatty():
            self._out.write(f"\r\x1b[K{text}")
            self._out.flush()
        elif self._steps % 100 == 0:
            self._out.write(f"{text}\n")

    def clear(self) -> None:
        """Leave the terminal's line empty for what comes next."""
        if self._out.isatty() and self._steps:
            self._out.write("\r\x1b[K")
            self._out.flush()


def moment(text: str) -> datetime:
    """An ISO 8601 time of the command line; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time such as 2026-11-23T08:00Z"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
