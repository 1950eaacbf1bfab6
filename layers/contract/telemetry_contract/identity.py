"""Who a reading is of: the id in the payload against the thing in the topic.

`verified` means that the broker let the device publish on its own thing's topic and the payload
says the same. `claimed` is everything else: topics that name no thing, records put by SDK
producers, and mismatches where the operator lets gateways speak for others. Whoever may put to the
stream directly could forge an envelope: that permission is the boundary of this promise.

A topic that begins as telemetry's do and names no thing is a mismatch, not a topic of another kind:
Basic Ingest passes over the rule's topic filter, and a policy's `dt/*/<thing>/telemetry` allows
more levels than the form has.
"""

import re
from typing import Final, Literal

from telemetry_contract.fields import DEVICE_ID
from telemetry_contract.limits import Limits
from telemetry_contract.rejection import ContractViolation, Reason

type Identity = Literal["verified", "claimed"]

IDENTITY_MISMATCH_FLAG: Final = "identity_mismatch"

# In place of a thing where a telemetry topic has not the form: no device id is equal to it.
NO_THING: Final = ""

_TELEMETRY_PREFIX: Final = "dt/"
_TELEMETRY_TOPIC: Final = re.compile(r"dt/[^/]+/([^/]+)/telemetry")
# AWS IoT thing names are [a-zA-Z0-9:_-]{1,128}; ids of SDK producers also use . @ and +.
_DEVICE_ID: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9:_.@+-]+")


def thing_of(topic: str | None) -> str | None:
    """The thing that a topic `dt/<application>/<thing>/telemetry` names.

    NO_THING if the topic begins with `dt/` but has another form; None if it begins otherwise.
    """
    if topic is None or not topic.startswith(_TELEMETRY_PREFIX):
        return None
    named = _TELEMETRY_TOPIC.fullmatch(topic)
    return named[1] if named else NO_THING


def is_device_id(text: str) -> bool:
    """Whether a text may be a device id: safe in topics, logs, keys and SQL as it is."""
    return len(text) <= (DEVICE_ID.maximum or 0) and _DEVICE_ID.fullmatch(text) is not None


def device_id_of(candidates: list[object]) -> str:
    """The device id, from the values that the payload gives under any of its names.

    Raises ContractViolation: device_id_missing, device_id_invalid (also when two names disagree).
    """
    if not candidates:
        raise ContractViolation(Reason.DEVICE_ID_MISSING)
    device_id = candidates[0]
    if not isinstance(device_id, str):
        raise ContractViolation(
            Reason.DEVICE_ID_INVALID, f"not text but {type(device_id).__name__}"
        )
    if not is_device_id(device_id):
        raise ContractViolation(Reason.DEVICE_ID_INVALID, "length or characters")
    if any(other != device_id for other in candidates):
        raise ContractViolation(Reason.DEVICE_ID_INVALID, "given twice, differently")
    return device_id


def identity_of(
    device_id: str, topic: str | None, limits: Limits
) -> tuple[Identity, tuple[str, ...]]:
    """How far the device id can be trusted, and the quality flags for it.

    Raises ContractViolation: identity_mismatch, unless the policy is to flag it.
    """
    thing = thing_of(topic)
    if thing is None:
        return "claimed", ()
    if thing == device_id:
        return "verified", ()
    if limits.identity_mismatch_policy == "flag":
        return "claimed", (IDENTITY_MISMATCH_FLAG,)
    detail = "the topic is not dt/<application>/<thing>/telemetry" if thing == NO_THING else ""
    raise ContractViolation(Reason.IDENTITY_MISMATCH, detail)
