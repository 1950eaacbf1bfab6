"""A mapping as a template's resource and in Lambda's API: what it takes, refuses and tells."""

import json
from typing import Any

import pytest

from local.api import ApiError, Response
from local.deployment.provider import ReplacementNeeded
from local.mapping.event_source_mapping import EventSourceMapping, EventSourceMappings
from local.mapping.resources import EventSourceMappingProvider, mapping_routes
from local.mapping.settings import mapping_settings
from tests.conformance import lambda_pages as pages
from tests.conformance.mapping_bench import (
    BUCKET_ARN,
    FUNCTION_ARN,
    ON_FAILURE,
    STREAM,
    STREAM_ARN,
    Bench,
)

LEAST = {
    "EventSourceArn": STREAM_ARN,
    "FunctionName": FUNCTION_ARN,
    "StartingPosition": "TRIM_HORIZON",
}
# As the template has it; a value that comes from a parameter is a string.
TEMPLATE = LEAST | {
    "BatchSize": "3000",
    "MaximumBatchingWindowInSeconds": "5",
    "ParallelizationFactor": "2",
    "BisectBatchOnFunctionError": True,
    "MaximumRetryAttempts": 300,
    "MaximumRecordAgeInSeconds": 518400,
    "DestinationConfig": ON_FAILURE,
    "MetricsConfig": {"Metrics": ["EventCount"]},
    "Enabled": "true",
    "Tags": [{"Key": "part", "Value": "ingestion"}],
}


def refusal(**changes: Any) -> str:
    with pytest.raises(ApiError) as refused:
        mapping_settings(LEAST | changes)
    assert refused.value.code == "InvalidParameterValueException"
    return refused.value.message


def made() -> tuple[Bench, EventSourceMappings, EventSourceMappingProvider]:
    bench = Bench()

    def start(mapping: EventSourceMapping) -> None:
        bench.made = mapping

    mappings = EventSourceMappings(bench.surroundings, start=start)
    return bench, mappings, EventSourceMappingProvider(mappings)


def call(mappings: EventSourceMappings, method: str, path: str, body: Any = None) -> Any:
    path, _, query = path.partition("?")
    for route in mapping_routes(mappings):
        match = route.path.fullmatch(f"/2015-03-31/event-source-mappings{path}")
        if match and route.method == method:
            response: Response = route.handler(
                match, {":query": query}, json.dumps(body).encode() if body is not None else b""
            )
            return json.loads(response.body)
    raise AssertionError(f"no route for {method} {path}")


@pytest.mark.documented(pages.PARAMETERS)
def test_defaults_are_those_of_lambda() -> None:
    settings = mapping_settings(LEAST)
    assert settings.batches.batch_size == 100
    assert settings.batches.batching_window_seconds == 0
    assert settings.batches.parallelization_factor == 1
    assert settings.retries.maximum_retry_attempts is None
    assert settings.retries.maximum_record_age_seconds is None
    assert not settings.retries.bisect_on_function_error
    assert settings.enabled
    assert not settings.counts_events


@pytest.mark.documented(pages.MAPPING_RESOURCE)
def test_values_of_parameters_are_strings_and_taken_as_what_they_say() -> None:
    settings = mapping_settings(TEMPLATE | {"Enabled": "false"})
    assert settings.batches.batch_size == 3000
    assert settings.batches.batching_window_seconds == 5
    assert settings.batches.parallelization_factor == 2
    assert not settings.enabled


@pytest.mark.ours("what the local cloud does not do, it refuses")
@pytest.mark.parametrize(
    "name",
    [
        "FilterCriteria",
        "FunctionResponseTypes",
        "TumblingWindowInSeconds",
        "ProvisionedPollerConfig",
        "SourceAccessConfigurations",
        "SomethingNew",
    ],
)
def test_setting_that_has_no_effect_here_is_refused_by_name(name: str) -> None:
    assert name in refusal(**{name: 1})


