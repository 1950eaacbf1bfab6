"""Every metric that the audit emits, named once; dashboards and alarms are tested against it.

No dimension but `service`: what kind a finding is stands in the log, where it costs nothing.
"""

from enum import StrEnum

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit


class Metric(StrEnum):
    """Names of metrics. An hour without a finding counts as AuditFindings of 0."""

    AUDIT_FINDINGS = "AuditFindings"
    AUDITED_HOURS = "AuditedHours"


def emit(findings: int, metrics: Metrics) -> None:
    """Count one audited hour and its findings."""
    metrics.add_metric(Metric.AUDITED_HOURS, MetricUnit.Count, 1)
    metrics.add_metric(Metric.AUDIT_FINDINGS, MetricUnit.Count, findings)
    metrics.flush_metrics()
