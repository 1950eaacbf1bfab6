"""Every sample file is what its name says, for the contract and for the handler.

The samples are the first thing that people read and copy, and the first they add to when they
change the contract; so a badly named file, and a reason without a sample, are failures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from events.generate_kinesis import ARRIVAL, EXPECTED, KINESIS, READINGS, run, stale_files
from telemetry_contract.event_time import (
    FAR_FROM_ARRIVAL,
    FROM_ARRIVAL,
    OFFSET_ASSUMED,
    microseconds_of,
)
from telemetry_contract.fields import FIELDS
from telemetry_contract.identity import IDENTITY_MISMATCH_FLAG
from telemetry_contract.limits import Limits
from telemetry_contract.reading import interpret
from telemetry_contract.record import Record
from telemetry_contract.rejection import Reason
from tests.ingestion import Row, event_of, ingest

IDENTITY_TOPIC = "dt/fleet/device123/telemetry"
FLAGS = {
    FAR_FROM_ARRIVAL,
    FROM_ARRIVAL,
    OFFSET_ASSUMED,
    IDENTITY_MISMATCH_FLAG,
    *(flag for field in FIELDS for flag in (field.out_of_range_flag, field.wrong_type_flag)),
}
# One would be as large as its limit, the others are about what is around payloads.
REASONS_WITHOUT_SAMPLE = {Reason.TOO_LARGE, Reason.MALFORMED_ENVELOPE, Reason.MALFORMED_AGGREGATE}


def parts_of(path: Path) -> list[str]:
    return path.name.removesuffix(".json").split(".")


SAMPLES = sorted(READINGS.iterdir())
PASSES = [path for path in SAMPLES if parts_of(path)[-1] == "pass"]
FAILS = [path for path in SAMPLES if parts_of(path)[-1] == "fail"]
EVENTS = sorted(KINESIS.iterdir())


def record_of(path: Path) -> Record:
    topic = IDENTITY_TOPIC if path.name.startswith("identity_") else None
    return Record(
        position="shardId-000000000000:1",
        arrival_time=microseconds_of(ARRIVAL),
        payload=path.read_bytes(),
        topic=topic,
    )


def name_of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_every_sample_has_a_name_that_says_what_comes_of_it(path: Path) -> None:
    first, *rest, verdict = parts_of(path)
    assert path.suffix == ".json", "samples end in .pass.json or .fail.json"
    assert verdict in ("pass", "fail"), "samples end in .pass.json or .fail.json"
    if verdict == "fail":
        assert first in list(Reason), f"{first} is no reason code"
    else:
        assert set(rest) <= FLAGS, f"{set(rest) - FLAGS} are no quality flags"


@pytest.mark.parametrize("path", PASSES, ids=name_of)
def test_passing_sample_is_accepted_with_the_flags_in_its_name(path: Path) -> None:
    readings, rejections = interpret(record_of(path), Limits())
    assert [rejection.reason for rejection in rejections] == []
    assert readings
    for reading in readings:
        assert sorted(reading.quality_flags) == sorted(parts_of(path)[1:-1])


@pytest.mark.parametrize("path", FAILS, ids=name_of)
def test_failing_sample_is_rejected_for_the_reason_in_its_name(path: Path) -> None:
    readings, rejections = interpret(record_of(path), Limits())
    assert readings == []
    assert [rejection.reason for rejection in rejections] == [parts_of(path)[0]]
    assert rejections[0].payload == path.read_bytes()


def test_samples_decide_the_same_in_the_handler_and_in_one_batch() -> None:
    # Each of them so often that the fast path, which takes common shapes only, has its say too.
    samples = [path for path in SAMPLES if not path.name.startswith("identity_")] * 20
    result = ingest(event_of([path.read_bytes() for path in samples], ARRIVAL))

    accepted, rejected = _by_record(result.accepted), _by_record(result.rejected)
    records = event_of([b""] * len(samples))["Records"]
    for path, record in zip(samples, records, strict=True):
        first, *rest, verdict = parts_of(path)
        if verdict == "pass":
            for row in accepted[record["eventID"]]:
                assert sorted(row["quality_flags"]) == sorted(rest), path.name
        else:
            [row] = rejected[record["eventID"]]
            assert row["reason"] == first, path.name
            assert row["payload"] == path.read_bytes()


def _by_record(rows: list[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["record_id"].rpartition(":")[0], []).append(row)
    return grouped


def test_every_reason_has_a_sample() -> None:
    sampled = {parts_of(path)[0] for path in FAILS}
    assert sampled == {reason.value for reason in set(Reason) - REASONS_WITHOUT_SAMPLE}


def test_every_field_is_in_a_passing_sample() -> None:
    seen: set[str] = set()
    for path in PASSES:
        readings, _ = interpret(record_of(path), Limits())
        seen |= {name for reading in readings for name in reading.values}
    assert seen == {field.name for field in FIELDS}


def test_passing_identity_sample_is_verified_and_others_claim() -> None:
    identities = {
        path.name.startswith("identity_"): reading.identity
        for path in PASSES
        for reading in interpret(record_of(path), Limits())[0]
    }
    assert identities == {True: "verified", False: "claimed"}


@pytest.mark.parametrize("path", EVENTS, ids=name_of)
def test_handler_answers_each_lambda_event_as_expected(path: Path) -> None:
    expected: dict[str, Any] = json.loads(EXPECTED.read_text())[f"kinesis/{path.name}"]
    result = ingest(json.loads(path.read_text()))

    reasons = expected.pop("rejected_by_reason")
    assert {name: result.answer[name] for name in expected} == expected
    assert result.rejected_by_reason == reasons
    assert len(result.accepted) == expected["accepted"]
    assert len(result.answer["objects"]) == (len(result.accepted) > 0) + (len(result.rejected) > 0)


def test_every_expectation_has_its_event() -> None:
    assert set(json.loads(EXPECTED.read_text())) == {f"kinesis/{path.name}" for path in EVENTS}


def test_lambda_events_are_what_the_generator_writes() -> None:
    assert stale_files() == []
    assert run(["--check"]) == 0


def test_check_names_a_stale_event(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from events import generate_kinesis

    monkeypatch.setattr(generate_kinesis, "FOLDER", tmp_path)
    monkeypatch.setattr(generate_kinesis, "KINESIS", tmp_path / "kinesis")
    monkeypatch.setattr(generate_kinesis, "EXPECTED", tmp_path / "expected.json")
    assert run([]) == 0
    assert run(["--check"]) == 0
    (tmp_path / "kinesis" / "empty_batch.json").write_text("{}")
    (tmp_path / "kinesis" / "left_over.json").write_text("{}")
    assert run(["--check"]) == 1
    complaint = capsys.readouterr().err
    assert "empty_batch.json" in complaint
    assert "left_over.json" in complaint
