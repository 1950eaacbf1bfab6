"""The guides name what there is: commands, options, parameters, outputs, tables, links."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from docs.generate_cost import EXAMPLE, IDLE, PRICES, bill
from ops import __main__ as ops_main
from ops.cost.load import Load
from ops.cost.reckoning import firehose_bill_of
from ops.cost.settings import read_settings

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
GUIDES = ("cost.md", "firehose.md", "from-iot-analytics.md", "upgrading.md", "operations.md")
TEMPLATE = (ROOT / "template.yaml").read_text()


def anchors(page: Path) -> set[str]:
    """What one can link to in a page, as GitHub makes it."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("guide", GUIDES)
def test_links_within_the_project_lead_somewhere(guide: str) -> None:
    targets = re.findall(r"\]\(([^):]+)\)", (DOCS / guide).read_text())
    assert targets
    for target in targets:
        file, _, anchor = target.partition("#")
        page = (DOCS / file).resolve() if file else DOCS / guide
        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page), target


def ops_commands() -> list[tuple[str, list[str]]]:
    """(page, arguments) of every `python -m ops ...` in the guides."""
    found = []
    for guide in GUIDES:
        text = (DOCS / guide).read_text().replace("\\\n", " ")
        for line in re.findall(r"python -m ops ((?:\"[^\"]*\"|[^`#\n])+)", text):
            words = shlex.split(line)
            if words[1:]:
                found.append((guide, words))
    return found


def test_commands_in_the_guides_are_taken_by_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[argparse.Namespace] = []

    def parsed(self: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
        namespace = original(self, arguments)
        taken.append(namespace)
        raise StopIteration

    original = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    commands = ops_commands()
    assert {words[0] for _, words in commands} >= {"cost", "import", "redrive", "audit"}
    for page, words in commands:
        # N stands for a number where the page leaves it to the reader.
        arguments = ["1" if word == "N" else word for word in words]
        if "--help" in arguments:
            continue
        with pytest.raises(StopIteration):
            ops_main.run(arguments)
        assert taken.pop(), page


@pytest.mark.parametrize(
    "guide", ["cost.md", "firehose.md", "from-iot-analytics.md", "upgrading.md"]
)
def test_settings_and_outputs_that_are_named_exist(guide: str) -> None:
    declared = set(re.findall(r"^  ([A-Z]\w+):", TEMPLATE, re.MULTILINE))
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)(?:=[^`]*)?`", (DOCS / guide).read_text()))
    # Names of AWS's own.
    of_aws = {"BatchPutMessage", "StartPipelineReprocessing"}
    assert named
    assert named - of_aws <= declared | {"IngestTelemetryFunctionTelemetry"}


@pytest.mark.parametrize("page", [DOCS / "operations.md", ROOT / "local" / "README.md"])
def test_resources_that_are_asked_for_by_name_are_in_the_template(page: Path) -> None:
    resources = TEMPLATE.partition("\nResources:\n")[2].partition("\nOutputs:\n")[0]
    declared = set(re.findall(r"^  (\w+):$", resources, re.MULTILINE))
    asked = set(re.findall(r"\$\(resource (\w+)\)", page.read_text()))
    assert asked
    assert asked <= declared


def test_the_readme_leads_to_every_guide() -> None:
    readme = (ROOT / "README.md").read_text()
    for guide in GUIDES:
        assert f"](docs/{guide})" in readme


def test_the_readme_has_every_function_on_its_map() -> None:
    readme = (ROOT / "README.md").read_text()
    functions = {path.parent.name for path in ROOT.glob("functions/*/handler.py")}
    assert functions
    assert [name for name in sorted(functions) if f"`{name}`" not in readme] == []


def test_the_map_has_every_concept_of_iot_analytics() -> None:
    text = (DOCS / "from-iot-analytics.md").read_text()
    # https://docs.aws.amazon.com/iotanalytics/latest/APIReference/API_PipelineActivity.html
    activities = (
        *("addAttributes", "selectAttributes", "removeAttributes", "filter", "math", "lambda"),
        *("deviceRegistryEnrich", "deviceShadowEnrich"),
    )
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    for word in ("channel", "pipeline", "data store", "SQL dataset", "container dataset"):
        assert any(word in row for row in rows), word
    for activity in activities:
        assert f"`{activity}`" in text
    assert "15 December 2025" in text


def test_figures_of_the_comparison_are_those_that_are_reckoned() -> None:
    text = (DOCS / "firehose.md").read_text()

    def iot_core(a_second: float) -> float:
        load = Load(a_second, 1024, 1, 0, EXAMPLE.way, 0.0, 1.0)
        return bill(load).of("IoT Core")

    assert f"{iot_core(10):.0f} at ten messages a second, {iot_core(100):.0f} at a hundred" in text
    more = bill(IDLE).usd - firehose_bill_of(IDLE, read_settings({}), PRICES, partitions=0).usd
    [told] = re.findall(r"some \$(\d+) a month more", text)
    assert float(told) == pytest.approx(more, abs=2)
    table = [
        [float(cell.replace(",", "")) for cell in row.split(" | ")]
        for row in re.findall(r"^\| ([\d,]+ \| [\d,. |]+) \|$", text, re.MULTILINE)
    ]
    assert len(table) == 12
    # Below a hundred messages a second Firehose is cheaper, above it is the provisioned stream.
    for a_second, _, _, provisioned, firehose, _ in table:
        assert a_second == 100 or (firehose < provisioned) == (a_second < 100)
