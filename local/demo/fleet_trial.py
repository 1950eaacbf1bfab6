"""`make fleet`: a simulated fleet on a bad day, and whether the lake's figures are the truth.

A local cloud of its own gets the template; a thousand devices, each with its certificate, publish
over mutual TLS what `devices.behaviour` has planned for them, while the services fail by a schedule
from the seed; the workflow curates, and is killed once on the way. Guarantees: exits 0 only if
every message was acknowledged, every fault struck and every figure equals; however it ends, so does
every process that it started.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import boto3
from botocore.config import Config

from devices.behaviour import FEWEST_READINGS, Habits, Period, Simulation, plan_behaviour
from devices.bulk import WORKERS, Pace, for_each
from devices.connection import ConnectionRefused
from devices.provisioning import Device, DeviceCredentials, Registrar
from devices.schedule import Published, Speaker, connected, publish
from local.demo import lake as lakes
from local.demo.bad_day import Weather, bad_day
from local.demo.curation import CurationError, curate, run_job, run_workflow
from local.demo.demo import DemoError, begin_clean, interrupt, interruptible, undisturbed
from local.demo.fleet_figures import figures_of
from local.demo.lake import Lake, StreamCounter
from local.demo.verdict import LakeFigures, Verdict, differing_hours, redelivered, verdicts
from local.lifecycle import LocalCloud
from local.progress import Progress, Stage, table

FOLDER: Final = Path("build/fleet")
STAGES: Final = (
    *("cloud", "deploy", "provision", "connect", "plan", "publish"),
    *("ingest", "curate", "silence", "compare"),
)
# Devices that fall silent do so in the first four tenths, and nothing is late by the rest.
_SILENT_BEFORE: Final = 0.65
# Nothing new in the stream for so long, and nothing behind: everything is through.
_QUIET_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 180.0
_CURATION_SECONDS: Final = 1_800.0
_METRIC_SECONDS: Final = 60.0  # the dashboards have one value of a metric in each
# What planning takes, a message; the fleet's clock starts after it.
_PLANNING_SECONDS: Final = 0.0003


@dataclass(frozen=True)
class TrialOptions:
    """How large a trial is."""

    folder: Path = FOLDER
    devices: int = 1_000
    minutes: float = 10.0
    interval_seconds: float = 5.0
    seed: int = 7
    has_faults: bool = True
    kills_job: bool = True
    # Someone looks at the dashboards at its end. To the workflow's summary nobody is silent, and it
    # must not share its minute, which has one value, with the summary that tells silence.
    is_watched: bool = False

    @property
    def seconds(self) -> float:
        """For how long devices publish."""
        return self.minutes * 60


@dataclass(frozen=True)
class Life:
    """What the fleet was planned to do, and what came of it between two moments of this machine."""

    simulation: Simulation
    published: Published
    began_at: datetime
    ended_at: datetime
    problems: Sequence[str]
    injected_at: Mapping[str, datetime]


@dataclass(frozen=True)
class Trial:
    """What came out."""

    verdicts: Sequence[Verdict]
    simulation: Simulation
    published: Published
    figures: LakeFigures
    problems: Sequence[str] = ()
    fired: Mapping[str, int] = field(default_factory=dict)
    injected_at: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def is_passed(self) -> bool:
        """Whether the lake told the truth, and all of the trial took place."""
        return not self.problems and all(verdict.is_equal for verdict in self.verdicts)


# What is done with a trial that is over, while its cloud is still there; with the stack's outputs.
type AtEnd = Callable[[LocalCloud, Mapping[str, str], Trial], None]


def nothing_more(_: LocalCloud, __: Mapping[str, str], ___: Trial) -> None:
    """Leave it at the trial."""


def parser() -> argparse.ArgumentParser:
    """The arguments of `python -m local fleet`."""
    arguments = argparse.ArgumentParser(prog="python -m local fleet", description=__doc__)
    add = arguments.add_argument
    add("--devices", type=int, default=TrialOptions.devices, help="how many (default: %(default)s)")
    add(
        "--minutes",
        type=float,
        default=TrialOptions.minutes,
        help="how long devices publish (default: %(default)g)",
    )
    add(
        "--interval",
        type=float,
        default=TrialOptions.interval_seconds,
        help="seconds between a device's readings (default: %(default)g)",
    )
    add(
        "--seed",
        type=int,
        default=TrialOptions.seed,
        help="the same seed, the same bad day (default: %(default)s)",
    )
    add("--no-faults", action="store_true", help="only the devices do wrong")
    add("--folder", type=Path, default=FOLDER, help="where its files go (default: build/fleet)")
    return arguments


def run(argv: Sequence[str], at_end: AtEnd = nothing_more) -> int:
    """Run the trial for the command line, print what came out, then `at_end`; the exit code."""
    given = parser().parse_args(argv)
    options = TrialOptions(
        *(given.folder, given.devices, given.minutes, given.interval, given.seed),
        has_faults=not given.no_faults,
        is_watched=at_end is not nothing_more,
    )

    def end(cloud: LocalCloud, outputs: Mapping[str, str], trial: Trial) -> None:
        show(trial, options.folder, sys.stdout)
        at_end(cloud, outputs, trial)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        trial = try_fleet(options, sys.stdout, end)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", flush=True)
        # Devices may still be waiting for a broker that is gone: don't wait for them.
        os._exit(130)
    except (DemoError, CurationError, ConnectionRefused, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if trial.is_passed else 1


def try_fleet(options: TrialOptions, out: TextIO, at_end: AtEnd = nothing_more) -> Trial:
    """The whole trial, and `at_end`, on a local cloud of its own."""
    shortest = 4.5 * FEWEST_READINGS * options.interval_seconds / 60
    if options.minutes < shortest or options.devices < 1:
        raise DemoError(f"with this interval a trial takes {shortest:.1f} minutes and a device")
    progress = Progress(STAGES, out)
    cloud = LocalCloud(options.folder)
    try:
        begin_clean(cloud, options.folder)
        with progress.stage("cloud", "start the local cloud") as stage:
            cloud.start(stage.show)
        with progress.stage("deploy", "deploy template.yaml (sam deploy)") as stage:
            outputs = cloud.deploy(stage.show)
        trial = trial_on(cloud, outputs, options, progress)
        at_end(cloud, outputs, trial)
        return trial
    finally:
        with undisturbed():
            cloud.stop()


def trial_on(
    cloud: LocalCloud, outputs: Mapping[str, str], options: TrialOptions, progress: Progress
) -> Trial:
    """The trial on a cloud that is there."""
    lake = lakes.lake_of(outputs, cloud.endpoint, cloud.region)
    names = tuple(f"fleet-{number:04}" for number in range(1, options.devices + 1))
    with progress.stage("provision", "register the devices") as stage:
        devices = _provision(cloud, lake, names, outputs["DevicePolicyName"], stage)
    before = StreamCounter(lake, outputs["TelemetryStreamName"]).count()
    life = interruptible(partial(_live, cloud, devices, options, progress))
    truth, problems = life.simulation.truth, list(life.problems)
    with progress.stage("ingest", "stream to raw zone") as stage:
        wait_until_quiet(cloud, lake, outputs, before + life.published.sent, stage)
    with progress.stage("curate", "crawl, curate, summarise (Glue workflow)") as stage:
        _curate(cloud, lake, outputs, options, stage)
    fired = {fault["name"]: fault["fired"] for fault in cloud.faults()}
    problems += [f"{name} never struck" for name, count in fired.items() if not count]
    with progress.stage("silence", "who is silent (summary job)") as stage:
        if options.is_watched:
            stage.show("waits for the next minute")
            # Both summaries within one minute would be one point on a chart: all devices active.
            time.sleep(_METRIC_SECONDS - time.time() % _METRIC_SECONDS)
        _tell_silence(lake, outputs, life, stage)
    with progress.stage("compare", "compare truth and lake"):
        figures = figures_of(lake, names)
        found = verdicts(truth, figures)
    if failed := lakes.failed_objects(lake):
        problems.append(f"{failed} objects in the failed zone")
    return Trial(
        *(found, life.simulation, life.published, figures),
        problems=problems,
        fired=fired,
        injected_at=life.injected_at,
    )


def show(trial: Trial, folder: Path, out: TextIO) -> None:
    """Print the table of truth, lake and equal, and what stands behind it."""
    truth, published = trial.simulation.truth, trial.published
    troubles: dict[str, int] = {}
    for device in truth.devices.values():
        name = device.trouble or "nothing else"
        troubles[name] = troubles.get(name, 0) + 1
    rows = [
        (verdict.what, verdict.truth, verdict.lake, "equal" if verdict.is_equal else "NOT EQUAL")
        for verdict in trial.verdicts
    ]
    lines = [
        "",
        *table(("what devices do", "devices"), sorted(troubles.items())),
        "",
        *table(("fault of the cloud", "injected at", "struck"), _faults(trial)),
        "",
        f"{published.acknowledged:,} of {published.sent:,} messages acknowledged; "
        f"at most {published.slowest_seconds:.0f} s behind the schedule; "
        f"{len(trial.figures.raw):,} rows in "
        f"the raw zone, {redelivered(truth, trial.figures):,} of them delivered again",
        "",
        *table(("figure", "truth", "lake", ""), rows),
        "",
        *(f"problem: {problem}" for problem in trial.problems),
        *differing_hours(truth, trial.figures)[:20],
        f"truth in {folder / 'truth.json'}",
        "Every figure of the lake is the truth." if trial.is_passed else "The trial FAILED.",
    ]
    out.write("\n".join(lines) + "\n")


def _faults(trial: Trial) -> list[tuple[str, str | None, int]]:
    """Each fault, in the order of the day, with its moment as the dashboards' time axes have it."""
    told = [
        (f"{at:%H:%M:%S}" if (at := trial.injected_at.get(name)) else None, name, struck)
        for name, struck in trial.fired.items()
    ]
    ordered = sorted(told, key=lambda one: (one[0] is None, *one))
    return [(name, at, struck) for at, name, struck in ordered]


