"""Every metric that the consumer emits, named once; dashboards and alarms are tested against it.

Embedded metric format through Powertools, dimension `service`; rejections are counted a second time
by `Reason`. No device is a dimension: each would be a metric to pay for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from aws_lambda_powertools import Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

REASON_DIMENSION = "Reason"


class Metric(StrEnum):
    """Names of metrics. received = accepted + rejected, counted in readings."""

    RECORDS_RECEIVED = "RecordsReceived"
    READINGS_RECEIVED = "ReadingsReceived"
    READINGS_ACCEPTED = "ReadingsAccepted"
    READINGS_REJECTED = "ReadingsRejected"
    READINGS_FLAGGED = "ReadingsFlagged"
    BYTES_WRITTEN = "BytesWritten"
    OBJECTS_WRITTEN = "ObjectsWritten"
    OLDEST_RECORD_AGE = "OldestRecordAgeMilliseconds"
    INGEST_DELAY = "IngestDelayMilliseconds"


@dataclass(frozen=True, slots=True)
class Account:
    """What became of one batch. Delays run from a record's arrival in the stream to the write."""

    records: int
    accepted: int
    flagged: int
    rejected_by_reason: Mapping[str, int]
    bytes_written: int
    objects: tuple[str, ...]
    oldest_record_age_milliseconds: float
    ingest_delay_milliseconds: float

    @property
    def rejected(self) -> int:
        return sum(self.rejected_by_reason.values())


def emit(account: Account, metrics: Metrics) -> None:
    """Count a batch. Call it only after everything of the batch is written."""
    counts = {
        Metric.RECORDS_RECEIVED: account.records,
        Metric.READINGS_RECEIVED: account.accepted + account.rejected,
        Metric.READINGS_ACCEPTED: account.accepted,
        Metric.READINGS_REJECTED: account.rejected,
        Metric.READINGS_FLAGGED: account.flagged,
        Metric.OBJECTS_WRITTEN: len(account.objects),
    }
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    metrics.add_metric(Metric.BYTES_WRITTEN, MetricUnit.Bytes, account.bytes_written)
    if account.records:
        metrics.add_metric(
            Metric.OLDEST_RECORD_AGE,
            MetricUnit.Milliseconds,
            account.oldest_record_age_milliseconds,
        )
        metrics.add_metric(
            Metric.INGEST_DELAY, MetricUnit.Milliseconds, account.ingest_delay_milliseconds
        )
    for reason, count in account.rejected_by_reason.items():
        with single_metric(
            Metric.READINGS_REJECTED, MetricUnit.Count, count, namespace=metrics.namespace
        ) as rejected:
            rejected.add_dimension("service", metrics.service or "")
            rejected.add_dimension(REASON_DIMENSION, reason)
    metrics.flush_metrics()
