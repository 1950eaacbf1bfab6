"""The report answers from the curated tables and needs nothing but itself."""

import re
from typing import Any

import duckdb
import pytest

from local.demo.accounting import Sent, result
from local.demo.report import LATENCY, Connection, answers, ask, report
from tests.unit.local.test_accounting import FOUND, SENT

READINGS = """CREATE TABLE readings AS
SELECT format('{:02}', i % 3) AS device_id, 'TX-1' AS device_model, i::VARCHAR AS event_id,
  TIMESTAMPTZ '2026-11-24 10:00:00Z' + i * INTERVAL 10 SECOND AS event_time, event_time::DATE AS
  event_date, event_time + INTERVAL 1 SECOND AS broker_time,
  broker_time + INTERVAL 2 SECOND AS arrival_time, 20 + i % 3 AS temperature,
  {latitude} AS latitude, -122.4 + i / 1000 AS longitude, 'active' AS status, {late} AS is_late,
  CASE WHEN i = 5 THEN ['humidity_out_of_range'] ELSE [] END AS quality_flags, 'r1' AS run_id
FROM range(30) t(i)"""


def lake(latitude: str = "37.7 + i / 1000", late: str = "false") -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(READINGS.replace("{latitude}", latitude).replace("{late}", late))
    connection.execute(
        "CREATE TABLE device_latest AS SELECT device_id, max(event_time) AS last_event_time,"
        "max(latitude) AS latitude, -122.4 AS longitude, 'active' AS status, 20.5 AS temperature "
        "FROM readings GROUP BY device_id"
    )
    connection.execute(
        "CREATE TABLE device_hours AS SELECT device_id, event_time AS hour, 1 AS readings,"
        "0 AS flagged, 12.5 AS distance_metres, 10.0 AS moving_seconds FROM readings"
    )
    connection.execute(
        "CREATE TABLE curation_runs AS SELECT 'r1' AS run_id,"
        "TIMESTAMPTZ '2026-11-24 10:10:00Z' AS finished_at"
    )
    connection.execute(
        "CREATE TABLE raw_objects AS SELECT TIMESTAMPTZ '2026-11-24 10:00:00Z' AS oldest_arrival,"
        "TIMESTAMPTZ '2026-11-24 10:00:04Z' AS written_at"
    )
    connection.execute(
        "CREATE TABLE rejected_data AS SELECT 'not_json' AS reason, 'at byte 3' AS detail"
    )
    return connection


def figures(sent: Sent = SENT) -> dict[str, Any]:
    return result(sent, FOUND, {"publish": 1.5, "curate": 20.0}, {"input": "10 devices"})


def page(connection: Connection, written: dict[str, Any]) -> str:
    return report(written, answers(connection, has_rejected=True), connection)


def test_the_page_needs_no_network_and_no_script() -> None:
    html = page(lake(), figures())
    assert not re.search(r"<script|<link|<img|@import|url\(|src=|https?://", html)


def test_the_page_says_whether_it_adds_up() -> None:
    assert "Everything adds up." in page(lake(), figures())
    lost = page(lake(), figures(Sent(1_001, 1_001, 901, 60, SENT.rejected)))
    assert "It does not add up" in lost
    assert "NOT equal" in lost


def test_the_page_draws_tracks_readings_temperatures_rejects_and_latency() -> None:
    html = page(lake(), figures())
    assert re.findall(r'role="img" aria-label="([^".]+)', html) == [
        "Map of the devices' tracks".replace("'", "&#x27;"),
        "Readings by the time of their arrival",
        "Rejected readings by reason",
        "Mean temperature per device over time",
        "Median seconds from step to step",
        "Seconds per stage",
    ]
    assert "humidity_out_of_range" in html


@pytest.mark.parametrize(("latitude", "late"), [("NULL::DOUBLE", "false"), ("37.7", "true")])
def test_fleets_without_positions_or_with_only_late_readings_are_drawn_too(
    latitude: str, late: str
) -> None:
    html = page(lake(latitude, late), figures())
    assert ("send no positions" in html) == latitude.startswith("NULL")
    assert "Mean temperature per device over time" in html


def test_latency_is_measured_step_by_step() -> None:
    rows = ask(lake(), LATENCY).rows
    assert [row[:2] for row in rows[:2]] == [
        ["broker to stream", 2.0],
        ["stream to raw zone, longest per object", 4.0],
    ]
    # The run ended ten minutes after the first reading, which took three seconds to the stream.
    assert rows[2][0] == "stream to curated zone"
    assert rows[2][3] == pytest.approx(597)
