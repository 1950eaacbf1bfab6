"""`make screenshots`: the pictures of the dashboards in docs/pictures, drawn by a real run.

The local cloud of `make up` is taken if it is there, as it is. Else one of its own is started, a
small fleet publishes, readings trickle in for some minutes, good and bad, the tables are
maintained, an object in the raw zone is no Parquet, the workflow runs twice, and everything is
stopped again.

With --fleet it is the trial of `make fleet`, with its arguments. At its end, if every figure of the
lake is the truth, the pictures of docs/fleet.md are taken, as soon as they show this truth.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import boto3
from botocore.config import Config
from playwright.sync_api import Browser, Page, expect

from devices.direct_producer import Reading, put_readings
from devices.truth import Truth
from docs.browser import NoBrowserError, open_browser
from local.demo import fleet_trial
from local.demo.curation import CurationError, curate, run_job
from local.demo.demo import DemoError, Demonstration, Options, demonstrated
from local.demo.fleet_trial import Trial
from local.lifecycle import LifecycleError, LocalCloud

PICTURES: Final = Path(__file__).with_name("pictures")
DASHBOARDS: Final = ("pipeline", "operations")
_TRICKLE_SECONDS: Final = 240.0
_STEP_SECONDS: Final = 5.0
_MINUTE_SECONDS: Final = 60.0
_FOLDER: Final = Path("build/screenshots")


@dataclass(frozen=True)
class Look:
    """How a picture is taken. A phone's shows the first screens only: the page is long there."""

    name: str
    scheme: Literal["light", "dark"]
    width: int
    height: int
    is_whole_page: bool = True


LOOKS: Final = (
    Look("light", "light", 1280, 900),
    Look("dark", "dark", 1280, 900),
    Look("phone", "light", 390, 1500, is_whole_page=False),
)


@dataclass(frozen=True)
class Album:
    """Which pictures are taken, and where they go.

    `shown` is the time that they show. Numbers in `awaited` must be on the first page, by the names
    that they have there, before any is taken.
    """

    folder: Path = PICTURES
    prefix: str = ""
    looks: Sequence[Look] = LOOKS
    shown: str = ""
    awaited: Mapping[str, int] = field(default_factory=dict)
    patience_seconds: float = 60.0


class NotShownError(Exception):
    """A dashboard does not show what it must; the message says which number."""


def take(cloud: LocalCloud, album: Album) -> list[Path]:
    """Take every picture of the dashboards of `cloud`; the files that were written."""
    with open_browser() as browser:
        return take_with(browser, cloud, album)


def take_with(browser: Browser, cloud: LocalCloud, album: Album) -> list[Path]:
    """The same in a browser that is open already; NotShownError."""
    album.folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for look in album.looks:
        page = browser.new_page(
            color_scheme=look.scheme, viewport={"width": look.width, "height": look.height}
        )
        for name in DASHBOARDS:
            chosen = f"?range={album.shown}" if album.shown else ""
            page.goto(f"{cloud.endpoint}/_local/dashboards/{cloud.stack}-{name}{chosen}")
            page.wait_for_selector("#board .card")
            if name == DASHBOARDS[0]:
                _wait_for(page, album)
            file = album.folder / f"{album.prefix}{name}-{look.name}.png"
            page.screenshot(path=file, full_page=look.is_whole_page)
            taken.append(file)
        page.close()
    return taken


def _wait_for(page: Page, album: Album) -> None:
    """Wait until the page, which draws itself anew, has these numbers; NotShownError."""
    for name, value in album.awaited.items():
        figure = page.locator(".figures div", has=page.get_by_text(name, exact=True))
        try:
            expect(figure.locator("dd")).to_have_text(
                f"{value:,}", timeout=1e3 * album.patience_seconds
            )
        except AssertionError:
            shown = figure.locator("dd").all_text_contents()
            raise NotShownError(f"{name} is {value:,}, but the dashboard shows {shown}") from None


@contextmanager
def _running(folder: Path) -> Iterator[LocalCloud]:
    """The cloud of `make up`, or one of its own with something to see in it."""
    standing = LocalCloud()
    if standing.is_up:
        yield standing
        return
    options = Options(folder, devices=12, messages=2_000)
    with demonstrated(options, sys.stdout) as run:
        run.lake.client("glue").start_job_run(JobName=run.outputs["MaintainTablesJobName"])
        _damage(run)
        _trickle(run)
        curate(run.lake.client("glue"), run.outputs["CurationWorkflowName"], lambda _: None)
        time.sleep(_STEP_SECONDS)  # the last metrics are on their way
        yield run.cloud


def _damage(run: Demonstration) -> None:
    """Put what the job will have to set aside, so that the pictures show how trouble looks."""
    s3, bucket = run.lake.client("s3"), run.outputs["RawZoneBucketName"]
    key = s3.list_objects_v2(Bucket=bucket, Prefix="raw_data/")["Contents"][0]["Key"]
    s3.put_object(Bucket=bucket, Key=key.replace(".parquet", "-damaged.parquet"), Body=b"damaged")


