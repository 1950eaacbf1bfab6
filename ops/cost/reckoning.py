"""The bill of a month: pure functions from a load, the settings and the prices to lines.

Every line is a quantity at a price of the table. Quantities come from the load and the settings;
how long functions and jobs take comes from the project's benchmarks where it was measured, and is
otherwise an estimate that its comment names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ops.cost.load import DAYS_A_MONTH, GB, KB, SECONDS_A_MONTH, Batches, Load, Way, batches_of
from ops.cost.prices import PriceTable
from ops.cost.schedules import HOURS_A_MONTH
from ops.cost.settings import Settings

# docs/scale.md: 29 us a record of a function of 1,024 MB, which has 0.58 of a processor.
FUNCTION_SECONDS_PER_RECORD: Final = 29e-6
# Estimate: one conditional PUT of a raw object, and what the runtime adds.
FUNCTION_SECONDS_PER_BATCH: Final = 0.15
# Estimates: the audit reads an hour's records, raw objects and curated rows.
AUDIT_SECONDS: Final = 10.0
AUDIT_SECONDS_PER_RECORD: Final = 60e-6
# Estimate: the registry export opens its table; ListThings gives 2,500 things a second at most.
EXPORT_SECONDS: Final = 10.0
EXPORT_SECONDS_PER_DEVICE: Final = 1 / 2500

# Estimates for runs with nothing to do; what comes on top of them is of docs/performance.md.
CURATE_SECONDS: Final = 90.0
SUMMARISE_SECONDS: Final = 60.0
MAINTAIN_SECONDS: Final = 240.0
CURATE_SECONDS_PER_READING: Final = 51e-6
CURATE_SECONDS_PER_OBJECT: Final = 0.007
# Estimates: the summary reads a touched day's rows, maintenance sorts a day's rows once more.
SUMMARISE_SECONDS_PER_READING: Final = 20e-6
MAINTAIN_SECONDS_PER_READING: Final = 25e-6
# docs/performance.md: half of the processors wait while a day is sorted and written.
BUSY_SHARE: Final = 0.5
GLUE_MINIMUM_SECONDS: Final = 60.0
CRAWLER_MINIMUM_SECONDS: Final = 600.0
CRAWLER_DPU: Final = 2  # not documented; what public bills show
WORKER_DPU: Final = {"G.1X": 1, "G.2X": 2, "G.4X": 4, "G.8X": 8}
VCPU_PER_DPU: Final = 4

# Estimates: three jobs' data, metadata and manifest files; footer, job, audit and crawler reading.
PUTS_PER_RUN: Final = 60
GETS_PER_OBJECT: Final = 4
# Estimates: the function's three lines and Lambda's own; Spark's driver log of a run.
LOG_BYTES_PER_BATCH: Final = 3 * KB
LOG_BYTES_PER_RUN: Final = 1024 * KB
# The reasons for which readings are rejected in practice are a few of the contract's.
REASON_METRICS: Final = 3

# https://docs.aws.amazon.com/firehose/latest/dev/limits.html: with format conversion, 128 MB or 15
# minutes end an object. A record is the payload with the rule's metadata beside it, as JSON.
FIREHOSE_OBJECT_BYTES: Final = 128 * 1024 * 1024
FIREHOSE_OBJECT_SECONDS: Final = 900.0
FIREHOSE_METADATA_BYTES: Final = 200


@dataclass(frozen=True)
class Line:
    """One position: so much of what, at which price."""

    service: str
    what: str
    quantity: float
    price: str
    usd: float
    # Whether it is due without a single message.
    is_fixed: bool


@dataclass(frozen=True)
class Bill:
    """The lines of a month, in the order in which data flows."""

    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        return sum(line.usd for line in self.lines)

    @property
    def fixed_usd(self) -> float:
        return sum(line.usd for line in self.lines if line.is_fixed)

    def of(self, service: str) -> float:
        return sum(line.usd for line in self.lines if line.service == service)

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line.service for line in self.lines))


@dataclass(frozen=True)
class _Ledger:
    """Turns quantities into lines."""

    prices: PriceTable

    def line(
        self, service: str, what: str, price: str, quantity: float, *, fixed: bool = False
    ) -> Line:
        return Line(service, what, quantity, price, self.prices[price].of(quantity), fixed)


def bill_of(load: Load, settings: Settings, prices: PriceTable) -> Bill:
    """The bill of this application."""
    ledger, batches = _Ledger(prices), batches_of(load, settings)
    raw_objects = batches.count
    return Bill(
        (
            *_iot_core(ledger, load),
            *_stream(ledger, load, settings, batches),
            *_functions(ledger, load, settings, batches),
            *_storage(
                ledger, load, settings, objects=raw_objects + _rejected_objects(load, batches)
            ),
            *_glue(ledger, load, settings, objects=raw_objects),
            *_watching(ledger, settings, batches),
        )
    )


def firehose_bill_of(
    load: Load, settings: Settings, prices: PriceTable, *, partitions: int
) -> Bill:
    """The same load by rule, Firehose with conversion to Parquet, S3, and the same curation.

    With `partitions` above 0 it also partitions dynamically, into so many at a time. It has no
    stream, no function, no audit, no alarms and no metrics of one's own.
    """
    ledger = _Ledger(prices)
    record = load.payload_bytes + (0 if load.way is Way.SDK else FIREHOSE_METADATA_BYTES)
    billed_gb = load.messages * _stepped(record, 5 * KB) / GB
    by_size = load.messages * record / FIREHOSE_OBJECT_BYTES
    by_time = SECONDS_A_MONTH / FIREHOSE_OBJECT_SECONDS if load.messages else 0.0
    objects = max(by_size, min(by_time * max(partitions, 1), load.messages))
    firehose = [
        ledger.line("Firehose", "data taken in", "firehose_in", billed_gb),
        ledger.line("Firehose", "conversion to Parquet", "firehose_conversion", billed_gb),
    ]
    if partitions:
        gb = load.messages * record / GB
        firehose += [
            ledger.line("Firehose", "dynamic partitioning", "firehose_partitioning", gb),
            ledger.line("Firehose", "partitioned objects", "firehose_partitioned_object", objects),
        ]
    return Bill(
        (
            *_iot_core(ledger, load),
            *firehose,
            *_storage(ledger, load, settings, objects=objects),
            *_glue(ledger, load, settings, objects=objects),
        )
    )


def curation_seconds_of(load: Load, settings: Settings, objects: float) -> float:
    """How long the curation job works in a month, beyond what a run with nothing to do takes."""
    return (
        load.readings * CURATE_SECONDS_PER_READING / _busy_processors(settings)
        + objects * CURATE_SECONDS_PER_OBJECT
    )


def _iot_core(ledger: _Ledger, load: Load) -> Iterator[Line]:
    service = "IoT Core"
    if load.way is Way.SDK:
        return
    minutes = load.devices * HOURS_A_MONTH * 60
    yield ledger.line(service, "connections", "iot_connection", minutes)
    if load.way is Way.MQTT:
        units = load.messages * load.metered_units
        yield ledger.line(service, "messages", "iot_message", units)
    yield ledger.line(service, "rule", "iot_rule", load.messages * load.metered_units)
    yield ledger.line(service, "action", "iot_action", load.messages * load.action_units)


def _stream(ledger: _Ledger, load: Load, settings: Settings, batches: Batches) -> Iterator[Line]:
    service = "Kinesis"
    gb_per_hour = load.messages * load.record_bytes / GB / HOURS_A_MONTH
    beyond_a_week = max(0, settings.retention_hours - 168)
    if settings.stream_mode == "PROVISIONED":
        hours = settings.shard_count * HOURS_A_MONTH
        units = load.messages * _stepped(load.record_bytes, 25 * KB) / (25 * KB)
        yield ledger.line(service, "shards", "kinesis_shard", hours, fixed=True)
        if settings.retention_hours > 24:
            yield ledger.line(
                service, "retention to 7 days", "kinesis_shard_retention", hours, fixed=True
            )
        yield ledger.line(service, "records in", "kinesis_put_unit", units)
    else:
        gb_in = load.messages * _stepped(load.record_bytes, KB) / GB
        gb_out = load.messages * load.record_bytes / GB
        yield ledger.line(service, "stream", "kinesis_on_demand_stream", HOURS_A_MONTH, fixed=True)
        yield ledger.line(service, "data in", "kinesis_on_demand_in", gb_in)
        yield ledger.line(service, "data out, function", "kinesis_on_demand_out", gb_out)
        if settings.audit_runs:
            yield ledger.line(service, "data out, audit", "kinesis_on_demand_out", gb_out)
        kept = gb_per_hour * max(0, min(settings.retention_hours, 168) - 24)
        yield ledger.line(service, "retention to 7 days", "kinesis_on_demand_retention", kept)
    if beyond_a_week:
        kept = gb_per_hour * beyond_a_week
        yield ledger.line(service, "retention beyond", "kinesis_long_retention", kept)


def _functions(ledger: _Ledger, load: Load, settings: Settings, batches: Batches) -> Iterator[Line]:
    service, price = "Lambda", f"lambda_{settings.architecture}"
    # A processor's share follows the memory; what waits for S3 does not.
    faster = 1024 / settings.ingest_memory_mb
    seconds = (
        load.messages * FUNCTION_SECONDS_PER_RECORD * faster
        + batches.count * FUNCTION_SECONDS_PER_BATCH
    )
    ingest_gb_s = seconds * settings.ingest_memory_mb / 1024
    requests = batches.count + settings.audit_runs + settings.export_runs
    yield ledger.line(service, "requests", "lambda_request", requests)
    yield ledger.line(service, "ingestion", price, ingest_gb_s)
    if settings.audit_runs:
        audit_gb = settings.audit_memory_mb / 1024
        idle, reading = (
            settings.audit_runs * AUDIT_SECONDS,
            load.messages * AUDIT_SECONDS_PER_RECORD,
        )
        yield ledger.line(service, "audit", price, idle * audit_gb, fixed=True)
        yield ledger.line(service, "audit, per record", price, reading * audit_gb)
    if settings.export_runs:
        a_second = settings.export_runs * settings.export_memory_mb / 1024
        listing = load.devices * EXPORT_SECONDS_PER_DEVICE
        yield ledger.line(service, "registry export", price, EXPORT_SECONDS * a_second, fixed=True)
        yield ledger.line(service, "registry export, per device", price, listing * a_second)


def _rejected_objects(load: Load, batches: Batches) -> float:
    """Batches with a rejected reading in them write a second object."""
    readings = batches.records * load.readings_per_message
    return batches.count * (1 - (1 - load.rejected_share) ** readings) if readings else 0.0


def _storage(ledger: _Ledger, load: Load, settings: Settings, *, objects: float) -> Iterator[Line]:
    service = "S3"
    runs = settings.curation_runs + settings.maintenance_runs
    yield ledger.line(service, "objects written", "s3_put", objects)
    yield ledger.line(service, "objects written by jobs", "s3_put", runs * PUTS_PER_RUN, fixed=True)
    yield ledger.line(service, "objects read", "s3_get", objects * GETS_PER_OBJECT)
    month_gb = load.stored_bytes / GB
    raw_months = _months_kept(load, settings, settings.raw_retention_days)
    yield ledger.line(service, "raw zone", "s3_storage", month_gb * raw_months)
    # Compaction writes each day once more; what it replaces goes with its snapshots and versions.
    replaced = (settings.snapshot_hours / 24 + settings.noncurrent_days) / DAYS_A_MONTH
    curated = month_gb * (load.months_kept + min(replaced, load.months_kept))
    yield ledger.line(service, "curated zone", "s3_storage", curated)
    rejected_months = _months_kept(load, settings, settings.rejected_retention_days)
    rejected = month_gb * load.rejected_share * rejected_months
    yield ledger.line(service, "rejected zone", "s3_storage", rejected)


def _months_kept(load: Load, settings: Settings, retention_days: int) -> float:
    """How many months of a zone lie there; what has expired stays as a version for a while."""
    if not retention_days:
        return load.months_kept
    return min(load.months_kept, (retention_days + settings.noncurrent_days) / DAYS_A_MONTH)


def _glue(ledger: _Ledger, load: Load, settings: Settings, *, objects: float) -> Iterator[Line]:
    service = "Glue"
    runs = settings.curation_runs
    dpu = WORKER_DPU[settings.worker_type] * settings.workers
    if settings.crawls:
        hours = runs * CRAWLER_MINIMUM_SECONDS / 3600 * CRAWLER_DPU
        yield ledger.line(service, "crawler", "glue_dpu", hours, fixed=True)
    busy = _busy_processors(settings)
    summarising = load.readings * SUMMARISE_SECONDS_PER_READING / busy
    maintaining = load.readings * MAINTAIN_SECONDS_PER_READING / busy
    jobs = (
        ("curation job", runs, CURATE_SECONDS, curation_seconds_of(load, settings, objects)),
        ("summary job", runs, SUMMARISE_SECONDS, summarising),
        ("maintenance job", settings.maintenance_runs, MAINTAIN_SECONDS, maintaining),
    )
    for what, times, idle_seconds, working_seconds in jobs:
        idle_hours = times * max(idle_seconds, GLUE_MINIMUM_SECONDS) / 3600 * dpu
        yield ledger.line(service, what, "glue_dpu", idle_hours, fixed=True)
        yield ledger.line(service, f"{what}, per reading", "glue_dpu", working_seconds / 3600 * dpu)


def _busy_processors(settings: Settings) -> float:
    # The driver's worker computes nothing of it.
    executors = WORKER_DPU[settings.worker_type] * (settings.workers - 1)
    return executors * VCPU_PER_DPU * BUSY_SHARE


def _watching(ledger: _Ledger, settings: Settings, batches: Batches) -> Iterator[Line]:
    service = "CloudWatch"
    yield ledger.line(service, "alarms", "cloudwatch_alarm", settings.alarm_metrics, fixed=True)
    # A metric is billed for the hours in which it is emitted.
    metrics = settings.job_metrics * min(1, settings.curation_runs / HOURS_A_MONTH)
    metrics += settings.audit_metrics * min(1, settings.audit_runs / HOURS_A_MONTH)
    metrics += settings.export_metrics * min(1, settings.export_runs / HOURS_A_MONTH)
    what = "metrics of jobs, audit and registry export"
    yield ledger.line(service, what, "cloudwatch_metric", metrics, fixed=True)
    of_function = settings.function_metrics + REASON_METRICS
    hours = min(1, batches.count / HOURS_A_MONTH)
    yield ledger.line(service, "metrics of the function", "cloudwatch_metric", of_function * hours)
    yield ledger.line(
        service, "dashboards", "cloudwatch_dashboard", settings.dashboards, fixed=True
    )
    runs = 2 * settings.curation_runs + settings.maintenance_runs
    months = settings.log_retention_days / DAYS_A_MONTH
    for whose, size, fixed in (
        ("jobs", runs * LOG_BYTES_PER_RUN, True),
        ("function", batches.count * LOG_BYTES_PER_BATCH, False),
    ):
        gb = size / GB
        yield ledger.line(service, f"logs of the {whose}, in", "cloudwatch_logs", gb, fixed=fixed)
        kept = gb * months
        yield ledger.line(
            service, f"logs of the {whose}, kept", "cloudwatch_logs_kept", kept, fixed=fixed
        )
    if settings.is_traced:
        # X-Ray records the first request of each second and a twentieth of the others.
        a_second = batches.count / SECONDS_A_MONTH
        traces = (min(a_second, 1) + max(a_second - 1, 0) / 20) * SECONDS_A_MONTH
        traces += settings.audit_runs + settings.export_runs
        yield ledger.line("X-Ray", "traces", "xray_trace", traces)
    if settings.customer_keys:
        yield ledger.line("KMS", "your key", "kms_key", settings.customer_keys, fixed=True)


def _stepped(size: float, step: int) -> float:
    """A size rounded up to the next step; an empty record is a step too."""
    return max(1, -(-size // step)) * step
