"""Glue, put together: the catalogue is moto's; what runs on it is ours.

`Glue` gives the local cloud its operations, its resource providers, its part of the status
page, and one way to stop everything that it started.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from moto.glue.exceptions import EntityNotFoundException
from moto.glue.models import glue_backends

from local.api import ACCOUNT_ID, REGION, ApiError, Operation
from local.deployment.provider import ResourceProvider
from local.events import TellEvent
from local.faults.processes import Processes
from local.glue.background import Spawn, spawn_thread
from local.glue.crawl_run import CrawlRuns
from local.glue.definitions import Definitions, utc_now
from local.glue.job_log import JobLog
from local.glue.job_run import JobRuns, PublishLog, RunScript, keep_log
from local.glue.resources import providers
from local.glue.spark import submit
from local.glue.workflow import Workflows


class TableVersions(Protocol):
    """The part of moto's Glue backend that UpdateTable needs."""

    def get_table(self, database_name: str, table_name: str) -> Any:
        """The table; its `as_dict()["VersionId"]` is the current version."""

    def update_table(
        self, database_name: str, table_name: str, table_input: dict[str, Any]
    ) -> None:
        """Make a new version of the table."""


class Glue:
    """Everything of Glue that the local cloud emulates. `stop` ends every crawl and job run."""

    def __init__(
        self,
        s3: Any,
        catalogue: Any,
        tables: TableVersions,
        run_script: RunScript,
        folder: Path,
        clock: Callable[[], datetime] = utc_now,
        spawn: Spawn = spawn_thread,
        publish_log: PublishLog = keep_log,
        tell: TellEvent | None = None,
    ) -> None:
        """`s3` and `catalogue` are boto3 clients (s3, glue); `tables` is moto's Glue backend, since
        an UpdateTable through the client would come back here; scripts and logs go to `folder`."""
        self.definitions = Definitions(clock)
        self.job_runs = JobRuns(self.definitions, s3, run_script, folder, clock, spawn, publish_log)
        self.crawl_runs = CrawlRuns(self.definitions, s3, catalogue, clock, spawn)
        self.workflows = Workflows(self.definitions, self.job_runs, self.crawl_runs, clock)
        if tell is not None:
            self.job_runs.tell = self.crawl_runs.tell = tell
        self._catalogue = catalogue
        self._tables = tables
        self._update_lock = threading.Lock()

    def providers(self) -> list[ResourceProvider]:
        """How CloudFormation makes Glue resources here."""
        return providers(self.definitions, self._catalogue)

    def operations(self) -> dict[str, Operation]:
        """Glue operations that don't go to moto."""
        return {
            **self.definitions.operations(),
            **self.job_runs.operations(),
            **self.crawl_runs.operations(),
            **self.workflows.operations(),
            "AWSGlue.UpdateTable": self._update_table,
        }

    def status(self) -> dict[str, Any]:
        """The last run of each workflow."""
        return self.workflows.status()

    def stop(self) -> None:
        """End every crawl and job run, and wait for them."""
        self.crawl_runs.close()
        self.job_runs.close()

    def _update_table(self, request: dict[str, Any]) -> dict[str, Any]:
        """UpdateTable that refuses a stale VersionId, which is what Iceberg's writers rely on.

        https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html
        """
        database, table = request["DatabaseName"], request["TableInput"]
        with self._update_lock:
            try:
                current = self._tables.get_table(database, table["Name"]).as_dict()["VersionId"]
            except EntityNotFoundException as error:
                raise ApiError("EntityNotFoundException", str(error.message)) from None
            expected = request.get("VersionId", current)
            if expected != current:
                raise ApiError(
                    "ConcurrentModificationException",
                    f"table {table['Name']} is at version {current}, not {expected}",
                )
            self._tables.update_table(database, table["Name"], table)
        return {}


def local_glue(
    client: Callable[[str], Any],
    endpoint: str,
    folder: Path,
    clock: Callable[[], datetime],
    processes: Processes,
    tell: TellEvent,
) -> Glue:
    """Glue as the local cloud at `endpoint` has it: real Spark, the process's own catalogue.

    `client` gives a boto3 client by its service's name; job scripts and logs go to `folder`; each
    job run that is there is one of `processes`.
    """
    return Glue(
        client("s3"),
        client("glue"),
        glue_backends[ACCOUNT_ID][REGION],
        partial(submit, endpoint=endpoint, processes=processes),
        folder,
        clock,
        publish_log=JobLog(client("logs"), client("cloudwatch"), utc_now, clock).publish,
        tell=tell,
    )
