"""Workflows and triggers: what the triggers say runs, in order, with real outcomes."""

import pytest

from tests.conformance import glue_pages as pages
from tests.conformance.glue_bench import (
    CRAWLER,
    JOB,
    WORKFLOW,
    Account,
    condition,
    deploy_lake,
    started,
)


@pytest.mark.documented(pages.WORKFLOWS)
def test_runs_the_crawler_and_then_the_job_and_counts_both(account: Account) -> None:
    deploy_lake(account)
    run_id = account.call("StartWorkflowRun", Name=WORKFLOW)["RunId"]
    assert account.call("GetCrawler", Name=CRAWLER)["Crawler"]["State"] == "RUNNING"
    running = account.call("GetWorkflowRun", Name=WORKFLOW, RunId=run_id)["Run"]
    assert (running["Status"], running["Statistics"]["RunningActions"]) == ("RUNNING", 1)
    assert started(account) == []
    account.work.run_next()
    assert account.call("GetCrawler", Name=CRAWLER)["Crawler"]["State"] == "READY"
    account.work.run_next()
    run = account.call("GetWorkflowRun", Name=WORKFLOW, RunId=run_id)["Run"]
    assert run["Status"] == "COMPLETED"
    assert run["Statistics"]["TotalActions"] == run["Statistics"]["SucceededActions"] == 2
    assert run["CompletedOn"] > run["StartedOn"]
    assert started(account) == [JOB]


@pytest.mark.documented(pages.TRIGGERS)
def test_a_failed_crawl_is_failed_and_the_job_runs_all_the_same(account: Account) -> None:
    deploy_lake(account, crawl_bucket="a-bucket-that-is-not-there")
    run = account.run()
    assert run["Statistics"]["FailedActions"] == run["Statistics"]["SucceededActions"] == 1
    last = account.call("GetCrawler", Name=CRAWLER)["Crawler"]["LastCrawl"]
    assert last["Status"] == "FAILED"
    assert "NoSuchBucket" in last["ErrorMessage"]


@pytest.mark.documented(pages.JOB_STATES)
def test_a_failed_job_is_failed_with_its_last_error(account: Account) -> None:
    deploy_lake(account)
    account.scripts.exit_codes[JOB] = [1]
    account.scripts.output = (
        "Traceback (most recent call last):\n"
        '  File "curate_telemetry.py", line 3, in <module>\n'
        "ValueError: no such table\n26/11/24 INFO ShutdownHookManager: Shutdown hook called\n"
    )
    run = account.run()
    assert (run["Status"], run["Statistics"]["FailedActions"]) == ("COMPLETED", 1)
    (job_run,) = account.call("GetJobRuns", JobName=JOB)["JobRuns"]
    assert job_run["JobRunState"] == "FAILED"
    assert job_run["ErrorMessage"] == "ValueError: no such table"


@pytest.mark.documented(pages.JOB_STATES)
def test_a_job_whose_script_is_missing_is_failed(account: Account) -> None:
    command = {"Name": "glueetl", "ScriptLocation": "s3://lake-raw/scripts/none"}
    account.deploy("Job", JOB, Role="role", Command=command)
    run_id = account.call("StartJobRun", JobName=JOB)["JobRunId"]
    account.work.join()
    job_run = account.call("GetJobRun", JobName=JOB, RunId=run_id)["JobRun"]
    assert job_run["JobRunState"] == "FAILED"
    assert "404" in job_run["ErrorMessage"]


@pytest.mark.documented(pages.START_JOB)
def test_the_script_is_the_deployed_one_with_its_own_arguments(account: Account) -> None:
    account.deploy_job(
        DefaultArguments={"--database": "iot_data_db", "--look_back_minutes": 30},
        NonOverridableArguments={"--catalog": "glue_catalog"},
    )
    account.call(
        "StartJobRun", JobName=JOB, Arguments={"--look_back_minutes": "5", "--catalog": "other"}
    )
    account.work.join()
    ((script, arguments),) = account.scripts.runs
    assert script == "print('curate')"
    assert arguments.pop("--JOB_RUN_ID").startswith("jr_")
    assert arguments == {
        "--JOB_NAME": JOB,
        "--database": "iot_data_db",
        "--look_back_minutes": "5",
        "--catalog": "glue_catalog",
    }


@pytest.mark.documented(pages.TRIGGERS)
def test_a_triggers_arguments_go_over_the_jobs_but_for_those_that_cannot_be_overridden(
    account: Account,
) -> None:
    account.deploy("Workflow", WORKFLOW)
    account.deploy_job(
        DefaultArguments={"--late": "60", "--kept": "1"}, NonOverridableArguments={"--fixed": "1"}
    )
    passed = {"--late": "5", "--fixed": "2", "--more": "3"}
    account.deploy_trigger(
        "first", {"JobName": JOB, "Arguments": passed}, Type="ON_DEMAND", StartOnCreation=False
    )
    account.run()
    ((_, arguments),) = account.scripts.runs
    assert {name: arguments[name] for name in ("--late", "--kept", "--fixed", "--more")} == {
        "--late": "5",
        "--kept": "1",
        "--fixed": "1",
        "--more": "3",
    }


