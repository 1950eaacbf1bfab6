"""What the demo shows at its end: SQL answers in the terminal and one self-contained page.

The questions are plain SQL over the curated zone, answered by DuckDB; docs/queries.md has such
for Athena. The page draws the same connection's answers
and needs no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

from local.dashboards.charts import (
    Frame,
    Track,
    bar_chart,
    legend,
    track_map,
)
from local.dashboards.page import card, figures, html_table, page
from local.dashboards.plot import Plot, PlotAxis, PlotLine, time_plot

MAX_LINES = 8  # more devices than colours can't be told apart


class Connection(Protocol):
    """The part of a DuckDB connection that is used here."""

    def execute(self, query: str, parameters: object = None) -> Any:
        """Run a query; the result has `fetchall` and `description`."""


@dataclass(frozen=True)
class Question:
    """A question in words and in SQL."""

    title: str
    sql: str


@dataclass(frozen=True)
class Answer:
    """A question with its rows."""

    question: Question
    headers: list[str]
    rows: list[list[object]]


QUESTIONS = (
    Question(
        "Readings and mean temperature per device (the first 10)",
        """SELECT device_id, any_value(device_model) AS model, count(*) AS readings,
       avg(temperature) AS mean_temperature, count(*) FILTER (WHERE is_late) AS late
FROM readings GROUP BY device_id ORDER BY readings DESC, device_id LIMIT 10""",
    ),
    Question(
        "Where each device was last (the first 10)",
        """SELECT device_id, strftime(last_event_time, '%Y-%m-%d %H:%M:%S') AS last_seen,
       latitude, longitude, status, temperature
FROM device_latest WHERE latitude IS NOT NULL ORDER BY device_id LIMIT 10""",
    ),
    Question(
        "What each device did (the first 10)",
        """SELECT device_id, count(*) AS hours, round(sum(distance_metres) / 1000, 1) AS kilometres,
       round(sum(moving_seconds) / 60, 1) AS minutes_moving,
       sum(readings)::BIGINT AS readings, sum(flagged)::BIGINT AS flagged
FROM device_hours GROUP BY device_id ORDER BY kilometres DESC, device_id LIMIT 10""",
    ),
    Question(
        "Quality flags",
        """SELECT flag, count(*) AS readings
FROM (SELECT unnest(quality_flags) AS flag FROM readings) GROUP BY flag ORDER BY readings DESC""",
    ),
    Question(
        "Days of the curated zone",
        """SELECT event_date, count(*) AS readings, count(DISTINCT device_id) AS devices
FROM readings GROUP BY event_date ORDER BY event_date DESC LIMIT 10""",
    ),
)
REJECTED = Question(
    "Rejected, by reason",
    """SELECT reason, count(*) AS readings, any_value(detail) AS for_example
FROM rejected_data GROUP BY reason ORDER BY readings DESC""",
)
# From the device to the broker is left out: a simulated fleet dates half an hour in a moment.
LATENCY = Question(
    "Seconds from step to step",
    """WITH steps AS (
  SELECT 1 AS n, 'broker to stream' AS step, epoch(arrival_time) - epoch(broker_time) AS delay
  FROM readings WHERE broker_time IS NOT NULL
  UNION ALL SELECT 2, 'stream to raw zone, longest per object',
  epoch(written_at) - epoch(oldest_arrival) FROM raw_objects
  UNION ALL SELECT 3, 'stream to curated zone', epoch(r.finished_at) - epoch(arrival_time)
  FROM readings JOIN curation_runs r USING (run_id))
SELECT step, quantile_cont(delay, 0.5) AS median, quantile_cont(delay, 0.95) AS p95,
       max(delay) AS longest
