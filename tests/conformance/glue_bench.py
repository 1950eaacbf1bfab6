"""Glue with workflows, crawlers and jobs, whose work a test runs when it wants to."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from moto.glue.models import glue_backends

from local.glue.glue import Glue

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
