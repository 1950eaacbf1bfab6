"""Every metric that the export emits, named once; dashboards and alarms are tested against it."""

from enum import StrEnum

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit


class Metric(StrEnum):
    """Names of metrics. An export that failed emits none of them."""

    REGISTRY_EXPORTS = "RegistryExports"
    REGISTRY_CHANGES = "RegistryChanges"


def emit(changes: int, metrics: Metrics) -> None:
    """Count an export that is through, and what it wrote."""
    metrics.add_metric(Metric.REGISTRY_EXPORTS, MetricUnit.Count, 1)
    metrics.add_metric(Metric.REGISTRY_CHANGES, MetricUnit.Count, changes)
    metrics.flush_metrics()
