"""Where the corpora lie: beside the checkout, or where `TELEMETRY_CORPORA` says.

In CI their absence is a failure; elsewhere these tests are skipped and say why.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("TELEMETRY_CORPORA", REPOSITORY.parent / "shared"))


def needed(path: Path) -> Path:
    """The path if it is there; else fails in CI and skips elsewhere."""
    if path.exists():
        return path
    why = f"{path} is missing; TELEMETRY_CORPORA may name the folder that has corpora/ and data/"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def json_test_suite() -> list[Path]:
    """The parsing files of JSONTestSuite: y_ must parse, n_ must not, i_ may do either."""
    folder = needed(ROOT / "corpora" / "json_test_suite")
    files = sorted(folder.glob("[yni]_*.json"))
    assert len(files) == 318
    return files


@pytest.fixture(scope="session")
def sensor_boxes() -> bytes:
    """9,995 messages of three sensor boxes in July 2020, as one JSON array."""
    return needed(ROOT / "data" / "sensor_boxes" / "raw_data_large.json").read_bytes()
