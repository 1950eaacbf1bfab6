"""How CloudFormation makes the Glue resources of the template.

Databases and tables go into moto's catalogue; crawlers, jobs, triggers and workflows into
`Definitions`. What would not have its effect here, or what Glue itself would refuse, refuses
the deployment.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from local.api import ApiError
from local.deployment.provider import (
    Created,
    DeploymentError,
    ResourceProvider,
    shaped,
    without,
)
from local.glue.crawler import PROPERTIES as CRAWLER_PROPERTIES
from local.glue.crawler import settings_of
from local.glue.definitions import Definitions

_JOB_PROPERTIES = frozenset(
    (
        "Name",
        "Role",
        "Command",
        "DefaultArguments",
        "NonOverridableArguments",
        "Description",
        "ExecutionProperty",
        "GlueVersion",
        "MaxRetries",
        "NumberOfWorkers",
        "WorkerType",
        "Timeout",
        "Tags",
        "JobRunQueuingEnabled",
    )
)
_TRIGGER_PROPERTIES = frozenset(
    (
        "Name",
        "Type",
        "WorkflowName",
        "StartOnCreation",
        "Schedule",
        "Actions",
        "Predicate",
        "Description",
        "Tags",
    )
)
_WORKFLOW_PROPERTIES = frozenset(
    (
        "Name",
        "Description",
        "DefaultRunProperties",
        "MaxConcurrentRuns",
        "Tags",
    )
)
_JOB_STATES = ("SUCCEEDED", "STOPPED", "FAILED", "TIMEOUT")
_CRAWL_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")


def providers(definitions: Definitions, catalogue: Any) -> list[ResourceProvider]:
    """All Glue resource types. `catalogue` is a boto3 glue client for moto's catalogue."""
    return [
        _Database(catalogue),
        _Table(catalogue),
        _Defined("Crawler", CRAWLER_PROPERTIES, definitions, partial(_crawler, catalogue)),
        _Defined("Job", _JOB_PROPERTIES, definitions, partial(_job, catalogue)),
        _Defined("Trigger", _TRIGGER_PROPERTIES, definitions, partial(_trigger, catalogue)),
        _Defined("Workflow", _WORKFLOW_PROPERTIES, definitions, partial(_workflow, catalogue)),
    ]