def _trickle(run: Demonstration) -> None:
    """Readings for some minutes, as many as a small fleet sends, one in thirty of them bad."""
    print(f"Readings trickle in for {_TRICKLE_SECONDS / 60:.0f} minutes", flush=True)
    chance = random.Random(7)  # noqa: S311 - no secret is made of it
    end = time.monotonic() + _TRICKLE_SECONDS
    kinesis = run.lake.client("kinesis")
    while time.monotonic() < end:
        readings = [_reading(chance) for _ in range(chance.randrange(20, 60))]
        put_readings(kinesis, run.outputs["TelemetryStreamName"], readings)
        time.sleep(_STEP_SECONDS)  # what trickles takes its time: charts need minutes


def _reading(chance: random.Random) -> Reading:
    device = f"gateway-{chance.randrange(1, 9):02}"
    reading = {
        "device_id": device,
        "timestamp": datetime.now(UTC).isoformat(),
        "temperature": round(chance.gauss(21, 3), 1),
        "humidity": round(chance.uniform(30, 70), 1),
    }
    if chance.random() < 1 / 30:
        reading.pop(chance.choice(("device_id", "timestamp")))
    payload = json.dumps(reading).encode()
    return Reading(device, payload if chance.random() > 1 / 200 else payload[:20])


def take_of_fleet(
    album: Album, cloud: LocalCloud, outputs: Mapping[str, str], trial: Trial
) -> None:
    """At the end of a trial that was passed: pictures that show its truth, or NotShownError."""
    if not trial.is_passed:
        print("No pictures are taken of it.", flush=True)
        return
    _run_what_is_scheduled(cloud, outputs)
    awaited = truth_shown(trial.simulation.truth)
    files = take(cloud, replace(album, awaited=awaited))
    told = ", ".join(f"{name} {value:,}" for name, value in awaited.items())
    print(f"The dashboard shows the truth's numbers: {told}.", flush=True)
    _show(files)


def _run_what_is_scheduled(cloud: LocalCloud, outputs: Mapping[str, str]) -> None:
    """Once what schedules of AWS start by the hour or the day, so that its widgets show something.

    The hour that is audited is the newest closed one; a trial's own is closed only later.
    """
    print("Tables are maintained, an hour is audited, the registry exported", flush=True)
    cloud.clear_faults()
    patient = Config(read_timeout=900, retries={"total_max_attempts": 1})

    def client(service: str) -> Any:
        session: Any = boto3.Session(region_name=cloud.region)
        return session.client(service, endpoint_url=cloud.endpoint, config=patient)

    run_job(client("glue"), outputs["MaintainTablesJobName"], {})
    for logical_id in ("AuditLakeFunction", "ExportRegistryFunction"):
        found = client("cloudformation").describe_stack_resource(
            StackName=cloud.stack, LogicalResourceId=logical_id
        )
        name = found["StackResourceDetail"]["PhysicalResourceId"]
        answer = client("lambda").invoke(FunctionName=name)
        if "FunctionError" in answer:
            raise DemoError(f"{logical_id} failed: {answer['Payload'].read().decode()}")
    # Alarms are evaluated at each full minute, on what was measured before it.
    time.sleep(_MINUTE_SECONDS - time.time() % _MINUTE_SECONDS + _STEP_SECONDS)


def truth_shown(truth: Truth) -> dict[str, int]:
    """The figures of a fleet's truth that the first dashboard has as numbers, by their names."""
    silent = len(truth.silent())
    return {
        "curated": truth.totals().sent,
        "active": len(truth.devices) - silent,
        "silent": silent,
    }


def _show(files: Iterable[Path]) -> None:
    for file in files:
        print(f"{file} ({file.stat().st_size / 1000:.0f} kB)", flush=True)


def main(argv: Sequence[str]) -> int:
    """Take the pictures; the exit code."""
    arguments = argparse.ArgumentParser(
        prog="python -m docs.screenshots", description=__doc__, allow_abbrev=False
    )
    add = arguments.add_argument
    add("--fleet", action="store_true", help="of the trial of a fleet, with its arguments")
    add("--folder", type=Path, help="where the run's files go")
    add(
        "--pictures", type=Path, default=PICTURES, help="where pictures go (default: docs/pictures)"
    )
    add("--range", default="", help="the time that they show (default: all of it)")
    given, trial_arguments = arguments.parse_known_args(argv)
    if trial_arguments and not given.fleet:
        arguments.error(f"unknown without --fleet: {' '.join(trial_arguments)}")
    album = Album(given.pictures, shown=given.range)
    try:
        with open_browser():
            pass  # better told now than after the run
        if given.fleet:
            album = replace(album, prefix="fleet-", looks=LOOKS[:1])
            folder = ["--folder", str(given.folder)] if given.folder else []
            return fleet_trial.run([*trial_arguments, *folder], partial(take_of_fleet, album))
        with _running(given.folder or _FOLDER) as cloud:
            _show(take(cloud, album))
    except (NoBrowserError, NotShownError, LifecycleError, DemoError, CurationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
