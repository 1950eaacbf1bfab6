"""Reads out of the lake what `verdict` compares: tables by SQL, raw and rejected zone by object."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import duckdb

from devices.truth import HOUR_MS
from local.demo.lake import Lake, connect, zone_rows
from local.demo.verdict import COLUMNS, LakeFigures, RawRow
from telemetry_contract.zone_paths import RAW_PREFIX, REJECTED_PREFIX

_RAW_COLUMNS = ["device_id", "event_id", "record_id", "sequence"]
_REJECTED_COLUMNS = ["topic", "payload", "reason"]


def figures_of(lake: Lake, devices: Collection[str]) -> LakeFigures:
    """What the lake says of these devices."""
    wanted = frozenset(devices)
    connection = connect(lake)
    raw, others = _raw(lake, wanted)
    curated, ahead = _curated(connection, wanted)
    return LakeFigures(
        hours=_hours(connection, wanted),
        latest=_latest(connection, wanted),
        curated=curated,
        ahead=ahead,
        raw=raw,
        duplicates=own_duplicates(connection, others, curated.total()),
        rejected=_rejected(lake, wanted),
    )


def own_duplicates(connection: duckdb.DuckDBPyConnection, others: int, curated: int) -> int:
    """The duplicates that the accounts of scheduled runs tell, less those of other devices: of
    `others` rows in the raw zone what neither became a reading nor was dropped. `curated` rows of
    `readings` are the own ones."""
    told, dropped = connection.execute(
        "SELECT sum(duplicates), sum(dropped) FROM curation_runs WHERE kind = 'schedule'"
    ).fetchall()[0]
    others_curated = _one(connection, "SELECT count(*) FROM readings") - curated
    return int(told or 0) - (others - others_curated - int(dropped or 0))


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0] or 0)


def _hours(
    connection: duckdb.DuckDBPyConnection, wanted: frozenset[str]
) -> dict[tuple[str, int], dict[str, Any]]:
    # The columns' names are `verdict`'s own.
    query = f"SELECT device_id, epoch_ms(hour), {', '.join(COLUMNS)} FROM device_hours"  # noqa: S608
    return {
        (device_id, milliseconds // HOUR_MS): dict(zip(COLUMNS, figures, strict=True))
        for device_id, milliseconds, *figures in connection.execute(query).fetchall()
        if device_id in wanted
    }


def _latest(
    connection: duckdb.DuckDBPyConnection, wanted: frozenset[str]
) -> dict[str, tuple[int, bool]]:
    rows = connection.execute(
        "SELECT device_id, epoch_ms(last_event_time), silent_since IS NOT NULL FROM device_latest"
    ).fetchall()
    return {device_id: (last, silent) for device_id, last, silent in rows if device_id in wanted}


def _curated(
    connection: duckdb.DuckDBPyConnection, wanted: frozenset[str]
) -> tuple[Counter[str], int]:
    rows = connection.execute("SELECT device_id, event_id, is_ahead FROM readings").fetchall()
    own = [(event_id, is_ahead) for device_id, event_id, is_ahead in rows if device_id in wanted]
    return Counter(event_id for event_id, _ in own), sum(is_ahead for _, is_ahead in own)


def _raw(lake: Lake, wanted: frozenset[str]) -> tuple[list[RawRow], int]:
    """The rows of these devices, and how many rows others have."""
    own: list[RawRow] = []
    others = 0
    for rows in zone_rows(lake, lake.raw_bucket, RAW_PREFIX, _RAW_COLUMNS):
        for device_id, event_id, record_id, number in rows:
            if device_id in wanted:
                # shard:position:sub-sequence
                position = int(record_id.split(":")[1])
                own.append(RawRow(device_id, event_id, position, number))
            else:
                others += 1
    return own, others


def _rejected(lake: Lake, wanted: frozenset[str]) -> dict[tuple[str, bytes], set[str]]:
    found: dict[tuple[str, bytes], set[str]] = {}
    for rows in zone_rows(lake, lake.rejected_bucket, REJECTED_PREFIX, _REJECTED_COLUMNS):
        for topic, payload, reason in rows:
            # dt/<application>/<thing>/telemetry; who puts on the stream directly has no topic.
            thing = topic.split("/")[2] if topic else ""
            if thing in wanted:
                found.setdefault((thing, payload), set()).add(reason)
    return found
