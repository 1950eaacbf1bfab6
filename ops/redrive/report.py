"""What a redrive found and did, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.redrive.findings import Findings
from ops.redrive.selection import Selection
from ops.tables import aligned


def lines_of(
    findings: Findings, stack_name: str, selection: Selection, *, apply: bool
) -> list[str]:
    """The report, aligned: what is waiting, what was done with it, and what is left."""
    lines = [f"Redrive of stack {stack_name}" + ("" if apply else " (dry run)")]
    if selection.devices:
        lines.append(f"Only what {' or '.join(sorted(selection.devices))} sent, or what names it.")
    if selection.rejected:
        lines += ["", *aligned(_rejected(findings))]
    if selection.failed:
        lines += ["", *aligned(_failed(findings))]
    lines += ["", *_outcome(findings, apply=apply)]
    if findings.left:
        lines.append(
            f"The limit of {selection.limit:,} leaves {findings.left:,} waiting for another run."
        )
    if findings.repeated_rows:
        lines.append(f"{findings.repeated_rows:,} rows were there twice and count once.")
    if findings.erased:
        lines.append(f"{findings.erased:,} rows and records are of erased devices and stay out.")
    if findings.erased_in_part:
        lines.append(
            f"{findings.erased_in_part:,} messages and records go without their readings of erased "
            "devices."
        )
    if findings.of_no_device:
        lines.append(
            f"{findings.of_no_device:,} rows and records tell of no device and were left out."
        )
    return lines


def trouble_lines(findings: Findings) -> list[str]:
    """One line for each object or batch that could not be redriven."""
    return [f"not redriven: {trouble}" for trouble in findings.troubles]


def _rejected(findings: Findings) -> list[Sequence[str | int]]:
    columns = (
        findings.rows,
        findings.would_be_accepted,
        findings.still_rejected,
        findings.redriven_rows,
    )
    heads = ("waiting", "now accepted", "still rejected", "redriven before")
    table: list[Sequence[str | int]] = [("rejected zone, by reason", *heads)]
    for reason in sorted(findings.rows.keys() | findings.redriven_rows.keys()):
        table.append((reason, *(column[reason] for column in columns)))
    return [*table, ("all", *(column.total() for column in columns))]


def _failed(findings: Findings) -> list[Sequence[str | int]]:
    messages = findings.undelivered_messages
    return [
        ("failed zone, objects", "waiting", "records", "redriven before"),
        (
            "batches given up (aws/lambda/)",
            findings.failed_batches,
            findings.failed_records,
            findings.redriven_batches,
        ),
        ("undelivered messages (iot/)", messages, messages, findings.redriven_messages),
    ]


def _outcome(findings: Findings, *, apply: bool) -> Iterator[str]:
    if findings.was_interrupted:
        yield "Stopped before everything was looked at; run again to go on."
    elif not findings.chosen:
        yield "There is nothing to redrive."
        if _redriven_before(findings):
            yield "What was redriven before goes in once more with --again."
    elif not apply:
        yield (
            f"Nothing was sent. Run again with --apply to redrive {findings.chosen_rows:,} "
            f"rejected rows, {findings.chosen_records:,} failed records and "
            f"{findings.chosen_messages:,} undelivered messages."
        )
    if apply and findings.chosen_rows + findings.chosen_records:
        yield (
            f"Sent {findings.sent_rows:,} rejected rows and {findings.sent_records:,} failed "
            f"records to the function, which accepted {findings.accepted_by_function:,} readings "
            f"and rejected {findings.rejected_by_function:,}."
        )
    if apply and findings.chosen_messages:
        yield f"Put {findings.sent_messages:,} undelivered messages on the stream."
    if findings.sent:
        yield "Both zones keep what was sent; it is marked, and the next run passes it over."


def _redriven_before(findings: Findings) -> int:
    return findings.redriven_rows.total() + findings.redriven_batches + findings.redriven_messages
