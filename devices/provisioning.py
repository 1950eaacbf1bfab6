"""Registers devices with AWS IoT: a thing, a certificate of its own and the fleet's policy on it.

Guarantee: idempotent. A device whose certificate file is at hand and still active keeps it; files are
written before the certificate is attached, so that no certificate is in use whose key is lost.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DeviceCredentials:
    """A registered device and where the files lie with which it proves who it is."""

    thing_name: str
    certificate_arn: str
    certificate_file: Path
    private_key_file: Path


def provision_fleet(
    iot: Any, thing_names: Iterable[str], policy_name: str, folder: Path
) -> tuple[DeviceCredentials, ...]:
    """Register every thing (boto3 `iot` client) and keep its files below `folder`; in the given order."""
    raise NotImplementedError
