"""Takes devices their right to speak: their certificates are revoked, for good.

Guarantee: idempotent. A device whose certificates are revoked cannot connect again; one that is
connected is cut off by IoT Core within minutes. Its thing stays, and with it what is known of it.

https://docs.aws.amazon.com/iot/latest/apireference/API_UpdateCertificate.html
"""

from typing import Any

from devices.errors import DeviceError

_CERTIFICATE = ":cert/"


class NotRevokedError(DeviceError):
    """There was nothing to revoke; the message says why."""


def revoke_device(iot: Any, thing_name: str) -> tuple[str, ...]:
    """Revoke every certificate of a thing; their ids. `iot` is a boto3 client.

    Raises NotRevokedError if there is no such thing.
    """
    pages = iot.get_paginator("list_thing_principals").paginate(thingName=thing_name)
    try:
        principals = [arn for page in pages for arn in page["principals"]]
    except iot.exceptions.ResourceNotFoundException:
        raise NotRevokedError("there is no such thing in this account and Region") from None
    certificates = tuple(arn.rpartition("/")[2] for arn in principals if _CERTIFICATE in arn)
    for certificate in certificates:
        iot.update_certificate(certificateId=certificate, newStatus="REVOKED")
    return certificates
