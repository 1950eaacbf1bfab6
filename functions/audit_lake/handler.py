"""The audit's entry point: wires its collaborators, and tells what was found.

A finding is a line of the log and counts as AuditFindings; no line has a payload. Whatever keeps an
hour from being audited is an exception: the hour is tried again, and AuditedHours stands still.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from audit_lake.hours import Collaborators, audit_hours, taken_through
from audit_lake.mark import Mark
from audit_lake.report import tell
from audit_lake.settings import Settings
from ops.audit.audit import Terms, audit_stack
from ops.audit.catalogue import catalogue_of
from ops.audit.evidence import Sources
from ops.audit.findings import Audit, Scope

# How long a record may be on its way to a zone; as for the command.
SETTLE: Final = timedelta(minutes=15)

LOGGER: Final = Logger()
METRICS: Final = Metrics()
SETTINGS: Final = Settings.from_environment()
PATIENT: Final = Config(
    # The consumer reads the same shards: who is told to wait waits, instead of failing.
    retries={"mode": "standard", "max_attempts": 10},
    # Elsewhere than on AWS no bucket has a host name of its own.
    s3={"addressing_style": "path"} if SETTINGS.aws_endpoint_url else None,
)
SESSION: Final = boto3.Session()
S3: Final = SESSION.client("s3", config=PATIENT)
SOURCES: Final = Sources(
    stack=SETTINGS,
    s3=S3,
    kinesis=SESSION.client("kinesis", config=PATIENT),
    catalogue=catalogue_of(SESSION),
    progress=LOGGER.debug,
)
TERMS: Final = Terms(settle=SETTLE, look_back=timedelta(minutes=SETTINGS.look_back_minutes))


@LOGGER.inject_lambda_context
def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Audit what can be; the answer is for people."""
    # DuckDB's half. Arrow, which holds a raw object or a batch at a time, has the other.
    memory_megabytes = int(context.memory_limit_in_mb) // 2

    def audit(scope: Scope) -> Audit:
        return audit_stack(SOURCES, scope, TERMS, datetime.now(UTC), memory_megabytes)

    findings: Counter[str] = Counter()

    def report(hour: datetime, audited: Audit) -> None:
        tell(hour, audited, LOGGER, METRICS)
        findings.update(one.kind for one in audited.findings)

    hours = audit_hours(
        Collaborators(
            mark=Mark(S3, SETTINGS.curated_zone_bucket, SETTINGS.database_name),
            taken_through=lambda: taken_through(SOURCES.catalogue, SETTINGS.database_name),
            audit=audit,
            report=report,
            remaining_seconds=lambda: context.get_remaining_time_in_millis() / 1_000,
        )
    )
    return {"hours": [hour.isoformat() for hour in hours], "findings": dict(findings)}
