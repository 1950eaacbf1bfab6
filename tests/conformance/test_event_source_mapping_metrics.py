"""What a mapping counts: its events where asked to, and how far behind its function is."""

import pytest

from tests.conformance import lambda_pages as pages
from tests.conformance.mapping_bench import FAILURE, ON_FAILURE, Bench, ThrottledError

COUNTED = {"Metrics": ["EventCount"]}

pytestmark = pytest.mark.documented(pages.MAPPING_METRICS)


def test_counts_events_under_the_mapping_where_asked_to() -> None:
    bench = Bench()
    mapping = bench.mapping(BatchSize=2, MetricsConfig={"Metrics": ["EventCount"]})
    bench.answers = [ThrottledError()]
    bench.put(*"abc")
    bench.run(10)
    assert bench.total("PolledEventCount") == 3
    assert bench.total("InvokedEventCount") == 3
    assert bench.total("FailedInvokeEventCount") == 2
    of_mapping = [d for d in bench.metrics if d.name == "PolledEventCount"]
    assert {tuple(d.dimensions.items()) for d in of_mapping} == {
        (("EventSourceMappingUUID", mapping.uuid),)
    }


def test_counts_no_events_where_not_asked_to() -> None:
    bench = Bench()
    bench.mapping()
    bench.put("a")
    bench.run()
    assert {datum.name for datum in bench.metrics} == {"IteratorAge"}


def test_every_attempt_counts_as_invoked_events() -> None:
    bench = Bench()
    bench.mapping(BatchSize=2, MetricsConfig=COUNTED)
    bench.answers = [FAILURE, FAILURE]
    bench.put(*"ab")
    bench.run(60)
    assert bench.total("InvokedEventCount") == 6
    assert bench.total("PolledEventCount") == 2


def test_without_a_destination_what_is_given_up_is_dropped_and_counted() -> None:
    bench = Bench()
    mapping = bench.mapping(BatchSize=2, MaximumRetryAttempts=0, MetricsConfig=COUNTED)
    bench.answers = [FAILURE]
    bench.put(*"abc")
    bench.run()
    assert bench.total("DroppedEventCount") == 2
    assert bench.total("OnFailureDestinationDeliveredEventCount") == 0
    assert mapping.status()["behind"] == 0


def test_delivered_records_count_as_delivered_and_not_as_dropped() -> None:
    bench = Bench()
    bench.mapping(
        BatchSize=2, MaximumRetryAttempts=0, DestinationConfig=ON_FAILURE, MetricsConfig=COUNTED
    )
    bench.answers = [FAILURE]
    bench.put(*"abc")
    bench.run()
    assert bench.total("OnFailureDestinationDeliveredEventCount") == 2
    assert bench.total("DroppedEventCount") == 0


@pytest.mark.documented(pages.PERFORMANCE_METRICS)
def test_iterator_age_is_that_of_the_batchs_last_record_when_it_is_sent() -> None:
    bench = Bench()
    bench.put("a")
    bench.now += 5
    bench.put("b")
    bench.now += 2
    bench.mapping()
    bench.run()
    (datum,) = [d for d in bench.metrics if d.name == "IteratorAge"]
    assert (datum.values, datum.unit) == ((2000.0,), "Milliseconds")
    assert datum.dimensions == {"FunctionName": "ingest"}
