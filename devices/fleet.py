"""A fleet of MQTT devices: the pipeline's first step, simulated from a seed or replayed from a file.

Guarantee: the result is an exact account. Every message counted as acknowledged has a PUBACK from the
broker, and `sent == distinct + duplicates + sum(expected_rejected.values())`, so that what a run of the
pipeline reports can be compared with what the fleet knows that it sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from devices.connection import Endpoint
from devices.provisioning import DeviceCredentials

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shares:
    """How much of the traffic is not plain, each a share between 0 and 1 of the messages."""

    duplicates: float = 0.05
    bad: float = 0.02
    out_of_range: float = 0.01
    late: float = 0.03


@dataclass(frozen=True)
class FleetConfig:
    """What `run_fleet` needs: where to, who, how many messages, and the time that counts as now.

    `messages` is all that is sent, duplicates and bad ones included; two runs with the same seed,
    devices, messages, shares and `now` send the same bytes. With `rule_name` the devices use Basic
    Ingest (`$aws/rules/<rule_name>/...`).
    """

    endpoint: Endpoint
    devices: tuple[DeviceCredentials, ...]
    now: datetime
    seed: int = 7
    messages: int = 10_000
    shares: Shares = field(default_factory=Shares)
    application: str = "fleet"
    rule_name: str | None = None


@dataclass(frozen=True)
class FleetResult:
    """The account of a run, in messages.

    `distinct` is how many different readings the contract should accept, `duplicates` how many of the
    messages repeat one of them byte for byte, `expected_rejected` how many the contract should reject,
    by reason code, `late` how many of `distinct` are hours or days old, `devices` how many published.
    """

    sent: int
    acknowledged: int
    distinct: int
    duplicates: int
    expected_rejected: Mapping[str, int]
    late: int
    devices: int
    seconds: float


def run_fleet(config: FleetConfig, progress: Progress | None = None) -> FleetResult:
    """Publish the simulated fleet's messages and wait for their acknowledgements.

    `progress` is called with (acknowledged, all) about ten times a second.
    """
    raise NotImplementedError


def devices_in_replay(path: Path) -> tuple[str, ...]:
    """The thing names that `replay_file` needs credentials for: each `device_id` of the file, once."""
    raise NotImplementedError


def replay_file(
    path: Path,
    endpoint: Endpoint,
    devices: tuple[DeviceCredentials, ...],
    application: str = "sensors",
    progress: Progress | None = None,
) -> FleetResult:
    """Publish each element of the JSON array in `path`, byte for byte, as its `device_id`'s device."""
    raise NotImplementedError
