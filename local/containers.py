"""How a container of `sam local invoke` finds the local cloud, and what it has to be told.

The local cloud answers on loopback only, which a container on Linux does not reach: on demand it
answers on the address of Docker's bridge too. Docker Desktop's containers reach loopback by a name.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_DESKTOP_NAME: Final = "host.docker.internal"
_FIRST_NETWORK: Final = "{{json (index .IPAM.Config 0)}}"


class NoContainersError(Exception):
    """There is no Docker engine to ask; the message says what to do."""


def bridge_address() -> str | None:
    """The address of Docker's bridge; None where containers reach loopback by a name.

    Raises NoContainersError without a Docker engine.
    """
    if sys.platform == "darwin":
        return None
    command = ["docker", "network", "inspect", "bridge", "--format", _FIRST_NETWORK]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise NoContainersError("there is no docker on this machine") from None
    except subprocess.CalledProcessError as error:
        raise NoContainersError(f"docker does not answer: {error.stderr.strip()}") from None
    network: dict[str, str] = json.loads(answer.stdout)
    # Until its first container, Docker names no gateway: it is the subnet's first address.
    return network.get("Gateway") or str(next(ip_network(network["Subnet"]).hosts()))


def write_variables(
    file: Path, endpoint: str, address: str | None, outputs: Mapping[str, str]
) -> None:
    """Write the file for `sam local invoke --env-vars`: where AWS is, and the stack's buckets."""
    variables = {
        "AWS_ENDPOINT_URL": f"http://{address or _DESKTOP_NAME}:{urlsplit(endpoint).port}",
        "RAW_ZONE_BUCKET": outputs["RawZoneBucketName"],
        "REJECTED_ZONE_BUCKET": outputs["RejectedZoneBucketName"],
    }
    file.write_text(json.dumps({"IngestTelemetryFunction": variables}, indent=2) + "\n")
