"""`ops cost`: its arguments."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import boto3

from ops.command_line import ProgressLine
from ops.cost.advice import advice_of
from ops.cost.load import Load, Way
from ops.cost.prices import PriceTable, read_prices
from ops.cost.reckoning import bill_of, firehose_bill_of
from ops.cost.report import Reckoned, json_of, lines_of
from ops.cost.settings import Settings, deployed_parameters, read_settings

DESCRIPTION = """\
Reckon the monthly bill of a load, by service, from the dated price table ops/cost/prices.toml, and
set it beside the same load with Firehose instead of stream and function; name settings that cost
more than they need to. Nothing is asked of AWS, unless a stack's name is given.

Settings are the parameters of template.yaml with their defaults, or the values of a deployed stack
(--stack-name); --parameter changes one of them.
"""

EXAMPLES = """\
examples:
  # 1,000 devices, each a message of 200 bytes a minute
  python -m ops cost --messages-per-second 16.67 --payload-bytes 200 --devices 1000
  # the same without the crawler, on one shard, over Basic Ingest
  python -m ops cost --messages-per-second 16.67 --payload-bytes 200 --way basic-ingest \\
      --parameter CrawlRawZone=false --parameter StreamMode=PROVISIONED
  # the settings of a deployed stack, prices of your Region or contract, for a program
  python -m ops cost --messages-per-second 500 --payload-bytes 1000 \\
      --stack-name iot-telemetry-lake --prices my-prices.toml --json

Exit code: 0 reckoned; 1 not, as stderr says; 2 wrongly called.
"""


def add_cost(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `cost` command's arguments."""
    parser = commands.add_parser(
        "cost",
        help="reckon the monthly bill of a load, beside Firehose",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_load(parser.add_argument_group("the load"))
    _add_settings(parser.add_argument_group("the settings and the prices"))
    parser.add_argument("--json", action="store_true", help="all of it, as one JSON object")
    parser.set_defaults(command=cost, parser=parser)


def _add_load(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--messages-per-second", type=amount, required=True, metavar="N", help="all month long")
    add("--payload-bytes", type=whole, required=True, metavar="N", help="size of a message")
    add(
        "--readings-per-message",
        type=whole,
        default=1,
        metavar="N",
        help="elements of a message that is a JSON array (default: %(default)s)",
    )
    add(
        "--devices",
        type=whole,
        metavar="N",
        help="devices that stay connected (default: one for each message a minute)",
    )
    add(
        "--way",
        type=Way,
        choices=list(Way),
        default=Way.MQTT,
        help="how messages come to the stream (default: %(default)s)",
    )
    add(
        "--rejected-percent",
        type=amount,
        default=0.0,
        metavar="N",
        help="readings that break the contract (default: %(default)g)",
    )
    add(
        "--months-kept",
        type=amount,
        default=1.0,
        metavar="N",
        help="months of readings that lie in the zones (default: %(default)g)",
    )
    add(
        "--firehose-partitions",
        type=whole,
        default=0,
        metavar="N",
        help="Firehose partitions dynamically, into so many at a time (default: it does not)",
    )


def _add_settings(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--stack-name", metavar="NAME", help="a deployed stack, whose parameters count")
    add(
        "--parameter",
        type=parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of template.yaml; may be given more than once",
    )
    add("--prices", type=Path, metavar="FILE", help="prices (TOML) to lay over the project's")


def cost(options: argparse.Namespace, progress: ProgressLine) -> int:
    """Prints the bill."""
    del progress  # nothing takes long
    if options.rejected_percent > 100:
        options.parser.error("--rejected-percent cannot be more than 100")
    deployed = None
    if options.stack_name:
        deployed = deployed_parameters(boto3.client("cloudformation"), options.stack_name)
    reckoned = reckon(
        load_of(options),
        read_settings(dict(options.parameter), deployed),
        read_prices(options.prices),
        partitions=options.firehose_partitions,
    )
    print(json_of(reckoned) if options.json else "\n".join(lines_of(reckoned)))
    return 0


def reckon(load: Load, settings: Settings, prices: PriceTable, *, partitions: int = 0) -> Reckoned:
    """Both bills and the advice for a load."""
    return Reckoned(
        load,
        settings,
        prices,
        bill_of(load, settings, prices),
        firehose_bill_of(load, settings, prices, partitions=partitions),
        advice_of(load, settings, prices),
    )


def load_of(options: argparse.Namespace) -> Load:
    """The load that the command line describes."""
    by_the_minute = math.ceil(round(options.messages_per_second * 60, 6))
    return Load(
        messages_per_second=options.messages_per_second,
        payload_bytes=options.payload_bytes,
        readings_per_message=options.readings_per_message,
        devices=by_the_minute if options.devices is None else options.devices,
        way=options.way,
        rejected_share=options.rejected_percent / 100,
        months_kept=options.months_kept,
    )


def amount(text: str) -> float:
    """A number, 0 or more."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return value


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def parameter(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
