"""Whether a device that claims a thing's name may have it.

Guarantee: a name that has been given is not given again. Admitted is a thing that the operator has
put into IoT's registry and that has no certificate; so whoever holds the claim certificate can
neither invent a device nor take over one that speaks, nor bring back one whose certificate was
revoked. Two that claim a name at the same moment may both be admitted: the question and what IoT
does after the answer are not one step.
"""

import re
from typing import Any, Final

# Of the provisioning template: the device says which thing it is.
THING_NAME: Final = "ThingName"
_THING_NAME: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


def refusal(iot: Any, thing_name: object) -> str | None:
    """Why a claim is refused; None if it is admitted. `iot` is a boto3 client.

    Errors of the service pass through: an unanswered question admits nobody.
    """
    if not isinstance(thing_name, str) or not _THING_NAME.fullmatch(thing_name):
        return "no_thing_name"
    try:
        iot.describe_thing(thingName=thing_name)
        answer = iot.list_thing_principals(thingName=thing_name)
    except iot.exceptions.ResourceNotFoundException:
        return "not_on_the_list"
    return "has_a_certificate" if answer["principals"] or answer.get("nextToken") else None
