"""What an audited hour says: a line for each finding, one for the hour, and its metrics.

A line has a finding's kind, subject and detail, never a payload. However much is wrong, an hour
says no more than fits on a few screens.
"""

from collections import Counter
from datetime import datetime
from typing import Final

from aws_lambda_powertools import Logger, Metrics

from audit_lake.metrics import emit
from ops.audit.findings import Audit

# In an hour; the command `ops audit` names all.
MOST_LINES_OF_A_KIND: Final = 20


def tell(hour: datetime, audited: Audit, logger: Logger, metrics: Metrics) -> None:
    """One audited hour, as lines of the log and as metrics."""
    by_kind: Counter[str] = Counter()
    for one in audited.findings:
        by_kind[one.kind] += 1
        if by_kind[one.kind] <= MOST_LINES_OF_A_KIND:
            logger.error("audit_finding", kind=one.kind, subject=one.what, detail=one.detail)
    counts = {name: value for name, value in vars(audited).items() if name != "findings"}
    logger.info("hour_audited", hour=hour.isoformat(), findings=dict(by_kind), **counts)
    emit(len(audited.findings), metrics)
