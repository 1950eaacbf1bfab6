"""What a function prints: its log, and CloudWatch's metrics in the embedded metric format."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local.metrics import Datum, MetricBuffer, embedded_metrics
from tests.conformance import lambda_pages as pages
from tests.conformance.function_bench import FunctionBench, deployed_function

AT_MS = 1_790_000_000_123


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FunctionBench]:
    with deployed_function(tmp_path) as bench:
        yield bench


@pytest.mark.documented(pages.LOGS)
def test_what_is_printed_goes_to_the_functions_log(bench: FunctionBench) -> None:
    invocation = bench.invoke("print", text="first\nsecond ü")
    lines = (bench.folder / "logs" / "greeter.log").read_text(encoding="utf-8").splitlines()
    assert lines == ["initialised", "first", "second ü"]
    assert "first\nsecond ü\n" in invocation.log
    assert invocation.log.startswith(f"START RequestId: {invocation.request_id}")
    assert f"END RequestId: {invocation.request_id}\nREPORT RequestId" in invocation.log


@pytest.mark.documented(pages.EMBEDDED_METRICS)
def test_metrics_that_are_printed_go_to_cloudwatch_and_not_to_the_log(bench: FunctionBench) -> None:
    document = {
        "_aws": {
            "Timestamp": 1_790_000_000_000,
            "CloudWatchMetrics": [
                {
                    "Namespace": "TelemetryLake",
                    "Dimensions": [["service"]],
                    "Metrics": [{"Name": "RecordsReceived", "Unit": "Count"}],
                }
            ],
        },
        "service": "greeter",
        "RecordsReceived": [3.0],
    }
    bench.invoke("print", text=json.dumps(document))
    (datum,) = [d for d in bench.metrics if d.namespace == "TelemetryLake"]
    assert (datum.name, datum.values, datum.dimensions) == (
        "RecordsReceived",
        (3.0,),
        {"service": "greeter"},
    )
    assert "RecordsReceived" not in (bench.folder / "logs" / "greeter.log").read_text()


@pytest.mark.documented(pages.INVOCATION_METRICS)
def test_counts_invocations_errors_and_durations_of_the_function(bench: FunctionBench) -> None:
    bench.invoke()
    bench.invoke("raise")
    assert bench.total("Invocations") == 2
    assert bench.total("Errors") == 1
    durations = [d for d in bench.metrics if d.name == "Duration"]
    assert [d.unit for d in durations] == ["Milliseconds"] * 2
    assert all(d.dimensions == {"FunctionName": "greeter"} for d in bench.metrics)


def document(**changes: Any) -> str:
    base: dict[str, Any] = {
        "_aws": {
            "Timestamp": AT_MS,
            "CloudWatchMetrics": [
                {
                    "Namespace": "TelemetryLake",
                    "Dimensions": [["service"]],
                    "Metrics": [
                        {"Name": "RecordsReceived", "Unit": "Count"},
                        {"Name": "IngestDelayMilliseconds", "Unit": "Milliseconds"},
                    ],
                }
            ],
        },
        "service": "ingest_telemetry",
        "RecordsReceived": 3,
        "IngestDelayMilliseconds": [1.5, 2.5],
    }
    return json.dumps(base | changes)


def with_dimensions(*sets: list[str], **members: str) -> str:
    value = json.loads(document(**members))
    value["_aws"]["CloudWatchMetrics"][0]["Dimensions"] = list(sets)
    return json.dumps(value)


@pytest.mark.documented(pages.EMBEDDED_METRICS)
def test_every_metric_becomes_data_with_its_unit_time_and_dimensions() -> None:
    assert embedded_metrics(document()) == [
        Datum(
            "TelemetryLake",
            "RecordsReceived",
            (3.0,),
            AT_MS / 1000,
            "Count",
            {"service": "ingest_telemetry"},
        ),
        Datum(
            "TelemetryLake",
            "IngestDelayMilliseconds",
            (1.5, 2.5),
            AT_MS / 1000,
            "Milliseconds",
            {"service": "ingest_telemetry"},
        ),
    ]


@pytest.mark.documented(pages.EMBEDDED_METRICS)
def test_every_set_of_dimensions_gets_data_of_its_own() -> None:
    data = embedded_metrics(with_dimensions(["service"], ["service", "Reason"], [], Reason="late"))
    assert data is not None
    assert [datum.dimensions for datum in data if datum.name == "RecordsReceived"] == [
        {"service": "ingest_telemetry"},
        {"service": "ingest_telemetry", "Reason": "late"},
        {},
    ]


@pytest.mark.documented(pages.EMBEDDED_METRICS)
def test_metric_without_a_value_gives_no_data() -> None:
    data = embedded_metrics(document(IngestDelayMilliseconds=[]))
    assert data is not None
    assert [datum.name for datum in data] == ["RecordsReceived"]


@pytest.mark.documented(pages.EMBEDDED_METRICS)
@pytest.mark.parametrize(
    "line",
    [
        "RecordsReceived: 3",
        '{"level": "INFO", "message": "wrote 3 objects"}',
        '{"_aws": not json',
        '{"_aws": {}}',
        '{"_aws": []}',
        '["_aws"]',
        '"_aws"',
        document(RecordsReceived="many"),
        document(RecordsReceived=True),
        document(RecordsReceived=list(range(101))),
        with_dimensions(["unknown"]),
        with_dimensions([f"d{n}" for n in range(31)], **{f"d{n}": "x" for n in range(31)}),
    ],
)
def test_line_that_is_no_valid_document_is_left_to_the_log(line: str) -> None:
    assert embedded_metrics(line) is None


class CloudWatch:
    """Takes data, or does not."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[dict[str, Any]]]] = []
        self.away = False

    def put_metric_data(self, *, Namespace: str, MetricData: list[dict[str, Any]]) -> None:
        if self.away:
            raise ConnectionError
        self.calls.append((Namespace, MetricData))


