"""Workflows, triggers, job runs: what the triggers say runs, in order, with real outcomes."""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.glue.models import glue_backends

from local.api import ApiError
from local.glue.glue import Glue
from tests.conformance import glue_pages as pages

WORKFLOW = "lake-curation"
CRAWLER = "lake-raw-zone"
JOB = "lake-curate-telemetry"


class LaterWork:
    """Work that the test runs when it wants to, in the order in which it was begun."""

    def __init__(self) -> None:
        self.pending: list[Callable[[], None]] = []

    def spawn(self, work: Callable[[], None], name: str) -> "LaterWork":
        self.pending.append(work)
        return self

    def run_next(self) -> None:
        self.pending.pop(0)()

    def join(self) -> None:
        while self.pending:
            self.run_next()


class Scripts:
    """Runs nothing: answers with the exit codes a test has set, remembers what it was given."""

    def __init__(self) -> None:
        self.exit_codes: dict[str, list[int]] = {}
        self.output = ""
        self.runs: list[tuple[str, dict[str, str]]] = []
        self.during: Callable[[], None] = lambda: None

    def __call__(
        self, script: Path, arguments: Mapping[str, str], log: Path, stopping: threading.Event
    ) -> int:
        name = arguments["--JOB_NAME"]
        self.runs.append((script.read_text(), dict(arguments)))
        log.write_text(self.output)
        self.during()
        if stopping.is_set():
            return 143
        codes = self.exit_codes.get(name, [])
        return codes.pop(0) if codes else 0


