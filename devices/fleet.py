"""A fleet of MQTT devices: the pipeline's first step, simulated from a seed or from a file.

Guarantee: the result is an exact account. Every message counted as acknowledged has a PUBACK from
the broker, and `sent == distinct + duplicates + sum(expected_rejected.values())`, so that what the
pipeline reports can be compared with what the fleet knows that it sent.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from devices.connection import Connection, Endpoint
from devices.messages import Message, Plan, Shares, plan_fleet
from devices.provisioning import DeviceCredentials

__all__ = [
    "Endpoint",
    "FleetConfig",
    "FleetResult",
    "Shares",
    "devices_in_replay",
    "replay_file",
    "run_fleet",
]

# Gets (acknowledged, all) about ten times a second.
Progress = Callable[[int, int], None]

_MAX_CONNECTIONS: Final = 64
_PROGRESS_SECONDS: Final = 0.1
# When none has come for so long after the last message, the rest counts as not acknowledged.
_PATIENCE_SECONDS: Final = 60.0


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

    `distinct` is how many different readings the contract should accept, `duplicates` how many
    messages repeat one of them byte for byte, `expected_rejected` how many the contract should
    reject, by reason code, `late` how many of `distinct` are hours or days old, `devices` how many
    published. `not_acknowledged` says why messages were not, by the broker's reason.
    """

    sent: int
    acknowledged: int
    distinct: int
    duplicates: int
    expected_rejected: Mapping[str, int]
    late: int
    devices: int
    seconds: float
    not_acknowledged: Mapping[str, int] = field(default_factory=dict)


def run_fleet(config: FleetConfig, progress: Progress | None = None) -> FleetResult:
    """Publish the simulated fleet's messages and wait for their acknowledgements.

    Raises ConnectionRefused where the broker does not let a device connect.
    """
    plan = plan_fleet(
        [device.thing_name for device in config.devices],
        config.messages,
        config.shares,
        config.seed,
        config.now,
    )
    prefix = f"$aws/rules/{config.rule_name}/" if config.rule_name else ""
    return _publish(
        plan, config.endpoint, config.devices, f"{prefix}dt/{config.application}", progress
    )


def devices_in_replay(path: Path) -> tuple[str, ...]:
    """The thing names that `replay_file` needs: each `device_id` of the file, once."""
    return tuple(dict.fromkeys(message.device_id for message in _read_replay(path)))


def replay_file(
    path: Path,
    endpoint: Endpoint,
    devices: tuple[DeviceCredentials, ...],
    application: str = "sensors",
    progress: Progress | None = None,
) -> FleetResult:
    """Publish each element of the JSON array in `path`, byte for byte, as its `device_id`'s device.

    Elements are taken for readings that the contract accepts. ValueError for another file.
    """
    messages = _read_replay(path)
    distinct = len({(message.device_id, message.payload) for message in messages})
    plan = Plan(tuple(messages), distinct, len(messages) - distinct, {}, 0)
    return _publish(plan, endpoint, devices, f"dt/{application}", progress)


def _read_replay(path: Path) -> list[Message]:
    try:
        elements = msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw])
        return [
            Message(msgspec.json.decode(element, type=_Named).device_id, bytes(element))
            for element in elements
        ]
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is not a JSON array of readings: {error}") from None


class _Named(msgspec.Struct):
    device_id: str


class _Ledger:
    """Which messages are through, counted from the clients' threads."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.acknowledged = 0
        self.refused: Counter[str] = Counter()
        self._changed = threading.Condition()

    def record(self, reason: str | None) -> None:
        with self._changed:
            if reason is None:
                self.acknowledged += 1
            else:
                self.refused[reason] += 1
            self._changed.notify_all()

    def wait_until(self, done: int, patience_seconds: float) -> None:
        """Return when `done` messages are through, or none has been for `patience_seconds`."""
        with self._changed:
            while self.through < done:
                before = self.through
                # The lambda is used up before `before` changes.
                self._changed.wait_for(lambda: self.through > before, patience_seconds)  # noqa: B023
                if self.through == before:
                    return

    @property
    def through(self) -> int:
        return self.acknowledged + self.refused.total()


def _publish(
    plan: Plan,
    endpoint: Endpoint,
    devices: tuple[DeviceCredentials, ...],
    topic_prefix: str,
    progress: Progress | None,
) -> FleetResult:
    credentials = {device.thing_name: device for device in devices}
    traffic = plan.by_device()
    missing = sorted(traffic.keys() - credentials.keys())
    if missing:
        raise ValueError(f"no credentials for {', '.join(missing)}")
    ledger = _Ledger(len(plan.messages))
    started = time.monotonic()

    def run_device(thing_name: str, messages: list[Message]) -> None:
        topic = f"{topic_prefix}/{thing_name}/telemetry"
        mine = _Ledger(len(messages))

        def acknowledged(reason: str | None) -> None:
            mine.record(reason)
            ledger.record(reason)

        with Connection(endpoint, credentials[thing_name]) as connection:
            for message in messages:
                connection.publish(topic, message.payload, acknowledged)
            mine.wait_until(len(messages), _PATIENCE_SECONDS)

    with ThreadPoolExecutor(_MAX_CONNECTIONS, thread_name_prefix="device") as pool:
        running = [pool.submit(run_device, name, messages) for name, messages in traffic.items()]
        while wait(running, _PROGRESS_SECONDS, FIRST_EXCEPTION).not_done:
            if any(future.done() and future.exception() for future in running):
                pool.shutdown(wait=False, cancel_futures=True)
                break
            if progress is not None:
                progress(ledger.acknowledged, ledger.expected)
        for future in running:
            future.result()
    silent = ledger.expected - ledger.through
    refused = dict(ledger.refused) | ({"no acknowledgement": silent} if silent else {})
    if progress is not None:
        progress(ledger.acknowledged, ledger.expected)
    return FleetResult(
        sent=len(plan.messages),
        acknowledged=ledger.acknowledged,
        distinct=plan.distinct,
        duplicates=plan.duplicates,
        expected_rejected=plan.rejected,
        late=plan.late,
        devices=len(traffic),
        seconds=time.monotonic() - started,
        not_acknowledged=refused,
    )
