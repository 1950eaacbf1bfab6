"""The entry point and its arguments."""

import json
import logging
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pyspark.sql import SparkSession

import curate_telemetry as job
from tests.spark.lake import NOON, Lake, raw_row

NEEDED = ["--raw_zone_bucket", "raw", "--database", "db"]


def test_main_curates_and_prints_its_account_last(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    midnight = NOON.replace(hour=0)
    lake.put(raw_row("a", midnight, temperature=1.0), raw_row("b", midnight, temperature=1.0))
    monkeypatch.setattr(job, "RawZone", lambda *_: lake.zone)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for curated in (2, 0):
        # Whatever zone the session and the machine have, days are those of UTC.
        lake.spark.conf.set("spark.sql.session.timeZone", "America/St_Johns")
        job.main(lake.arguments("--run_id", f"run-{curated}", "--JOB_NAME", "curate"))
        account = json.loads(capsys.readouterr().out.splitlines()[-1])["account"]
        assert account["run_id"] == f"run-{curated}"
        assert account["started_at"] == lake.now.isoformat()
        assert account["curated"] == curated
        through = account["complete_through"]
        assert account["complete_through_epoch"] == datetime.fromisoformat(through).timestamp()
    days = lake.table("readings").selectExpr("CAST(event_date AS STRING)").distinct().collect()
    assert [row[0] for row in days] == ["2026-11-24"]
    started = [row["started_at"].astimezone().isoformat() for row in lake.accounts()]
    assert len(set(started)) == 2


def test_arguments_that_glue_adds_are_passed_over() -> None:
    given = ["--configuration", "x", "--data", "y", "--JOB_RUN_ID", "jr_1", "--enable-metrics"]
    settings = job.parse_arguments([*NEEDED, *given])
    assert (settings.database, settings.raw_prefix) == ("db", "raw_data/")
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", settings.run_id)


def test_a_run_id_that_would_not_fit_into_a_statement_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        job.parse_arguments([*NEEDED, "--run_id", "x' OR 1=1 --"])
    assert "letters, digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("conf", "clause"),
    [
        ({}, ""),
        ({"warehouse": "/tables", "type": "hadoop"}, ""),
        ({"warehouse": "s3://b/curated/"}, "LOCATION 's3://b/curated/db.db/readings'"),
        ({"warehouse": "s3://b", "type": "glue"}, "LOCATION 's3://b/db.db/readings'"),
    ],
)
def test_tables_lie_in_the_warehouse(
    spark: SparkSession, lake: Lake, conf: dict[str, str], clause: str
) -> None:
    settings = job.parse_arguments([*NEEDED, "--catalog", "elsewhere"])
    own = job.Job(spark, lake.zone, settings)
    for name, value in conf.items():
        spark.conf.set(f"spark.sql.catalog.elsewhere.{name}", value)
    try:
        assert job.location_of(own, own.readings) == clause
    finally:
        for name in conf:
            spark.conf.unset(f"spark.sql.catalog.elsewhere.{name}")


class FakeEvents:
    """EventBridge: keeps what it is sent, or answers as it is told."""

    def __init__(self, answer: dict[str, Any] | Exception | None = None) -> None:
        self.answer = answer
        self.sent: list[dict[str, Any]] = []

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.sent += Entries
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}


def test_the_event_bus_is_told_of_a_run_once_its_account_is_written(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    lake.put(raw_row("a", temperature=1.0))
    events = FakeEvents()
    account = job.curate(replace(lake.job("--event_bus", "default"), events=events))
    (event,) = events.sent
    assert (event["EventBusName"], event["Source"]) == ("default", "telemetry-lake")
    assert event["DetailType"] == "Curation finished"
    detail = json.loads(event["Detail"])
    assert detail["complete_through"] == "2026-11-24T11:00:00+00:00"
    assert (detail["curated"], detail["run_id"]) == (1, account.run_id)
    assert detail["database"] == lake.database
    # An event that can't be sent fails no run.
    throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "PutEvents")
    refused = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "x", "ErrorMessage": "too much"}]}
    with caplog.at_level(logging.WARNING):
        for answer in (throttled, refused):
            job.curate(replace(lake.job("--event_bus", "default"), events=FakeEvents(answer)))
    assert "ThrottlingException" in caplog.text
    assert "too much" in caplog.text
    assert len(lake.accounts()) == 3
