"""What the demo leaves: aligned tables in the terminal, result.json and report.html."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from local.demo.report import Answer
from local.progress import table


def answer_as_json(answer: Answer) -> dict[str, Any]:
    """An answer as `result.json` keeps it."""
    return {
        "question": answer.question.title,
        "sql": answer.question.sql,
        "rows": [dict(zip(answer.headers, row, strict=True)) for row in answer.rows],
    }


def write(folder: Path, written: Mapping[str, Any], page: str) -> None:
    """Write the figures and the page."""
    (folder / "result.json").write_text(json.dumps(written, indent=2, default=str) + "\n")
    (folder / "report.html").write_text(page, encoding="utf-8")


def show(out: TextIO, folder: Path, written: Mapping[str, Any]) -> None:
    """Print what `result.json` holds."""

    def section(title: str, lines: Sequence[str]) -> None:
        print(f"\n{title}\n" + "\n".join(f"  {line}" for line in lines), file=out)

    print(f"\n{written['input']}", file=out)
    section("What became of the messages", table(["figure", "count"], _figures(written)))
    equations = [
        [e["left"], e["left_value"], e["right"], e["right_value"], "yes" if e["holds"] else "NO"]
        for e in written["equations"]
    ]
    section("Does it add up?", table(["this", "n", "is that", "n ", "?"], equations))
    for answer in written["answers"]:
        rows = [list(row.values()) for row in answer["rows"]]
        section(answer["question"], table(list(answer["rows"][0]), rows))
    stages = [[name, seconds] for name, seconds in written["seconds"].items()]
    section("Seconds", table(["stage", "seconds"], [*stages, ["total", written["seconds_total"]]]))
    verdict = "Everything adds up." if written["adds_up"] else "It does NOT add up."
    print(f"\n{verdict} {folder / 'report.html'}, {folder / 'result.json'}", file=out)


def _figures(written: Mapping[str, Any]) -> list[list[object]]:
    return [
        ["messages sent", written["sent"]],
        ["acknowledged by the broker", written["acknowledged"]],
        ["received by the consumer", written["received"]],
        ["accepted", written["accepted"]],
        *([f"rejected: {reason}", n] for reason, n in written["rejected"].items()),
        ["duplicates removed", written["duplicates"]],
        ["dropped (no value at all)", written["dropped"]],
        ["curated", written["curated"]],
        ["  of them late", written["late"]],
    ]
