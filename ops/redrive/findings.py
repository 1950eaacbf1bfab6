"""The account of a redrive."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Findings:
    """What is waiting to be redriven, and what became of it.

    Rows and readings are counted by their first reason. What is marked as redriven is not waiting.
    `chosen` is what is sent, or in a dry run would be; `left` is what the limit leaves of it.
    """

    rows: Counter[str] = field(default_factory=Counter)
    would_be_accepted: Counter[str] = field(default_factory=Counter)
    still_rejected: Counter[str] = field(default_factory=Counter)
    redriven_rows: Counter[str] = field(default_factory=Counter)
    repeated_rows: int = 0
    failed_batches: int = 0
    failed_records: int = 0
    redriven_batches: int = 0
    undelivered_messages: int = 0
    redriven_messages: int = 0
    of_no_device: int = 0
    erased: int = 0
    erased_in_part: int = 0
    chosen_rows: int = 0
    chosen_records: int = 0
    chosen_messages: int = 0
    left: int = 0
    sent_rows: int = 0
    sent_records: int = 0
    sent_messages: int = 0
    accepted_by_function: int = 0
    rejected_by_function: int = 0
    was_interrupted: bool = False
    troubles: list[str] = field(default_factory=list)

    @property
    def chosen(self) -> int:
        """All that is sent, or would be."""
        return self.chosen_rows + self.chosen_records + self.chosen_messages

    @property
    def sent(self) -> int:
        """All that was sent and taken."""
        return self.sent_rows + self.sent_records + self.sent_messages