class _Defined:
    """Crawler, Job, Trigger and Workflow: a checked definition in the store."""

    def __init__(
        self,
        kind: str,
        properties: frozenset[str],
        definitions: Definitions,
        checked: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self.kind = kind
        self.resource_type = f"AWS::Glue::{kind}"
        self.properties = properties
        self._definitions = definitions
        self._checked = checked

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        name = properties.get("Name", name)
        if any(known["Name"] == name for known in self._definitions.all(self.kind)):
            raise DeploymentError(f"{self.kind} {name} exists already")
        self._definitions.put(self.kind, name, self._checked(properties))
        return Created(name)

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        for fixed in ("Name", "Type", "WorkflowName"):  # Glue keeps these for good
            if old.get(fixed) != new.get(fixed):
                raise DeploymentError(f"{self.kind} {physical_id}: {fixed} can't be changed")
        definition = self._checked(new)
        if "State" in definition:  # an update leaves a trigger started or not, as it was
            definition["State"] = self._definitions.get(self.kind, physical_id)["State"]
        self._definitions.put(self.kind, physical_id, definition)
        return Created(physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        self._definitions.delete(self.kind, physical_id)


class _Database:
    resource_type = "AWS::Glue::Database"
    properties = frozenset(("CatalogId", "DatabaseInput", "DatabaseName"))

    def __init__(self, catalogue: Any) -> None:
        self._catalogue = catalogue

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        name = properties.get("DatabaseName") or properties["DatabaseInput"].get("Name", name)
        database = {**properties["DatabaseInput"], "Name": name}
        try:
            self._catalogue.create_database(
                **shaped(self._catalogue, "CreateDatabase", {"DatabaseInput": database})
            )
        except self._catalogue.exceptions.AlreadyExistsException as error:
            raise DeploymentError(f"database {name} exists already") from error
        return Created(name)

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        request = {
            "Name": physical_id,
            "DatabaseInput": new["DatabaseInput"] | {"Name": physical_id},
        }
        self._catalogue.update_database(**shaped(self._catalogue, "UpdateDatabase", request))
        return Created(physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        try:
            self._catalogue.delete_database(Name=physical_id)
        except self._catalogue.exceptions.EntityNotFoundException:
            return


class _Table:
    resource_type = "AWS::Glue::Table"
    properties = frozenset(("CatalogId", "DatabaseName", "TableInput"))

    def __init__(self, catalogue: Any) -> None:
        self._catalogue = catalogue

    def create(self, logical_id: str, name: str, properties: dict[str, Any]) -> Created:
        table = {"Name": name, **properties["TableInput"]}
        try:
            self._catalogue.create_table(**self._request("CreateTable", properties, table))
        except self._catalogue.exceptions.AlreadyExistsException as error:
            raise DeploymentError(f"table {table['Name']} exists already") from error
        return Created(table["Name"])

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        table = {**new["TableInput"], "Name": physical_id}
        self._catalogue.update_table(**self._request("UpdateTable", new, table))
        return Created(physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        try:
            self._catalogue.delete_table(DatabaseName=properties["DatabaseName"], Name=physical_id)
        except self._catalogue.exceptions.EntityNotFoundException:
            return

    def _request(
        self, operation: str, properties: dict[str, Any], table: dict[str, Any]
    ) -> dict[str, Any]:
        request = {"DatabaseName": properties["DatabaseName"], "TableInput": table}
        return shaped(self._catalogue, operation, request)


def _crawler(client: Any, properties: dict[str, Any]) -> dict[str, Any]:
    settings_of(properties)
    return shaped(client, "CreateCrawler", without(properties, "Tags"))


def _job(client: Any, properties: dict[str, Any]) -> dict[str, Any]:
    job = shaped(client, "CreateJob", without(properties, "Tags"))
    if (name := job["Command"].get("Name")) != "glueetl":
        raise DeploymentError(f"job Command.Name {name}: only glueetl is emulated")
    if job.get("JobRunQueuingEnabled"):
        raise DeploymentError("JobRunQueuingEnabled is not emulated")
    return job


def _trigger(client: Any, properties: dict[str, Any]) -> dict[str, Any]:
    trigger = shaped(client, "CreateTrigger", without(properties, "Tags"))
    kind = trigger["Type"]
    if kind not in ("SCHEDULED", "CONDITIONAL", "ON_DEMAND"):
        raise DeploymentError(f"trigger type {kind} is not emulated")
    starts = trigger.pop("StartOnCreation", False)
    if kind == "ON_DEMAND" and starts:
        raise ApiError("InvalidInputException", "StartOnCreation is not for ON_DEMAND triggers")
    if kind == "CONDITIONAL":
        if "WorkflowName" not in trigger:
            raise DeploymentError("a CONDITIONAL trigger outside a workflow is not emulated")
        _check_predicate(trigger["Predicate"])
    for action in trigger["Actions"]:
        if set(action) - {"JobName", "CrawlerName", "Arguments"}:
            raise DeploymentError(
                f"trigger action {action}: only its name and Arguments are emulated"
            )
    trigger["State"] = "ACTIVATED" if starts else "CREATED"
    return trigger


def _check_predicate(predicate: Mapping[str, Any]) -> None:
    conditions = predicate["Conditions"]
    if len(conditions) > 1 and predicate.get("Logical") not in ("AND", "ANY"):
        raise ApiError("InvalidInputException", "Logical must be AND or ANY for several conditions")
    for condition in conditions:
        if condition.get("LogicalOperator") != "EQUALS":
            raise ApiError("InvalidInputException", "a condition's LogicalOperator must be EQUALS")
        states, state = (
            (_JOB_STATES, condition.get("State"))
            if "JobName" in condition
            else (_CRAWL_STATES, condition.get("CrawlState"))
        )
        if state not in states:
            raise ApiError("InvalidInputException", f"a trigger can't listen for state {state}")


def _workflow(client: Any, properties: dict[str, Any]) -> dict[str, Any]:
    return shaped(client, "CreateWorkflow", without(properties, "Tags"))
