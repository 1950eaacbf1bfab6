"""The contract's page says what the code does, and its examples are what it says they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate_contract import FLAG_MEANINGS, PAGE, run
from events.generate_kinesis import ARRIVAL
from telemetry_contract import event_time, identity
from telemetry_contract.event_time import microseconds_of
from telemetry_contract.fields import FIELDS
from telemetry_contract.limits import Limits
from telemetry_contract.raw_schema import RAW_SCHEMA, REJECTED_SCHEMA
from telemetry_contract.reading import interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Reason


def test_page_is_what_the_generator_writes() -> None:
    assert run(["--check"]) == 0


def test_page_names_every_field_reason_and_column() -> None:
    page = PAGE.read_text()
    names = [field.name for field in FIELDS] + [reason.value for reason in Reason]
    names += RAW_SCHEMA.names + REJECTED_SCHEMA.names
    names += [alias for field in FIELDS for alias in field.aliases]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_examples_of_dialects_are_accepted() -> None:
    [block] = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for line in block.splitlines():
        record = Record("shardId-000000000000:1", microseconds_of(ARRIVAL), line.encode())
        readings, rejections = interpret(record, Limits())
        assert (len(readings), rejections) == (1, []), line


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((\.\./[^)#]+)\)", PAGE.read_text())
    assert targets
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


def test_check_fails_on_a_stale_page_and_writing_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "contract.md"
    page.write_text(PAGE.read_text().replace("`latitude`", "`lattitude`"))
    assert run(["--check"], page) == 1
    assert "make docs" in capsys.readouterr().err
    assert run([], page) == 0
    assert page.read_text() == PAGE.read_text()
    assert run(["--check"], page) == 0


def test_missing_block_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "contract.md"
    page.write_text(PAGE.read_text().replace("<!-- generated: flags -->", ""))
    assert run(["--check"], page) == 1
    assert "flags" in capsys.readouterr().err


def test_every_flag_constant_has_a_meaning() -> None:
    constants = {
        value
        for module in (event_time, identity)
        for name, value in vars(module).items()
        if name.isupper()
        and not name.startswith("_")
        and isinstance(value, str)
        and re.fullmatch(r"(event_time_|identity_)\w+", value)
    }
    assert set(FLAG_MEANINGS) == constants