class Account:
    """Glue with one database and bucket, and a clock that moves a second at each look."""

    def __init__(self, folder: Path) -> None:
        self.work = LaterWork()
        self.scripts = Scripts()
        s3: Any = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="lake-raw")
        s3.put_object(Bucket="lake-raw", Key="scripts/0a1b2c", Body=b"print('curate')")
        self.glue_client: Any = boto3.client("glue", region_name="us-east-1")
        self.glue_client.create_database(DatabaseInput={"Name": "iot_data_db"})
        self.glue_client.create_table(DatabaseName="iot_data_db", TableInput={"Name": "readings"})
        self._now = datetime(2026, 11, 24, tzinfo=UTC)
        self.glue = Glue(
            s3,
            self.glue_client,
            glue_backends["123456789012"]["us-east-1"],
            self.scripts,
            folder,
            self._clock,
            self.work.spawn,
        )
        self._providers = {p.resource_type: p for p in self.glue.providers()}

    def _clock(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def deploy(self, kind: str, name: str, **properties: Any) -> None:
        provider = self._providers[f"AWS::Glue::{kind}"]
        assert set(properties) <= provider.properties
        provider.create(kind, name, properties)

    def redeploy(self, kind: str, name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        self._providers[f"AWS::Glue::{kind}"].update(name, old, new)

    def deploy_job(self, name: str = JOB, **properties: Any) -> None:
        command = {"Name": "glueetl", "ScriptLocation": "s3://lake-raw/scripts/0a1b2c"}
        self.deploy("Job", name, Role="role", Command=command, **properties)

    def deploy_crawler(self, bucket: str = "lake-raw") -> None:
        self.deploy(
            "Crawler",
            CRAWLER,
            Role="role",
            DatabaseName="iot_data_db",
            Targets={"S3Targets": [{"Path": f"s3://{bucket}/raw_data/"}]},
            RecrawlPolicy={"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"},
            SchemaChangePolicy={"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"},
        )

    def deploy_trigger(self, name: str, *actions: dict[str, Any], **properties: Any) -> None:
        given = {"Type": "CONDITIONAL", "StartOnCreation": True, "WorkflowName": WORKFLOW}
        self.deploy("Trigger", name, **{**given, "Actions": list(actions), **properties})

    def call(self, operation: str, **request: Any) -> Any:
        return self.glue.operations()[f"AWSGlue.{operation}"](request)

    def run(self) -> Any:
        """Start the workflow, let everything end, and give the run."""
        run_id = self.call("StartWorkflowRun", Name=WORKFLOW)["RunId"]
        self.work.join()
        return self.call("GetWorkflowRun", Name=WORKFLOW, RunId=run_id, IncludeGraph=True)["Run"]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with mock_aws():
        yield Account(tmp_path)


def deploy_lake(account: Account, crawl_bucket: str = "lake-raw", **job: Any) -> None:
    """The template's own arrangement: schedule, crawler, then the job however the crawl ended."""
    account.deploy("Workflow", WORKFLOW, MaxConcurrentRuns=1)
    account.deploy_crawler(crawl_bucket)
    account.deploy_job(**job)
    account.deploy_trigger(
        "schedule", {"CrawlerName": CRAWLER}, Type="SCHEDULED", Schedule="cron(0 */3 * * ? *)"
    )
    account.deploy_trigger(
        "after-crawl",
        {"JobName": JOB},
        Predicate={
            "Logical": "ANY",
            "Conditions": [
                {"LogicalOperator": "EQUALS", "CrawlerName": CRAWLER, "CrawlState": state}
                for state in ("SUCCEEDED", "FAILED", "CANCELLED")
            ],
        },
    )


def condition(job: str, state: str) -> dict[str, str]:
    return {"LogicalOperator": "EQUALS", "JobName": job, "State": state}


def started(account: Account) -> list[str]:
    return [arguments["--JOB_NAME"] for _, arguments in account.scripts.runs]


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


@pytest.mark.ours("a job must not outlive the local cloud that it writes to")
def test_stopping_everything_waits_and_lets_nothing_start_again(account: Account) -> None:
    deploy_lake(account)
    account.call("StartJobRun", JobName=JOB)
    account.glue.stop()
    (job_run,) = account.call("GetJobRuns", JobName=JOB)["JobRuns"]
    assert job_run["JobRunState"] == "STOPPED"
    with pytest.raises(ApiError, match="stopping"):
        account.call("StartJobRun", JobName=JOB)


@pytest.mark.documented(pages.START_WORKFLOW)
@pytest.mark.parametrize("operation", ["StartWorkflowRun", "StartCrawler", "StartTrigger"])
def test_unknown_names_are_entity_not_found(account: Account, operation: str) -> None:
    with pytest.raises(ApiError) as refused:
        account.call(operation, Name="none")
    assert refused.value.code == "EntityNotFoundException"


@pytest.mark.ours("what runs is what was deployed; the template alone describes it")
def test_definitions_can_be_read_but_changed_only_by_deploying(account: Account) -> None:
    deploy_lake(account)
    assert account.call("GetJob", JobName=JOB)["Job"]["Command"]["Name"] == "glueetl"
    assert account.call("ListWorkflows")["Workflows"] == [WORKFLOW]
    with pytest.raises(ApiError, match="deploy it again"):
        account.call("UpdateJob", JobName=JOB, JobUpdate={})


@pytest.mark.documented(pages.TRIGGER_RESOURCE)
def test_redeploying_changes_in_place_and_leaves_a_trigger_as_started_as_it_was(
    account: Account,
) -> None:
    deploy_lake(account)
    trigger = {
        "Type": "SCHEDULED",
        "WorkflowName": WORKFLOW,
        "Schedule": "cron(0 0 * * ? *)",
        "Actions": [{"JobName": JOB}],
    }
    account.redeploy("Trigger", "schedule", {**trigger, "Actions": []}, trigger)
    account.run()
    assert started(account) == [JOB]
    assert account.call("GetTrigger", Name="schedule")["Trigger"]["State"] == "ACTIVATED"


@pytest.mark.ours("what would be ignored here must not look deployed")
@pytest.mark.parametrize(
    ("kind", "properties", "named"),
    [
        ("Job", {"Command": {"Name": "pythonshell"}}, "only glueetl"),
        (
            "Job",
            {"Command": {"Name": "glueetl"}, "JobRunQueuingEnabled": "true"},
            "JobRunQueuingEnabled",
        ),
        ("Trigger", {"Type": "EVENT"}, "EVENT"),
        ("Trigger", {"Type": "ON_DEMAND", "StartOnCreation": "true"}, "ON_DEMAND"),
        ("Trigger", {"Type": "CONDITIONAL"}, "outside a workflow"),
        (
            "Trigger",
            {
                "Type": "CONDITIONAL",
                "WorkflowName": WORKFLOW,
                "Predicate": {"Conditions": [condition("a", "RUNNING")]},
            },
            "can't listen for state RUNNING",
        ),
        (
            "Trigger",
            {
                "Type": "CONDITIONAL",
                "WorkflowName": WORKFLOW,
                "Predicate": {"Conditions": [condition("a", "FAILED")] * 2},
            },
            "Logical must be",
        ),
        (
            "Trigger",
            {"Type": "SCHEDULED", "Actions": [{"JobName": "a", "Timeout": 1}]},
            "only its name and Arguments",
        ),
    ],
)
def test_refuses_to_deploy_what_would_be_ignored(
    account: Account, kind: str, properties: dict[str, Any], named: str
) -> None:
    with pytest.raises(Exception, match=named):
        account.deploy(
            kind, "x", **{"Actions": [], **properties} if kind == "Trigger" else properties
        )


@pytest.mark.documented(pages.UPDATE_TABLE)
def test_a_table_update_with_a_stale_version_is_refused(account: Account) -> None:
    table = {"Name": "readings", "Parameters": {"metadata_location": "s3://lake/1"}}
    version = account.glue_client.get_table(DatabaseName="iot_data_db", Name="readings")["Table"]
    request = {
        "DatabaseName": "iot_data_db",
        "TableInput": table,
        "VersionId": version["VersionId"],
    }
    account.call("UpdateTable", **request)
    with pytest.raises(ApiError) as refused:
        account.call("UpdateTable", **request)
    assert refused.value.code == "ConcurrentModificationException"


@pytest.mark.documented(pages.ICEBERG_LOCKING)
def test_of_many_writers_at_once_with_one_version_exactly_one_wins(account: Account) -> None:
    barrier = threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        barrier.wait(10)
        table = {"Name": "readings", "Parameters": {"writer": str(number)}}
        try:
            account.call("UpdateTable", DatabaseName="iot_data_db", TableInput=table, VersionId="1")
            won.append(number)
        except ApiError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = account.glue_client.get_table(DatabaseName="iot_data_db", Name="readings")["Table"]
    assert [kept["Parameters"]["writer"]] == [str(number) for number in won]


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
