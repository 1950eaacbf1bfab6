"""What an erasure tells its operator, and asks."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from ops.erase.command import is_confirmed
from ops.erase.report import lines_of, removed_lines
from ops.erase.run import Findings
from ops.erase.zones import Target
from tests.unit.ops.conftest import Deployed
from tests.unit.ops.erase_scene import GONE, KEPT, Scene, scene_in


@pytest.fixture
def scene(deployed: Deployed) -> Scene:
    return scene_in(deployed)


def test_what_can_not_be_read_is_told(scene: Scene) -> None:
    scene.lake.s3.put_object(Bucket="raw-zone", Key="raw_data/broken.parquet", Body=b"?")
    findings = scene.erasure().look()
    [unread] = findings.unread
    target = Target(GONE, scene.lake.now)
    told = "\n".join(lines_of(findings, target, "stack", apply=False))
    assert "raw_data/broken.parquet" in told
    assert "(dry run)" in told
    findings.unread += [replace(unread)] * 9
    assert "and 5 more" in "\n".join(lines_of(findings, target, "stack", apply=True))
    assert unread.version.is_current


def test_the_report_says_that_the_streams_copy_ages_out() -> None:
    told = "\n".join(removed_lines(Findings(versions_deleted=3), GONE, 168))
    assert "3 object versions" in told
    assert "ages out by itself, within 168 hours" in told


def test_the_report_says_that_the_thing_has_to_go_or_it_is_in_the_registry_again() -> None:
    told = "\n".join(removed_lines(Findings(), GONE, 168))
    assert f"aws iot delete-thing --thing-name {GONE}" in told
    assert "device_registry" in told
    assert "log group" in told


def test_only_the_devices_own_id_confirms(capsys: pytest.CaptureFixture[str]) -> None:
    assert is_confirmed(GONE, io.StringIO(f"{GONE}\n"))
    for answer in ("y\n", "yes\n", f"{KEPT}\n", ""):
        assert not is_confirmed(GONE, io.StringIO(answer))
    assert "can't be undone" in capsys.readouterr().out
