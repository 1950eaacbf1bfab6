"""What an export writes: a row for each change and none for anything else, and the past stays."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_registry.changes import Known, Row, changes, known_of, present_state
from export_registry.settings import Settings, SettingsError

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def thing(name: str, thing_type: str | None = None, **attributes: str) -> dict[str, Any]:
    """A thing as ListThings gives it."""
    told: dict[str, Any] = {"thingName": name, "attributes": attributes}
    return told | ({"thingTypeName": thing_type} if thing_type else {})


def exported(rows: list[Row], at: datetime, *things: dict[str, Any]) -> list[Row]:
    """One export; what it wrote is in `rows` afterwards."""
    written = changes(present_state(rows, at), things, at)
    rows += written
    return written


def test_attributes_of_their_own_columns_and_the_rest() -> None:
    told = thing("truck", "lorry", site="depot", owner="fleet", axles="3", colour="red")
    assert known_of(told) == Known("lorry", "depot", "fleet", {"axles": "3", "colour": "red"})
    assert known_of(thing("truck", "lorry", model="TX-2")).model == "TX-2"
    assert known_of(thing("truck", site="")) == Known()


def test_a_device_that_is_moved_keeps_its_past() -> None:
    rows: list[Row] = []
    exported(rows, NOON, thing("truck", site="depot"), thing("van", site="depot"))
    written = exported(
        rows, NOON + HOUR, thing("truck", site="harbour"), thing("van", site="depot")
    )
    assert written == [Row("truck", NOON + HOUR, Known(site="harbour"))]
    assert rows == [
        Row("truck", NOON, Known(site="depot")),
        Row("van", NOON, Known(site="depot")),
        Row("truck", NOON + HOUR, Known(site="harbour")),
    ]
    # And back: the way it was before is a change too.
    assert len(exported(rows, NOON + 2 * HOUR, thing("truck", site="depot"))) == 1


def test_no_change_is_no_row_however_often_the_export_runs() -> None:
    rows: list[Row] = []
    things = [thing("truck", site="depot", axles="3"), thing("bare")]
    assert len(exported(rows, NOON, *things)) == 1  # of a bare thing there is nothing to know
    for hours in range(1, 5):
        assert exported(rows, NOON + hours * HOUR, *things) == []


def test_a_device_that_loses_its_attributes_is_known_no_more() -> None:
    rows: list[Row] = []
    exported(rows, NOON, thing("truck", site="depot"))
    assert exported(rows, NOON + HOUR, thing("truck")) == [Row("truck", NOON + HOUR, Known())]
    assert exported(rows, NOON + 2 * HOUR, thing("truck")) == []


def test_what_is_not_in_the_registry_is_left_alone() -> None:
    """Rows that somebody wrote of an SDK producer, and those of a thing that was deleted."""
    rows = [Row("producer", None, Known(site="hall")), Row("gone", NOON, Known(site="depot"))]
    assert exported(rows, NOON + HOUR) == []


def test_a_row_of_the_future_is_not_the_present() -> None:
    """Someone has announced a move: until then the registry is right, and the row stays."""
    rows = [
        Row("truck", NOON, Known(site="depot")),
        Row("truck", NOON + 9 * HOUR, Known(site="harbour")),
    ]
    assert exported(rows, NOON + HOUR, thing("truck", site="depot")) == []
    assert exported(rows, NOON + 10 * HOUR, thing("truck", site="harbour")) == []


@pytest.mark.parametrize("order", [1, -1])
def test_of_rows_from_one_instant_the_one_counts_that_the_job_takes(order: int) -> None:
    rows = [
        Row("truck", NOON, Known("T-1", "depot", None, {"a": "1"})),
        Row("truck", NOON, Known("T-1", "harbour")),
        Row("truck", NOON, Known(None, "zoo")),
        Row("truck", None, Known("T-9", "yard")),
    ][::order]
    assert present_state(rows, NOON) == {"truck": Known("T-1", "harbour")}


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="CURATED_ZONE_BUCKET"):
        Settings.from_environment({"DATABASE_NAME": "d"})