def datum(namespace: str = "TelemetryLake", value: float = 1.0) -> Datum:
    return Datum(namespace, "RecordsReceived", (value,), AT_MS / 1000, "Count", {"service": "s"})


@pytest.mark.documented(pages.PUT_METRIC_DATA)
def test_data_is_put_as_put_metric_data_takes_it() -> None:
    cloud_watch = CloudWatch()
    buffer = MetricBuffer(cloud_watch.put_metric_data)
    buffer.add(datum())
    buffer.flush()
    assert cloud_watch.calls == [
        (
            "TelemetryLake",
            [
                {
                    "MetricName": "RecordsReceived",
                    "Dimensions": [{"Name": "service", "Value": "s"}],
                    "Timestamp": datetime.fromtimestamp(AT_MS / 1000, UTC),
                    "Unit": "Count",
                    "Values": [1.0],
                    "Counts": [1.0],
                }
            ],
        )
    ]
    buffer.flush()
    assert len(cloud_watch.calls) == 1


@pytest.mark.documented(pages.PUT_METRIC_DATA)
def test_a_call_has_one_namespace_and_at_most_1000_data() -> None:
    cloud_watch = CloudWatch()
    buffer = MetricBuffer(cloud_watch.put_metric_data)
    buffer.add(*[datum()] * 1500, datum("AWS/Lambda"))
    buffer.flush()
    assert [(name, len(data)) for name, data in cloud_watch.calls] == [
        ("TelemetryLake", 1000),
        ("TelemetryLake", 500),
        ("AWS/Lambda", 1),
    ]


@pytest.mark.ours("how the local cloud hands over what it measured")
def test_data_that_was_not_taken_waits_for_the_next_flush() -> None:
    cloud_watch = CloudWatch()
    buffer = MetricBuffer(cloud_watch.put_metric_data)
    buffer.add(datum())
    cloud_watch.away = True
    buffer.flush()
    cloud_watch.away = False
    buffer.flush()
    assert [len(data) for _, data in cloud_watch.calls] == [1]


@pytest.mark.ours("how the local cloud hands over what it measured")
def test_stop_puts_what_is_left() -> None:
    cloud_watch = CloudWatch()
    buffer = MetricBuffer(cloud_watch.put_metric_data, interval_seconds=3600)
    buffer.start()
    buffer.add(datum())
    buffer.stop()
    assert len(cloud_watch.calls) == 1
