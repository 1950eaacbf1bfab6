"""Stacks: what a template was turned into, and how it is changed, step by step, and undone.

Guarantees: resources are made in the order of their dependencies and updated in place when their
resolved properties change; when one fails, the reason is in the stack's events and everything done
so far is undone; a resource whose deletion policy says so outlives its stack.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/updating.stacks.walkthrough.html
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from local.api import ApiError
from local.deployment.intrinsics import Resolver
from local.deployment.provider import Created, DeploymentError, ReplacementNeeded, ResourceProvider
from local.deployment.stack import Deployed, Stack, Wanted, physical_name
from local.deployment.template import Template, dependency_order, validation_error

_log = logging.getLogger(__name__)

# What a provider raises to refuse a resource; anything else is a bug, and reported as such.
_REFUSALS = (DeploymentError, ApiError, ClientError, BotoCoreError)
_STACK_TYPE: Final = "AWS::CloudFormation::Stack"


class _FailedError(Exception):
    """A resource could not be made or changed; its event is written."""


class Deployer:
    """Makes, changes and deletes stacks through the providers of their resources."""

    def __init__(
        self, providers: Mapping[str, ResourceProvider], clock: Callable[[], datetime]
    ) -> None:
        self._providers = providers
        self._clock = clock

    def begin(self, stack: Stack) -> None:
        """Write the first event of a stack of which only a change set exists."""
        self._set_status(stack, "REVIEW_IN_PROGRESS", "User Initiated")

    def check(self, template: Template) -> None:
        """ApiError naming every resource type and property that the local cloud does not have."""
        problems = []
        for logical_id, resource in template.resources.items():
            provider = self._providers.get(resource["Type"])
            if provider is None:
                problems.append(f"{logical_id}: the local cloud has no {resource['Type']}")
                continue
            for name in sorted((resource.get("Properties") or {}).keys() - provider.properties):
                problems.append(
                    f"{logical_id}: the local cloud's {resource['Type']} has no property {name}"
                )
        if problems:
            raise validation_error("Template not deployable: " + "; ".join(problems))

    def apply(self, stack: Stack, wanted: Wanted, *, roll_back: bool = True) -> None:
        """Bring `stack` to `wanted`, or back to where it was; the outcome is the stack's status."""
        with stack.lock:
            verb = "UPDATE" if stack.template else "CREATE"
            self._set_status(stack, f"{verb}_IN_PROGRESS", "User Initiated")
            undo: list[Callable[[], object]] = []
            try:
                resolver = self._resolver(stack, wanted)
                self._make_all(stack, wanted, resolver, undo)
                outputs = _outputs(wanted.template, resolver)
                self._remove_unwanted(stack, wanted, resolver)
            except _FailedError as failure:
                self._give_up(stack, verb, str(failure), undo if roll_back else None)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the stack goes back
                if not isinstance(error, ApiError):
                    _log.exception("deployment of stack %s", stack.name)
                self._give_up(stack, verb, _reason(error), undo if roll_back else None)
                return
            stack.outputs = outputs
            stack.template_text, stack.template = wanted.template_text, wanted.template
            stack.parameters, stack.tags = wanted.parameters, wanted.tags
            stack.capabilities = wanted.capabilities
            stack.updated_at = self._clock() if verb == "UPDATE" else None
            self._set_status(stack, f"{verb}_COMPLETE")

    def delete(self, stack: Stack) -> None:
        """Delete every resource whose deletion policy does not keep it."""
        with stack.lock:
            self._set_status(stack, "DELETE_IN_PROGRESS", "User Initiated")
            failed = []
            for resource in list(reversed(stack.resources.values())):
                if not self._delete(stack, resource, kept_by=("Retain", "RetainExceptOnCreate")):
                    failed.append(resource.logical_id)
            if failed:
                reason = f"The following resource(s) failed to delete: {sorted(failed)}."
                self._set_status(stack, "DELETE_FAILED", reason)
            else:
                self._set_status(stack, "DELETE_COMPLETE")

    def changes(self, stack: Stack, wanted: Wanted) -> list[dict[str, Any]]:
        """What `apply` would do, as a change set shows it."""
        resolver = self._resolver(stack, wanted, _Planned(stack))
        shown = []
        for logical_id in dependency_order(wanted.template.resources):
            resource = wanted.template.resources[logical_id]
            if not resolver.is_wanted(resource):
                continue
            old = stack.resources.get(logical_id)
            properties = resolver.resolve(resource.get("Properties") or {})
            if old is None:
                shown.append(_change("Add", logical_id, resource["Type"], None))
            elif old.properties != properties or old.resource_type != resource["Type"]:
                shown.append(_change("Modify", logical_id, resource["Type"], old))
        for logical_id in _unwanted(stack, wanted, resolver):
            old = stack.resources[logical_id]
            shown.append(_change("Remove", logical_id, old.resource_type, old))
        return shown

    def _resolver(
        self, stack: Stack, wanted: Wanted, resources: "_Planned | None" = None
    ) -> Resolver:
        return Resolver(
            wanted.template, wanted.parameters, stack.name, stack.stack_id, resources or stack
        )

    def _make_all(
        self, stack: Stack, wanted: Wanted, resolver: Resolver, undo: list[Callable[[], object]]
    ) -> None:
        for logical_id in dependency_order(wanted.template.resources):
            resource = wanted.template.resources[logical_id]
            if not resolver.is_wanted(resource):
                continue
            properties = resolver.resolve(resource.get("Properties") or {})
            old = stack.resources.get(logical_id)
            new = Deployed(
                logical_id,
                resource["Type"],
                Created(""),
                properties,
                resource.get("DeletionPolicy", "Delete"),
            )
            if old is None:
                self._create(stack, new, undo)
            elif old.resource_type != new.resource_type or old.properties != properties:
                self._update(stack, old, new, undo)
            else:
                old.deletion_policy = new.deletion_policy

    def _create(self, stack: Stack, new: Deployed, undo: list[Callable[[], object]]) -> None:
        self._event(stack, new, "CREATE_IN_PROGRESS")
        name = physical_name(stack.name, new.logical_id, new.resource_type)
        provider = self._providers[new.resource_type]
        try:
            new.created = provider.create(new.logical_id, name, new.properties)
        except Exception as error:  # noqa: BLE001 - whatever it is, the stack goes back
            self._refused(stack, new, "CREATE_FAILED", error)
            raise _FailedError(f"{new.logical_id}: {_reason(error)}") from None
        stack.resources[new.logical_id] = new
        # RetainExceptOnCreate: a creation that is undone leaves nothing behind.
        undo.append(lambda: self._delete(stack, new, kept_by=("Retain",)))
        self._event(stack, new, "CREATE_COMPLETE")

    def _update(
        self, stack: Stack, old: Deployed, new: Deployed, undo: list[Callable[[], object]]
    ) -> None:
        new.created = old.created
        self._event(stack, new, "UPDATE_IN_PROGRESS")
        provider = self._providers[new.resource_type]
        update = provider.update if old.resource_type == new.resource_type else _replace
        try:
            new.created = update(old.created.physical_id, old.properties, new.properties)
        except ReplacementNeeded:
            self._event(stack, old, "UPDATE_IN_PROGRESS", "Requested update requires replacement.")
            del stack.resources[old.logical_id]
            undo.append(lambda: stack.resources.__setitem__(old.logical_id, old))
            self._create(stack, new, undo)
            self._delete(stack, old, kept_by=("Retain", "RetainExceptOnCreate"), listed=False)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the stack goes back
            self._refused(stack, new, "UPDATE_FAILED", error)
            raise _FailedError(f"{new.logical_id}: {_reason(error)}") from None
        stack.resources[new.logical_id] = new

        def restore() -> None:
            old.created = provider.update(new.created.physical_id, new.properties, old.properties)
            stack.resources[old.logical_id] = old
            self._event(stack, old, "UPDATE_COMPLETE")

        undo.append(restore)
        self._event(stack, new, "UPDATE_COMPLETE")

    def _remove_unwanted(self, stack: Stack, wanted: Wanted, resolver: Resolver) -> None:
        for logical_id in reversed(_unwanted(stack, wanted, resolver)):
            resource = stack.resources[logical_id]
            if not self._delete(stack, resource, kept_by=("Retain", "RetainExceptOnCreate")):
                # As on AWS, what can't be removed after an update no longer belongs to the stack.
                stack.resources.pop(logical_id, None)

    def _delete(
        self, stack: Stack, resource: Deployed, *, kept_by: tuple[str, ...], listed: bool = True
    ) -> bool:
        if resource.deletion_policy in kept_by:
            self._event(stack, resource, "DELETE_SKIPPED")
        else:
            self._event(stack, resource, "DELETE_IN_PROGRESS")
            provider = self._providers[resource.resource_type]
            try:
                provider.delete(resource.created.physical_id, resource.properties)
            except Exception as error:  # noqa: BLE001 - the other resources are deleted all the same
                self._refused(stack, resource, "DELETE_FAILED", error)
                return False
            self._event(stack, resource, "DELETE_COMPLETE")
        if listed:
            stack.resources.pop(resource.logical_id, None)
        return True

    def _give_up(
        self, stack: Stack, verb: str, reason: str, undo: list[Callable[[], object]] | None
    ) -> None:
        if undo is None:
            self._set_status(stack, f"{verb}_FAILED", reason)
            return
        prefix = "" if verb == "CREATE" else "UPDATE_"
        self._set_status(stack, f"{prefix}ROLLBACK_IN_PROGRESS", reason)
        for step in reversed(undo):
            try:
                step()
            except Exception:  # noqa: BLE001 - the stack's status must say that it is stuck
                _log.exception("undoing a step of stack %s", stack.name)
                self._set_status(stack, f"{prefix}ROLLBACK_FAILED", reason)
                return
        self._set_status(stack, f"{prefix}ROLLBACK_COMPLETE", reason)

    def _refused(self, stack: Stack, resource: Deployed, status: str, error: Exception) -> None:
        if not isinstance(error, _REFUSALS):
            _log.error("%s of %s", status, resource.logical_id, exc_info=error)
        self._event(stack, resource, status, _reason(error))

    def _event(self, stack: Stack, resource: Deployed, status: str, reason: str = "") -> None:
        resource.status, resource.changed_at = status, self._clock()
        self._record(
            stack,
            resource.logical_id,
            resource.created.physical_id,
            resource.resource_type,
            status,
            reason,
        )

    def _set_status(self, stack: Stack, status: str, reason: str = "") -> None:
        stack.status_reason = reason
        _log.info("stack %s: %s %s", stack.name, status, reason)
        self._record(stack, stack.name, stack.stack_id, _STACK_TYPE, status, reason)
        # Last, since who waits for it reads the rest then.
        stack.status = status

    def _record(self, stack: Stack, *what: str) -> None:
        logical_id, physical_id, resource_type, status, reason = what
        event = {
            "StackId": stack.stack_id,
            "EventId": str(uuid4()),
            "StackName": stack.name,
            "LogicalResourceId": logical_id,
            "PhysicalResourceId": physical_id,
            "ResourceType": resource_type,
            "Timestamp": self._clock(),
            "ResourceStatus": status,
        }
        stack.events.append(event | ({"ResourceStatusReason": reason} if reason else {}))


