"""The demo's verdict must be able to fail: any figure that is off by one turns it."""

from dataclasses import fields, replace
from typing import Any

import pytest

from local.demo.accounting import Figures, Sent, equations, result

# 1,000 messages: 900 different readings, 60 sent again, 40 bad.
SENT = Sent(1_000, 1_000, 900, 60, {"not_json": 25, "timestamp_missing": 15}, late=30)
FOUND = Figures(
    records=1_000,
    received=1_000,
    received_accepted=960,
    accepted=960,
    rejected={"not_json": 25, "timestamp_missing": 15},
    failed=0,
    rows_in=960,
    duplicates=60,
    dropped=10,
    late=30,
    accounted_curated=890,
    curated=890,
    distinct=890,
    curated_late=30,
    summarised=890,
)


def test_a_run_without_loss_adds_up() -> None:
    assert [e for e in equations(SENT, FOUND) if not e.holds] == []
    written = result(SENT, FOUND, {"publish": 1.5}, {"seed": 7})
    assert written["adds_up"] is True
    assert (written["sent"], written["received"], written["curated"]) == (1_000, 1_000, 890)
    assert written["rejected"] == {"not_json": 25, "timestamp_missing": 15}
    assert (written["seconds"], written["seed"]) == ({"publish": 1.5}, 7)


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("name", [field.name for field in fields(Figures)])
def test_any_found_figure_that_is_off_by_one_is_seen(name: str, change: int) -> None:
    value: Any = getattr(FOUND, name)
    changed: Any = (
        {**value, "not_json": value["not_json"] + change} if name == "rejected" else value + change
    )
    assert not result(SENT, replace(FOUND, **{name: changed}), {}, {})["adds_up"]


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("name", ["sent", "acknowledged", "distinct", "duplicates", "late"])
def test_any_figure_of_the_fleet_that_is_off_by_one_is_seen(name: str, change: int) -> None:
    sent = replace(SENT, **{name: getattr(SENT, name) + change})
    assert not result(sent, FOUND, {}, {})["adds_up"]


def test_a_fleet_that_can_not_know_what_is_late_is_not_asked() -> None:
    assert result(replace(SENT, late=None), FOUND, {}, {})["adds_up"]


def test_a_message_rejected_for_another_reason_than_it_was_sent_for_is_seen() -> None:
    swapped = replace(FOUND, rejected={"not_json": 24, "timestamp_missing": 16})
    assert not result(SENT, swapped, {}, {})["adds_up"]


def test_a_reason_that_was_not_sent_for_is_seen() -> None:
    moved = {"not_json": 25, "timestamp_missing": 14, "too_deep": 1}
    wrong = [e.left for e in equations(SENT, replace(FOUND, rejected=moved)) if not e.holds]
    assert wrong == ["sent to be rejected as timestamp_missing", "sent to be rejected as too_deep"]


def test_a_lost_and_a_doubled_reading_do_not_hide_each_other() -> None:
    """890 rows, but one event id twice and one missing."""
    assert not result(SENT, replace(FOUND, distinct=889), {}, {})["adds_up"]
