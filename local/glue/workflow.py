"""Workflows: deployed triggers start crawlers and jobs, in the order and on the conditions they
say.

A run begins with the workflow's start trigger. Whenever a crawl or job of the run ends, each
conditional trigger that is activated and has not fired in this run is looked at; the run is
COMPLETED when nothing runs and nothing fires, with the failed actions counted in its
statistics, as AWS does it. Nothing is run by the clock: locally a scheduled workflow runs when
it is started by hand.
https://docs.aws.amazon.com/glue/latest/dg/workflows_overview.html
"""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local.api import ApiError, Operation
from local.glue.crawl_run import CrawlOutcome, CrawlRuns
from local.glue.definitions import Definition, Definitions, utc_now
from local.glue.job_run import JobOutcome, JobRuns

logger = logging.getLogger(__name__)

START_TYPES = ("SCHEDULED", "ON_DEMAND")
_COUNTED = {
    "SUCCEEDED": "SucceededActions",
    "FAILED": "FailedActions",
    "STOPPED": "StoppedActions",
    "CANCELLED": "StoppedActions",
    "TIMEOUT": "TimeoutActions",
    "ERROR": "ErroredActions",
    "RUNNING": "RunningActions",
}


@dataclass
class _Action:
    """One job run or crawl of a workflow run."""

    kind: str  # JOB or CRAWLER
    name: str
    trigger: str
    started_on: datetime
    state: str = "RUNNING"
    run_id: str | None = None
    completed_on: datetime | None = None
    error_message: str | None = None


@dataclass
class _WorkflowRun:
    """Changed only under the lock of `Workflows`."""

    id: str
    name: str
    properties: dict[str, str]
    started_on: datetime
    previous_run_id: str | None
    status: str = "RUNNING"
    completed_on: datetime | None = None
    actions: list[_Action] = field(default_factory=list)
    fired: set[str] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        return self.status in ("COMPLETED", "STOPPED")


