"""What a redrive found and did, as lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from ops.redrive.findings import Findings
from ops.tables import aligned


def lines_of(findings: Findings, stack_name: str, *, apply: bool) -> list[str]:
    """The report, aligned; troubles last."""
    lines = [f"Redrive of stack {stack_name}" + ("" if apply else " (dry run)"), ""]
    reasons = sorted(findings.rows)
    table: list[Sequence[str | int]] = [
        ("rejected zone, by reason", "rows", "now accepted", "still rejected"),
        *(
            (
                reason,
                findings.rows[reason],
                findings.would_be_accepted[reason],
                findings.still_rejected[reason],
            )
            for reason in reasons
        ),
        (
            "all",
            findings.rows.total(),
            findings.would_be_accepted.total(),
            findings.still_rejected.total(),
        ),
    ]
    lines += [*aligned(table), ""]
    lines += aligned(
        [
            ("failed zone", "objects", "records"),
            (
                "batches given up (aws/lambda/)",
                findings.failed_batches,
                findings.failed_records,
            ),
            (
                "undelivered messages (iot/)",
                findings.undelivered_messages,
                findings.undelivered_messages,
            ),
        ]
    )
    lines += ["", *(_sent(findings) if apply else _to_send(findings))]
    if findings.repeated_rows:
        lines.append(f"{findings.repeated_rows:,} rows were there twice and count once.")
    return lines


def trouble_lines(findings: Findings) -> list[str]:
    """One line for each object or batch that could not be redriven."""
    return [f"not redriven: {trouble}" for trouble in findings.troubles]


def _to_send(findings: Findings) -> list[str]:
    readings = findings.would_be_accepted.total()
    if not (readings or findings.failed_records or findings.undelivered_messages):
        return ["There is nothing to redrive."]
    return [
        "Nothing was sent. Run again with --apply to redrive "
        f"{readings:,} rejected readings, {findings.failed_records:,} failed records and "
        f"{findings.undelivered_messages:,} undelivered messages."
    ]


def _sent(findings: Findings) -> list[str]:
    return [
        f"Sent {findings.sent_rows:,} rejected rows and {findings.sent_records:,} failed records "
        f"to the function, which accepted {findings.accepted_by_function:,} readings and "
        f"rejected {findings.rejected_by_function:,}.",
        f"Put {findings.sent_messages:,} undelivered messages on the stream.",
        "Both zones keep what was sent, and another run would find it again. That does no harm: "
        "the curated zone holds each event id once.",
    ]