@pytest.mark.documented(pages.TRIGGERS)
def test_an_on_demand_trigger_fires_when_it_is_started_and_stays_created(account: Account) -> None:
    account.deploy_job()
    action = [{"JobName": JOB}]
    account.deploy("Trigger", "by-hand", Type="ON_DEMAND", Actions=action)
    account.call("StartTrigger", Name="by-hand")
    account.work.join()
    assert started(account) == [JOB]
    assert account.call("GetTrigger", Name="by-hand")["Trigger"]["State"] == "CREATED"


@pytest.mark.documented(pages.TRIGGERS)
@pytest.mark.parametrize(("exit_code", "expected"), [(0, ["a", "b"]), (1, ["a", "alarm"])])
def test_conditional_triggers_fire_on_the_outcome_they_name(
    account: Account, exit_code: int, expected: list[str]
) -> None:
    account.deploy("Workflow", WORKFLOW)
    for name in ("a", "b", "alarm"):
        account.deploy_job(name)
    account.deploy_trigger("first", {"JobName": "a"}, Type="ON_DEMAND", StartOnCreation=False)
    account.deploy_trigger(
        "good", {"JobName": "b"}, Predicate={"Conditions": [condition("a", "SUCCEEDED")]}
    )
    account.deploy_trigger(
        "bad", {"JobName": "alarm"}, Predicate={"Conditions": [condition("a", "FAILED")]}
    )
    account.scripts.exit_codes["a"] = [exit_code]
    account.run()
    assert started(account) == expected


@pytest.mark.documented(pages.TRIGGERS)
@pytest.mark.parametrize(("logical", "runs_after_a"), [("AND", []), ("ANY", ["c"])])
def test_and_waits_for_all_conditions_and_any_for_one_and_each_fires_once(
    account: Account, logical: str, runs_after_a: list[str]
) -> None:
    account.deploy("Workflow", WORKFLOW)
    for name in ("a", "b", "c"):
        account.deploy_job(name)
    account.deploy_trigger(
        "first", {"JobName": "a"}, {"JobName": "b"}, Type="SCHEDULED", Schedule="cron(0 0 * * ? *)"
    )
    conditions = [condition("a", "SUCCEEDED"), condition("b", "SUCCEEDED")]
    account.deploy_trigger(
        "then", {"JobName": "c"}, Predicate={"Logical": logical, "Conditions": conditions}
    )
    account.call("StartWorkflowRun", Name=WORKFLOW)
    account.work.run_next()
    assert len(account.work.pending) == 1 + len(runs_after_a)
    account.work.join()
    assert sorted(started(account)) == ["a", "b", "c"]


@pytest.mark.documented(pages.TRIGGERS)
def test_triggers_that_were_not_started_do_nothing_until_they_are(account: Account) -> None:
    account.deploy("Workflow", WORKFLOW)
    account.deploy_job("a")
    account.deploy_job("b")
    account.deploy_trigger("first", {"JobName": "a"}, Type="SCHEDULED", StartOnCreation=False)
    account.deploy_trigger(
        "then",
        {"JobName": "b"},
        StartOnCreation=False,
        Predicate={"Conditions": [condition("a", "SUCCEEDED")]},
    )
    assert account.run()["Statistics"]["TotalActions"] == 0
    account.call("StartTrigger", Name="first")
    assert account.call("GetTrigger", Name="first")["Trigger"]["State"] == "ACTIVATED"
    account.run()
    assert started(account) == ["a"]
    account.call("StartTrigger", Name="then")
    account.run()
    assert started(account) == ["a", "a", "b"]
    account.call("StopTrigger", Name="first")
    assert account.run()["Statistics"]["TotalActions"] == 0


@pytest.mark.documented(pages.TRIGGERS)
def test_a_job_started_by_hand_fires_no_trigger(account: Account) -> None:
    """Conditional triggers watch only what was itself started by a trigger."""
    account.deploy("Workflow", WORKFLOW)
    account.deploy_job("a")
    account.deploy_job("b")
    account.deploy_trigger(
        "then", {"JobName": "b"}, Predicate={"Conditions": [condition("a", "SUCCEEDED")]}
    )
    account.call("StartJobRun", JobName="a")
    account.work.join()
    assert started(account) == ["a"]


@pytest.mark.documented(pages.WORKFLOW_API)
def test_the_graph_shows_what_each_trigger_started(account: Account) -> None:
    deploy_lake(account)
    account.scripts.exit_codes[JOB] = [1]
    graph = account.run()["Graph"]
    nodes = {node["UniqueId"]: node for node in graph["Nodes"]}
    crawls = nodes[f"CRAWLER-{CRAWLER}"]["CrawlerDetails"]["Crawls"]
    job_runs = nodes[f"JOB-{JOB}"]["JobDetails"]["JobRuns"]
    assert [crawls[0]["State"], job_runs[0]["JobRunState"]] == ["SUCCEEDED", "FAILED"]
    assert {
        "SourceId": "TRIGGER-after-crawl",
        "DestinationId": f"JOB-{JOB}",
    } in graph["Edges"]


@pytest.mark.documented(pages.RUN_PROPERTIES)
def test_run_properties_are_the_workflows_with_the_runs_own_over_them(account: Account) -> None:
    account.deploy("Workflow", WORKFLOW, DefaultRunProperties={"a": "1", "b": "1"})
    run_id = account.call("StartWorkflowRun", Name=WORKFLOW, RunProperties={"b": "2"})["RunId"]
    answer = account.call("GetWorkflowRunProperties", Name=WORKFLOW, RunId=run_id)
    assert answer["RunProperties"] == {"a": "1", "b": "2"}
