"""That the Kinesis suite tells a service that keeps its promises from one that does not.

moto's Kinesis, which ours replaced, answers every call; `pytest tests/conformance --kinesis=moto`
puts it back. Here that is done for some tests, so that none of them can come to pass on anything.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.kinesis_implementations import KINESALITE_GAPS

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]

RED_WITH_MOTO = (
    "records.py::test_no_acknowledged_record_is_lost_wherever_the_producers_threads_take_turns",
    "records.py::test_sequence_numbers_have_the_width_of_aws",
    "iterators.py::test_an_iterator_expires_five_minutes_after_it_was_returned",
    "iterators.py::test_a_read_gives_at_most_10_mebibytes",
    "resharding.py::test_after_a_reshard_records_go_to_the_children_only",
    "resharding.py::test_the_end_of_a_closed_shard_has_no_next_iterator",
    "resharding.py::test_the_end_of_a_closed_shard_and_nothing_before_it_names_the_children",
    "streams.py::test_a_record_is_gone_when_the_retention_is_over",
    "throttling.py::test_a_shard_takes_1000_records_a_second",
)
# So that it is moto's answers that are red, and not the way in which it is served.
GREEN_WITH_MOTO = (
    "records.py::test_a_record_is_read_as_it_was_put",
    "iterators.py::test_at_sequence_number_begins_with_that_record_and_after_with_the_next",
    "resharding.py::test_a_merge_closes_both_parents_and_the_child_names_them",
)


@pytest.mark.ours("the suite must be able to fail")
def test_the_suite_is_red_with_stock_moto() -> None:
    tests = [f"{FOLDER}/test_kinesis_{test}" for test in RED_WITH_MOTO + GREEN_WITH_MOTO]
    pytest_run = [sys.executable, "-m", "pytest", "--kinesis=moto", "-rA", "--tb=no"]
    done = subprocess.run(
        [*pytest_run, "-p", "no:cacheprovider", *tests],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )

    told = re.findall(r"^(\w+) \S*test_kinesis_(\S+)\[moto\]", done.stdout, re.MULTILINE)
    wanted = dict.fromkeys(RED_WITH_MOTO, "FAILED") | dict.fromkeys(GREEN_WITH_MOTO, "PASSED")
    assert {test: outcome for outcome, test in told} == wanted, done.stdout


@pytest.mark.ours("a gap that names no test would hide nothing and say something untrue")
def test_every_gap_of_kinesalite_is_a_tests() -> None:
    source = "".join(path.read_text() for path in FOLDER.glob("test_kinesis_*.py"))
    names = set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))

    assert {test.partition("[")[0] for test in KINESALITE_GAPS} <= names
