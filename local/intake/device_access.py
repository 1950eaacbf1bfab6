"""Who may do what on the broker: each thing's IoT policies, evaluated into mosquitto's access list.

Guarantee: a device can publish and read only what its policies allow on AWS. What mosquitto's list
can't express (a wildcard within a level, a condition that isn't known) is refused, never widened.

https://docs.aws.amazon.com/iot/latest/developerguide/iot-policies.html
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography import x509

from local.intake.certificates import common_name

# https://docs.aws.amazon.com/general/latest/gr/iot-core.html: "Maximum number of slashes in topic",
# 7, the three levels of a Basic Ingest prefix not counted.
_MAX_LEVELS: Final = 8
_BASIC_INGEST_LEVELS: Final = 3
# Where devices ask for certificates and are answered:
# https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
PROVISIONING_TOPICS: Final = ("$aws/certificates/#", "$aws/provisioning-templates/#")
_ACTIONS: Final = ("iot:Connect", "iot:Publish", "iot:Subscribe", "iot:Receive")
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_RESOURCE: Final = re.compile(
    r"(?:arn:[^:]*:iot:[^:]*:[^:]*:(?P<kind>client|topic|topicfilter)/(?P<name>.+)|(?P<all>\*))"
)


class PolicyError(Exception):
    """A policy that the local broker can't enforce exactly; the message names the part."""


@dataclass(frozen=True)
class Registration:
    """A certificate as the IoT registry knows it, its things and its policies' documents."""

    certificate_id: str
    certificate: x509.Certificate
    active: bool
    things: tuple[str, ...]
    policies: tuple[str, ...]


@dataclass(frozen=True)
class Access:
    """What one certificate may do. Filters are MQTT's; `denied` goes before both others."""

    common_name: str
    certificate_id: str
    thing: str
    publish: frozenset[str]
    read: frozenset[str]
    denied: frozenset[str]


def evaluate(registrations: Iterable[Registration]) -> tuple[list[Access], list[x509.Certificate]]:
    """What each certificate may do, and those that may not even connect.

    A certificate connects if it is active and its policies allow `iot:Connect` to the client id
    that is its thing's name: thing variables resolve only then. One without a thing (a claim
    certificate) connects if its policies allow any client id, or any that begins so: the broker
    gives it one of its own, whichever it comes with.
    https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
    """
    allowed: list[Access] = []
    refused: list[x509.Certificate] = []
    for registration in registrations:
        access = _access(registration) if registration.active else None
        if access is None:
            refused.append(registration.certificate)
        else:
            allowed.append(access)
    return allowed, refused


def check_policy(document: str) -> None:
    """PolicyError if a policy has a part that can't be enforced exactly."""
    for _, action, resource in _statements(document, "thing"):
        _filters(resource, action)


def access_list(accesses: Iterable[Access], reader: str) -> str:
    """mosquitto's acl_file: the devices, and `reader`, the bridge that reads everything."""
    lines = [f"user {reader}", "topic read #", "topic read $aws/rules/#"]
    lines += [f"topic readwrite {topics}" for topics in PROVISIONING_TOPICS]
    for access in accesses:
        lines += ["", f"# {access.thing}", f"user {access.common_name}"]
        lines += [f"topic deny {topic}" for topic in sorted(access.denied)]
        lines += [f"topic write {topic}" for topic in sorted(access.publish)]
        lines += [f"topic read {topic}" for topic in sorted(access.read)]
    return "\n".join(lines) + "\n"


# With a thousand devices, all but one of them are as they were when the access is read again.
@lru_cache(maxsize=100_000)
def _access(registration: Registration) -> Access | None:
    # With several things on a certificate AWS goes by the client id; this broker has only one.
    if len(registration.things) > 1:
        return None
    thing = registration.things[0] if registration.things else None
    granted: dict[tuple[str, str], set[str]] = {}
    for policy in registration.policies:
        for effect, action, resource in _statements(policy, thing):
            granted.setdefault((effect, action), set()).update(_filters(resource, action))
    client = granted.get(("Allow", "iot:Connect"), set())
    forbidden = granted.get(("Deny", "iot:Connect"), set())
    if not _is_among(client, thing) or _is_among(forbidden, thing) or (not thing and forbidden):
        return None
    # To read a topic a device must be allowed both: to subscribe, and to receive.
    subscribed = granted.get(("Allow", "iot:Subscribe"), set())
    received = granted.get(("Allow", "iot:Receive"), set())
    denied = set().union(
        *(granted.get(("Deny", action), set()) for action in _ACTIONS if action != "iot:Connect")
    )
    return Access(
        common_name=common_name(registration.certificate),
        certificate_id=registration.certificate_id,
        thing=thing or "",
        publish=frozenset(granted.get(("Allow", "iot:Publish"), set())),
        read=frozenset(
            topic
            for topic in (received if "#" in subscribed else received & subscribed)
            # https://docs.aws.amazon.com/iot/latest/developerguide/iot-basic-ingest.html: devices
            # cannot subscribe to its topics, whatever their policies say.
            if not topic.startswith("$aws/rules/")
        ),
        denied=frozenset(denied),
    )


