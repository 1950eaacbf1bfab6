"""One device's connection to the broker: MQTT 5 over mutual TLS, the client that is used on AWS too."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Endpoint:
    """Where devices connect: `describe_endpoint`'s host and port, and whom to trust.

    `ca_file` None trusts the system's authorities, as AWS IoT Core needs. `paced` keeps the SDK's
    default of 100 messages per second and connection, which is IoT Core's own limit; the local broker
    has none.
    """

    host: str
    port: int = 8883
    ca_file: Path | None = None
    paced: bool = False
