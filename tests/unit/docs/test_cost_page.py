"""The figures of the cost page and of the README are those that `ops cost` gives."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from docs.generate_cost import FOLDER, IDLE, MANY, PAGES, agree, bill, regenerated, run
from ops import __main__ as ops_main
from ops.cost.prices import read_prices

README = Path(__file__).parents[3] / "README.md"
PAGE = FOLDER / "cost.md"


def copied(folder: Path) -> Path:
    """The pages in another folder; the cost page."""
    for name in PAGES:
        (folder / name).write_text((FOLDER / name).read_text())
    return folder / "cost.md"


def test_pages_are_what_the_generator_writes() -> None:
    assert run(["--check"]) == 0


def test_check_fails_on_a_stale_page_and_writing_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = copied(tmp_path)
    page.write_text(PAGE.read_text().replace("| IoT Core, publish | 1.00 |", "| IoT | 0.90 |"))
    assert run(["--check"], tmp_path) == 1
    assert "docs/cost.md is stale: run `make docs`" in capsys.readouterr().err
    assert run([], tmp_path) == 0
    assert page.read_text() == regenerated("cost.md", PAGE.read_text())
    assert run(["--check"], tmp_path) == 0


@pytest.mark.parametrize(
    ("text", "wanted", "do"),
    [
        ("| alarms | 9 |", "| alarms | 10 |", True),
        ("| alarms | 9 |", "| alarms | 11 |", False),
        ("| in all | 1,000 |", "| in all | 1,040 |", True),
        ("| in all | 1,000 |", "| in all | 1,060 |", False),
        ("| PUT | 0.25 |", "| PUT | 0.255 |", True),
        ("| PUT | 0.25 |", "| PUT | 0.30 |", False),
        ("| alarms | 9 |", "| metrics | 9 |", False),
        ("| alarms | 9 |", "| alarms | 9 | 1 |", False),
    ],
)
def test_figures_may_be_off_by_a_dollar_or_a_twentieth_and_words_not_at_all(
    text: str, wanted: str, do: bool
) -> None:
    assert agree(text, wanted) is do


def test_missing_block_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = copied(tmp_path)
    page.write_text(PAGE.read_text().replace("<!-- generated: idle -->", ""))
    assert run(["--check"], tmp_path) == 1
    assert "idle" in capsys.readouterr().err


def test_readme_says_about_what_the_command_says() -> None:
    [(idle, lean, million)] = re.findall(
        r"costs about \$(\d+) a month in us-east-1 \(\$(\d+) without the crawler\), a million "
        r"1 KB messages about \$([\d.]+) more",
        README.read_text(),
    )
    assert float(idle) == pytest.approx(bill(IDLE).usd, abs=3)
    assert float(lean) == pytest.approx(bill(IDLE, CrawlRawZone="false").usd, abs=3)
    many = bill(MANY)
    each = (many.usd - many.fixed_usd) / MANY.messages * 1e6
    assert float(million) == pytest.approx(each, abs=0.1)


def test_figures_in_the_text_are_those_of_the_price_table() -> None:
    text, prices = PAGE.read_text(), read_prices()
    hourly = bill(IDLE, CurationSchedule="cron(0 * * * ? *)")
    without = bill(IDLE, CurationSchedule="cron(0 * * * ? *)", CrawlRawZone="false")
    for figure in (
        f"~${hourly.usd - without.usd:.0f} a month for crawls alone",
        f"connected costs ${prices['iot_connection'].of(365 * 24 * 60):.3f} a year",
        f"One object per message would be ${prices['s3_put'].of(1e6):.2f} for the PUTs",
        f"records cost ${prices['kinesis_put_unit'].of(1e6):.3f} a million",
        f"S3 Standard, ${prices['s3_storage'].of(1)} per GB",
        f"would be ${prices['cloudwatch_metric'].of(10_000 * 5):,.0f} a month",
        f"`${prices['glue_dpu'].of(1)}`",
        f"${prices['glue_dpu'].of(2 * 2):.2f} as installed",
        f"at ${prices['xray_trace'].of(1e6):.0f} a million",
        f"is ${prices['kms_key'].of(1):.0f} a month",
    ):
        assert figure in text


def test_the_commands_on_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = block.replace("\\\n", " ").strip().splitlines()
    assert len(commands) == 3
    for command in commands:
        program, *arguments = shlex.split(command)
        assert (program, arguments[:2]) == (".venv/bin/python", ["-m", "ops"])
        if "--stack-name" in arguments:  # asks AWS; what it does is tested with the command
            place = arguments.index("--stack-name")
            del arguments[place : place + 2]
        assert ops_main.run(arguments[2:]) == 0
        assert capsys.readouterr().out
