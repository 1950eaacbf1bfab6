"""`make demo`: the whole pipeline once, from devices to SQL, and whether everything adds up.

A local cloud of its own (folder, ports) gets the template by the real `sam deploy`; a fleet of
MQTT devices publishes; the workflow curates; the tables answer. Guarantees: it begins from
nothing every time and touches no other local cloud; it exits 0 only if every message is
accounted for; however it ends, so does every process that it started.
"""

import argparse
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from devices.fleet import FleetConfig, FleetResult, devices_in_replay, replay_file, run_fleet
from devices.provisioning import DeviceCredentials, provision_fleet
from local.demo import lake as lakes
from local.demo.accounting import Figures, Sent, result
from local.demo.curation import CurationError, curate
from local.demo.lake import Device, Lake, StreamCounter
from local.demo.output import answer_as_json, show, write
from local.demo.report import Connection, answers, report
from local.lifecycle import LocalCloud
from local.progress import Progress, Stage

FOLDER = Path("build/demo")
STAGES = ("cloud", "deploy", "provision", "publish", "ingest", "curate", "query")
INGEST_PATIENCE_SECONDS = 120.0
METRICS_PATIENCE_SECONDS = 15.0
POLL_SECONDS = 0.5
_MARK = ".demo"


class DemoError(Exception):
    """The demo can't go on; the message says why and where to look."""


@dataclass(frozen=True)
class Options:
    """What is to be sent."""

    folder: Path = FOLDER
    replay: Path | None = None
    seed: int = 7
    devices: int = 20
    messages: int = 10_000

    @property
    def input(self) -> str:
        """In words."""
        if self.replay is not None:
            return f"Replay of {self.replay.name}."
        return f"{self.messages:,} messages of {self.devices} devices, seed {self.seed}."


def parser() -> argparse.ArgumentParser:
    """The arguments of `python -m local demo`."""
    arguments = argparse.ArgumentParser(prog="python -m local demo", description=__doc__)
    add = arguments.add_argument
    add("--replay", type=Path, metavar="FILE", help="send this JSON array of readings instead")
    add(
        "--seed",
        type=int,
        default=Options.seed,
        help="the same seed sends the same readings (default: %(default)s)",
    )
    add("--devices", type=int, default=Options.devices, help="how many (default: %(default)s)")
    add(
        "--messages",
        type=int,
        default=Options.messages,
        help="all that is sent, bad ones too (default: %(default)s)",
    )
    add("--folder", type=Path, default=FOLDER, help="where its files go (default: build/demo)")
    add("--small", action="store_true", help="5 devices and 500 messages, for a quick look")
    return arguments


