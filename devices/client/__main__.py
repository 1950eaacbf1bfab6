"""`python -m devices.client`: readings from standard input, a JSON object a line, to the lake.

Each line is answered on standard output with its sequence number once it is safe on disk; a line
that could not be queued is answered with `refused`. At the end of the input it waits for what is
queued, and leaves what could not be sent to the next run.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devices.client import (
    ClientSettings,
    ConnectionSettings,
    DeviceClient,
    MessageTooLargeError,
    Pace,
    QueueDamagedError,
    QueueFullError,
    QueueInUseError,
    WhenFull,
    by_mqtt,
)
from devices.connection import parse_endpoint

_EXAMPLE = """\
example:
  sensor | python -m devices.client --thing asset-001 --endpoint <host> \\
      --certificate asset-001.pem --private-key asset-001.key.pem --queue asset-001.queue
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    arguments = argparse.ArgumentParser(
        prog="python -m devices.client",
        description="Publish readings from standard input, one JSON object a line.",
        epilog=_EXAMPLE,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--thing", required=True, help="the thing's name, which is the client id")
    add("--endpoint", required=True, help="host or host:port of the broker")
    add("--ca-file", type=Path, help="the broker's authority (default: the system's)")
    add("--certificate", type=Path, required=True, metavar="FILE")
    add("--private-key", type=Path, required=True, metavar="FILE")
    add("--queue", type=Path, required=True, metavar="FILE", help="where readings wait")
    add(
        "--application",
        default=ClientSettings.application,
        help="second level of the topic (default: %(default)s)",
    )
    add("--basic-ingest", metavar="RULE", help="publish through $aws/rules/RULE/")
    add(
        "--max-queue-bytes",
        type=int,
        default=ClientSettings.max_queue_bytes,
        metavar="N",
        help="how much may wait, in bytes (default: %(default)s)",
    )
    add(
        "--when-full",
        type=WhenFull,
        choices=list(WhenFull),
        default=ClientSettings.when_full,
        help="what happens to a reading for which there is no room (default: %(default)s)",
    )
    add(
        "--rate",
        type=float,
        default=Pace.messages_per_second,
        metavar="N",
        help="messages a second at most (default: %(default)g)",
    )
    add(
        "--in-flight",
        type=int,
        default=Pace.max_in_flight,
        metavar="N",
        help="messages unacknowledged at most (default: %(default)s)",
    )
    add(
        "--longest-wait",
        type=float,
        default=Pace.longest_wait_seconds,
        metavar="SECONDS",
        help="between two attempts (default: %(default)g)",
    )
    add(
        "--patience",
        type=float,
        default=60,
        metavar="SECONDS",
        help="how long to wait at the end of the input (default: %(default)g)",
    )
    return arguments


def run(argv: Sequence[str]) -> int:
    """0 if everything was acknowledged, 1 if something was refused or waits for the next run."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        with DeviceClient(_settings(options), by_mqtt(_connection(options))) as client:
            refused = _publish_lines(client)
            is_sent = client.wait_until_sent(options.patience)
            print(f"{client.waiting} wait, {client.dropped} dropped", file=sys.stderr)
            if not is_sent and client.last_failure:
                print(f"devices.client: {client.last_failure}", file=sys.stderr)
    except (QueueInUseError, QueueDamagedError, ValueError, OSError) as error:
        print(f"devices.client: {error}", file=sys.stderr)
        return 1
    return 1 if refused or not is_sent else 0


def _publish_lines(client: DeviceClient) -> int:
    refused = 0
    for line in sys.stdin:
        try:
            answer = str(client.publish(_reading(line)))
        except (QueueFullError, MessageTooLargeError, ValueError) as error:
            refused += 1
            answer = "refused"
            print(f"devices.client: {error}", file=sys.stderr)
        print(answer, flush=True)
    return refused


def _reading(line: str) -> dict[str, Any]:
    reading = json.loads(line)
    if not isinstance(reading, dict):
        raise ValueError("a reading is a JSON object")  # noqa: TRY004 - the line's fault, no bug
    return reading


def _settings(options: argparse.Namespace) -> ClientSettings:
    return ClientSettings(
        thing_name=options.thing,
        queue_file=options.queue,
        application=options.application,
        max_queue_bytes=options.max_queue_bytes,
        when_full=options.when_full,
        pace=Pace(options.rate, options.in_flight, longest_wait_seconds=options.longest_wait),
    )


def _connection(options: argparse.Namespace) -> ConnectionSettings:
    return ConnectionSettings(
        endpoint=parse_endpoint(
            options.endpoint, options.ca_file, paced=".amazonaws.com" in options.endpoint
        ),
        certificate_file=options.certificate,
        private_key_file=options.private_key,
        longest_wait_seconds=options.longest_wait,
        basic_ingest_rule=options.basic_ingest,
    )


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
