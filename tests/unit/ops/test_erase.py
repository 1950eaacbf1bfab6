"""An erasure: one device leaves every version of every object, the others stay as they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from ops.errors import OperationError
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.erase_scene import GONE, KEPT, Scene, rows_of, scene_in
from tests.unit.ops.lake import READINGS


@pytest.fixture
def scene(deployed: Deployed) -> Scene:
    return scene_in(deployed)


def test_looking_changes_nothing_and_counts_what_there_is(scene: Scene) -> None:
    before = scene.contents()
    findings = scene.erasure().look()
    assert scene.contents() == before
    assert scene.job.runs == []
    assert findings.rows == {"raw": 2, "rejected": 2, "failed": 3}
    assert findings.tables == {"readings": 2}
    assert scene.messages


def test_an_erased_device_is_in_no_version_of_any_object(scene: Scene) -> None:
    assert scene.lake.found() == []
    kept = sorted(str(one) for one in rows_of(scene, KEPT))
    assert scene.holding(GONE)
    findings = scene.erase()
    assert scene.holding(GONE) == []
    assert sorted(str(one) for one in rows_of(scene, KEPT)) == kept
    assert findings.tables == {"readings": 2}
    assert scene.lake.found() == []
    # Once more finds nothing, and changes nothing but the tombstone.
    before = {name for name in scene.contents() if "erasures" not in name}
    assert scene.erasure().look().is_empty
    scene.erase()
    assert {name for name in scene.contents() if "erasures" not in name} == before


class KilledError(Exception):
    pass


def test_an_erasure_that_was_killed_anywhere_is_finished_by_running_it_again(
    scene: Scene,
) -> None:
    kept = sorted(str(one) for one in rows_of(scene, KEPT))
    kills = 0
    events = scene.lake.s3.meta.events
    for place in range(1, 40):
        calls = itertools.count(1)

        def kill(at: int = place, calls: Iterator[int] = calls, **_: Any) -> None:
            if next(calls) == at:
                raise KilledError

        for operation in ("PutObject", "DeleteObjects"):
            events.register(f"after-call.s3.{operation}", kill)
        try:
            scene.erase()
            break
        except KilledError:
            kills += 1
        finally:
            for operation in ("PutObject", "DeleteObjects"):
                events.unregister(f"after-call.s3.{operation}", kill)
        # What is to come may lie beside what is to go: raw is at least once.
        assert {str(one) for one in rows_of(scene, KEPT)} == set(kept)
    assert kills > 4
    assert sorted(str(one) for one in rows_of(scene, KEPT)) == kept
    assert scene.holding(GONE) == []
    assert scene.lake.found() == []


def test_nothing_is_deleted_before_the_job_has_committed(scene: Scene) -> None:
    before = scene.contents()
    scene.job.fails = True
    with pytest.raises(OperationError, match="running it again finishes"):
        scene.erase()
    assert before.items() <= scene.contents().items()


@pytest.mark.parametrize("which", ["curation", "summaries", "maintenance"])
def test_no_object_is_written_while_a_run_is_in_progress(scene: Scene, which: str) -> None:
    before = {name for name in scene.contents() if not name.startswith("curated-zone/")}
    jobs: dict[str, Any] = dict(zip(("summaries", "maintenance"), scene.others, strict=True))
    (jobs | {"curation": scene.job})[which].is_running = True
    with pytest.raises(OperationError, match="in progress"):
        scene.erase()
    after = {name for name in scene.contents() if not name.startswith("curated-zone/")}
    assert (after, scene.job.runs) == (before, [])


def test_what_a_run_writes_that_began_meanwhile_is_seen(scene: Scene) -> None:
    before = scene.lake.catalogue.tables["readings"].to_pylist()
    gone = [one for one in before if one["device_id"] == GONE]
    scene.others[1].at_end = lambda: scene.lake.add("readings", READINGS, gone)
    with pytest.raises(OperationError, match="2 rows are in the tables again"):
        scene.erase()
    scene.others[1].at_end = None
    scene.erase()
    assert scene.holding(GONE) == []
