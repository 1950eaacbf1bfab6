"""CloudFormation's API, as far as `sam deploy`, `sam delete` and people use it.

A change set is complete, or refused with its reason, when it is created; its execution goes on in
the background, and the stack's events tell how.
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from local.api import ACCOUNT_ID, REGION, ApiError, Response
from local.deployment.deployer import Deployer
from local.deployment.query_api import QueryApi, QueryOperation
from local.deployment.stack import Stack, Wanted, described, described_resources, new_stack_id
from local.deployment.template import Template, expand, parameter_values, parse, validation_error

NO_CHANGES: Final = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)

_PATIENCE_SECONDS: Final = 3.0
# DescribeStackResources returns the first 100 and has no next page; ListStackResources has pages.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackResources.html
_RESOURCES_AT_ONCE: Final = 100

# A bucket and a key: https://host/bucket/key, whatever the host.
FetchObject = Callable[[str, str], bytes]


@dataclass
class ChangeSet:
    """A change that waits for its execution."""

    name: str
    change_set_id: str
    stack: Stack
    wanted: Wanted | None
    changes: list[dict[str, Any]]
    status: str
    reason: str
    created_at: datetime
    execution_status: str


class CloudFormation:
    """Stacks and change sets by name. `idle` waits for executions under way."""

    def __init__(
        self, deployer: Deployer, fetch: FetchObject, clock: Callable[[], datetime]
    ) -> None:
        self._deployer = deployer
        self._fetch = fetch
        self._clock = clock
        self._stacks: dict[str, Stack] = {}
        self._deleted: list[Stack] = []
        self._change_sets: dict[str, ChangeSet] = {}
        self._threads: list[threading.Thread] = []
        operations: dict[str, QueryOperation] = {
            "CreateChangeSet": self.create_change_set,
            "DescribeChangeSet": self.describe_change_set,
            "ExecuteChangeSet": self.execute_change_set,
            "DeleteChangeSet": self.delete_change_set,
            "ListChangeSets": self.list_change_sets,
            "CreateStack": self.create_stack,
            "UpdateStack": self.update_stack,
            "DeleteStack": self.delete_stack,
            "DescribeStacks": self.describe_stacks,
            "ListStacks": self.list_stacks,
            "DescribeStackEvents": self.describe_stack_events,
            "DescribeStackResource": self.describe_stack_resource,
            "DescribeStackResources": self.describe_stack_resources,
            "ListStackResources": self.list_stack_resources,
            "GetTemplate": self.get_template,
            "GetTemplateSummary": self.get_template_summary,
            "ValidateTemplate": self.get_template_summary,
        }
        self._api = QueryApi("cloudformation", operations)

    def answer(self, body: bytes) -> Response:
        """One call of the query protocol."""
        return self._api.answer(body)

    def idle(self) -> None:
        """Return when no execution is under way."""
        for thread in self._threads:
            thread.join()

    # ------------------------------------------------------------------------------ change sets

    def create_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        """CreateChangeSet of a new or an existing stack."""
        name, kind = request["StackName"], request.get("ChangeSetType", "UPDATE")
        stack = self._stacks.get(_plain(name))
        if kind == "CREATE":
            if stack and stack.status != "REVIEW_IN_PROGRESS":
                raise validation_error(f"Stack [{name}] already exists")
            if stack is None:
                stack = self._new_stack(name)
                self._deployer.begin(stack)
        elif kind != "UPDATE":
            raise validation_error(f"ChangeSetType {kind} is neither CREATE nor UPDATE")
        elif stack is None:
            raise validation_error(f"Stack [{name}] does not exist")
        elif not stack.status.endswith("_COMPLETE") or stack.status == "ROLLBACK_COMPLETE":
            raise validation_error(
                f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated."
            )
        change_set = ChangeSet(
            request["ChangeSetName"],
            f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:changeSet/"
            f"{request['ChangeSetName']}/{uuid4()}",
            stack,
            None,
            [],
            "CREATE_COMPLETE",
            "",
            self._clock(),
            "AVAILABLE",
        )
        try:
            change_set.wanted = self._wanted(stack, request)
            change_set.changes = self._deployer.changes(stack, change_set.wanted)
        except ApiError as error:
            change_set.status, change_set.reason = "FAILED", error.message
        else:
            if _is_unchanged(stack, change_set.wanted) and not change_set.changes:
                change_set.status, change_set.reason = "FAILED", NO_CHANGES
        if change_set.status == "FAILED":
            change_set.execution_status = "UNAVAILABLE"
        self._change_sets[change_set.change_set_id] = change_set
        return {"Id": change_set.change_set_id, "StackId": stack.stack_id}

    def describe_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeChangeSet, with all changes."""
        change_set = self._change_set(request)
        return {
            "ChangeSetName": change_set.name,
            "ChangeSetId": change_set.change_set_id,
            "StackId": change_set.stack.stack_id,
            "StackName": change_set.stack.name,
            "CreationTime": change_set.created_at,
            "ExecutionStatus": change_set.execution_status,
            "Status": change_set.status,
            "StatusReason": change_set.reason,
            "Changes": change_set.changes,
        }

    def execute_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        """ExecuteChangeSet, in the background."""
        change_set = self._change_set(request)
        if change_set.wanted is None or change_set.execution_status != "AVAILABLE":
            raise ApiError(
                "InvalidChangeSetStatus", f"ChangeSet [{change_set.name}] cannot be executed"
            )
        change_set.execution_status = "EXECUTE_COMPLETE"
        self._run(change_set.stack, change_set.wanted, request)
        return {}

    def delete_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteChangeSet; a stack that it alone began goes with it."""
        change_set = self._change_set(request)
        del self._change_sets[change_set.change_set_id]
        if change_set.stack.status == "REVIEW_IN_PROGRESS":
            self._stacks.pop(change_set.stack.name, None)
        return {}

    def list_change_sets(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListChangeSets of a stack."""
        stack = self._stack(request["StackName"])
        return {
            "Summaries": [
                {
                    "ChangeSetName": one.name,
                    "ChangeSetId": one.change_set_id,
                    "StackName": stack.name,
                    "Status": one.status,
                    "StatusReason": one.reason,
                    "ExecutionStatus": one.execution_status,
                    "CreationTime": one.created_at,
                }
                for one in self._change_sets.values()
                if one.stack is stack
            ]
        }

    # ------------------------------------------------------------------------------ stacks

    def create_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        """CreateStack, in the background."""
        name = request["StackName"]
        if name in self._stacks:
            raise ApiError("AlreadyExistsException", f"Stack [{name}] already exists")
        stack = self._new_stack(name)
        try:
            wanted = self._wanted(stack, request)
        except ApiError:
            del self._stacks[name]
            raise
        self._run(stack, wanted, request)
        return {"StackId": stack.stack_id}

    def update_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        """UpdateStack, in the background."""
        stack = self._stack(request["StackName"])
        wanted = self._wanted(stack, request)
        if _is_unchanged(stack, wanted):
            raise validation_error("No updates are to be performed.")
        self._run(stack, wanted, request)
        return {"StackId": stack.stack_id}

    def delete_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        """DeleteStack, in the background; one that does not exist is no error."""
        stack = self._stacks.get(_plain(request["StackName"]))
        if stack is not None:
            self._spawn(lambda: self._delete(stack))
        return {}

    def _delete(self, stack: Stack) -> None:
        self._deployer.delete(stack)
        if stack.status == "DELETE_COMPLETE":
            self._deleted.append(stack)
            self._stacks.pop(stack.name, None)

    def describe_stacks(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeStacks: one by name or id (deleted ones by id only), or all."""
        name = request.get("StackName")
        stacks = [self._stack(name)] if name else list(self._stacks.values())
        return {"Stacks": [described(stack) for stack in stacks]}

    def list_stacks(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListStacks, by status."""
        wanted = request.get("StackStatusFilter") or []
        return {
            "StackSummaries": [
                described(stack)
                for stack in [*self._stacks.values(), *self._deleted]
                if not wanted or stack.status in wanted
            ]
        }

    def describe_stack_events(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeStackEvents, the newest first."""
        return {"StackEvents": self._stack(request["StackName"]).events[::-1]}

    def describe_stack_resource(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeStackResource."""
        stack, logical_id = self._stack(request["StackName"]), request["LogicalResourceId"]
        if logical_id not in stack.resources:
            raise validation_error(
                f"Resource {logical_id} does not exist for stack {request['StackName']}"
            )
        shown = described_resources(stack, "LastUpdatedTimestamp", logical_id)
        return {"StackResourceDetail": shown[0]}

    def describe_stack_resources(self, request: dict[str, Any]) -> dict[str, Any]:
        """DescribeStackResources: the first 100, as AWS does, whatever there is besides."""
        stack = self._stack(request["StackName"])
        shown = described_resources(stack, "Timestamp", request.get("LogicalResourceId"))
        return {"StackResources": shown[:_RESOURCES_AT_ONCE]}

    def list_stack_resources(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListStackResources, in pages."""
        stack, token = self._stack(request["StackName"]), str(request.get("NextToken", "0"))
        if not (token.isascii() and token.isdigit()):
            raise validation_error(f"NextToken {token} is none that was given")
        shown = described_resources(stack, "LastUpdatedTimestamp", None)
        end = int(token) + _RESOURCES_AT_ONCE
        page: dict[str, Any] = {"StackResourceSummaries": shown[int(token) : end]}
        return page | ({"NextToken": str(end)} if end < len(shown) else {})

    def get_template(self, request: dict[str, Any]) -> dict[str, Any]:
        """GetTemplate: the text as it was given."""
        stack = self._stack(request["StackName"])
        return {"TemplateBody": stack.template_text, "StagesAvailable": ["Original"]}

    def get_template_summary(self, request: dict[str, Any]) -> dict[str, Any]:
        """GetTemplateSummary and ValidateTemplate."""
        if request.get("StackName"):
            text = self._stack(request["StackName"]).template_text
        else:
            text = self._template_text(request)
        document = parse(text)
        return {
            "Parameters": [
                {
                    "ParameterKey": name,
                    "ParameterType": declared.get("Type", "String"),
                    "DefaultValue": str(declared.get("Default", "")),
                    "Description": str(declared.get("Description", "")),
                }
                for name, declared in (document.get("Parameters") or {}).items()
            ],
            "Description": str(document.get("Description", "")),
            "ResourceTypes": sorted({one["Type"] for one in document["Resources"].values()}),
            "Capabilities": ["CAPABILITY_IAM"],
        }

    # ------------------------------------------------------------------------------ inside

    def _new_stack(self, name: str) -> Stack:
        if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]{0,127}", name):
            raise validation_error(f"{name} is no name for a stack")
        stack = Stack(name, new_stack_id(name), self._clock())
        self._stacks[name] = stack
        return stack

    def _stack(self, name_or_id: str) -> Stack:
        for stack in [*self._stacks.values(), *self._deleted]:
            is_named = stack.name == name_or_id and stack.status != "DELETE_COMPLETE"
            if is_named or stack.stack_id == name_or_id:
                return stack
        raise validation_error(f"Stack with id {name_or_id} does not exist")

    def _change_set(self, request: dict[str, Any]) -> ChangeSet:
        name, stack_name = request["ChangeSetName"], request.get("StackName")
        for change_set in reversed(self._change_sets.values()):
            in_stack = stack_name in (None, change_set.stack.name, change_set.stack.stack_id)
            if name == change_set.change_set_id or (name == change_set.name and in_stack):
                return change_set
        raise ApiError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist", 404)

    def _template_text(self, request: dict[str, Any]) -> str:
        if body := request.get("TemplateBody"):
            return str(body)
        url = urlsplit(str(request.get("TemplateURL") or ""))
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if not key:
            raise validation_error("TemplateBody or a path-style TemplateURL is needed")
        return self._fetch(bucket, key).decode()

    def _wanted(self, stack: Stack, request: dict[str, Any]) -> Wanted:
        if str(request.get("UsePreviousTemplate", "")).lower() == "true":
            text = stack.template_text
        else:
            text = self._template_text(request)
        document = parse(text)
        given = {
            one["ParameterKey"]: None
            if str(one.get("UsePreviousValue", "")).lower() == "true"
            else one.get("ParameterValue", "")
            for one in request.get("Parameters") or []
        }
        values = parameter_values(document.get("Parameters") or {}, given, stack.parameters)
        template: Template = expand(document, values)
        self._deployer.check(template)
        tags = {one["Key"]: one["Value"] for one in request.get("Tags") or []}
        return Wanted(text, template, values, tags, list(request.get("Capabilities") or []))

    def _run(self, stack: Stack, wanted: Wanted, request: dict[str, Any]) -> None:
        roll_back = str(request.get("DisableRollback", "false")).lower() != "true"
        # Before the thread starts: who asks for the status now must not see that of yesterday.
        stack.status = "UPDATE_IN_PROGRESS" if stack.template else "CREATE_IN_PROGRESS"
        self._spawn(lambda: self._deployer.apply(stack, wanted, roll_back=roll_back))

    def _spawn(self, work: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, name="deployment", daemon=True)
        self._threads.append(thread)
        thread.start()
        # What is done by then is seen as done at the first look: SAM's next one is 15 s later.
        thread.join(_PATIENCE_SECONDS)


def _plain(name_or_id: str) -> str:
    return name_or_id.split("/")[1] if name_or_id.startswith("arn:") else name_or_id


def _is_unchanged(stack: Stack, wanted: Wanted) -> bool:
    return (
        stack.template == wanted.template
        and stack.parameters == wanted.parameters
        and stack.tags == wanted.tags
    )