class Workflows:
    """Starts, shows and stops runs of the deployed workflows."""

    def __init__(
        self,
        definitions: Definitions,
        jobs: JobRuns,
        crawls: CrawlRuns,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._definitions = definitions
        self._jobs = jobs
        self._crawls = crawls
        self._clock = clock
        self._lock = threading.RLock()
        self._runs: dict[str, list[_WorkflowRun]] = {}

    def start(self, name: str, properties: Mapping[str, str] | None = None) -> str:
        """Begin a run of a workflow and give its id.

        Raises ApiError EntityNotFoundException or ConcurrentRunsExceededException.
        """
        workflow = self._definitions.get("Workflow", name)
        with self._lock:
            runs = self._runs.setdefault(name, [])
            limit = int(workflow.get("MaxConcurrentRuns", 0))  # not set: no limit
            if limit and sum(not run.is_over for run in runs) >= limit:
                raise ApiError(
                    "ConcurrentRunsExceededException",
                    f"Concurrent runs exceeded for workflow {name}",
                )
            run = _WorkflowRun(
                id=f"wr_{uuid.uuid4().hex * 2}",
                name=name,
                properties={**workflow.get("DefaultRunProperties", {}), **(properties or {})},
                started_on=self._clock(),
                previous_run_id=runs[-1].id if runs else None,
            )
            runs.append(run)
            for trigger in self._triggers(name):
                if trigger["Type"] in START_TYPES and _is_started(trigger):
                    self._fire(run, trigger)
            self._complete_if_idle(run)
        return run.id

    def stop(self, name: str, run_id: str) -> None:
        """Stop what a run is running; no trigger of it fires any more."""
        with self._lock:
            run = self._find(name, run_id)
            if run.status != "RUNNING":
                raise ApiError("IllegalWorkflowStateException", f"run {run_id} is {run.status}")
            run.status = "STOPPING"
            running = [action for action in run.actions if action.state == "RUNNING"]
            self._complete_if_idle(run)
        for action in running:
            try:
                if action.kind == "JOB":
                    self._jobs.stop(action.name, action.run_id or "")
                else:
                    self._crawls.stop(action.name)
            except ApiError as error:  # it ended by itself in between
                logger.info("%s had ended: %s", action.name, error)

    def shown(self, name: str, run_id: str, *, include_graph: bool = False) -> dict[str, Any]:
        """A run as GetWorkflowRun shows it."""
        with self._lock:
            return self._show(self._find(name, run_id), include_graph)

    def status(self) -> dict[str, Any]:
        """The last run of each deployed workflow, for the local cloud's own status page."""
        with self._lock:
            names = [workflow["Name"] for workflow in self._definitions.all("Workflow")]
            last = {name: self._runs[name][-1] for name in names if self._runs.get(name)}
            return {
                name: {
                    "run_id": last[name].id,
                    "status": last[name].status,
                    "unsuccessful": [
                        f"{action.name} {action.state.lower()}"
                        for action in last[name].actions
                        if action.state not in ("RUNNING", "SUCCEEDED")
                    ],
                }
                if name in last
                else {"run_id": None, "status": None, "unsuccessful": []}
                for name in names
            }

    def operations(self) -> dict[str, Operation]:
        """The Glue API's operations on workflows and triggers."""
        return {
            "AWSGlue.StartWorkflowRun": lambda request: {
                "RunId": self.start(request["Name"], request.get("RunProperties"))
            },
            "AWSGlue.GetWorkflowRun": lambda request: {
                "Run": self.shown(
                    request["Name"],
                    request["RunId"],
                    include_graph=bool(request.get("IncludeGraph")),
                )
            },
            "AWSGlue.GetWorkflowRuns": self._get_workflow_runs,
            "AWSGlue.GetWorkflowRunProperties": lambda request: {
                "RunProperties": self._properties(request["Name"], request["RunId"])
            },
            "AWSGlue.StopWorkflowRun": lambda request: self.stop(request["Name"], request["RunId"]),
            "AWSGlue.GetWorkflow": self._get_workflow,
            "AWSGlue.StartTrigger": self._start_trigger,
            "AWSGlue.StopTrigger": self._stop_trigger,
        }

    def _get_workflow_runs(self, request: dict[str, Any]) -> dict[str, Any]:
        self._definitions.get("Workflow", request["Name"])
        with self._lock:
            runs = reversed(self._runs.get(request["Name"], []))
            return {"Runs": [self._show(run, bool(request.get("IncludeGraph"))) for run in runs]}

    def _get_workflow(self, request: dict[str, Any]) -> dict[str, Any]:
        workflow = self._definitions.get("Workflow", request["Name"])
        with self._lock:
            runs = self._runs.get(request["Name"], [])
            if runs:
                workflow["LastRun"] = self._show(runs[-1], bool(request.get("IncludeGraph")))
        return {"Workflow": workflow}

    def _properties(self, name: str, run_id: str) -> dict[str, str]:
        with self._lock:
            return dict(self._find(name, run_id).properties)

    def _start_trigger(self, request: dict[str, Any]) -> dict[str, Any]:
        trigger = self._definitions.get("Trigger", request["Name"])
        if trigger["Type"] != "ON_DEMAND":
            self._definitions.set_state(trigger["Name"], "ACTIVATED")
        elif workflow := trigger.get("WorkflowName"):
            self.start(workflow)
        else:
            for action in trigger["Actions"]:
                self._begin(action, trigger["Name"], None)
        return {"Name": trigger["Name"]}

    def _stop_trigger(self, request: dict[str, Any]) -> dict[str, Any]:
        trigger = self._definitions.get("Trigger", request["Name"])
        self._definitions.set_state(trigger["Name"], "DEACTIVATED")
        return {"Name": trigger["Name"]}

    def _triggers(self, workflow: str) -> list[Definition]:
        triggers = self._definitions.all("Trigger")
        return [trigger for trigger in triggers if trigger.get("WorkflowName") == workflow]

    def _fire(self, run: _WorkflowRun, trigger: Definition) -> None:
        run.fired.add(trigger["Name"])
        logger.info("workflow %s: trigger %s fires", run.name, trigger["Name"])
        for action in trigger["Actions"]:
            self._begin(action, trigger["Name"], run)

    def _begin(self, action: Mapping[str, Any], trigger: str, run: _WorkflowRun | None) -> None:
        kind, name = ("JOB", action["JobName"]) if "JobName" in action else ("CRAWLER", "")
        name = name or action["CrawlerName"]
        begun = _Action(kind, name, trigger, self._clock())
        if run is not None:
            run.actions.append(begun)

        def on_end(outcome: JobOutcome | CrawlOutcome) -> None:
            if isinstance(outcome, JobOutcome):
                begun.run_id = outcome.run_id  # its last attempt
            self._ended(run, begun, outcome.state, outcome.error_message)

        try:
            if kind == "JOB":
                begun.run_id = self._jobs.start(name, action.get("Arguments"), trigger, on_end)
            else:
                self._crawls.start(name, on_end)
        except ApiError as error:  # it is running already: this action is an error, the run goes on
            if run is None:
                raise
            logger.warning("workflow %s: %s not started: %s", run.name, name, error)
            begun.state, begun.error_message = "ERROR", str(error)
            begun.completed_on = self._clock()

    def _ended(
        self, run: _WorkflowRun | None, action: _Action, state: str, error: str | None
    ) -> None:
        if run is None:
            return
        with self._lock:
            action.state, action.error_message = state, error
            action.completed_on = self._clock()
            if run.status == "RUNNING":
                for trigger in self._triggers(run.name):
                    if (
                        trigger["Type"] == "CONDITIONAL"
                        and _is_started(trigger)
                        and trigger["Name"] not in run.fired
                        and _is_met(trigger["Predicate"], run.actions)
                    ):
                        self._fire(run, trigger)
            self._complete_if_idle(run)

    def _complete_if_idle(self, run: _WorkflowRun) -> None:
        if not any(action.state == "RUNNING" for action in run.actions):
            run.status = "STOPPED" if run.status == "STOPPING" else "COMPLETED"
            run.completed_on = self._clock()
            logger.info("workflow %s: run %s %s", run.name, run.id, run.status)

    def _find(self, name: str, run_id: str) -> _WorkflowRun:
        for run in self._runs.get(name, []):
            if run.id == run_id:
                return run
        raise ApiError("EntityNotFoundException", f"Workflow run {run_id} of {name} not found")

    def _show(self, run: _WorkflowRun, include_graph: bool) -> dict[str, Any]:
        statistics = dict.fromkeys(
            ["TotalActions", *dict.fromkeys(_COUNTED.values()), "WaitingActions"], 0
        )
        for action in run.actions:
            statistics["TotalActions"] += 1
            statistics[_COUNTED[action.state]] += 1
        shown: dict[str, Any] = {
            "Name": run.name,
            "WorkflowRunId": run.id,
            "WorkflowRunProperties": run.properties,
            "StartedOn": run.started_on,
            "Status": run.status,
            "Statistics": statistics,
        }
        if run.previous_run_id:
            shown["PreviousRunId"] = run.previous_run_id
        if run.completed_on:
            shown["CompletedOn"] = run.completed_on
        if include_graph:
            shown["Graph"] = self._graph(run)
        return shown

    def _graph(self, run: _WorkflowRun) -> dict[str, Any]:
        """Triggers and what they started, with its outcome; edges from cause to effect."""
        nodes: list[dict[str, Any]] = []
        edges: list[dict[str, str]] = []
        for trigger in self._triggers(run.name):
            details = {"TriggerDetails": {"Trigger": trigger}}
            nodes.append(_node("TRIGGER", trigger["Name"], details))
            edges += [
                {"SourceId": _watched(condition), "DestinationId": f"TRIGGER-{trigger['Name']}"}
                for condition in trigger.get("Predicate", {}).get("Conditions", [])
            ]
        for action in run.actions:
            nodes.append(_node(action.kind, action.name, self._action_details(action)))
            edges.append(
                {
                    "SourceId": f"TRIGGER-{action.trigger}",
                    "DestinationId": f"{action.kind}-{action.name}",
                }
            )
        return {"Nodes": nodes, "Edges": edges}

    def _action_details(self, action: _Action) -> dict[str, Any]:
        if action.kind == "JOB":
            runs = [self._jobs.shown(action.name, action.run_id)] if action.run_id else []
            return {"JobDetails": {"JobRuns": runs}}
        crawl = {
            "State": action.state,
            "StartedOn": action.started_on,
            "CompletedOn": action.completed_on,
            "ErrorMessage": action.error_message,
        }
        return {"CrawlerDetails": {"Crawls": [{k: v for k, v in crawl.items() if v is not None}]}}


def _is_started(trigger: Mapping[str, Any]) -> bool:
    """On-demand triggers need no start; the others act only once they are activated."""
    return trigger["Type"] == "ON_DEMAND" or trigger.get("State") == "ACTIVATED"


def _is_met(predicate: Mapping[str, Any], actions: list[_Action]) -> bool:
    outcomes = {(action.kind, action.name, action.state) for action in actions}
    met = [_wanted(condition) in outcomes for condition in predicate["Conditions"]]
    return any(met) if predicate.get("Logical") == "ANY" else all(met)


def _wanted(condition: Mapping[str, str]) -> tuple[str, str, str]:
    if "JobName" in condition:
        return "JOB", condition["JobName"], condition["State"]
    return "CRAWLER", condition["CrawlerName"], condition["CrawlState"]


def _watched(condition: Mapping[str, str]) -> str:
    kind, name, _ = _wanted(condition)
    return f"{kind}-{name}"


def _node(kind: str, name: str, details: dict[str, Any]) -> dict[str, Any]:
    return {"Type": kind, "Name": name, "UniqueId": f"{kind}-{name}", **details}
