"""Runs of workflows, crawlers and jobs: their limits and retries, and how they are stopped."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from local.api import ApiError
from tests.conformance import glue_pages as pages
from tests.conformance.glue_bench import (
    CRAWLER,
    JOB,
    WORKFLOW,
    Account,
    deploy_lake,
    started,
)


@pytest.mark.documented(pages.START_WORKFLOW)
def test_a_workflow_at_its_limit_of_runs_refuses_another(account: Account) -> None:
    deploy_lake(account)
    account.call("StartWorkflowRun", Name=WORKFLOW)
    with pytest.raises(ApiError) as refused:
        account.call("StartWorkflowRun", Name=WORKFLOW)
    assert refused.value.code == "ConcurrentRunsExceededException"
    account.work.join()
    account.run()
    assert len(account.call("GetWorkflowRuns", Name=WORKFLOW)["Runs"]) == 2


@pytest.mark.documented(pages.START_JOB)
def test_a_job_at_its_limit_is_an_errored_action_and_the_run_goes_on(account: Account) -> None:
    deploy_lake(account)
    account.call("StartJobRun", JobName=JOB)
    with pytest.raises(ApiError) as refused:
        account.call("StartJobRun", JobName=JOB)
    assert refused.value.code == "ConcurrentRunsExceededException"
    by_hand = account.work.pending.pop()
    run_id = account.call("StartWorkflowRun", Name=WORKFLOW)["RunId"]
    account.work.join()
    run = account.call("GetWorkflowRun", Name=WORKFLOW, RunId=run_id)["Run"]
    assert (run["Status"], run["Statistics"]["ErroredActions"]) == ("COMPLETED", 1)
    by_hand()


@pytest.mark.documented(pages.START_CRAWLER)
def test_a_crawler_that_runs_refuses_another_start(account: Account) -> None:
    account.deploy_crawler()
    account.call("StartCrawler", Name=CRAWLER)
    with pytest.raises(ApiError) as refused:
        account.call("StartCrawler", Name=CRAWLER)
    assert refused.value.code == "CrawlerRunningException"
    account.call("StopCrawler", Name=CRAWLER)
    account.work.join()
    assert account.call("GetCrawler", Name=CRAWLER)["Crawler"]["LastCrawl"]["Status"] == "CANCELLED"
    with pytest.raises(ApiError) as refused:
        account.call("StopCrawler", Name=CRAWLER)
    assert refused.value.code == "CrawlerNotRunningException"


@pytest.mark.documented(pages.JOB_RUNS)
def test_retries_a_failed_job_and_judges_it_by_its_last_attempt(account: Account) -> None:
    deploy_lake(account, MaxRetries=1)
    account.scripts.exit_codes[JOB] = [1, 0]
    run = account.run()
    assert run["Statistics"]["SucceededActions"] == 2
    second, first = account.call("GetJobRuns", JobName=JOB)["JobRuns"]
    assert [first["JobRunState"], second["JobRunState"]] == ["FAILED", "SUCCEEDED"]
    assert second["PreviousRunId"] == first["Id"]
    assert (second["Attempt"], second["Id"]) == (1, f"{first['Id']}_attempt_1")


@pytest.mark.documented(pages.STOP_JOB)
def test_stopping_a_job_run_ends_it_as_stopped(account: Account) -> None:
    account.deploy_job(MaxRetries=1)
    run_id = account.call("StartJobRun", JobName=JOB)["JobRunId"]
    account.scripts.during = lambda: account.call(
        "BatchStopJobRun", JobName=JOB, JobRunIds=[run_id, "jr_unknown"]
    )
    account.work.join()
    (job_run,) = account.call("GetJobRuns", JobName=JOB)["JobRuns"]
    assert job_run["JobRunState"] == "STOPPED"
    answer = account.call("BatchStopJobRun", JobName=JOB, JobRunIds=["jr_unknown"])
    assert answer["Errors"][0]["ErrorDetail"]["ErrorCode"] == "EntityNotFoundException"


@pytest.mark.documented(pages.JOBS)
def test_a_job_over_its_time_limit_is_a_timeout_and_is_not_retried(account: Account) -> None:
    account.deploy_job(Timeout=0, MaxRetries=1)
    account.call("StartJobRun", JobName=JOB)

    original = account.scripts.__call__

    def run(
        script: Path, arguments: Mapping[str, str], log: Path, stopping: threading.Event
    ) -> int:
        assert stopping.wait(10)
        return original(script, arguments, log, stopping)

    account.glue.job_runs._run_script = run
    account.work.join()
    (job_run,) = account.call("GetJobRuns", JobName=JOB)["JobRuns"]
    assert job_run["JobRunState"] == "TIMEOUT"


@pytest.mark.documented(pages.STOP_WORKFLOW)
def test_stopping_a_workflow_run_fires_no_further_trigger(account: Account) -> None:
    deploy_lake(account)
    run_id = account.call("StartWorkflowRun", Name=WORKFLOW)["RunId"]
    account.call("StopWorkflowRun", Name=WORKFLOW, RunId=run_id)
    stopping = account.call("GetWorkflowRun", Name=WORKFLOW, RunId=run_id)["Run"]
    assert stopping["Status"] == "STOPPING"
    account.work.join()
    run = account.call("GetWorkflowRun", Name=WORKFLOW, RunId=run_id)["Run"]
    assert (run["Status"], run["Statistics"]["StoppedActions"]) == ("STOPPED", 1)
    assert started(account) == []
    with pytest.raises(ApiError) as refused:
        account.call("StopWorkflowRun", Name=WORKFLOW, RunId=run_id)
    assert refused.value.code == "IllegalWorkflowStateException"


@pytest.mark.ours("a job must not outlive the local cloud that it writes to")
def test_stopping_everything_waits_and_lets_nothing_start_again(account: Account) -> None:
    deploy_lake(account)
    account.call("StartJobRun", JobName=JOB)
    account.glue.stop()
    (job_run,) = account.call("GetJobRuns", JobName=JOB)["JobRuns"]
    assert job_run["JobRunState"] == "STOPPED"
    with pytest.raises(ApiError, match="stopping"):
        account.call("StartJobRun", JobName=JOB)


@pytest.mark.documented(pages.EVENTS)
def test_every_end_of_a_run_is_an_event_with_its_reason(account: Account) -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    def tell(detail_type: str, detail: Mapping[str, Any]) -> None:
        told.append((detail_type, dict(detail)))

    account.glue.job_runs.tell = account.glue.crawl_runs.tell = tell
    deploy_lake(account, crawl_bucket="no-such-bucket")
    account.scripts.exit_codes[JOB] = [1]
    account.run()

    (crawl_type, crawl), (job_type, job) = told
    assert crawl_type == "Glue Crawler State Change"
    assert (crawl["crawlerName"], crawl["state"]) == (CRAWLER, "Failed")
    assert job_type == "Glue Job State Change"
    assert (job["jobName"], job["state"], job["severity"]) == (JOB, "FAILED", "ERROR")
    assert job["message"]
