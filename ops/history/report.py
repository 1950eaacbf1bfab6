"""What an import found and did, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from ops.history.run import Findings, Terms
from ops.tables import aligned

# RejectedShareAlarm's own: more than a tenth of at least a hundred readings.
ALARMING_SHARE = 0.1


def lines_of(
    findings: Findings, place: str, stack_name: str, terms: Terms, *, apply: bool
) -> Iterator[str]:
    """The report: what is there, what the contract makes of it, what was done."""
    yield f"Import of {place} into stack {stack_name}" + ("" if apply else " (dry run)")
    yield ""
    yield from aligned(
        [
            ("", "there", "imported before", "left by the limit"),
            ("files", findings.files, findings.files_before, ""),
            ("messages", findings.messages, findings.messages_before, findings.left),
        ]
    )
    yield ""
    rows: list[tuple[str | int, ...]] = [("readings, by the contract", "")]
    rows.append(("accepted", findings.accepted))
    rows += [(f"rejected: {name}", number) for name, number in sorted(findings.rejected.items())]
    yield from aligned(rows)
    if findings.rejected_share > ALARMING_SHARE:
        yield (
            f"{findings.rejected_share:.0%} would be rejected: RejectedShareAlarm goes off at a "
            "tenth, and with DisableMappingOnRejectedShare=true it disables the mapping. Look at "
            "the reasons first."
        )
    yield ""
    yield from _outcome(findings, terms, apply=apply)


def trouble_lines(findings: Findings) -> list[str]:
    """One line for each file or call that went wrong."""
    return [f"not imported: {trouble}" for trouble in findings.troubles]


def _outcome(findings: Findings, terms: Terms, *, apply: bool) -> Iterator[str]:
    if findings.was_interrupted:
        yield "Stopped before everything was looked at; run again to go on."
    elif not findings.chosen:
        yield "There is nothing to import."
        if findings.files_before or findings.messages_before:
            yield "What was imported before goes in once more with --again, and changes nothing."
    elif not apply:
        yield (
            f"Nothing was sent. Run again with --apply to import {findings.chosen:,} messages; "
            "what is rejected is kept with its reason."
        )
    if findings.sent:
        yield (
            f"Sent {findings.sent:,} messages to the function, which accepted "
            f"{findings.accepted_by_function:,} readings and rejected "
            f"{findings.rejected_by_function:,}. The next curation run takes them in; a reading "
            "that the lake has already stays one."
        )
    if findings.erased:
        yield f"{findings.erased:,} messages are of erased devices and stay out."
    if findings.erased_in_part:
        yield f"{findings.erased_in_part:,} messages go without their readings of erased devices."
    if findings.left:
        yield f"The limit of {terms.limit:,} leaves {findings.left:,} messages for another run."
