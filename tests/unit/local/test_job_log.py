"""A job's account, one JSON line in its log, becomes the metrics that the filters define."""

from local.glue.job_log import filtered
from local.logs import requests

ACCOUNT = '{"account": {"run_id": "r1", "curated": 90, "seconds": 1.5, "snapshot_id": null}}'


def metric_filter(pattern: str, value: str) -> dict[str, object]:
    transformation = {"metricNamespace": "Lake", "metricName": "M", "metricValue": value}
    return {"filterPattern": pattern, "metricTransformations": [transformation]}


def test_counts_or_takes_the_value_of_each_matching_line() -> None:
    lines = ["26/11/24 INFO Spark", ACCOUNT, '{"other": 1}', "{not json", "[1]"]
    exists = "{ $.account.run_id = * }"
    assert list(filtered(metric_filter(exists, "1"), lines)) == [("Lake", "M", 1.0)]
    assert list(filtered(metric_filter(exists, "$.account.curated"), lines)) == [
        ("Lake", "M", 90.0)
    ]


def test_a_value_that_is_missing_or_null_gives_no_metric() -> None:
    exists = "{ $.account.run_id = * }"
    assert list(filtered(metric_filter(exists, "$.account.snapshot_id"), [ACCOUNT])) == []
    assert list(filtered(metric_filter("{ $.none = * }", "1"), [ACCOUNT])) == []


def test_a_pattern_that_is_not_understood_matches_nothing() -> None:
    assert list(filtered(metric_filter("ERROR", "1"), ["ERROR"])) == []


def test_requests_stay_within_what_put_log_events_takes() -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""
    batches = list(requests([(1, "x" * 9_000)] * 300 + [(1, "")] * 20_000))
    assert sum(map(len, batches)) == 20_300
    assert max(map(len, batches)) <= 10_000
    for batch in batches:
        assert sum(len(event["message"]) + 26 for event in batch) <= 1_048_576
        assert all(event["message"] for event in batch)
