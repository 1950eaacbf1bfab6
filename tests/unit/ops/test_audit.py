"""Promise 6: whatever is missing, extra or altered is found, each time; and nothing else is."""

from __future__ import annotations

import base64
import json
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from ops.audit.checks import ENVELOPE_COLUMNS, Case, prepare
from ops.audit.evidence import gather
from ops.audit.findings import KINDS, Finding, Scope
from ops.audit.report import json_of, lines_of
from telemetry_contract.raw_schema import RAW_SCHEMA
from telemetry_contract.zone_paths import RAW_PREFIX
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.lake import Lake, reading, rejection

SCRIPT = Path(__file__).parents[3] / "glue/curate_telemetry.py"
HOUR = timedelta(hours=1)


@pytest.fixture
def lake(deployed: Deployed) -> Lake:
    """Twelve records: eight accepted in two objects, one of them twice and one without a value; two
    rejected; two given up by the mapping. All curated."""
    now = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
    deployed.s3.create_bucket(Bucket="raw-zone")
    lake = Lake(deployed.stack, deployed.s3, deployed.kinesis, now)
    places = lake.put_records(12)
    rows = [reading(one, now + timedelta(seconds=n)) for n, one in enumerate(places[:8])]
    rows[3] |= {"status": "In-Motion", "quality_flags": ["speed_out_of_range"]}
    rows[7] |= {"temperature": None, "measurements": {}, "attributes": None}
    lake.accept(*rows[:4])
    lake.accept(*rows[3:])
    lake.reject(*(rejection(one, now) for one in places[8:10]))
    give_up(lake, places[10:])
    lake.curate()
    return lake


def give_up(lake: Lake, positions: list[str]) -> None:
    records = [
        {"eventID": one, "kinesis": {"data": base64.b64encode(b"x").decode()}} for one in positions
    ]
    document = {"payload": json.dumps({"Records": records})}
    key = "aws/lambda/mapping/shardId-000000000000/2026/11/25/2026-11-25T10.00.00-1"
    lake.s3.put_object(Bucket="failed-zone", Key=key, Body=json.dumps(document))


def raw_keys(lake: Lake) -> list[str]:
    return [one["Key"] for one in lake.s3.list_objects_v2(Bucket="raw-zone")["Contents"]]


def body_of(lake: Lake, key: str) -> bytes:
    body: bytes = lake.s3.get_object(Bucket="raw-zone", Key=key)["Body"].read()
    return body


def test_finds_nothing_in_a_lake_that_is_as_it_should_be(lake: Lake) -> None:
    audit = lake.audit()
    assert audit.findings == []
    assert (audit.records, audit.waiting) == (12, 0)
    assert (audit.raw_objects, audit.raw_rows, audit.dropped_rows) == (2, 9, 1)
    assert (audit.curated_rows, audit.runs) == (7, 1)


def test_finds_nothing_in_an_empty_lake(deployed: Deployed) -> None:
    deployed.s3.create_bucket(Bucket="raw-zone")
    lake = Lake(deployed.stack, deployed.s3, deployed.kinesis, datetime.now(UTC))
    assert lake.found() == []


def test_finds_each_record_that_is_in_no_zone(lake: Lake) -> None:
    lost = lake.put_records(2)
    [passed] = lake.put_records(1)
    lake.accept(reading(passed, lake.now))
    assert lake.found() == [("record_lost", one) for one in lost]


def test_a_record_of_which_any_user_record_is_in_a_zone_is_not_lost(lake: Lake) -> None:
    accepted, rejected, passed = lake.put_records(3)
    lake.accept(
        reading(accepted, lake.now, record_id=f"{accepted}:0"),
        reading(accepted, lake.now, b"another", record_id=f"{accepted}:17"),
        reading(passed, lake.now),
    )
    lake.reject(rejection(rejected, lake.now) | {"record_id": f"{rejected}:3"})
    lake.curate()
    assert lake.found() == []


def test_a_record_behind_all_that_the_zones_hold_is_waiting(lake: Lake) -> None:
    waiting = lake.put_records(1)
    audit = lake.audit()
    assert [(one.kind, one.what) for one in audit.findings] == [("record_waiting", waiting[0])]
    assert audit.waiting == 1


