"""The schedule of faults for the trial of a fleet."""

from datetime import UTC, datetime
from typing import Any

import pytest

from local.demo.bad_day import Incident, Weather, bad_day
from local.faults.faults import ACTION_KINDS, CALL_KINDS, Faults


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_comes_within_the_run_and_in_order(seed: int) -> None:
    day = bad_day(seed, 600.0)
    assert {incident.kind for incident in day} == {*CALL_KINDS, *ACTION_KINDS}
    moments = [incident.at for incident in day]
    assert moments == sorted(moments)
    assert 0 < moments[0] < moments[-1] < 0.9 * 600
    assert len({incident.name for incident in day}) == len(day)


def test_the_same_seed_makes_the_same_day_and_another_another() -> None:
    assert bad_day(7, 600.0) == bad_day(7, 600.0)
    assert bad_day(7, 600.0) != bad_day(8, 600.0)


def test_the_local_cloud_knows_every_fault_with_its_settings() -> None:
    faults = Faults(dict.fromkeys(ACTION_KINDS, lambda _: None))
    for incident in bad_day(7, 600.0):
        faults.inject(incident.kind, name=incident.name, **incident.settings)


def test_the_clock_goes_back_by_what_it_jumped_after_devices_fell_silent() -> None:
    jumps = [incident for incident in bad_day(7, 600.0) if incident.kind == "clock-jump"]
    assert sum(incident.settings["seconds"] for incident in jumps) == 0
    assert all(0.45 * 600 < incident.at < 0.6 * 600 for incident in jumps)


class FakeCloud:
    def __init__(self, refused: str = "") -> None:
        self.injected: list[tuple[str, dict[str, Any]]] = []
        self.refused = refused

    def inject(self, kind: str, **settings: Any) -> str:
        if kind == self.refused:
            raise RuntimeError("no such stream")
        self.injected.append((kind, settings))
        return str(settings["name"])


def test_what_could_not_be_injected_is_told_and_the_rest_goes_on() -> None:
    cloud = FakeCloud(refused="reshard")
    incidents = [
        Incident(0.0, "split", "reshard", {"seed": 1}),
        Incident(0.0, "twice", "duplicate", {"on": "lambda:Invoke"}),
    ]
    at = datetime(2026, 11, 24, tzinfo=UTC)
    weather = Weather(cloud, incidents, clock=lambda: at)
    with weather:
        weather.wait()
    assert cloud.injected == [("duplicate", {"name": "twice", "on": "lambda:Invoke"})]
    assert weather.injected_at == {"twice": at}
    assert weather.failures == ["split: no such stream"]


def test_a_fault_whose_moment_never_came_is_told() -> None:
    with Weather(FakeCloud(), [Incident(3_600.0, "late", "reshard", {})]) as weather:
        pass
    assert weather.failures == ["late: the fleet was through before"]
