"""The simulated fleet's truth equals the lake's figures: every fault, through consumer and jobs."""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import batched

import pytest

from devices.behaviour import Habits, Period, Publication, Simulation, plan_behaviour
from devices.truth import HOUR_MS
from local.demo.verdict import LakeFigures, RawRow, Verdict, differing_hours, verdicts
from tests.ingestion import Ingested, event_of, ingest
from tests.spark.lake import Lake
from tests.spark.summary_lake import SummaryLake

# Over a midnight; by local time of wherever the tests run it is another one.
PERIOD = Period(datetime(2026, 11, 23, 13, 0, tzinfo=UTC), 30 * 3_600.0)
HABITS = Habits(interval_seconds=600, dropped=0.06, garbage=0.04, duplicated=0.08, swapped=0.03)
DEVICES = tuple(f"fleet-{number:02}" for number in range(14))
# Those that fall silent do so in the first four tenths of the period.
SILENT_AFTER = timedelta(seconds=0.4 * PERIOD.seconds)
MICROS_PER_MS = 1_000


@pytest.fixture(scope="module")
def fleet() -> Simulation:
    return plan_behaviour(DEVICES, PERIOD, seed=3, habits=HABITS)


def envelope(place: int, publication: Publication) -> bytes:
    """What the rule puts on the stream."""
    return json.dumps(
        {
            "payload_b64": base64.b64encode(publication.payload).decode(),
            "topic": f"dt/fleet/{publication.device_id}/telemetry",
            "client_id": publication.device_id,
            "principal": "certificate-1",
            "broker_time": PERIOD.began_ms + int(publication.at * 1000),
            "ingest_id": f"00000000-0000-4000-8000-{place:012}",
            "trace_id": f"11111111-1111-4111-8111-{place:012}",
        }
    ).encode()


def consumed(publications: Sequence[Publication]) -> Iterable[Ingested]:
    """The consumer's zones after each of its batches."""
    numbered = list(enumerate(publications))
    for batch in batched(numbered, 300, strict=False):
        event = event_of([envelope(*each) for each in batch])
        for record, (place, publication) in zip(event["Records"], batch, strict=True):
            kinesis = record["kinesis"]
            kinesis["approximateArrivalTimestamp"] = PERIOD.began_at.timestamp() + publication.at
            kinesis["sequenceNumber"] = str(10**20 + place)
            record["eventID"] = f"shardId-000000000000:{kinesis['sequenceNumber']}"
        yield ingest(event)


def raw_rows(batches: Iterable[Ingested]) -> list[RawRow]:
    return [
        RawRow(
            row["device_id"], row["event_id"], int(row["record_id"].split(":")[1]), row["sequence"]
        )
        for batch in batches
        for row in batch.accepted
    ]


def rejected_rows(batches: Iterable[Ingested]) -> dict[tuple[str, bytes], set[str]]:
    found: dict[tuple[str, bytes], set[str]] = {}
    for batch in batches:
        for row in batch.rejected:
            found.setdefault((row["client_id"], row["payload"]), set()).add(row["reason"])
    return found


def figures_of(lake: Lake, batches: Sequence[Ingested]) -> LakeFigures:
    summaries = SummaryLake(lake)
    readings = lake.readings("event_id", "is_ahead")
    return LakeFigures(
        hours={
            (device_id, micros // MICROS_PER_MS // HOUR_MS): row
            for (device_id, micros), row in summaries.hours().items()
        },
        latest={
            device_id: (row["last_event_time"] // MICROS_PER_MS, row["silent_since"] is not None)
            for (device_id,), row in summaries.latest().items()
        },
        curated=Counter(event_id for event_id, _ in readings),
        ahead=sum(is_ahead for _, is_ahead in readings),
        raw=raw_rows(batches),
        duplicates=sum(account["duplicates"] for account in lake.accounts()),
        rejected=rejected_rows(batches),
    )


def of(found: Iterable[Verdict], what: str) -> Verdict:
    return next(verdict for verdict in found if verdict.what == what)


def test_the_lake_finds_every_loss_duplicate_disorder_and_silence_of_the_fleet(
    fleet: Simulation, lake: Lake
) -> None:
    batches = list(consumed(fleet.publications))
    lake.now = PERIOD.began_at + timedelta(seconds=PERIOD.seconds)
    # In three runs, so that copies and numbers meet what earlier runs left.
    for some in batched(batches, len(batches) // 3 + 1, strict=False):
        for batch in some:
            for body in batch.accepted_objects.values():
                lake.put_bytes(body)
        lake.run()
        SummaryLake(lake).run("--silent_after_seconds", str(round(SILENT_AFTER.total_seconds())))

    figures = figures_of(lake, batches)
    found = verdicts(fleet.truth, figures)
    assert differing_hours(fleet.truth, figures) == []
    assert [verdict for verdict in found if not verdict.is_equal] == []
    # Nothing was equal for want of any.
    totals = fleet.truth.totals()
    for figure in (
        *("dropped", "garbage", "duplicates", "overtaken", "late", "ahead", "flagged"),
        *("gaps", "restarts", "reordered"),
    ):
        assert getattr(totals, figure) > 0, figure
    assert of(found, "devices silent").lake > 0


def test_a_lake_that_lost_one_reading_more_is_found_out(fleet: Simulation, lake: Lake) -> None:
    publications = list(fleet.publications)
    lost = next(
        place
        for place, each in enumerate(publications)
        if place > 100
        and sum(each.payload == other.payload for other in publications) == 1
        and each.payload not in fleet.truth.devices[each.device_id].rejected
    )
    batches = list(consumed(publications[:lost] + publications[lost + 1 :]))
    for batch in batches:
        for body in batch.accepted_objects.values():
            lake.put_bytes(body)
    lake.now = PERIOD.began_at + timedelta(seconds=PERIOD.seconds)
    lake.run()
    SummaryLake(lake).run()
    found = verdicts(fleet.truth, figures_of(lake, batches))
    loss = of(found, "lost: dropped + garbage")
    assert loss.lake == loss.truth + 1
    once = of(found, "different readings sent, each once in readings")
    assert once.lake == once.truth - 1