@pytest.mark.parametrize("place", [0, 1])
def test_finds_a_deleted_raw_object_and_blames_none_of_its_rows(lake: Lake, place: int) -> None:
    key = raw_keys(lake)[place]
    lake.s3.delete_object(Bucket="raw-zone", Key=key)
    assert lake.found() == [("raw_object_missing", key)]


def test_finds_every_flipped_bit_of_a_raw_object(lake: Lake) -> None:
    key = raw_keys(lake)[0]
    body = body_of(lake, key)
    for place in {body.index(b"PAR1"), body.index(b"shardId"), len(body) // 2, len(body) - 1}:
        flipped = bytearray(body)
        flipped[place] ^= 1
        lake.s3.put_object(Bucket="raw-zone", Key=key, Body=bytes(flipped))
        assert lake.found() == [("raw_object_altered", key)]


def test_finds_an_object_that_no_run_will_take(lake: Lake) -> None:
    [position] = lake.put_records(1)
    restored = lake.accept(reading(position, lake.now), at=lake.now - 5 * HOUR)
    assert lake.found() == [("raw_object_not_taken", restored)]


def test_an_object_that_the_next_run_will_take_is_no_finding(lake: Lake) -> None:
    [position] = lake.put_records(1)
    lake.accept(reading(position, lake.now), at=lake.now - HOUR)
    assert lake.found() == []


def test_a_run_between_its_plan_and_its_account_is_no_finding(lake: Lake) -> None:
    before = dict(lake.catalogue.tables)
    [position] = lake.put_records(1)
    lake.accept(reading(position, lake.now))
    lake.curate()
    planned = {"curation_ledger": lake.catalogue.tables["curation_ledger"]}
    lake.catalogue.tables = before | planned
    assert lake.found() == []


@pytest.mark.parametrize("place", [0, 3, 6])
def test_finds_each_deleted_row(lake: Lake, place: int) -> None:
    event_id = lake.rows("readings", "event_id")[place]
    lake.change("readings", lambda rows: [*rows[:place], *rows[place + 1 :]])
    assert lake.found() == [("row_missing", event_id)]


@pytest.mark.parametrize("place", [0, 3, 6])
def test_finds_each_row_that_is_there_twice(lake: Lake, place: int) -> None:
    event_id = lake.rows("readings", "event_id")[place]
    lake.change("readings", lambda rows: [*rows, rows[place]])
    assert lake.found() == [("row_duplicated", event_id)]


def test_finds_a_row_that_is_in_two_tables(lake: Lake) -> None:
    row = lake.catalogue.tables["readings"].slice(2, 1)
    lake.catalogue.tables["late_readings"] = row
    assert lake.found() == [("row_duplicated", row.column("event_id")[0].as_py())]


def test_a_row_in_late_readings_is_not_missing(lake: Lake) -> None:
    readings = lake.catalogue.tables["readings"]
    lake.catalogue.tables |= {"late_readings": readings.slice(5), "readings": readings.slice(0, 5)}
    assert lake.found() == []


def test_finds_a_row_that_raw_never_accepted(lake: Lake) -> None:
    made_up = reading("shardId-000000000000:7", lake.now, b"made up")
    lake.add("readings", lake.catalogue.tables["readings"].schema, [made_up])
    assert lake.found() == [("row_extra", made_up["event_id"])]


CHANGES: dict[str, Any] = {
    "device_id": "truck-2",
    "event_time": datetime(2026, 1, 1, tzinfo=UTC),
    "arrival_time": datetime(2026, 1, 1, tzinfo=UTC),
    "temperature": 21.500001,
    "humidity": 50.0,
    "status": "parked",
    "measurements": {"rpm": 901.0, "axles": 2.0},
    "attributes": {"driver": "none"},
    "quality_flags": ["speed_out_of_range", "temperature_out_of_range"],
    "payload": b"shardId-000000000000:1",
    "record_id": "shardId-000000000000:1:0",
    "identity": "claimed",
}


@pytest.mark.parametrize("column", CHANGES)
def test_names_the_altered_column_of_a_row(lake: Lake, column: str) -> None:
    event_id = lake.rows("readings", "event_id")[3]
    lake.change(
        "readings",
        lambda rows: [
            row | {column: CHANGES[column]} if row["event_id"] == event_id else row for row in rows
        ],
    )
    [finding] = lake.audit().findings
    assert finding == Finding("row_altered", event_id, f"in readings: {column}")


def test_what_the_job_changes_on_purpose_is_not_altered(lake: Lake) -> None:
    def adjust(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[0]["quality_flags"] = ["co_wrong_type"]
        rows[1]["measurements"] = dict(reversed(list(rows[1]["measurements"])))
        rows[2]["measurements"] = dict(rows[2]["measurements"])
        return rows

    lake.change("readings", adjust)
    assert lake.rows("readings", "status")[3] == "in_motion"
    assert lake.found() == []


def test_a_value_that_does_not_fit_its_column_is_not_altered_but_a_changed_one_is(
    lake: Lake,
) -> None:
    first, second = lake.put_records(2)
    rows = (reading(first, lake.now, torque="much"), reading(second, lake.now, torque="7.5"))
    schema = RAW_SCHEMA.append(pa.field("torque", pa.string()))
    lake.write("raw-zone", RAW_PREFIX, schema, rows, lake.now)
    lake.curate()
    curated = lake.catalogue.tables["readings"]
    others = [None] * (len(curated) - 1)
    fitted = curated.append_column("torque", pa.array([*others, 7.5]))
    lake.catalogue.tables["readings"] = fitted
    assert lake.found() == []
    wrong = curated.append_column("torque", pa.array([*others, 7.6]))
    lake.catalogue.tables["readings"] = wrong
    assert lake.found() == [("row_altered", rows[1]["event_id"])]


def test_rows_whose_raw_objects_have_expired_are_checked_by_their_ids(lake: Lake) -> None:
    lake.s3.put_bucket_lifecycle_configuration(
        Bucket="raw-zone",
        LifecycleConfiguration={
            "Rules": [{"ID": "old", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 30}}]
        },
    )
    long_ago = lake.now - timedelta(days=100)
    old = reading("shardId-000000000000:7", long_ago, b"long ago")
    broken = reading("shardId-000000000000:8", long_ago, b"long ago too") | {"payload": b"?"}
    lake.accept(old, broken, at=long_ago)
    lake.curate()
    lake.s3.delete_object(Bucket="raw-zone", Key=raw_keys(lake)[0])
    assert lake.found() == [("row_altered", broken["event_id"])]


def test_finds_a_run_whose_account_does_not_add_up(lake: Lake) -> None:
    lake.change("curation_runs", lambda rows: [rows[0] | {"duplicates": 3}])
    assert lake.found() == [("account_wrong", "run-1")]


def test_an_audit_of_some_hours_judges_what_arrived_in_them(lake: Lake) -> None:
    later = lake.now + 3 * HOUR
    copy, new = lake.put_records(2)
    # The first reading again, three hours later: its row says that it arrived before.
    first = lake.catalogue.tables["readings"].to_pylist()[0]
    again = reading(copy, later, first["payload"], event_time=first["event_time"])
    lake.accept(again, reading(new, later), at=later)
    lake.curate()
    hours = {"since": later.replace(minute=0), "until": later.replace(minute=0) + HOUR}
    assert lake.found(**hours) == []
    audit = lake.audit(**hours)
    assert (audit.raw_rows, audit.curated_rows) == (2, 1)

    lake.change("readings", lambda rows: rows[1:])
    assert lake.found(**hours) == [("row_missing", first["event_id"])]
    lake.change("readings", lambda rows: [first, first, *rows])
    assert lake.found(**hours) == [("row_duplicated", first["event_id"])]


def hour_of(moment: datetime) -> dict[str, datetime]:
    """The scope of the hour in which a moment lies, read as far as a scheduled audit reads it."""
    since = moment.replace(minute=0)
    return {"since": since, "until": since + HOUR, "written_until": since + 3 * HOUR}


def test_what_is_damaged_is_found_in_its_own_hour_alone(lake: Lake) -> None:
    times = [lake.now + hours * HOUR for hours in range(4)]
    keys = [
        lake.accept(reading(place, at), at=at)
        for place, at in zip(lake.put_records(4), times, strict=True)
    ]
    lake.curate()
    lake.change("curation_runs", lambda rows: [rows[0], rows[1] | {"duplicates": 3}])
    for key in keys[2:]:
        lake.s3.delete_object(Bucket="raw-zone", Key=key)
    # Both runs began in the first of these hours.
    assert lake.found(**hour_of(lake.now - HOUR)) == []
    assert [lake.found(**hour_of(at)) for at in times] == [
        [("account_wrong", "run-2")],
        [],
        [("raw_object_missing", keys[2])],
        [("raw_object_missing", keys[3])],
    ]


def test_what_no_run_has_taken_yet_is_told(lake: Lake) -> None:
    assert lake.audit().untaken_rows == 0
    [place] = lake.put_records(1)
    lake.accept(reading(place, lake.now), reading(place, lake.now, b"another"))
    assert lake.audit(**hour_of(lake.now)).untaken_rows == 2
    assert lake.audit(**hour_of(lake.now - HOUR)).untaken_rows == 0
    lake.curate()
    assert lake.audit().untaken_rows == 0


def test_an_object_that_no_run_will_take_is_waited_for_by_nobody(lake: Lake) -> None:
    lake.accept(reading("shardId-000000000000:1", lake.now), at=lake.now - 5 * HOUR)
    assert lake.audit().untaken_rows == 0


def read_of_the_raw_zone(lake: Lake) -> int:
    """How many objects the last audit read."""
    told = [text for text in lake.progress if text.startswith("raw zone: ")]
    return int(told[-1].split()[2])


def test_zones_are_read_no_further_than_all_is_accounted_for(lake: Lake) -> None:
    for hours in range(1, 6):
        [place] = lake.put_records(1)
        lake.accept(reading(place, lake.now + hours * HOUR), at=lake.now + hours * HOUR)
    lake.curate()
    # By the stream's clock all their records arrived in this hour: it needs all of the zone.
    assert lake.found(**hour_of(lake.now)) == []
    assert read_of_the_raw_zone(lake) == 7
    assert lake.found(**hour_of(lake.now + HOUR)) == []
    assert read_of_the_raw_zone(lake) == 3


def test_what_was_not_looked_for_is_not_missing(lake: Lake) -> None:
    at = lake.now + 9 * HOUR
    lake.accept(reading("shardId-000000000000:1", at), at=at)
    lake.curate()
    with closing(duckdb.connect()) as database:
        scope = gather(lake.sources, Scope(**hour_of(lake.now + HOUR)), database)
        case = Case(database, scope, lake.now, None, 2 * HOUR)
        prepare(case)
        assert case.query("FROM raw_objects") == []


@pytest.mark.parametrize("is_on_stream", [True, False])
def test_what_was_written_long_after_its_arrival_is_found_there(
    lake: Lake, is_on_stream: bool
) -> None:
    place = lake.put_records(1)[0] if is_on_stream else "shardId-000000000000:1"
    lake.accept(reading(place, lake.now), at=lake.now + 9 * HOUR)
    lake.curate()
    assert lake.found(**hour_of(lake.now)) == []


def test_the_stream_is_read_no_further_than_the_hours_go(lake: Lake) -> None:
    long_ago = lake.now - 9 * HOUR
    assert lake.audit(**hour_of(long_ago)).records == 0


def test_the_report_says_what_each_kind_means_and_what_to_do(lake: Lake) -> None:
    lake.change("readings", lambda rows: rows[2:])
    lake.s3.delete_object(Bucket="raw-zone", Key=raw_keys(lake)[1])
    audit = lake.audit()
    told = "\n".join(lines_of(audit, "lake"))
    for finding in audit.findings:
        meaning, remedy = KINDS[finding.kind]
        assert all(text in told for text in (finding.what, meaning, remedy))
    assert [Finding(**one) for one in json.loads(json_of(audit))["findings"]] == audit.findings
    many = "\n".join(lines_of(type(audit)(findings=audit.findings * 20), "lake"))
    assert "more (--json lists all)" in many


def test_what_has_no_value_is_the_same_for_the_job_and_the_audit() -> None:
    text = SCRIPT.read_text()
    block = text[text.index("ENVELOPE_COLUMNS: Final") : text.index("ICEBERG_WIDENINGS")]
    required = text[text.index("REQUIRED_COLUMNS: Final") : text.index("# They tell how")]
    names = set(re.findall(r'"(\w+)"', block)) | set(re.findall(r'"(\w+)":', required))
    assert names == ENVELOPE_COLUMNS


def test_long_work_says_what_it_is_at(lake: Lake) -> None:
    lake.audit()
    assert [text.partition(":")[0] for text in lake.progress][-1] == "comparing"
    assert {"raw zone", "stream", "table readings"} <= {
        text.partition(":")[0] for text in lake.progress
    }