def _provision(
    cloud: LocalCloud, lake: Lake, names: Sequence[str], policy: str, stage: Stage
) -> list[DeviceCredentials]:
    session: Any = boto3.Session(region_name=lake.region)
    config = Config(max_pool_connections=WORKERS)
    iot = session.client("iot", endpoint_url=lake.endpoint, config=config)
    registrar = Registrar(iot, policy, cloud.folder / "devices")
    devices = [Device(name) for name in names]
    outcome = for_each(devices, registrar.register, Pace(), stage.count)
    if outcome.failed:
        device, error = next(iter(outcome.failed.items()))
        raise DemoError(f"{device.thing_name} could not be registered: {error}")
    return [outcome.done[device] for device in devices]


def _live(
    cloud: LocalCloud,
    devices: Sequence[DeviceCredentials],
    options: TrialOptions,
    progress: Progress,
) -> Life:
    """Connect all devices, let them publish while the cloud has a bad day, and disconnect them."""
    with ExitStack() as open_until_published:
        with progress.stage("connect", "connect over mutual TLS") as stage:
            connections = connected(cloud.device_endpoint(), devices, stage.count)
            speakers = open_until_published.enter_context(connections)
        with progress.stage("plan", "plan what they do") as stage:
            simulation = _plan(options, speakers)
            stage.show(f"{len(simulation.publications):,} messages")
        truth = json.dumps(simulation.truth.as_json(), indent=1)
        (options.folder / "truth.json").write_text(truth)
        with progress.stage("publish", "publish over MQTT") as stage:
            return _publish(cloud, simulation, speakers, options, stage)