def _is_among(client_ids: set[str], thing: str | None) -> bool:
    """Whether the client id is one of these: "#" is any, `a-*` any that begins with `a-`."""
    beginnings = [name[:-1] for name in client_ids if name.endswith("*")]
    if thing is None:
        return "#" in client_ids or bool(beginnings)
    return bool({thing, "#"} & client_ids) or thing.startswith(tuple(beginnings))


def _statements(document: str, thing: str | None) -> Iterable[tuple[str, str, str]]:
    """Effect, action and resource of each statement that applies, variables filled in. A resource
    with a variable that has no value, as those of a thing without one, applies to nothing."""
    for statement in _listed(json.loads(document).get("Statement", [])):
        unknown = set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}
        if unknown:
            raise PolicyError(f"IoT policy: not emulated: {', '.join(sorted(unknown))}")
        if not _conditions_hold(statement.get("Condition", {}), thing is not None):
            continue
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                for name in _ACTIONS if action in ("*", "iot:*") else (action,):
                    if name not in _ACTIONS:
                        raise PolicyError(f"IoT policy: action not emulated: {name}")
                    filled_in = _filled_in(resource, thing)
                    if filled_in is not None:
                        yield statement["Effect"], name, filled_in


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _conditions_hold(conditions: Mapping[str, Any], is_attached: bool) -> bool:
    for operator, tests in conditions.items():
        for variable, expected in tests.items():
            if operator != "Bool" or variable != "iot:Connection.Thing.IsAttached":
                raise PolicyError(f"IoT policy: condition not emulated: {operator} {variable}")
            if str(is_attached).lower() not in [str(value).lower() for value in _listed(expected)]:
                return False
    return True


def _filled_in(resource: str, thing: str | None) -> str | None:
    names = _VARIABLE.findall(resource)
    # The client id is the thing's name: where there is a thing, nothing else may connect.
    for name in names:
        if name not in ("iot:Connection.Thing.ThingName", "iot:ClientId"):
            raise PolicyError(f"IoT policy: variable not emulated: ${{{name}}}")
    if thing is None:
        return None if names else resource
    return _VARIABLE.sub(lambda _: thing, resource)


def _filters(resource: str, action: str) -> set[str]:
    """A resource as MQTT topic filters; for iot:Connect as client ids (see `_is_among`)."""
    match = _RESOURCE.fullmatch(resource)
    if match is None:
        raise PolicyError(f"IoT policy: resource not understood: {resource}")
    if match["all"] or match["name"] == "*":
        return {"#"} if action == "iot:Connect" else {"#", "$aws/rules/#"}
    name = match["name"]
    if action == "iot:Connect":
        if "*" in name[:-1] or "?" in name:
            raise PolicyError(f"IoT policy: not emulated: {action} on a pattern: {name}")
        return {name}
    if action != "iot:Subscribe" and {"+", "#"} & set(name.split("/")):
        # https://docs.aws.amazon.com/iot/latest/developerguide/pub-sub-policy.html
        raise PolicyError(f"IoT policy: AWS takes + and # as characters, not wildcards: {name}")
    return _topic_filters(name)


def _topic_filters(pattern: str) -> set[str]:
    """`*` matches any characters, slashes too; MQTT's wildcards match whole levels.

    So a `*` at the end becomes `#`, and one between slashes one to as many levels as fit.
    """
    levels = pattern.split("/")
    if any(len(level) > 1 and set(level) & set("*?") for level in levels) or "?" in levels:
        raise PolicyError(f"IoT policy: a wildcard within a level can't be enforced: {pattern}")
    most = _MAX_LEVELS + (_BASIC_INGEST_LEVELS if pattern.startswith("$aws/rules/") else 0)
    filters: list[list[str]] = [[]]
    for position, level in enumerate(levels):
        if level != "*":
            filters = [[*start, level] for start in filters]
        elif position == len(levels) - 1:
            filters = [[*start, "#"] for start in filters]
        else:
            rest = len(levels) - position - 1
            filters = [
                [*start, *["+"] * count]
                for start in filters
                for count in range(1, most - len(start) - rest + 1)
            ]
    return {"/".join(levels) for levels in filters}
