"""Which crawlers, jobs, triggers and workflows are deployed.

The catalogue (databases, tables, partitions) is moto's. Definitions are kept here, since moto
can't update them and forgets half of their properties. One store, read by `workflow`, `crawler`
and `job_run`; written only by the deployment, so the template stays the only description of
what runs.
"""

import copy
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from local.api import ApiError

Definition = dict[str, Any]
Operation = Callable[[dict[str, Any]], dict[str, Any]]

KINDS = ("Crawler", "Job", "Trigger", "Workflow")
# The operations that would make or change a definition past the template.
_REFUSED = [f"{verb}{kind}" for verb in ("Create", "Update", "Delete") for kind in KINDS] + [
    "UpdateCrawlerSchedule",
    "StartCrawlerSchedule",
    "StopCrawlerSchedule",
    "ResumeWorkflowRun",
]


def utc_now() -> datetime:
    """The clock of everything here unless a test passes another."""
    return datetime.now(UTC)


def seconds(moment: datetime) -> float:
    """A time as AWS's JSON protocol carries it: seconds since 1970, with milliseconds."""
    return round(moment.timestamp(), 3)


class Definitions:
    """Deployed definitions by kind and name. Hands out copies; safe to use from any thread."""

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[str, dict[str, Definition]] = {kind: {} for kind in KINDS}

    def put(self, kind: str, name: str, definition: Mapping[str, Any]) -> None:
        """Create a definition, or replace the one of that name, keeping when it was created."""
        with self._lock:
            now = seconds(self._clock())
            old = self._kinds[kind].get(name, {})
            self._kinds[kind][name] = {
                **copy.deepcopy(dict(definition)),
                "Name": name,
                "CreatedOn": old.get("CreatedOn", now),
                "LastModifiedOn": now,
            }

    def get(self, kind: str, name: str) -> Definition:
        """The definition; ApiError EntityNotFoundException when there is none."""
        with self._lock:
            try:
                return copy.deepcopy(self._kinds[kind][name])
            except KeyError:
                raise ApiError(
                    "EntityNotFoundException", f"{kind} with name: {name} not found"
                ) from None

    def all(self, kind: str) -> list[Definition]:
        """Every definition of a kind, in the order in which they were created."""
        with self._lock:
            return copy.deepcopy(list(self._kinds[kind].values()))

    def set_state(self, name: str, state: str) -> None:
        """Activate or deactivate a trigger."""
        with self._lock:
            self._kinds["Trigger"][name]["State"] = state

    def delete(self, kind: str, name: str) -> None:
        """Forget a definition; one that is not there is no error, as deleting a stack wants it."""
        with self._lock:
            self._kinds[kind].pop(name, None)

    def operations(self) -> dict[str, Operation]:
        """What the AWS CLI and SDKs may ask about definitions; changing them is refused."""

        def one(kind: str) -> Operation:
            return lambda request: {kind: self._shown(kind, self.get(kind, request["Name"]))}

        def many(kind: str) -> Operation:
            return lambda _: {f"{kind}s": [self._shown(kind, d) for d in self.all(kind)]}

        def names(kind: str) -> Operation:
            return lambda _: {f"{kind}Names": [d["Name"] for d in self.all(kind)]}

        operations: dict[str, Operation] = {
            "AWSGlue.GetJob": lambda request: {"Job": self.get("Job", request["JobName"])},
            "AWSGlue.GetJobs": many("Job"),
            "AWSGlue.ListJobs": names("Job"),
            "AWSGlue.GetTrigger": one("Trigger"),
            "AWSGlue.GetTriggers": many("Trigger"),
            "AWSGlue.ListTriggers": names("Trigger"),
            "AWSGlue.ListWorkflows": lambda _: {
                "Workflows": [d["Name"] for d in self.all("Workflow")]
            },
            "AWSGlue.ListCrawlers": names("Crawler"),
        }
        for name in _REFUSED:
            operations[f"AWSGlue.{name}"] = _refusal(name)
        return operations

    @staticmethod
    def _shown(kind: str, definition: Definition) -> Definition:
        hidden = ("CreatedOn", "LastModifiedOn") if kind == "Trigger" else ()
        return {k: v for k, v in definition.items() if k not in hidden}


def _refusal(name: str) -> Operation:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise ApiError(
            "InvalidInputException",
            f"{name} is not emulated: change template.yaml and deploy it again",
        )

    return refuse
