"""The deployed maintenance job, started as its trigger would start it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from local.demo.curation import PATIENCE_SECONDS, POLL_SECONDS
from local.demo.demo import Demonstration
from local.demo.lake import connect

RUNNING = ("STARTING", "RUNNING", "STOPPING")


def ended_run(glue: Any, name: str) -> dict[str, Any]:
    run_id = glue.start_job_run(JobName=name)["JobRunId"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        run: dict[str, Any] = glue.get_job_run(JobName=name, RunId=run_id)["JobRun"]
        if run["JobRunState"] not in RUNNING or time.monotonic() > deadline:
            return run
        time.sleep(POLL_SECONDS)


def test_the_deployed_job_maintains_the_tables_and_its_figures_become_metrics(
    demo: Demonstration,
) -> None:
    query = "SELECT event_id, run_id FROM readings ORDER BY 1"
    before = connect(demo.lake).execute(query).fetchall()
    run = ended_run(demo.lake.client("glue"), demo.outputs["MaintainTablesJobName"])
    assert run["JobRunState"] == "SUCCEEDED", run
    assert connect(demo.lake).execute(query).fetchall() == before
    now = datetime.now(UTC)
    cloudwatch = demo.lake.client("cloudwatch")
    names = {metric["MetricName"] for metric in cloudwatch.list_metrics()["Metrics"]}
    made = {"MaintenanceSeconds", "OrphanFilesRemoved", "ReadingsFilesPerDay", "ReadingsSnapshots"}
    assert made <= names
    (namespace,) = {
        metric["Namespace"]
        for metric in cloudwatch.list_metrics()["Metrics"]
        if metric["MetricName"] == "ReadingsFilesPerDay"
    }
    figures = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName="ReadingsFilesPerDay",
        StartTime=now - timedelta(hours=3),
        EndTime=now + timedelta(hours=3),
        Period=3600,
        Statistics=["Maximum"],
    )["Datapoints"]
    assert [figure["Maximum"] >= 1 for figure in figures] == [True]
