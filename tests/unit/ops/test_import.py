"""History goes in through the contract, each message once, however often it is imported."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops import __main__ as ops_main
from ops.delivery import Function
from ops.erasures import Erasures
from ops.errors import OperationError
from ops.history import run as run_module
from ops.history.messages import messages_in, text_of
from ops.history.report import lines_of, trouble_lines
from ops.history.run import IMPORTED_PREFIX, Findings, Import, Terms
from ops.history.sources import sources_in
from ops.redrive.marks import Marks
from ops.redrive.pace import Pace
from ops.redrive.rejected import limits_of
from tests.ingestion import event_of, ingest
from tests.unit.ops.conftest import STACK, Deployed

PREFIX = "s3://old-archive/telemetry/"
WRITTEN = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


def reading(number: int, device: str = "press-7") -> bytes:
    at = f"2026-11-23T09:{number // 60 % 60:02}:{number % 60:02}Z"
    return json.dumps({"device_id": device, "timestamp": at, "sequence": number}).encode()


GOOD = [reading(number) for number in range(8)]
BAD = {b"not json": "not_json", b'{"device_id":"press-7"}': "timestamp_missing"}


@pytest.fixture
def archive(deployed: Deployed) -> Callable[[str, bytes], None]:
    """Puts an object into the old archive."""
    for bucket in ("old-archive", "raw-zone"):
        deployed.s3.create_bucket(Bucket=bucket)

    def put(key: str, body: bytes) -> None:
        deployed.s3.put_object(Bucket="old-archive", Key=f"telemetry/{key}", Body=body)

    return put


def brought_in(
    deployed: Deployed, place: str = PREFIX, *, apply: bool = True, **terms: object
) -> Findings:
    """An import as the command runs it, at a rate if one is given, with a clock of its own."""
    rate = terms.pop("rate", None)
    assert rate is None or isinstance(rate, int)
    earlier = len(deployed.pauses)
    # A fake of Lambda, of which a call and its settings are asked.
    function = Function(deployed.function, deployed.stack.function_name)  # type: ignore[arg-type]
    return Import(
        function,
        deployed.stack.stream_arn,
        limits_of(function.environment(), function.name),
        Marks(deployed.s3, "raw-zone", prefix=IMPORTED_PREFIX),
        deployed.progress.append,
        Pace(rate, lambda: sum(deployed.pauses[earlier:]), deployed.pauses.append),
        Erasures(deployed.s3, "curated-zone", deployed.stack.database_name).tombstones(),
    ).run(
        sources_in(place, deployed.s3),
        Terms(**({"arrived": WRITTEN} | terms)),  # type: ignore[arg-type]  # the terms a test gives
        apply=apply,
    )


def accepted(deployed: Deployed) -> Counter[bytes]:
    return Counter(row["payload"] for row in deployed.function.accepted)


def curated(deployed: Deployed) -> dict[str, bytes]:
    """What one row per event id makes of everything that the function accepted."""
    return {row["event_id"]: row["payload"] for row in deployed.function.accepted}


def messy(archive: Callable[[str, bytes], None]) -> None:
    """The same eight readings and two bad messages, in every form, some of them twice."""
    archive("a/lines.ndjson", b"\n".join([*GOOD[:3], *BAD, b"", GOOD[0]]) + b"\r\n")
    archive("b/array.json", b"[\n " + b",\n ".join(GOOD[2:5]) + b"\n]")
    archive("c/firehose", GOOD[5] + GOOD[6] + GOOD[5])
    archive("d/packed.json.gz", gzip.compress(GOOD[7] + b"\n") + gzip.compress(GOOD[0] + b"\n"))
    archive("e/", b"")


def test_messy_history_imported_twice_gives_one_row_each_and_rejections_with_reasons(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    # Two of them had come over the stream before.
    before = ingest(event_of(GOOD[:2])).accepted
    messy(archive)
    dry = brought_in(deployed, apply=False)
    assert (dry.files, dry.messages, dry.accepted) == (4, 14, 12)
    assert dry.rejected == {"not_json": 1, "timestamp_missing": 1}
    assert deployed.function.events == []

    first = brought_in(deployed)
    assert (first.sent, first.accepted_by_function, first.rejected_by_function) == (14, 12, 2)
    again = brought_in(deployed, again=True)
    assert again.sent == 14
    rows = curated(deployed)
    assert sorted(rows.values()) == sorted(GOOD)
    assert {row["event_id"] for row in before} <= rows.keys()
    rejected = [row for result in deployed.function.results for row in result.rejected]
    assert {row["payload"]: row["reason"] for row in rejected} == BAD
    # A second import is told from the first by nothing: a redrive counts these rows once.
    assert len({row["record_id"] for row in rejected}) == 2


def test_an_archive_does_not_bring_an_erased_device_back(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    own, other = reading(1, "press-8"), reading(2)
    archive("a.ndjson", b"\n".join([own, b"[" + own + b", " + other + b"]", GOOD[0]]))
    erasures = Erasures(deployed.s3, "curated-zone", deployed.stack.database_name)
    erasures.bury("press-8", WRITTEN + timedelta(days=1))
    # Nothing says when it arrived but a file that was written after the erasure.
    dry = brought_in(deployed, apply=False, arrived=None)
    findings = brought_in(deployed, arrived=None)
    for told in (dry, findings):
        assert (told.messages, told.erased, told.erased_in_part, told.chosen) == (3, 1, 1, 2)
    assert (findings.sent, findings.accepted_by_function) == (2, 2)
    assert accepted(deployed) == Counter([other, GOOD[0]])
    [row] = [row for row in deployed.function.accepted if row["payload"] == other]
    assert row["record_id"].endswith(":1:1")
    text = "\n".join(lines_of(findings, PREFIX, STACK, Terms(), apply=True))
    assert "1 messages are of erased devices and stay out." in text
    assert "1 messages go without their readings of erased devices." in text
    # Said to have arrived afterwards, it is new.
    later = brought_in(deployed, arrived=WRITTEN + timedelta(days=2), again=True)
    assert (later.erased, later.erased_in_part, later.chosen) == (0, 0, 3)


def test_what_was_imported_is_passed_over_and_what_is_new_goes(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    archive("1.ndjson", b"\n".join(GOOD[:3]))
    assert brought_in(deployed).sent == 3
    archive("2.ndjson", b"\n".join(GOOD[3:5]))
    # A copy under another name is the same history.
    archive("copy.ndjson", b"\n".join(GOOD[:3]))
    later = brought_in(deployed)
    assert (later.files, later.files_before, later.messages_before, later.sent) == (3, 1, 3, 2)
    assert sorted(accepted(deployed).values()) == [1] * 5
    assert brought_in(deployed).chosen == 0
    assert IMPORTED_PREFIX in str(deployed.s3.list_objects_v2(Bucket="raw-zone"))


def test_a_limit_is_kept_and_the_next_run_goes_on_behind_it(
    deployed: Deployed, archive: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "CHUNK_MESSAGES", 3)
    archive("1.ndjson", b"\n".join(GOOD))
    for sent, left in ((4, 4), (4, 0), (0, 0)):
        findings = brought_in(deployed, limit=4)
        assert (findings.sent, findings.left) == (sent, left)
    assert accepted(deployed) == Counter(GOOD)


def test_a_rate_bounds_each_call_and_the_time_between_them(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    archive("1.ndjson", b"\n".join(GOOD))
    brought_in(deployed, rate=3)
    assert [len(event["Records"]) for event in deployed.function.events] == [3, 3, 2]
    assert deployed.pauses == [1.0, 1.0]


def test_stopped_in_the_middle_it_goes_on_where_it_was(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    archive("1.ndjson", b"\n".join(GOOD))

    def stop() -> None:
        if len(deployed.function.events) == 2:
            raise KeyboardInterrupt

    deployed.function.on_invoke = stop
    stopped = brought_in(deployed, rate=2)
    assert (stopped.was_interrupted, stopped.sent) == (True, 4)
    deployed.function.on_invoke = lambda: None
    assert brought_in(deployed).sent == 4
    assert accepted(deployed) == Counter(GOOD)


def test_a_call_that_fails_leaves_its_messages_for_the_next_run_and_the_others_go(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    archive("1.ndjson", b"\n".join(GOOD))
    deployed.function.fail_on = b'"eventID":"history-'
    failed = brought_in(deployed)
    assert failed.sent == 0
    assert len(failed.troubles) == 1
    assert "ZeroDivisionError" in trouble_lines(failed)[0]
    deployed.function.fail_on = None
    assert brought_in(deployed).sent == 8


def test_arrival_is_when_the_file_was_written_unless_it_is_said(
    deployed: Deployed, archive: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    file = tmp_path / "export.ndjson"
    file.write_bytes(GOOD[0])
    os.utime(file, (WRITTEN.timestamp(), WRITTEN.timestamp()))
    brought_in(deployed, str(file), arrived=None)
    [row] = deployed.function.accepted
    assert row["arrival_time"] == WRITTEN
    assert row["record_id"].startswith("history-")
    said = datetime(2026, 12, 1, tzinfo=UTC)
    brought_in(deployed, str(tmp_path), arrived=said, again=True)
    assert [row["arrival_time"] for row in deployed.function.accepted] == [WRITTEN, said]
    # Longer after the event than the stack's bound for a clock that is wrong.
    assert deployed.function.accepted[1]["quality_flags"] == ["event_time_far_from_arrival"]
    assert len(curated(deployed)) == 1


def test_readings_without_a_time_are_one_too_where_the_policy_takes_the_arrival(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    deployed.function.environment["MISSING_TIMESTAMP_POLICY"] = "arrival_time"
    archive("1.ndjson", b'{"device_id":"a"}\n{"device_id":"a"}')
    archive("copy.ndjson", b'{"device_id":"a"}\n{"device_id":"a"}')
    brought_in(deployed)
    brought_in(deployed, again=True)
    # Two heartbeats are two; their copies are none.
    assert len(curated(deployed)) == 2


def test_a_large_file_goes_in_calls_that_lambda_takes_and_a_huge_message_is_named(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    padding = "x" * 90_000
    large = [
        json.dumps({"device_id": "a", "timestamp": 1763892000 + n, "note": padding}).encode()
        for n in range(60)
    ]
    huge = b'{"device_id":"a","note":"' + b"y" * 5_000_000 + b'"}'
    archive("1.ndjson", b"\n".join([*large, huge]))
    findings = brought_in(deployed)
    assert findings.sent == 60
    assert len(deployed.function.events) == 2
    [trouble] = findings.troubles
    assert "5,000,0" in trouble
    assert ":60:" in trouble
    # It is waiting still, and nothing else is.
    assert brought_in(deployed, apply=False).chosen == 1


def test_files_that_are_no_messages_are_named_and_the_others_go(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    archive("1.parquet", b"PAR1" + b"\1" * 100)
    archive("2.gz", gzip.compress(GOOD[0])[:-9])
    archive("3.ndjson", GOOD[0])
    archive("4.bin", b"\0\1\2")
    findings = brought_in(deployed)
    assert findings.sent == 1
    assert [trouble.split()[0].rpartition("/")[2] for trouble in findings.troubles] == [
        "1.parquet",
        "2.gz",
        "4.bin",
    ]


def test_a_place_without_files_is_an_error(deployed: Deployed, tmp_path: Path) -> None:
    deployed.s3.create_bucket(Bucket="old-archive")
    for place in (PREFIX, "s3://nobodys-archive/", str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(OperationError, match=r"holds no files|cannot be listed"):
            list(sources_in(place, deployed.s3))


def test_hidden_files_and_empty_ones_are_left_out(deployed: Deployed, tmp_path: Path) -> None:
    for name in ("b/2.json", "a.json", ".git/x.json", "b/.y", "empty"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"" if name == "empty" else b"{}")
    names = [source.name for source in sources_in(str(tmp_path), deployed.s3)]
    assert names == [str(tmp_path / "a.json"), str(tmp_path / "b/2.json")]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (b"", []),
        (b" \n\r\n", []),
        (b'{"a":1}', [b'{"a":1}']),
        (b'{\n "a": 1\n}\n', [b'{\n "a": 1\n}']),
        (b'{"a":1}\n\n{"a":2}\r\n', [b'{"a":1}', b'{"a":2}']),
        (b'{"a":1}{"a":2} {"a":3}', [b'{"a":1}', b'{"a":2}', b'{"a":3}']),
        (b'{"a":1}{"a":2}\n{"a":3}', [b'{"a":1}', b'{"a":2}', b'{"a":3}']),
        (b'{\n"a":1\n}\n{\n"a":2\n}', [b'{\n"a":1\n}', b'{\n"a":2\n}']),
        (b'[{"a": 1.0}, {"a":2}]', [b'{"a": 1.0}', b'{"a":2}']),
        (b"[[1],2]", [b"[1]", b"2"]),
        (b'[{"a":1}]\n[{"a":2},{"a":3}]', [b'[{"a":1}]', b'[{"a":2},{"a":3}]']),
        (b'{"a":"} {"}\n{"a":2}', [b'{"a":"} {"}', b'{"a":2}']),
        (b'oops\n{"a":2}', [b"oops", b'{"a":2}']),
        (b'{"a":1}{"a":', [b'{"a":1}{"a":']),
        (b'{"a":1}\xff\n{"a":2}', [b'{"a":1}\xff', b'{"a":2}']),
        ('{"a":"ü"}{"b":"€"}'.encode(), ['{"a":"ü"}'.encode(), '{"b":"€"}'.encode()]),
        (b"a,b\n1,2", [b"a,b", b"1,2"]),
        (b"[" * 100_000, [b"[" * 100_000]),
    ],
)
def test_every_form_is_taken_apart_into_its_own_bytes(text: bytes, messages: list[bytes]) -> None:
    assert messages_in(text) == messages
    blank = bytes.maketrans(b"", b"")
    kept = b"".join(messages).translate(blank, b" \t\r\n[],")
    assert kept == text.translate(blank, b" \t\r\n[],")


def test_a_byte_order_mark_is_no_part_of_the_first_message_and_a_bomb_is_refused() -> None:
    assert text_of(b'\xef\xbb\xbf{"a":1}') == b'{"a":1}'
    with pytest.raises(OperationError, match="larger than 1,000 bytes"):
        text_of(gzip.compress(b" " * 100_000), limit=1_000)


def test_reports_what_is_there_first_and_what_was_done_then(
    deployed: Deployed, archive: Callable[[str, bytes], None]
) -> None:
    messy(archive)
    dry = "\n".join(
        lines_of(brought_in(deployed, apply=False), PREFIX, STACK, Terms(), apply=False)
    )
    assert "(dry run)" in dry
    assert "rejected: not_json" in dry
    assert "Run again with --apply to import 14 messages" in dry
    assert "14% would be rejected: RejectedShareAlarm" in dry
    terms = Terms(limit=10)
    done = "\n".join(lines_of(brought_in(deployed, limit=10), PREFIX, STACK, terms, apply=True))
    assert "Sent 10 messages" in done
    assert "The limit of 10 leaves 4 messages" in done
    brought_in(deployed)
    nothing = "\n".join(lines_of(brought_in(deployed), PREFIX, STACK, Terms(), apply=True))
    assert "There is nothing to import." in nothing
    assert "--again" in nothing


def test_the_command_needs_a_place_and_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["here", "--rate", "0"], ["here", "--arrived", "yesterday"]):
        with pytest.raises(SystemExit):
            ops_main.run(["import", "--stack-name", "lake", *arguments])
    assert "yesterday" in capsys.readouterr().err
