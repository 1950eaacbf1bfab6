"""Findings are told in the log and counted; whatever is wrong, the log stays readable."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from aws_lambda_powertools import Logger, Metrics

from audit_lake.report import MOST_LINES_OF_A_KIND, tell
from audit_lake.settings import Settings, SettingsError
from ops.audit.findings import Audit, Finding

HOUR = datetime(2026, 11, 25, 12, tzinfo=UTC)
VARIABLES = {
    "STREAM_NAME": "telemetry",
    "RAW_ZONE_BUCKET": "raw-zone",
    "REJECTED_ZONE_BUCKET": "rejected-zone",
    "FAILED_ZONE_BUCKET": "failed-zone",
    "CURATED_ZONE_BUCKET": "curated-zone",
    "DATABASE_NAME": "iot_data_db",
    "LOOK_BACK_MINUTES": "120",
    "POWERTOOLS_SERVICE_NAME": "audit_lake",
    "POWERTOOLS_METRICS_NAMESPACE": "TelemetryLake/test",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_ENDPOINT_URL": "",
}


def told(audited: Audit, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    # Loggers of one name share the first one's output, which is another test's.
    logger = Logger(service=uuid4().hex)
    tell(HOUR, audited, logger, Metrics("TelemetryLake/test", "audit_lake"))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def values(lines: list[dict[str, Any]]) -> dict[str, Any]:
    [metrics] = [line for line in lines if "_aws" in line]
    [directive] = metrics["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["service"]]
    return {each["Name"]: metrics[each["Name"]][0] for each in directive["Metrics"]}


def test_an_hour_without_a_finding_counts_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(Audit(raw_rows=7), capsys)
    assert values(lines) == {"AuditFindings": 0, "AuditedHours": 1}
    [line] = [line for line in lines if line.get("message") == "hour_audited"]
    assert (line["hour"], line["raw_rows"]) == ("2026-11-25T12:00:00+00:00", 7)
    assert line["findings"] == {}


def test_each_finding_is_counted_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("raw_object_missing", "a"), Finding("row_extra", "b", "in readings")]
    lines = told(Audit(findings=findings), capsys)
    assert values(lines) == {"AuditFindings": 2, "AuditedHours": 1}
    named = [
        (line["kind"], line["subject"], line["detail"])
        for line in lines
        if line.get("message") == "audit_finding"
    ]
    assert named == [("raw_object_missing", "a", ""), ("row_extra", "b", "in readings")]


def test_of_a_kind_a_few_are_named_and_all_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    many = [Finding("row_missing", str(number)) for number in range(10_000)]
    mixed = [Finding("raw_object_altered", "a"), Finding("raw_object_missing", "b")] * 1_000
    lines = told(Audit(findings=many + mixed), capsys)
    assert values(lines)["AuditFindings"] == 12_000
    named = [line for line in lines if line.get("message") == "audit_finding"]
    assert len(named) == 3 * MOST_LINES_OF_A_KIND
    [line] = [line for line in lines if line.get("message") == "hour_audited"]
    assert line["findings"]["row_missing"] == 10_000


@pytest.mark.parametrize("name", sorted(VARIABLES.keys() - {"AWS_ENDPOINT_URL"}))
def test_a_variable_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(VARIABLES | {name: ""})


def test_a_look_back_that_is_no_number_is_refused() -> None:
    assert Settings.from_environment(VARIABLES).look_back_minutes == 120
    with pytest.raises(SettingsError, match="LOOK_BACK_MINUTES"):
        Settings.from_environment(VARIABLES | {"LOOK_BACK_MINUTES": "two"})