class _Planned:
    """The resources of a change set: those that exist, and stand-ins for those to come."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def ref(self, logical_id: str) -> str:
        exists = logical_id in self._stack.resources
        return self._stack.ref(logical_id) if exists else f"(new {logical_id})"

    def attribute(self, logical_id: str, name: str) -> str:
        exists = logical_id in self._stack.resources
        return self._stack.attribute(logical_id, name) if exists else f"(new {logical_id}.{name})"


def _replace(*_: object) -> Created:
    raise ReplacementNeeded


def _reason(error: Exception) -> str:
    if isinstance(error, (DeploymentError, ClientError, BotoCoreError)):
        return str(error)
    if isinstance(error, ApiError):
        return f"{error.message} ({error.code})"
    return f"the local cloud failed: {type(error).__name__}: {error} (see its log)"


def _unwanted(stack: Stack, wanted: Wanted, resolver: Resolver) -> list[str]:
    declared = wanted.template.resources
    return [
        logical_id
        for logical_id in stack.resources
        if logical_id not in declared or not resolver.is_wanted(declared[logical_id])
    ]


def _outputs(template: Template, resolver: Resolver) -> list[dict[str, str]]:
    shown = []
    for name, output in template.outputs.items():
        if not resolver.is_wanted(output):
            continue
        if unknown := output.keys() - {"Value", "Description", "Condition"}:
            raise validation_error(f"Output {name} has unsupported {sorted(unknown)}")
        entry = {"OutputKey": name, "OutputValue": str(resolver.resolve(output["Value"]))}
        if "Description" in output:
            entry["Description"] = str(output["Description"])
        shown.append(entry)
    return shown


def _change(
    action: str, logical_id: str, resource_type: str, old: Deployed | None
) -> dict[str, Any]:
    change = {
        "Action": action,
        "LogicalResourceId": logical_id,
        "ResourceType": resource_type,
        **({"PhysicalResourceId": old.created.physical_id} if old else {}),
        **({"Replacement": "False"} if action == "Modify" else {}),
    }
    return {"Type": "Resource", "ResourceChange": change}
