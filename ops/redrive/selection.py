"""What a redrive is about, as its caller chose it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ops.rejected_zone import RejectedRow


@dataclass(frozen=True)
class Selection:
    """What to redrive. Rejected rows are chosen by arrival, failed objects by time of writing."""

    rejected: bool = True
    failed: bool = True
    since: datetime | None = None
    until: datetime | None = None
    reasons: frozenset[str] = frozenset()

    def takes(self, row: RejectedRow) -> bool:
        """Whether a rejected row is one of those to redrive."""
        return (
            (self.since is None or row.arrival_time >= self.since)
            and (self.until is None or row.arrival_time < self.until)
            and (not self.reasons or row.reason in self.reasons)
        )