FROM steps GROUP BY n, step ORDER BY n""",
)


def ask(connection: Connection, question: Question) -> Answer:
    """Answer a question."""
    result = connection.execute(question.sql)
    headers = [column[0] for column in result.description]
    return Answer(question, headers, [list(row) for row in result.fetchall()])


def answers(connection: Connection, *, has_rejected: bool) -> list[Answer]:
    """The answers that the demo prints; questions without an answer, as of positions to a fleet
    that sends none, are left out."""
    asked = [*QUESTIONS, LATENCY, *([REJECTED] if has_rejected else [])]
    return [answer for answer in (ask(connection, one) for one in asked) if answer.rows]


def report(result: dict[str, Any], answered: Sequence[Answer], connection: Connection) -> str:
    """The page, from the figures of `result.json` and the curated tables."""
    cards = [
        card("What became of the messages", _figures(result), "whole"),
        card("Tracks", _tracks(connection), "half tall"),
        card("Readings over time", _readings_over_time(connection)),
        card("Rejected, by reason", _rejects(result)),
        card("Temperature", _temperatures(connection), "half tall"),
        card("Latency", _latency(answered)),
        card("Seconds per stage", bar_chart("Seconds per stage", list(result["seconds"].items()))),
        card("Does it add up?", _equations(result), "whole"),
        *(
            card(answer.question.title, _answer(answer), "whole")
            for answer in answered
            if answer.question is not LATENCY
        ),
    ]
    verdict = (
        '<span class="good">Everything adds up.</span>'
        if result["adds_up"]
        else '<span class="bad">It does not add up: see below.</span>'
    )
    body = (
        "<h1>iot-telemetry-lake: a run of the demo</h1>"
        f'<p class="lead">{escape(str(result.get("input", "")))} {verdict}</p>'
        f'<div class="cards">{"".join(cards)}</div>'
    )
    return page("iot-telemetry-lake demo", body)


def _figures(result: dict[str, Any]) -> str:
    shown = [
        (result["sent"], "messages sent"),
        (result["acknowledged"], "acknowledged"),
        (result["received"], "received"),
        (result["accepted"], "accepted"),
        (sum(result["rejected"].values()), "rejected"),
        (result["duplicates"], "duplicates removed"),
        (result["dropped"], "dropped"),
        (result["curated"], "curated"),
        (result["late"], "of them late"),
    ]
    return figures([(name, f"{value:,}") for value, name in shown])


def _only_late(connection: Connection, column: str) -> bool:
    """Whether all readings with a value are late. Late ones, hours or days old, would draw lines
    across the map and squeeze a time axis: they are drawn only where there is nothing else."""
    # `column` is one of this module's own names.
    query = f"SELECT bool_and(is_late) FROM readings WHERE {column} IS NOT NULL"  # noqa: S608
    return bool(connection.execute(query).fetchall()[0][0])


def _tracks(connection: Connection) -> str:
    rows = connection.execute(
        """WITH chosen AS (SELECT * FROM readings WHERE latitude IS NOT NULL
          AND longitude IS NOT NULL AND (NOT is_late OR ?)),
        shown AS (SELECT device_id FROM chosen
          GROUP BY device_id ORDER BY count(*) DESC, device_id LIMIT ?)
        SELECT device_id, latitude, longitude
        FROM chosen SEMI JOIN shown USING (device_id) ORDER BY device_id, event_time""",
        [_only_late(connection, "latitude"), MAX_LINES],
    ).fetchall()
    tracks = [Track(name, points) for name, points in _grouped(rows)]
    if not tracks:
        return '<p class="quiet">These devices send no positions.</p>'
    return track_map("Map of the devices' tracks", tracks, Frame(height=560)) + legend(
        [t.name for t in tracks]
    )


def _readings_over_time(connection: Connection) -> str:
    """Readings by the minute (or coarser) in which they reached the stream, late ones apart."""
    rows = connection.execute(
        """WITH arrived AS (SELECT epoch(arrival_time) AS moment, is_late FROM readings),
        span AS (SELECT greatest(1, ceil((max(moment) - min(moment)) / 40)) AS step FROM arrived)
        SELECT is_late, floor(moment / step) * step AS slot, count(*)
        FROM arrived, span GROUP BY ALL ORDER BY 1, 2"""
    ).fetchall()
    slots = sorted({slot for _, slot, _ in rows})
    counted = {(late, slot): count for late, slot, count in rows}
    if not slots:
        return '<p class="quiet">Nothing was curated.</p>'
    lines = [
        PlotLine(name, [(slot, counted.get((late, slot), 0)) for slot in slots])
        for late, name in ((False, "in time"), (True, "late"))
    ]
    plot = Plot("Readings by the time of their arrival", lines, is_stacked=True)
    return time_plot(plot) + '<p class="quiet">By arrival in the stream, UTC.</p>'


def _temperatures(connection: Connection) -> str:
    rows = connection.execute(
        """WITH chosen AS (SELECT device_id, temperature, epoch(event_time) AS moment FROM readings
          WHERE temperature IS NOT NULL AND (NOT is_late OR ?)),
        shown AS (SELECT device_id FROM chosen
          GROUP BY device_id ORDER BY count(*) DESC, device_id LIMIT ?),
        span AS (SELECT greatest(1, ceil((max(moment) - min(moment)) / 60)) AS step FROM chosen)
        SELECT device_id, floor(moment / step) * step AS slot, avg(temperature)
        FROM chosen SEMI JOIN shown USING (device_id), span GROUP BY ALL ORDER BY 1, 2""",
        [_only_late(connection, "temperature"), MAX_LINES],
    ).fetchall()
    lines = [PlotLine(name, points) for name, points in _grouped(rows)]
    if not lines:
        return '<p class="quiet">These devices send no temperatures.</p>'
    left = PlotAxis("degrees Celsius")
    plot = time_plot(Plot("Mean temperature per device over time", lines, left=left))
    return plot + '<p class="quiet">Degrees Celsius, means over event time, UTC.</p>'


def _grouped(
    rows: Sequence[tuple[str, float, float]],
) -> list[tuple[str, list[tuple[float, float]]]]:
    groups: dict[str, list[tuple[float, float]]] = {}
    for name, first, second in rows:
        groups.setdefault(name, []).append((float(first), float(second)))
    return list(groups.items())


def _rejects(result: dict[str, Any]) -> str:
    if not result["rejected"]:
        return '<p class="quiet">Nothing was rejected.</p>'
    bars = sorted(result["rejected"].items(), key=lambda item: -item[1])
    return bar_chart("Rejected readings by reason", bars)


def _latency(answered: Sequence[Answer]) -> str:
    rows = next((a for a in answered if a.question is LATENCY), None)
    if rows is None:
        return '<p class="quiet">Nothing was curated.</p>'
    medians = [(str(row[0]), float(str(row[1]))) for row in rows.rows]
    return bar_chart("Median seconds from step to step", medians) + html_table(
        ["step, seconds", *rows.headers[1:]], rows.rows
    )


def _equations(result: dict[str, Any]) -> str:
    rows = []
    for equation in result["equations"]:
        verdict = ("good", "equal") if equation["holds"] else ("bad", "NOT equal")
        rows.append(
            f"<tr><td>{escape(equation['left'])}</td>"
            f"<td class=number>{equation['left_value']:,}</td>"
            f"<td>{escape(equation['right'])}</td>"
            f"<td class=number>{equation['right_value']:,}</td>"
            f"<td class={verdict[0]}>{verdict[1]}</td></tr>"
        )
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _answer(answer: Answer) -> str:
    table = html_table(answer.headers, answer.rows)
    return f"<pre>{escape(answer.question.sql)}</pre>{table}"
