"""`python -m devices simulate`: registers a fleet and lets it publish, locally or to AWS."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from devices.behaviour import Habits, Period, plan_behaviour
from devices.connection import Endpoint, parse_endpoint
from devices.fleet import FleetConfig, FleetResult, devices_in_replay, replay_file, run_fleet
from devices.messages import Shares
from devices.provisioning import DeviceCredentials, provision_fleet
from devices.schedule import Published, connected, publish

_EXAMPLES = """\
against the local cloud (after `make up`):
  . build/local/environment
  python -m devices simulate --policy "$DEVICE_POLICY_NAME" --ca-file "$DEVICE_CA" \\
      --devices 20 --messages 10000
against AWS (credentials and region as for the AWS CLI):
  python -m devices simulate --policy <stack output DevicePolicyName> --devices 5 --messages 1000
a fleet that does wrong on purpose for five minutes, and writes down what it did:
  python -m devices simulate --policy ... --devices 100 --minutes 5 --truth truth.json
a file of readings, each published by its own device:
  python -m devices simulate --policy ... --replay readings.json

Progress goes to standard error, the account of the run to standard output as JSON.
"""


def add_simulate(commands: Any) -> None:
    """The command's arguments, among the others of `python -m devices`."""
    arguments = commands.add_parser(
        "simulate",
        help="a fleet of MQTT devices, or a file as one",
        description="Simulate a fleet of MQTT devices, or replay a file as one.",
        epilog=_EXAMPLES,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--policy", required=True, help="the IoT policy of the stack's output DevicePolicyName")
    _number(add, "--devices", 20, "how many devices to simulate")
    _number(add, "--messages", 10_000, "how many to send in all")
    _number(add, "--seed", 7, "the same seed sends the same fleet")
    _number(add, "--duplicates", Shares.duplicates, "share sent twice, 0 to 1")
    _number(add, "--bad", Shares.bad, "share that breaks the contract")
    _number(add, "--late", Shares.late, "share that is hours or days old")
    add("--replay", type=Path, metavar="FILE", help="publish this JSON array of readings instead")
    add(
        "--minutes",
        type=float,
        help="live for so long, with drops, disorder, silence: docs/fleet.md",
    )
    _number(add, "--interval", 5.0, "seconds between readings with --minutes")
    add("--truth", type=Path, metavar="FILE", help="where --minutes writes down what devices did")
    add("--application", help="second level of the topic (default: fleet; with --replay sensors)")
    add("--basic-ingest", metavar="RULE", help="publish through $aws/rules/RULE/")
    add("--endpoint", help="host or host:port (default: what DescribeEndpoint says)")
    add("--ca-file", type=Path, help="the broker's authority (default: the system's)")
    add(
        "--certificates",
        type=Path,
        default=Path("build/devices"),
        help="where the devices' certificates and keys are kept (default: %(default)s)",
    )
    arguments.set_defaults(command=_simulate)


def _number(add: Callable[..., object], option: str, default: float, text: str) -> None:
    """An option with a number, of the default's type, that its help tells."""
    add(
        option,
        type=type(default),
        default=default,
        metavar="N",
        help=f"{text} (default: {default})",
    )


def _simulate(options: argparse.Namespace) -> int:
    """Register, publish, print the account; 0 if every message was acknowledged."""
    if options.minutes and options.replay:
        raise ValueError("--minutes and --replay: a file has no minutes to live")
    result = _run(options)
    print(json.dumps(asdict(result), indent=2))
    return 0 if result.acknowledged == result.sent else 1


def _run(options: argparse.Namespace) -> FleetResult | Published:
    iot = boto3.client("iot")
    address = (
        options.endpoint or iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    )
    # IoT Core discards what exceeds its limits; another broker has its own.
    paced = ".amazonaws.com" in address
    endpoint = parse_endpoint(address, options.ca_file, paced)
    if options.replay:
        names = devices_in_replay(options.replay)
    else:
        names = tuple(f"tracker-{number:04}" for number in range(1, options.devices + 1))
    print(f"registering {len(names)} devices", file=sys.stderr)
    devices = provision_fleet(iot, names, options.policy, options.certificates)
    if options.replay:
        return replay_file(
            options.replay, endpoint, devices, options.application or "sensors", _show
        )
    if options.minutes:
        return _live(options, endpoint, devices)
    config = FleetConfig(
        endpoint=endpoint,
        devices=devices,
        now=datetime.now(UTC),
        seed=options.seed,
        messages=options.messages,
        shares=Shares(duplicates=options.duplicates, bad=options.bad, late=options.late),
        application=options.application or "fleet",
        rule_name=options.basic_ingest,
    )
    return run_fleet(config, _show)


def _live(
    options: argparse.Namespace, endpoint: Endpoint, devices: tuple[DeviceCredentials, ...]
) -> Published:
    """Let the fleet live, each reading in its moment, and write down what it did."""
    prefix = f"$aws/rules/{options.basic_ingest}/" if options.basic_ingest else ""
    with connected(endpoint, devices) as speakers:
        period = Period(datetime.now(UTC), options.minutes * 60)
        names = tuple(device.thing_name for device in devices)
        fleet = plan_behaviour(names, period, options.seed, Habits(options.interval))
        if options.truth:
            options.truth.write_text(json.dumps(fleet.truth.as_json(), indent=1))
        topic = f"{prefix}dt/{options.application or 'fleet'}"
        return publish(fleet.publications, speakers, topic, progress=_show)


def _show(acknowledged: int, expected: int) -> None:
    end = "\n" if acknowledged == expected else ""
    print(f"\r{acknowledged} of {expected} acknowledged", end=end, file=sys.stderr, flush=True)