def run(argv: Sequence[str]) -> int:
    """Run the demo for the command line; the exit code."""
    given = parser().parse_args(argv)
    options = Options(
        folder=given.folder,
        replay=given.replay,
        seed=given.seed,
        devices=5 if given.small else given.devices,
        messages=500 if given.small else given.messages,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        written = demonstrate(options, sys.stdout)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", flush=True)
        # Device threads may still be waiting for a broker that is gone: don't wait for them.
        os._exit(130)
    except (DemoError, CurationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if written["adds_up"] else 1


@dataclass(frozen=True)
class Demonstration:
    """A run that is over, while its cloud is still there."""

    written: dict[str, Any]
    page: str
    cloud: LocalCloud
    outputs: Mapping[str, str]
    lake: Lake


def demonstrate(options: Options, out: TextIO) -> dict[str, Any]:
    """Run every stage, print and write what came out, and give it. Nothing is left running."""
    with demonstrated(options, out) as run:
        written, page = run.written, run.page
    write(options.folder, written, page)
    show(out, options.folder, written)
    return written


@contextmanager
def demonstrated(options: Options, out: TextIO) -> Iterator[Demonstration]:
    """Run every stage, and stop the cloud when the block is left."""
    names = _device_names(options)
    progress = Progress(STAGES, out)
    cloud = LocalCloud(options.folder)
    try:
        begin_clean(cloud, options.folder)
        with progress.stage("cloud", "start the local cloud") as stage:
            cloud.start(stage.show)
        with progress.stage("deploy", "deploy template.yaml (sam deploy)") as stage:
            outputs = cloud.deploy(stage.show)
        yield _run_stages(options, names, cloud, outputs, progress)
    finally:
        with undisturbed():
            cloud.stop()


def _device_names(options: Options) -> Sequence[str]:
    """The things that will publish; a file that is no list of readings is refused at once."""
    if options.replay is None:
        return [f"tracker-{n:03}" for n in range(1, options.devices + 1)]
    if not options.replay.is_file():
        raise DemoError(f"there is no file {options.replay}")
    try:
        return devices_in_replay(options.replay)
    except ValueError as error:
        raise DemoError(str(error)) from None


def _run_stages(
    options: Options,
    names: Sequence[str],
    cloud: LocalCloud,
    outputs: Mapping[str, str],
    progress: Progress,
) -> Demonstration:
    begin = datetime.now(UTC)
    lake = lakes.lake_of(outputs, cloud.endpoint, cloud.region)
    with progress.stage("provision", "register the devices") as stage:
        credentials = cloud.folder / "devices"
        policy = outputs["DevicePolicyName"]
        devices = provision_fleet(lake.client("iot"), names, policy, credentials)
        if options.replay is None:
            # Of the devices in a file of the user's we know nothing.
            _register(lake, names)
        stage.show(f"{len(devices)} things with a certificate each")
    with progress.stage("publish", "publish over MQTT") as stage:
        fleet = _publish(cloud, devices, options, stage)
    with progress.stage("ingest", "stream to raw zone") as stage:
        wait_until_ingested(lake, outputs, cloud, fleet.acknowledged, stage.show)
    with progress.stage("curate", "crawl, curate, summarise (Glue workflow)") as stage:
        curate(lake.client("glue"), outputs["CurationWorkflowName"], stage.show)
    with progress.stage("query", "count and query the curated zone"):
        connection = lakes.connect(lake)
        found = count(lake, outputs, connection, stack=cloud.stack, since=begin)
        answered = answers(connection, has_rejected=bool(found.rejected))
    details = {
        "input": options.input,
        "seed": None if options.replay else options.seed,
        "devices": len(devices),
        "seconds_total": round(sum(progress.seconds.values()), 2),
        "answers": [answer_as_json(answer) for answer in answered],
    }
    written = result(_sent(fleet, options), found, progress.seconds, details)
    return Demonstration(written, report(written, answered, connection), cloud, outputs, lake)


def count(
    lake: Lake,
    outputs: Mapping[str, str],
    connection: Connection,
    *,
    stack: str,
    since: datetime,
) -> Figures:
    """Count a run where things happened: stream, metrics, objects, the job's account, rows."""
    namespace = f"TelemetryLake/{stack}"
    account = connection.execute(
        """SELECT sum(rows_in), sum(curated), sum(duplicates), sum(dropped), sum(late)
        FROM curation_runs"""
    ).fetchall()[0]
    rows_in, accounted_curated, duplicates, dropped, late = (int(value or 0) for value in account)
    curated, distinct, curated_late = connection.execute(
        """SELECT count(*), count(DISTINCT event_id), count(*) FILTER (WHERE is_late)
        FROM readings"""
    ).fetchall()[0]
    (summarised,) = connection.execute(
        "SELECT coalesce(sum(readings), 0)::BIGINT FROM device_hours"
    ).fetchall()[0]
    raw_rows = connection.execute("SELECT coalesce(sum(rows), 0)::BIGINT FROM raw_objects")
    records = StreamCounter(lake, outputs["TelemetryStreamName"]).count()
    received, received_accepted = _received(lake, namespace, since, records)
    return Figures(
        records=records,
        received=received,
        received_accepted=received_accepted,
        accepted=raw_rows.fetchall()[0][0],
        rejected=lakes.rejected_rows(lake),
        failed=lakes.failed_objects(lake),
        rows_in=rows_in,
        duplicates=duplicates,
        dropped=dropped,
        late=late,
        accounted_curated=accounted_curated,
        curated=curated,
        distinct=distinct,
        curated_late=curated_late,
        summarised=summarised,
    )


def _received(lake: Lake, namespace: str, since: datetime, records: int) -> tuple[int, int]:
    """The consumer's own count; its metrics reach CloudWatch a moment after the batch is done."""
    deadline = time.monotonic() + METRICS_PATIENCE_SECONDS
    while True:
        until = datetime.now(UTC) + timedelta(minutes=1)
        received = lakes.metric_sum(lake, namespace, "ReadingsReceived", since, until)
        accepted = lakes.metric_sum(lake, namespace, "ReadingsAccepted", since, until)
        if received >= records or time.monotonic() > deadline:
            return received, accepted
        time.sleep(POLL_SECONDS)


def begin_clean(cloud: LocalCloud, folder: Path) -> None:
    """End what a killed demo may have left, and forget its files, but no one else's."""
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise DemoError(f"{folder} holds something else than a demo: give another folder")
    cloud.stop()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def _register(lake: Lake, names: Sequence[str]) -> None:
    """Fill the device registry."""
    now = datetime.now(UTC)
    lakes.register_devices(
        lake,
        [
            # One in five is missing from the registry, as in life: its readings come all the same.
            Device(name, now, f"TX-{1 + n % 3}", ("depot", "harbour", "airport")[n % 3], "fleet")
            for n, name in enumerate(names)
            if n % 5 != 4
        ],
    )


def _publish(
    cloud: LocalCloud,
    devices: tuple[DeviceCredentials, ...],
    options: Options,
    stage: Stage,
) -> FleetResult:
    endpoint, replay = cloud.device_endpoint(), options.replay
    config = FleetConfig(
        endpoint=endpoint,
        devices=devices,
        now=datetime.now(UTC),
        seed=options.seed,
        messages=options.messages,
    )
    fleet = interruptible(
        lambda: (
            replay_file(replay, endpoint, devices, progress=stage.count)
            if replay is not None
            else run_fleet(config, stage.count)
        )
    )
    stage.show(f"{fleet.acknowledged:,} of {fleet.sent:,} acknowledged")
    return fleet


def wait_until_ingested(
    lake: Lake,
    outputs: Mapping[str, str],
    cloud: LocalCloud,
    records: int,
    show: Callable[[str], None] = lambda _: None,
) -> None:
    """Wait until the stream has had `records` and the mapping has nothing behind."""
    deadline = time.monotonic() + INGEST_PATIENCE_SECONDS
    stream = StreamCounter(lake, outputs["TelemetryStreamName"])
    while True:
        status = cloud.status()
        # None: the mapping has not looked at the stream yet.
        waiting = [mapping["behind"] for mapping in status["mappings"]]
        behind = sum(waiting) if None not in waiting else -1
        arrived = stream.count()
        show(f"{arrived:,} records, {max(behind, 0):,} behind")
        if arrived >= records and behind == 0:
            return
        if time.monotonic() > deadline:
            raise DemoError(
                f"{arrived:,} of {records:,} records arrived, {max(behind, 0):,} are not "
                f"ingested after {INGEST_PATIENCE_SECONDS:.0f} s: see {cloud.folder / 'logs'}"
            )
        time.sleep(POLL_SECONDS)


def interruptible[T](work: Callable[[], T]) -> T:
    """Run `work` in a thread and wait here, so that Ctrl-C need not wait for its own threads."""
    outcome: Future[T] = Future()

    def run_work() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=run_work, name="fleet", daemon=True).start()
    while True:
        try:
            # In short steps: a wait without end would not see the signal.
            return outcome.result(POLL_SECONDS)
        except TimeoutError:
            if outcome.done():
                raise


def _sent(fleet: FleetResult, options: Options) -> Sent:
    return Sent(
        sent=fleet.sent,
        acknowledged=fleet.acknowledged,
        distinct=fleet.distinct,
        duplicates=fleet.duplicates,
        rejected=dict(fleet.expected_rejected),
        # How old a replayed file is depends on the day.
        late=None if options.replay else fleet.late,
    )


def interrupt(number: int, frame: object) -> None:
    """What Ctrl-C and other requests to end do."""
    raise KeyboardInterrupt


class undisturbed:  # noqa: N801 - reads as a statement
    """Signals wait while everything is being stopped."""

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is interrupt:
                signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, interrupt)
