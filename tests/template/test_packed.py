"""What the local cloud deploys is what was built, its large folders archived.

`make build` makes both; without them these tests fail.
"""

import zipfile
import zlib
from pathlib import Path

import pytest

from local.deployment.template import parse
from tests.template.expand import ROOT

BUILD = ROOT / "build" / "sam-host"
LARGE = ("AuditLakeFunction", "ColumnarLayer", "ExportRegistryFunction")


def test_the_packed_template_is_the_built_one_with_archives_for_the_large_folders() -> None:
    built = parse((BUILD / "template.yaml").read_text())
    for name in LARGE:
        properties = built["Resources"][name]["Properties"]
        place = "CodeUri" if "CodeUri" in properties else "ContentUri"
        assert properties[place] == name
        properties[place] = f"{name}.zip"
    assert parse((BUILD / "packed.yaml").read_text()) == built


@pytest.mark.parametrize("name", LARGE)
def test_an_archive_holds_its_folders_files_with_their_rights_and_nothing_else(name: str) -> None:
    folder = BUILD / name
    with zipfile.ZipFile(BUILD / f"{name}.zip") as archive:
        archived = {
            entry.filename: (entry.CRC, entry.external_attr >> 16) for entry in archive.infolist()
        }
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert archived == {path.relative_to(folder).as_posix(): _as_archived(path) for path in files}


def _as_archived(file: Path) -> tuple[int, int]:
    return zlib.crc32(file.read_bytes()), file.stat().st_mode
