"""Files of a table: what no snapshot knows goes if it is old, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ops.erase.tables import Tables
from ops.erase.zones import Target
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.erase_scene import FOLDER, GONE, Scene, TableWithFiles, scene_in

ORPHAN = f"{FOLDER}/data/orphan.parquet"


@pytest.fixture
def scene(deployed: Deployed) -> Scene:
    return scene_in(deployed)


def purge(scene: Scene, until: datetime) -> set[str]:
    """Purge the tables; gives the keys that are left."""
    lake = scene.lake
    catalogue: Any = lake.catalogue
    Tables(lake.s3, lake.stack, catalogue, scene.messages.append).purge(Target(GONE, until))
    listed = lake.s3.list_object_versions(Bucket="curated-zone").get("Versions", [])
    return {one["Key"] for one in listed}


def knowing(uri: str) -> Any:
    """A snapshot with one file."""
    entry = SimpleNamespace(data_file=SimpleNamespace(file_path=uri))
    manifest = SimpleNamespace(fetch_manifest_entry=lambda *_, **__: [entry])
    return SimpleNamespace(manifests=lambda _: [manifest])


def test_a_file_that_a_killed_run_left_goes(scene: Scene) -> None:
    assert purge(scene, datetime.now(UTC) + timedelta(hours=1)) == set()


def test_a_file_written_since_the_erasure_began_may_be_a_running_jobs_and_stays(
    scene: Scene,
) -> None:
    assert purge(scene, datetime.now(UTC) - timedelta(hours=1)) == {ORPHAN}


def test_a_file_committed_after_the_table_was_loaded_stays(scene: Scene) -> None:
    load = scene.lake.catalogue.load_table

    class Committed(TableWithFiles):
        metadata = SimpleNamespace(snapshots=[knowing(f"s3://curated-zone/{ORPHAN}")])

    class Loaded(TableWithFiles):
        def refresh(self) -> TableWithFiles:
            return Committed(self.rows)

    vars(scene.lake.catalogue)["load_table"] = lambda name: Loaded(load(name).rows)
    assert purge(scene, datetime.now(UTC) + timedelta(hours=1)) == {ORPHAN}