def _plan(options: TrialOptions, names: Iterable[str]) -> Simulation:
    messages = options.seconds / options.interval_seconds * options.devices
    begin = datetime.now(UTC) + timedelta(seconds=5 + messages * _PLANNING_SECONDS)
    period = Period(begin.replace(microsecond=0), options.seconds)
    return plan_behaviour(tuple(names), period, options.seed, Habits(options.interval_seconds))


def _publish(
    cloud: LocalCloud,
    simulation: Simulation,
    speakers: Mapping[str, Speaker],
    options: TrialOptions,
    stage: Stage,
) -> Life:
    faults = ["no fault yet"]
    incidents = bad_day(options.seed, options.seconds) if options.has_faults else []
    weather = Weather(cloud, incidents, faults.append)

    def count(done: int, total: int) -> None:
        stage.show(f"{done:,} of {total:,}  ({faults[-1]})")

    time.sleep(max((simulation.truth.began_at - datetime.now(UTC)).total_seconds(), 0))
    began_at = datetime.now(UTC)
    with weather if incidents else nullcontext():
        published = publish(simulation.publications, speakers, "dt/fleet", progress=count)
        ended_at = datetime.now(UTC)
    stage.show(f"{published.acknowledged:,} of {published.sent:,} acknowledged")
    refused = [f"{count} messages: {why}" for why, count in published.not_acknowledged.items()]
    problems = [*weather.failures, *refused]
    return Life(simulation, published, began_at, ended_at, problems, weather.injected_at)


