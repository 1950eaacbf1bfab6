"""How CloudFormation makes the Glue resources of the template.

Databases and tables go into moto's catalogue; crawlers, jobs, triggers and workflows into
`Definitions`. What would not have its effect here, or what Glue itself would refuse, refuses
the deployment.
"""

from collections.abc import Callable, Mapping
from typing import Any

from local.api import ApiError
from local.deployment.provider import Created, DeploymentError, ResourceProvider
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
        "ExecutionClass",
        "SecurityConfiguration",
        "JobMode",
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
        _Defined("Crawler", CRAWLER_PROPERTIES, definitions, _check_crawler),
        _Defined("Job", _JOB_PROPERTIES, definitions, _check_job),
        _Defined("Trigger", _TRIGGER_PROPERTIES, definitions, _check_trigger),
        _Defined("Workflow", _WORKFLOW_PROPERTIES, definitions, _check_workflow),
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
            self._catalogue.create_database(DatabaseInput=database)
        except self._catalogue.exceptions.AlreadyExistsException as error:
            raise DeploymentError(f"database {name} exists already") from error
        return Created(name)

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        database = {**new["DatabaseInput"], "Name": physical_id}
        self._catalogue.update_database(Name=physical_id, DatabaseInput=database)
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
            self._catalogue.create_table(
                DatabaseName=properties["DatabaseName"], TableInput=_typed_table(table)
            )
        except self._catalogue.exceptions.AlreadyExistsException as error:
            raise DeploymentError(f"table {table['Name']} exists already") from error
        return Created(table["Name"])

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> Created:
        table = {**new["TableInput"], "Name": physical_id}
        self._catalogue.update_table(
            DatabaseName=new["DatabaseName"], TableInput=_typed_table(table)
        )
        return Created(physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        try:
            self._catalogue.delete_table(DatabaseName=properties["DatabaseName"], Name=physical_id)
        except self._catalogue.exceptions.EntityNotFoundException:
            return


def _typed_table(table: dict[str, Any]) -> dict[str, Any]:
    """CloudFormation's loose values as the Glue API's types."""
    typed = dict(table)
    if "Retention" in typed:
        typed["Retention"] = int(typed["Retention"])
    if "Parameters" in typed:
        typed["Parameters"] = _strings(typed["Parameters"])
    if "StorageDescriptor" in typed:
        storage = dict(typed["StorageDescriptor"])
        for name in ("Compressed", "StoredAsSubDirectories"):
            if name in storage:
                storage[name] = _is_true(storage[name])
        if "NumberOfBuckets" in storage:
            storage["NumberOfBuckets"] = int(storage["NumberOfBuckets"])
        typed["StorageDescriptor"] = storage
    return typed


def _check_crawler(properties: dict[str, Any]) -> dict[str, Any]:
    settings_of(properties)
    return _without_tags(properties)


def _check_job(properties: dict[str, Any]) -> dict[str, Any]:
    command = properties["Command"]
    if command.get("Name") != "glueetl":
        raise DeploymentError(f"job Command.Name {command.get('Name')}: only glueetl is emulated")
    if _is_true(properties.get("JobRunQueuingEnabled", False)):
        raise DeploymentError("JobRunQueuingEnabled is not emulated")
    job = _without_tags(properties)
    job["Command"] = _strings(command)
    for name in ("MaxRetries", "NumberOfWorkers", "Timeout"):
        if name in job:
            job[name] = int(job[name])
    if "ExecutionProperty" in job:
        job["ExecutionProperty"] = {
            "MaxConcurrentRuns": int(job["ExecutionProperty"]["MaxConcurrentRuns"])
        }
    for name in ("DefaultArguments", "NonOverridableArguments"):
        if name in job:
            job[name] = _strings(job[name])
    return job


def _check_trigger(properties: dict[str, Any]) -> dict[str, Any]:
    kind = properties["Type"]
    if kind not in ("SCHEDULED", "CONDITIONAL", "ON_DEMAND"):
        raise DeploymentError(f"trigger type {kind} is not emulated")
    starts = _is_true(properties.get("StartOnCreation", False))
    if kind == "ON_DEMAND" and starts:
        raise ApiError("InvalidInputException", "StartOnCreation is not for ON_DEMAND triggers")
    if kind == "CONDITIONAL":
        if "WorkflowName" not in properties:
            raise DeploymentError("a CONDITIONAL trigger outside a workflow is not emulated")
        _check_predicate(properties["Predicate"])
    for action in properties["Actions"]:
        if set(action) - {"JobName", "CrawlerName", "Arguments"}:
            raise DeploymentError(
                f"trigger action {action}: only its name and Arguments are emulated"
            )
    trigger = _without_tags(properties)
    trigger.pop("StartOnCreation", None)
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


def _check_workflow(properties: dict[str, Any]) -> dict[str, Any]:
    workflow = _without_tags(properties)
    if "MaxConcurrentRuns" in workflow:
        workflow["MaxConcurrentRuns"] = int(workflow["MaxConcurrentRuns"])
    return workflow


def _without_tags(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name != "Tags"}


def _strings(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def _is_true(value: object) -> bool:
    return value is True or str(value).lower() == "true"
