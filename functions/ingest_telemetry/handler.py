"""The consumer's entry point: the list of its steps, and the wiring of its collaborators.

Returning is the acknowledgement: it happens only after every object of the batch is stored. Bad
data is rejected and acknowledged; trouble with the zones is waited out and then fails the whole
batch, which the mapping delivers again. An exception that nobody foresaw, a bug, fails it too: the
mapping halves the batch down to the record that does it and keeps that in the failed zone, payload
and all. Nothing is kept between invocations.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from ingest_telemetry.batch import (
    KinesisEvent,
    ages_milliseconds,
    decode_records,
    interpret_payloads,
    raw_object,
    rejected_object,
)
from ingest_telemetry.metrics import Account, emit
from ingest_telemetry.patience import Patience
from ingest_telemetry.raw_zone import Zone, s3_client
from ingest_telemetry.settings import Settings, is_sam_local
from telemetry_contract.limits import Limits


class WritableZone(Protocol):
    """Where objects go; `put_once` returns when the object is stored and raises otherwise."""

    def put_once(self, key: str, body: bytes, patience: Patience) -> None: ...


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What the steps use of the world."""

    raw_zone: WritableZone
    rejected_zone: WritableZone
    limits: Limits
    now: Callable[[], datetime]
    sleep: Callable[[float], None]


def ingest(
    event: KinesisEvent, remaining_seconds: Callable[[], float], use: Collaborators
) -> Account:
    """Take one batch from its records to stored objects, and say what became of it."""
    records = decode_records(event, use.limits)
    interpreted = interpret_payloads(records, use.limits)

    written_at = use.now()
    raw = raw_object(interpreted, event, written_at)
    rejected = rejected_object(interpreted, event, written_at)

    patience = Patience(remaining_seconds, use.sleep)
    if raw is not None:
        use.raw_zone.put_once(raw.key, raw.body, patience)
    if rejected is not None:
        use.rejected_zone.put_once(rejected.key, rejected.body, patience)

    objects = [written for written in (raw, rejected) if written is not None]
    oldest, mean = ages_milliseconds(event, use.now())
    return Account(
        records=len(event["Records"]),
        accepted=interpreted.accepted,
        flagged=interpreted.flagged,
        rejected_by_reason=interpreted.rejected_by_reason,
        bytes_written=sum(len(written.body) for written in objects),
        objects=tuple(written.key for written in objects),
        oldest_record_age_milliseconds=oldest,
        ingest_delay_milliseconds=mean,
    )


def _collaborators(settings: Settings) -> Collaborators:
    client = s3_client(settings.aws_endpoint_url)
    on_trouble = _explain_trouble if is_sam_local() else _log_trouble
    return Collaborators(
        raw_zone=Zone(client, settings.raw_zone_bucket, on_trouble),
        rejected_zone=Zone(client, settings.rejected_zone_bucket, on_trouble),
        limits=settings.limits,
        now=lambda: datetime.now(UTC),
        sleep=time.sleep,
    )


def _log_trouble(key: str, error: Exception) -> None:
    LOGGER.warning("zone_write_failed", object_key=key, error=str(error))


class ZoneUnreachableError(RuntimeError):
    """`sam local invoke` found neither AWS nor the local cloud; the message says what to do."""


def _explain_trouble(_: str, error: Exception) -> None:
    """Waiting out an outage helps nobody who tries the function at a desk."""
    raise ZoneUnreachableError(
        "No zone to write to: `sam local invoke` needs the local cloud (make up CONTAINERS=1, "
        ". build/local/environment, --env-vars build/local/sam-local.json), or AWS credentials and "
        f"a stack's buckets in --env-vars. What failed: {error}"
    ) from error


LOGGER: Final = Logger()
METRICS: Final = Metrics()
COLLABORATORS: Final = _collaborators(Settings.from_environment())

# A batch makes tens of thousands of objects and no cycles: the collector's default thresholds
# double the time of the slowest batches (measured: 8 -> 14 microseconds per record).
gc.collect()
gc.freeze()
gc.set_threshold(500_000, 50, 100)


@LOGGER.inject_lambda_context
def lambda_handler(event: KinesisEvent, context: LambdaContext) -> dict[str, Any]:
    """Ingest a batch; the answer is for people, since returning acknowledges all of it."""
    account = ingest(event, lambda: context.get_remaining_time_in_millis() / 1_000, COLLABORATORS)
    emit(account, METRICS)
    LOGGER.info(
        "batch_ingested",
        records=account.records,
        accepted=account.accepted,
        rejected=dict(account.rejected_by_reason),
        objects=account.objects,
    )
    return {
        "received": account.accepted + account.rejected,
        "accepted": account.accepted,
        "rejected": account.rejected,
        "objects": list(account.objects),
    }
