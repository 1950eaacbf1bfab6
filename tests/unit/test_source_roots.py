"""Rules of import that the linter, which knows packages only, cannot hold."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {
    *(
        "ingest_telemetry",
        "audit_lake",
        "pause_ingestion",
        "telemetry_contract",
        "local",
        "devices",
        "ops",
    ),
    *("benchmarks", "tests"),
}


def imported_by(script: Path) -> set[str]:
    """The top-level packages that a script imports."""
    found = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("script", sorted(ROOT.glob("glue/*.py")), ids=lambda path: path.stem)
def test_a_job_imports_nothing_of_the_project(script: Path) -> None:
    # `sam deploy` uploads the script and no other file of ours.
    assert imported_by(script) & OURS == set()
    assert "awsglue" not in imported_by(script)
