"""`make screenshots`: the pictures of the dashboards in docs/pictures, drawn by a real run.

The local cloud of `make up` is taken if it is there, as it is. Else one of its own is started, a
small fleet publishes, readings trickle in for some minutes, good and bad, the tables are
maintained, an object in the raw zone is no Parquet, the workflow runs twice, and everything is
stopped again.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from devices.direct_producer import Reading, put_readings
from docs.browser import NoBrowserError, open_browser
from local.demo.curation import CurationError, curate
from local.demo.demo import DemoError, Demonstration, Options, demonstrated
from local.lifecycle import LifecycleError, LocalCloud

PICTURES: Final = Path(__file__).with_name("pictures")
DASHBOARDS: Final = ("pipeline", "operations")
_TRICKLE_SECONDS: Final = 240.0
_STEP_SECONDS: Final = 5.0


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


def take(endpoint: str, stack: str, folder: Path, shown: str) -> list[Path]:
    """Take every picture of the dashboards at `endpoint`; the files that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    with open_browser() as browser:
        for look in LOOKS:
            page = browser.new_page(
                color_scheme=look.scheme, viewport={"width": look.width, "height": look.height}
            )
            for name in DASHBOARDS:
                chosen = f"?range={shown}" if shown else ""
                page.goto(f"{endpoint}/_local/dashboards/{stack}-{name}{chosen}")
                page.wait_for_selector("#board .card")
                file = folder / f"{name}-{look.name}.png"
                page.screenshot(path=file, full_page=look.is_whole_page)
                taken.append(file)
            page.close()
    return taken


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


def main(argv: Sequence[str]) -> int:
    """Take the pictures; the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m docs.screenshots", description=__doc__)
    arguments.add_argument("--folder", type=Path, default=Path("build/screenshots"))
    arguments.add_argument(
        "--range", default="", help="the time that they show (default: all of it)"
    )
    given = arguments.parse_args(argv)
    try:
        with open_browser():
            pass  # better told now than after the run
        with _running(given.folder) as cloud:
            for file in take(cloud.endpoint, cloud.stack, PICTURES, given.range):
                print(f"{file} ({file.stat().st_size / 1000:.0f} kB)")
    except (NoBrowserError, LifecycleError, DemoError, CurationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
