"""The local cloud's commands: `python -m local up|down|status|demo|fleet|fault`; the Makefile calls
most of them."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from local.faults.command import lines as fault_lines
from local.faults.command import parser as fault_parser
from local.faults.faults import ACTION_KINDS
from local.lifecycle import DEVICE_PORT, ENDPOINT_PORT, FOLDER, LifecycleError, LocalCloud
from local.progress import Progress


def up(arguments: Sequence[str]) -> int:
    """Start the local cloud, deploy the template, and leave both there."""
    parser = argparse.ArgumentParser(prog="python -m local up", description=up.__doc__)
    parser.add_argument(
        "--port", type=int, default=ENDPOINT_PORT, help="of AWS's services (default: %(default)s)"
    )
    parser.add_argument(
        "--device-port",
        type=int,
        default=DEVICE_PORT,
        help="of the MQTT broker (default: %(default)s)",
    )
    parser.add_argument(
        "--for-containers",
        action="store_true",
        help="answer on Docker's bridge too, and write sam-local.json for `sam local invoke`",
    )
    given = parser.parse_args(arguments)
    cloud = LocalCloud(
        FOLDER,
        port=given.port,
        device_port=given.device_port,
        bound=False,
        for_containers=given.for_containers,
    )
    if cloud.is_up:
        print(f"The local cloud is up already, at {cloud.endpoint} (make down ends it).")
        return 0
    # Also where a shell started this in the background, with Ctrl-C's signal ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    progress = Progress(("start", "deploy", "device"), sys.stdout)
    try:
        with progress.stage("start", "start the local cloud") as stage:
            cloud.start(stage.show)
        with progress.stage("deploy", "deploy template.yaml (sam deploy)") as stage:
            outputs = cloud.deploy(stage.show)
        with progress.stage("device", "register a device"):
            environment = cloud.write_environment(outputs)
    except BaseException:  # Ctrl-C too: nothing may stay behind; raised again
        cloud.stop()
        raise
    device = cloud.device_endpoint()
    print(
        f"""
The local cloud is up.
  AWS services   {cloud.endpoint}  (credentials: testing / testing, region {cloud.region})
  devices        mqtts://{device.host}:{device.port}
  dashboards     {cloud.endpoint}/_local/dashboards
  stack          {cloud.stack}, stream {outputs["TelemetryStreamName"]}
  logs           {_shown(cloud.folder / "logs")}

  . {_shown(environment)}    and the AWS CLI and SDKs act on it, until: make down"""
    )
    return 0


def down(arguments: Sequence[str]) -> int:
    """End the local cloud; what it held is gone."""
    argparse.ArgumentParser(prog="python -m local down", description=down.__doc__).parse_args(
        arguments
    )
    was_up = LocalCloud(FOLDER).stop()
    print("The local cloud is down." if was_up else "The local cloud was not up.")
    return 0


def status(arguments: Sequence[str]) -> int:
    """Say what the local cloud is doing."""
    argparse.ArgumentParser(prog="python -m local status", description=status.__doc__).parse_args(
        arguments
    )
    cloud = LocalCloud(FOLDER)
    if not cloud.is_up:
        print("The local cloud is not up.")
        return 1
    told = cloud.status()
    print(f"up at {cloud.endpoint}")
    intake = told["intake"]
    print(f"broker {intake['broker']} at {intake['endpoint']}, {intake['received']:,} messages")
    for mapping in told["mappings"]:
        behind = "?" if mapping["behind"] is None else f"{mapping['behind']:,}"
        print(f"mapping {mapping['state'].lower()}, {behind} behind: {mapping['last_result']}")
    for name, run in told["workflows"].items():
        # A workflow is COMPLETED however its jobs ended.
        told_of_run = [str(run["status"] or "never ran").lower(), *run["unsuccessful"]]
        print(f"workflow {name}: {', '.join(told_of_run)}")
    for line in fault_lines(told["faults"]):
        print(f"fault {line}")
    return 0


def fault(arguments: Sequence[str]) -> int:
    """Inject a fault, list what was injected, or clear it."""
    settings = vars(fault_parser().parse_args(arguments))
    kind = settings.pop("kind")
    cloud = LocalCloud(FOLDER)
    if kind == "list":
        print("\n".join(fault_lines(cloud.faults())) or "There are no faults.")
    elif kind == "clear":
        print(f"{cloud.clear_faults(settings.get('cleared', ''))} cleared")
    elif kind in ACTION_KINDS:
        print(f"{cloud.inject(kind, **settings)}: done")
    else:
        name = cloud.inject(kind, **settings)
        print(f"{name}: waits for its calls; how often it has struck: python -m local fault list")
    return 0


def demo(arguments: Sequence[str]) -> int:
    """Run everything once."""
    from local.demo.demo import run

    return run(arguments)


def fleet(arguments: Sequence[str]) -> int:
    """Try a simulated fleet on a bad day."""
    from local.demo.fleet_trial import run

    return run(arguments)


def serve(arguments: Sequence[str]) -> int:
    """Be the local cloud's process (`up` and `demo` start it)."""
    parser = argparse.ArgumentParser(prog="python -m local serve", description=serve.__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--device-port", type=int, default=0)
    parser.add_argument("--bound-to", type=int, metavar="PID", help="end with this parent process")
    parser.add_argument("--also-on", help="another address of this machine to answer on")
    parser.add_argument("--throttling", action="store_true", help="with Kinesis's shard limits")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Everything of AWS's is imported by this, which only this command needs.
    from local.cloud import CloudSettings
    from local.cloud import serve as serve_cloud

    settings = CloudSettings(
        given.folder, given.port, given.device_port, given.throttling, given.also_on
    )
    return serve_cloud(settings, given.bound_to)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "up": up,
    "down": down,
    "status": status,
    "demo": demo,
    "fleet": fleet,
    "fault": fault,
    "serve": serve,
}


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def usage() -> str:
    """All commands, each with what it does."""
    told = (f"  {name:<8} {(run.__doc__ or '').splitlines()[0]}" for name, run in COMMANDS.items())
    return "\n".join(
        (
            "usage: python -m local COMMAND [--help]",
            "",
            "The local cloud: template.yaml on this machine.",
            "",
            *told,
        )
    )


def run_command(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` begin with; the exit code."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        return COMMANDS[name](rest)
    except LifecycleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:]))