@pytest.mark.documented(pages.CREATE_MAPPING)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BatchSize", 0),
        ("BatchSize", 10_001),
        ("BatchSize", "many"),
        ("MaximumBatchingWindowInSeconds", 301),
        ("ParallelizationFactor", 0),
        ("ParallelizationFactor", 11),
        ("MaximumRetryAttempts", -2),
        ("MaximumRetryAttempts", 10_001),
        ("MaximumRecordAgeInSeconds", 59),
        ("MaximumRecordAgeInSeconds", 604_801),
        ("StartingPosition", "SOMEWHERE"),
        ("StartingPosition", "AT_TIMESTAMP"),
        ("StartingPositionTimestamp", 1_790_000_000),
        ("BisectBatchOnFunctionError", "perhaps"),
        ("EventSourceArn", ""),
    ],
)
def test_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    assert name in refusal(**{name: value})


@pytest.mark.ours("what the local cloud does not do, it refuses")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EventSourceArn", f"{STREAM_ARN}/consumer/fast:1"),
        ("FunctionName", f"{FUNCTION_ARN}:live"),
    ],
)
def test_consumer_or_version_of_a_function_is_refused_by_name(name: str, value: object) -> None:
    assert name in refusal(**{name: value})


@pytest.mark.ours("what the local cloud does not do, it refuses")
def test_destination_other_than_s3_is_refused() -> None:
    queue = {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:failed"}}
    assert "S3 only" in refusal(DestinationConfig=queue)


@pytest.mark.documented(pages.CREATE_MAPPING)
def test_metrics_other_than_event_count_are_refused() -> None:
    assert "EventCount" in refusal(MetricsConfig={"Metrics": ["ErrorCount"]})


@pytest.mark.documented(pages.MAPPING_RESOURCE)
def test_provider_understands_what_the_template_says_and_nothing_else() -> None:
    _, mappings, provider = made()
    assert TEMPLATE.keys() <= provider.properties
    assert not {"FilterCriteria", "FunctionResponseTypes"} & provider.properties
    created = provider.create("Telemetry", "stack-Telemetry", TEMPLATE)
    assert created.physical_id == mappings.find(STREAM_ARN, None)[0].uuid
    assert created.attributes["EventSourceMappingArn"].endswith(created.physical_id)


@pytest.mark.documented(pages.MAPPING_RESOURCE)
def test_update_in_place_keeps_identity_and_position() -> None:
    bench, _, provider = made()
    created = provider.create("Telemetry", "stack-Telemetry", TEMPLATE)
    bench.put(*"abc")
    bench.run(5)
    new = TEMPLATE | {"BatchSize": 2, "MaximumBatchingWindowInSeconds": 0}
    assert provider.update(created.physical_id, TEMPLATE, new) == created
    bench.put(*"def")
    bench.run(5)
    assert bench.given() == [["a", "b", "c"], ["d", "e"], ["f"]]


@pytest.mark.documented(pages.MAPPING_RESOURCE)
def test_update_takes_back_what_the_template_no_longer_says() -> None:
    _, mappings, provider = made()
    created = provider.create("Telemetry", "stack-Telemetry", TEMPLATE)
    provider.update(created.physical_id, TEMPLATE, LEAST)
    assert mappings.get(created.physical_id).settings == mapping_settings(LEAST)


@pytest.mark.documented(pages.MAPPING_RESOURCE)
@pytest.mark.parametrize(
    "change",
    [
        {"StartingPosition": "LATEST"},
        {"EventSourceArn": STREAM_ARN + "-2"},
    ],
)
def test_change_of_stream_or_start_asks_for_another_mapping(change: dict[str, str]) -> None:
    _, _, provider = made()
    created = provider.create("Telemetry", "stack-Telemetry", TEMPLATE)
    with pytest.raises(ReplacementNeeded):
        provider.update(created.physical_id, TEMPLATE, TEMPLATE | change)


@pytest.mark.documented(pages.CREATE_MAPPING)
def test_second_mapping_of_a_stream_to_a_function_is_a_conflict() -> None:
    _, mappings, _ = made()
    mappings.create(TEMPLATE)
    with pytest.raises(ApiError) as refused:
        mappings.create(TEMPLATE)
    assert (refused.value.code, refused.value.status) == ("ResourceConflictException", 409)


@pytest.mark.documented(pages.DELETE_MAPPING)
def test_deleted_mapping_takes_nothing_any_more() -> None:
    bench, mappings, provider = made()
    created = provider.create("Telemetry", "stack-Telemetry", TEMPLATE)
    bench.put("a")
    provider.delete(created.physical_id, TEMPLATE)
    bench.run(60)
    assert bench.given() == []
    assert mappings.find(None, None) == []
    provider.delete(created.physical_id, TEMPLATE)  # as often as anyone likes


@pytest.mark.documented(pages.GET_MAPPING)
def test_api_tells_a_mapping_as_it_is_set() -> None:
    bench, mappings, _ = made()
    created = call(mappings, "POST", "", TEMPLATE | {"Tags": {"part": "ingestion"}})
    bench.run()
    told = call(mappings, "GET", f"/{created['UUID']}")
    assert told["State"] == "Enabled"
    assert told["EventSourceArn"] == STREAM_ARN
    assert told["FunctionArn"] == FUNCTION_ARN
    assert told["BatchSize"] == 3000
    assert told["MaximumRetryAttempts"] == 300
    assert told["DestinationConfig"]["OnFailure"]["Destination"] == BUCKET_ARN
    assert told["MetricsConfig"]["Metrics"] == ["EventCount"]


@pytest.mark.documented(pages.LIST_MAPPINGS)
def test_api_lists_by_function_and_by_stream() -> None:
    _, mappings, _ = made()
    created = call(mappings, "POST", "/", LEAST)
    for query, count in [("", 1), ("?FunctionName=ingest", 1), ("?FunctionName=other", 0)]:
        assert len(call(mappings, "GET", f"/{query}")["EventSourceMappings"]) == count
    (told,) = call(mappings, "GET", f"/?EventSourceArn={STREAM_ARN}")["EventSourceMappings"]
    assert told["UUID"] == created["UUID"]


@pytest.mark.documented(pages.MAPPING_STATES)
def test_api_disables_and_enables() -> None:
    bench, mappings, _ = made()
    uuid = call(mappings, "POST", "", LEAST)["UUID"]
    bench.run()
    assert call(mappings, "PUT", f"/{uuid}", {"Enabled": False})["State"] == "Disabling"
    bench.run()
    assert call(mappings, "GET", f"/{uuid}")["State"] == "Disabled"
    assert call(mappings, "PUT", f"/{uuid}", {"Enabled": True})["State"] == "Enabling"


@pytest.mark.documented(pages.UPDATE_MAPPING)
def test_api_changes_nothing_when_it_refuses() -> None:
    _, mappings, _ = made()
    uuid = call(mappings, "POST", "", LEAST)["UUID"]
    changes: list[dict[str, Any]] = [
        {"BatchSize": 0},
        {"StartingPosition": "LATEST"},
        {"FilterCriteria": {}},
    ]
    for change in changes:
        with pytest.raises(ApiError):
            call(mappings, "PUT", f"/{uuid}", change)
    assert mappings.get(uuid).settings == mapping_settings(LEAST)


@pytest.mark.documented(pages.GET_MAPPING)
def test_api_knows_no_other_mapping() -> None:
    _, mappings, _ = made()
    with pytest.raises(ApiError) as refused:
        call(mappings, "GET", "/14e0db71-5d35-4eb5-b481-8945cf9d10c2")
    assert (refused.value.code, refused.value.status) == ("ResourceNotFoundException", 404)


@pytest.mark.ours("how the local cloud runs a mapping")
def test_mapping_runs_and_ends_in_a_thread_of_its_own() -> None:
    bench = Bench()
    mappings = EventSourceMappings(bench.surroundings)
    bench.put("a")
    mapping = mappings.create(LEAST)
    mappings.stop()
    assert mapping.state == "Deleting"
    assert bench.streams.describe_stream_summary(StreamName=STREAM)
