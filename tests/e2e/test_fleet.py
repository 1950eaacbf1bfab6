"""Devices that do wrong on purpose, on a bad day of the cloud: the lake's figures are the truth."""

import io
from pathlib import Path

from local.demo.demo import Demonstration
from local.demo.fleet_trial import STAGES, TrialOptions, trial_on
from local.demo.verdict import differing_hours
from local.progress import Progress


def test_the_lakes_figures_are_the_truth_of_a_fleet_on_a_bad_day(
    demo: Demonstration, tmp_path: Path
) -> None:
    options = TrialOptions(
        tmp_path, devices=14, minutes=0.5, interval_seconds=0.5, seed=5, kills_job=False
    )
    try:
        trial = trial_on(demo.cloud, demo.outputs, options, Progress(STAGES, io.StringIO()))
    finally:
        demo.cloud.clear_faults()
    assert trial.published.acknowledged == trial.published.sent > 500
    assert differing_hours(trial.simulation.truth, trial.figures) == []
    # Who is silent is told by arrivals: within half a minute a busy machine can make the last word
    # of a silent device one of the last. tests/spark/test_simulated_fleet.py holds it by its clock.
    differing = [verdict.what for verdict in trial.verdicts if not verdict.is_equal]
    assert [what for what in differing if not what.startswith("devices silent")] == []
    # Nothing was equal for want of any.
    totals = trial.simulation.truth.totals()
    for figure in (
        "dropped",
        "garbage",
        "duplicates",
        "overtaken",
        "late",
        "reordered",
        "restarts",
    ):
        assert getattr(totals, figure) > 0, figure
    assert trial.simulation.truth.silent()
    assert sum(trial.fired.values()) > 10
