"""The comparison runs, compares like with like, and refuses to where verdicts differ.

How fast anything is, is no test's business: figures come from `make bench`, read by people.
"""

from __future__ import annotations

import json

import pytest

from benchmarks import consumer
from benchmarks.consumer import CONSUMERS, OURS, run
from benchmarks.object_store import ObjectStore
from benchmarks.records import Payload, make_batch
from benchmarks.usual_consumer import UsualConsumer


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_consumer_accepts_and_rejects_the_same_records(seed: int) -> None:
    batch = make_batch(700, seed)
    for name, build in CONSUMERS.items():
        measured = build(ObjectStore())
        measured(batch.event)
        assert (measured.accepted, measured.rejected) == (693, 7), name


def test_run_prints_figures_of_each_consumer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--records", "200", "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["consumer"] for each in found["consumers"]] == list(CONSUMERS)
    assert {(each["accepted"], each["rejected"]) for each in found["consumers"]} == {(198, 2)}
    ours, *others = found["consumers"]
    assert ours["times_ours"] == 1
    assert all(each["cpu_microseconds"] > 0 for each in (ours, *others))
    assert all(each["stored_bytes_per_record"] > 0 for each in (ours, *others))


def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--records", "100", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if line.startswith("consumer"))
    table = [line for line in lines if line.startswith(tuple(CONSUMERS))]
    assert len(table) == len(CONSUMERS)
    assert {len(line) for line in table} == {len(head)}


def test_a_consumer_that_is_less_strict_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lenient:
        def __init__(self, store: ObjectStore) -> None:
            self.accepted = self.rejected = self.flagged = 0
            self._store = store

        def __call__(self, event: Payload) -> object:
            self.accepted = len(event["Records"])
            return None

    monkeypatch.setattr(consumer, "CONSUMERS", {OURS: CONSUMERS[OURS], "lenient": Lenient})
    assert run(["--records", "100", "--rounds", "1"]) == 1
    assert "lenient: accepted 100 and rejected 0" in capsys.readouterr().err


def test_a_consumer_that_flags_nothing_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Trusting(UsualConsumer):
        def __call__(self, event: Payload) -> object:
            answer = super().__call__(event)
            self.flagged = 0
            return answer

    monkeypatch.setattr(consumer, "CONSUMERS", {OURS: CONSUMERS[OURS], "trusting": Trusting})
    assert run(["--records", "1000", "--rounds", "1"]) == 1
    assert "flagged different numbers" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--records", "0"], ["--records", "10001"]])
def test_refuses_what_is_no_batch(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2


def test_batch_is_drawn_from_its_seed() -> None:
    assert make_batch(50, 7) == make_batch(50, 7)
    assert make_batch(50, 7) != make_batch(50, 8)
