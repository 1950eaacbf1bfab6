"""`python -m devices request`, `provision`, `claim` and `revoke`: who may speak."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from devices.bulk import WORKERS, Outcome, Pace, for_each
from devices.claim import ClaimFiles, claim_device
from devices.connection import parse_endpoint
from devices.device_list import read_devices
from devices.errors import DeviceError
from devices.keys import make_request
from devices.provisioning import Device, DeviceFiles, Registrar, pace_of
from devices.revocation import revoke_device

_REQUEST = """\
on the device, or on the machine that makes its firmware:
  python -m devices request --thing press-7 --folder /etc/telemetry

The key stays there. Take the request, press-7.csr.pem, to `python -m devices provision`.
"""
_PROVISION = """\
devices.csv (every column but thing and thing_type is an attribute):
  thing,site,model,owner
  press-7,harbour,TX-2,port
a fleet whose signing requests were collected in csr/ (<thing>.csr.pem):
  python -m devices provision --policy <stack output DevicePolicyName> --csv devices.csv \\
      --requests csr --folder certificates
a fleet that this machine plays itself, on the local cloud (after `make up`):
  . build/local/environment
  python -m devices provision --policy "$DEVICE_POLICY_NAME" --csv devices.csv

things without certificates, which the devices claim themselves:
  python -m devices provision --policy "$DEVICE_POLICY_NAME" --csv devices.csv --announce

Safe to run again: what is done stays, what is missing is done, and attributes become what the list
says. Progress goes to standard error, the account to standard output as JSON.
"""
_CLAIM = """\
on the device, whose thing was announced (`python -m devices provision --announce`):
  python -m devices claim --thing press-7 --claim-certificate claim.pem --claim-key claim.key.pem \\
      --template <output DeviceProvisioningTemplateName> --endpoint <device endpoint>

The files press-7.pem and press-7.key.pem are then its own. If no answer came, run it again: a
certificate that was activated all the same (press-7.*.pending.pem) is found and used.
"""
_REVOKE = """\
one device, or several:
  python -m devices revoke --thing press-7 --thing press-8
all of a list:
  python -m devices revoke --csv stolen.csv
"""
_DEFAULT_FOLDER: Final = Path("build/devices")
# Throttled calls wait up to 20 s, ten times; the quotas are shared with whoever else calls.
_PATIENT: Final = Config(
    retries={"mode": "standard", "max_attempts": 10}, max_pool_connections=WORKERS
)


def add_registry_commands(commands: Any) -> None:
    """The four commands, among the others of `python -m devices`."""
    request = _add(commands, "request", "a device's key, and the signing request for it", _REQUEST)
    add = request.add_argument
    add("--thing", required=True, action="append", metavar="NAME", help="may be given repeatedly")
    _folder(request, "where key and request are put")
    request.set_defaults(command=_request)

    provision = _add(
        commands, "provision", "things, certificates and the policy, from a CSV", _PROVISION
    )
    add = provision.add_argument
    add("--policy", required=True, help="the IoT policy of the stack's output DevicePolicyName")
    add("--csv", type=Path, required=True, metavar="FILE", help="the devices, one a line")
    add("--requests", type=Path, metavar="FOLDER", help="the devices' signing requests")
    _folder(provision, "where certificates are put")
    add("--announce", action="store_true", help="things alone: the devices claim certificates")
    add("--rate", type=_positive, help="devices a second (default: what AWS's quotas allow)")
    provision.set_defaults(command=_provision)

    claim = _add(commands, "claim", "a device's first certificate, on the device", _CLAIM)
    add = claim.add_argument
    add("--thing", required=True, metavar="NAME", help="which announced thing the device is")
    add("--template", required=True, help="the stack's output DeviceProvisioningTemplateName")
    add("--claim-certificate", type=Path, required=True, metavar="FILE")
    add("--claim-key", type=Path, required=True, metavar="FILE")
    add("--endpoint", required=True, help="host or host:port: `aws iot describe-endpoint` has it")
    add("--ca-file", type=Path, help="the broker's authority (default: the system's)")
    _folder(claim, "where key and certificate are put")
    claim.set_defaults(command=_claim)

    revoke = _add(commands, "revoke", "certificates, so that a device cannot speak", _REVOKE)
    add = revoke.add_argument
    add("--thing", action="append", default=[], metavar="NAME", help="may be given repeatedly")
    add("--csv", type=Path, metavar="FILE", help="a list as for provision")
    add("--rate", type=_positive, help="devices a second (default: what AWS's quotas allow)")
    revoke.set_defaults(command=_revoke)


def _add(commands: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{name.capitalize()} {text}.",
        epilog=examples,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _folder(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "--folder", type=Path, default=_DEFAULT_FOLDER, help=f"{text} (default: %(default)s)"
    )


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("more than 0")
    return value


def _request(options: argparse.Namespace) -> int:
    for thing in options.thing:
        files = DeviceFiles(options.folder, thing)
        request = make_request(thing, files.private_key)
        files.request.write_text(request)
        print(files.request)
    return 0


def _provision(options: argparse.Namespace) -> int:
    devices = read_devices(options.csv)
    iot = boto3.client("iot", config=_PATIENT)
    # A wrong name shows at once, not as the failure of every device.
    iot.get_policy(policyName=options.policy)
    registrar = Registrar(iot, options.policy, options.folder, options.requests)
    pace = Pace(options.rate or pace_of(iot))
    if options.announce:
        return _told("announced", devices, registrar.announce, pace)
    return _told("registered", devices, registrar.register, pace)


def _claim(options: argparse.Namespace) -> int:
    endpoint = parse_endpoint(options.endpoint, options.ca_file)
    claim = ClaimFiles(options.claim_certificate, options.claim_key)
    files = claim_device(endpoint, claim, options.template, options.thing, options.folder)
    print(files.certificate)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    devices = [Device(name) for name in options.thing]
    if options.csv:
        devices += read_devices(options.csv)
    if not devices:
        raise DeviceError("name what to revoke: --thing or --csv")
    iot = boto3.client("iot", config=_PATIENT)
    pace = Pace(options.rate or pace_of(iot))
    return _told("revoked", devices, lambda device: revoke_device(iot, device.thing_name), pace)


def _told(done: str, devices: list[Device], act: Callable[[Device], object], pace: Pace) -> int:
    """Do it for every device and tell what came of it; 0 if all of it is done."""
    started = time.monotonic()

    def progress(through: int, of: int) -> None:
        end = "\n" if through == of else ""
        print(f"\r{through} of {of} devices", end=end, file=sys.stderr, flush=True)

    outcome = for_each(devices, act, pace, progress)
    account = {
        done: len(outcome.done),
        "failed": {each.thing_name: str(error) for each, error in outcome.failed.items()},
        "left": len(devices) - len(outcome.done) - len(outcome.failed),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(account, indent=2))
    return 0 if _is_complete(outcome, devices) else 1


def _is_complete(outcome: Outcome[Device, Any], devices: list[Device]) -> bool:
    if len(outcome.done) == len(devices):
        return True
    missing = len(devices) - len(outcome.done)
    print(
        f"\n{missing} of {len(devices)} devices are not done; mend the cause and run again, "
        "which takes up where this ended",
        file=sys.stderr,
    )
    return False
