"""The account of a redrive."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Findings:
    """What there is to redrive, and what became of it. Rows and readings by their first reason."""

    rows: Counter[str] = field(default_factory=Counter)
    would_be_accepted: Counter[str] = field(default_factory=Counter)
    still_rejected: Counter[str] = field(default_factory=Counter)
    repeated_rows: int = 0
    failed_batches: int = 0
    failed_records: int = 0
    undelivered_messages: int = 0
    sent_rows: int = 0
    sent_records: int = 0
    sent_messages: int = 0
    accepted_by_function: int = 0
    rejected_by_function: int = 0
    troubles: list[str] = field(default_factory=list)
