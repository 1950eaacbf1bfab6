"""A check that is silenced says why: on the line, or in a comment just above it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
SILENCE = re.compile(
    r"# (?:ruff: )?(?:noqa(?::\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)?"
    r"|type:\s*ignore(?:\[[\w\s,-]+\])?|pragma:\s*no\s*cover)"
)


def unexplained(text: str) -> list[int]:
    """The numbers of the lines that silence a check and do not say why."""
    lines = text.splitlines()
    return [
        number
        for number, line in enumerate(lines, 1)
        if (silence := SILENCE.search(line))
        and not re.search(r"[a-z]{2}", SILENCE.sub("", line[silence.start() :]))
        and not (number > 1 and lines[number - 2].lstrip().startswith("# "))
    ]


def test_a_silenced_check_says_why() -> None:
    modules = [module for folder in FOLDERS for module in (ROOT / folder).rglob("*.py")]
    assert modules
    assert [
        f"{module.relative_to(ROOT)}:{number}"
        for module in modules
        for number in unexplained(module.read_text())
    ] == []


def test_a_reason_is_on_the_line_or_above_it() -> None:
    ruff, mypy = "# " + "noqa: E501, A001", "# " + "type: ignore[misc, arg-type]"
    assert unexplained(f"a = b  {ruff}\nc = d  {mypy}\n") == [1, 2]
    assert unexplained(f"# As boto3 has it.\na = b  {ruff}\n") == []
    assert unexplained(f"a = b  {ruff} - as there\nc = d  {mypy}  # final there\n") == []
