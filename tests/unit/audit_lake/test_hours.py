"""No hour is left out and none is told before it can be, however the schedule fares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

import pytest

from audit_lake.hours import HOUR, MOST_HOURS, NEAR, Collaborators, audit_hours
from ops.audit.findings import Audit, Finding, Scope

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@dataclass
class KeptMark:
    """A mark in memory."""

    through: datetime | None = None
    can_write: bool = True

    def read(self) -> datetime | None:
        return self.through

    def write(self, through: datetime) -> None:
        if not self.can_write:
            raise ConnectionError
        self.through = through


@dataclass
class World:
    """A lake that is curated through `taken`, and what the audit looked at and reported."""

    taken: datetime | None = NOON
    mark: KeptMark = field(default_factory=KeptMark)
    seconds_an_hour_takes: float = 10
    seconds: float = 900
    audit_of: Callable[[datetime], Audit] = field(default=lambda _: Audit())
    scopes: list[Scope] = field(default_factory=list)
    reported: list[tuple[datetime, int]] = field(default_factory=list)

    def invoke(self) -> list[datetime]:
        remaining = self.seconds

        def audit(scope: Scope) -> Audit:
            nonlocal remaining
            remaining -= self.seconds_an_hour_takes
            self.scopes.append(scope)
            assert scope.since is not None
            return self.audit_of(scope.since)

        return audit_hours(
            Collaborators(
                mark=self.mark,
                taken_through=lambda: self.taken,
                audit=audit,
                report=lambda hour, told: self.reported.append((hour, len(told.findings))),
                remaining_seconds=lambda: remaining,
            )
        )


def hours(first: datetime, count: int) -> list[datetime]:
    return [first + number * HOUR for number in range(count)]


def test_the_first_audit_is_of_the_newest_hour_that_is_closed_and_curated() -> None:
    world = World()
    assert world.invoke() == [NOON - 2 * HOUR]
    [scope] = world.scopes
    assert scope == Scope(NOON - 2 * HOUR, NOON - HOUR, NOON - HOUR + NEAR)


def test_an_hour_is_audited_once() -> None:
    world = World()
    world.invoke()
    assert world.invoke() == []


def test_an_hour_is_audited_when_the_one_behind_it_is_curated_too() -> None:
    # What arrives at its end is written in the next one.
    world = World(mark=KeptMark(NOON))
    for taken, audited in [(NOON, []), (NOON + HOUR, []), (NOON + 2 * HOUR, [NOON])]:
        world.taken = taken
        assert world.invoke() == audited


def test_nothing_is_audited_before_the_first_run() -> None:
    assert World(taken=None).invoke() == []


@pytest.mark.parametrize("missed", [1, 3, MOST_HOURS])
def test_hours_of_missed_schedules_are_made_good_the_oldest_first(missed: int) -> None:
    world = World(mark=KeptMark(NOON), taken=NOON + (missed + 1) * HOUR)
    assert world.invoke() == hours(NOON, missed)
    assert world.mark.through == NOON + missed * HOUR


def test_after_a_long_rest_each_invocation_goes_on_where_the_last_one_ended() -> None:
    world = World(mark=KeptMark(NOON), taken=NOON + 61 * HOUR)
    audited = [world.invoke() for _ in range(4)]
    assert [len(each) for each in audited] == [24, 24, 12, 0]
    assert list(chain(*audited)) == hours(NOON, 60)


def test_an_invocation_ends_before_its_time_does() -> None:
    world = World(mark=KeptMark(NOON), taken=NOON + 11 * HOUR, seconds_an_hour_takes=200)
    audited = [world.invoke() for _ in range(4)]
    assert [len(each) for each in audited] == [3, 3, 3, 1]
    assert list(chain(*audited)) == hours(NOON, 10)


def test_findings_are_reported_with_their_hour() -> None:
    lost = Audit(findings=[Finding("record_lost", "shard:1"), Finding("record_lost", "shard:2")])
    world = World(
        mark=KeptMark(NOON),
        taken=NOON + 4 * HOUR,
        audit_of=lambda hour: lost if hour == NOON + HOUR else Audit(),
    )
    world.invoke()
    assert world.reported == [(NOON, 0), (NOON + HOUR, 2), (NOON + 2 * HOUR, 0)]


def test_an_hour_waits_for_the_run_that_takes_the_rest_of_it() -> None:
    world = World(mark=KeptMark(NOON), taken=NOON + 4 * HOUR)
    world.audit_of = lambda hour: Audit(untaken_rows=5 if hour == NOON + HOUR else 0)
    assert world.invoke() == [NOON]
    assert world.invoke() == []
    world.audit_of = lambda _: Audit()
    assert world.invoke() == [NOON + HOUR, NOON + 2 * HOUR]
    assert [hour for hour, _ in world.reported] == hours(NOON, 3)


def test_an_hour_whose_report_was_not_marked_is_reported_again() -> None:
    world = World(mark=KeptMark(NOON, can_write=False), taken=NOON + 2 * HOUR)
    with pytest.raises(ConnectionError):
        world.invoke()
    world.mark.can_write = True
    world.invoke()
    assert world.reported == [(NOON, 0), (NOON, 0)]


def test_an_hour_that_could_not_be_audited_is_tried_again() -> None:
    def fail(_: datetime) -> Audit:
        raise ConnectionError

    world = World(mark=KeptMark(NOON), taken=NOON + 2 * HOUR, audit_of=fail)
    with pytest.raises(ConnectionError):
        world.invoke()
    world.audit_of = lambda _: Audit()
    assert world.invoke() == [NOON]
