"""Runs the curation workflow as any user of the Glue API would, and waits for it.

Knows nothing of the local cloud: the same calls run the workflow of a stack on AWS.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

PATIENCE_SECONDS = 600.0
POLL_SECONDS = 0.5


class CurationError(Exception):
    """The workflow did not end well; the message names what failed and why."""


def curate(
    glue: Any,
    workflow: str,
    show: Callable[[str], None] = lambda _: None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Run the workflow to its end; CurationError unless everything in it succeeded."""
    run = run_workflow(glue, workflow, show, patience_seconds)
    statistics = run["Statistics"]
    if run["Status"] != "COMPLETED" or statistics["SucceededActions"] != statistics["TotalActions"]:
        raise CurationError(f"the workflow did not succeed: {failures(run)}")


def run_workflow(
    glue: Any,
    name: str,
    show: Callable[[str], None],
    patience_seconds: float = PATIENCE_SECONDS,
) -> dict[str, Any]:
    """Start a Glue workflow, wait for its end, and give its run with its graph."""
    run_id = glue.start_workflow_run(Name=name)["RunId"]
    deadline = time.monotonic() + patience_seconds
    while True:
        run: dict[str, Any] = glue.get_workflow_run(Name=name, RunId=run_id, IncludeGraph=True)[
            "Run"
        ]
        show(", ".join(steps(run, name)))
        if run["Status"] not in ("RUNNING", "STOPPING"):
            return run
        if time.monotonic() > deadline:
            raise CurationError(f"the workflow runs longer than {patience_seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def steps(run: Mapping[str, Any], workflow: str) -> list[str]:
    """What a workflow run has started, each with its state, without the stack's name before it."""
    nodes = [node for node in run["Graph"]["Nodes"] if node["Type"] != "TRIGGER"]
    stack = workflow[: workflow.rfind("-") + 1]
    return [f"{node['Name'].removeprefix(stack)} {_state(node)}" for node in nodes]


def run_job(
    glue: Any,
    name: str,
    arguments: Mapping[str, str],
    show: Callable[[str], None] = lambda _: None,
) -> None:
    """Run a job by itself with these arguments beside its own; CurationError unless it succeeds."""
    run_id = glue.start_job_run(JobName=name, Arguments=dict(arguments))["JobRunId"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        run = glue.get_job_run(JobName=name, RunId=run_id)["JobRun"]
        state = run["JobRunState"]
        show(f"job {state.lower()}")
        if state == "SUCCEEDED":
            return
        if state not in ("STARTING", "RUNNING", "WAITING", "STOPPING"):
            raise CurationError(f"{name} {state.lower()}: {run.get('ErrorMessage', 'no message')}")
        if time.monotonic() > deadline:
            raise CurationError(f"{name} runs longer than {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def failures(run: Mapping[str, Any]) -> str:
    """What went wrong in a workflow run, in one line."""
    told = [
        f"{node['Name']} {_state(node)}: {_attempts(node)[-1].get('ErrorMessage', 'no message')}"
        for node in run["Graph"]["Nodes"]
        if _attempts(node) and _state(node) != "succeeded"
    ]
    return "; ".join(told) or run["Status"]


def _attempts(node: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = node.get("JobDetails", {}).get("JobRuns", []) or node.get(
        "CrawlerDetails", {}
    ).get("Crawls", [])
    return found


def _state(node: Mapping[str, Any]) -> str:
    attempts = _attempts(node)
    if not attempts:
        return "waiting"
    return str(attempts[-1].get("JobRunState") or attempts[-1].get("State")).lower()
