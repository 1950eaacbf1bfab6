import io

import pytest

from local.progress import Progress, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_when_a_stage_begins_and_when_it_ends() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress(["publish", "query"], out, clock)
    with progress.stage("publish", "publish messages") as stage:
        clock.now += 2.5
        stage.count(1_000, 10_000)
    begun, ended = out.getvalue().splitlines()
    assert begun.startswith(". 1/2 publish messages")
    assert ended.startswith("+ 1/2 publish messages")
    assert ended.endswith("2.5 s  1,000 of 10,000")
    assert progress.seconds == {"publish": 2.5}


def test_a_terminal_gets_one_line_per_stage_rewritten_in_place() -> None:
    out = Terminal()
    progress = Progress(["publish"], out, Clock())
    with progress.stage("publish", "publish messages") as stage:
        stage.show("10 messages")
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().split("\r\x1b[2K")[-1].startswith("+ 1/1 publish messages")


def test_a_stage_that_raises_is_marked_and_the_error_goes_on() -> None:
    out = io.StringIO()
    progress = Progress(["publish"], out, Clock())
    with pytest.raises(KeyboardInterrupt), progress.stage("publish", "publish messages"):
        raise KeyboardInterrupt
    assert out.getvalue().splitlines()[-1].startswith("x 1/1")
    assert "publish" in progress.seconds


def test_tables_are_aligned_with_numbers_to_the_right() -> None:
    lines = table(["device", "readings", "mean"], [["a", 12_345, 21.5], ["long-name", 7, None]])
    assert lines == [
        "device     readings   mean",
        "---------  --------  -----",
        "a            12,345  21.50",
        "long-name         7      -",
    ]


def test_an_empty_table_is_its_headers() -> None:
    assert table(["reason", "n"], []) == ["reason  n", "------  -"]