def wait_until_quiet(
    cloud: LocalCloud, lake: Lake, outputs: Mapping[str, str], records: int, stage: Stage
) -> None:
    """Wait until the stream has `records` at least, gets no more, and none is behind: what was
    delivered again may stand for what still waits in the broker."""
    stream = StreamCounter(lake, outputs["TelemetryStreamName"])
    changed, before = time.monotonic(), (-1, -1)
    while True:
        waiting = [mapping["behind"] for mapping in cloud.status()["mappings"]]
        behind = -1 if None in waiting else sum(waiting)
        now = (stream.count(), behind)
        stage.show(f"{now[0]:,} records, {max(behind, 0):,} behind")
        if now != before:
            changed, before = time.monotonic(), now
        still = time.monotonic() - changed
        if still > _QUIET_SECONDS and now[0] >= records and behind == 0:
            return
        if still > _PATIENCE_SECONDS:
            raise DemoError(
                f"{now[0]:,} of {records:,} records arrived, {max(behind, 0):,} are not ingested, "
                f"and nothing moves: see {cloud.folder / 'logs'}"
            )
        time.sleep(1)


def _curate(
    cloud: LocalCloud,
    lake: Lake,
    outputs: Mapping[str, str],
    options: TrialOptions,
    stage: Stage,
) -> None:
    """The workflow; on a bad day the job is killed after its commit, and the next run goes on."""
    glue, workflow = lake.client("glue"), outputs["CurationWorkflowName"]
    if options.has_faults and options.kills_job:
        cloud.inject(
            "kill", name="job killed", on="glue:UpdateTable", where='"readings"', process="curate"
        )
        run_workflow(glue, workflow, stage.show, _CURATION_SECONDS)
    curate(glue, workflow, stage.show, _CURATION_SECONDS)


def _tell_silence(lake: Lake, outputs: Mapping[str, str], life: Life, stage: Stage) -> None:
    """Have the summary job say who was silent at the end of the run, however long ago that is."""
    since = life.began_at + timedelta(seconds=_SILENT_BEFORE * life.simulation.truth.seconds)
    arguments = {
        "--now": life.ended_at.isoformat(),
        "--silent_after_seconds": str(round((life.ended_at - since).total_seconds())),
    }
    run_job(lake.client("glue"), outputs["SummariseDevicesJobName"], arguments, stage.show)
