"""What an audit looked at and found, as lines for people and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from ops.audit.findings import KINDS, Audit

MAX_SHOWN_OF_A_KIND = 10


def lines_of(audit: Audit, stack_name: str) -> Iterator[str]:
    """The report: what was looked at, then each kind with its findings and what to do."""
    yield f"Audit of stack {stack_name}"
    yield ""
    yield (f"  stream   {audit.records:,} records, of which {audit.waiting:,} are in no zone yet")
    yield (
        f"  raw      {audit.raw_objects:,} objects, {audit.raw_rows:,} rows, {audit.dropped_rows:,}"
        f" of them without a value; {audit.set_aside:,} objects are set aside"
    )
    yield f"  curated  {audit.curated_rows:,} rows, {audit.runs:,} runs"
    yield ""
    if not audit.findings:
        yield "Nothing is missing, extra or altered."
        return
    counts = Counter(finding.kind for finding in audit.findings)
    for kind, (meaning, remedy) in KINDS.items():
        if kind not in counts:
            continue
        yield f"{kind}: {counts[kind]:,} ({meaning})"
        found = [finding for finding in audit.findings if finding.kind == kind]
        for finding in found[:MAX_SHOWN_OF_A_KIND]:
            yield f"  {finding.what}" + (f"  {finding.detail}" if finding.detail else "")
        if len(found) > MAX_SHOWN_OF_A_KIND:
            yield f"  and {len(found) - MAX_SHOWN_OF_A_KIND:,} more (--json lists all)"
        yield f"  what to do: {remedy}"
        yield ""


def json_of(audit: Audit) -> str:
    """The same, whole, as one JSON object."""
    told = vars(audit) | {"findings": [vars(finding) for finding in audit.findings]}
    return json.dumps(told, indent=2)
