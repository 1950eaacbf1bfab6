"""The load of a month, and what each message of it becomes on its way: sizes, batches, objects.

Figures that were measured stand in docs/scale.md and docs/performance.md; the others are estimates
and say so. All of it is arithmetic on a load and the settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ops.cost.schedules import HOURS_A_MONTH
from ops.cost.settings import Settings

SECONDS_A_MONTH: Final = HOURS_A_MONTH * 3600
DAYS_A_MONTH: Final = HOURS_A_MONTH / 24
KB: Final = 1024
GB: Final = 1024**3

# IoT Core meters payload and topic together: dt/<application>/<thing>/telemetry.
TOPIC_BYTES: Final = 40
# docs/scale.md: a payload of 188 bytes is a record of 546 (252 of them base64), and that is an
# entry of 1,273 bytes in the function's event (728 of them base64).
ENVELOPE_BYTES: Final = 294
EVENT_ENTRY_BYTES: Final = 545
EVENT_BYTES: Final = 6 * 1024 * 1024
# docs/scale.md: 107 bytes of raw for a payload of 188. Curated rows are about as large.
STORED_SHARE: Final = 107 / 188
SHARD_BYTES: Final = 1024 * 1024
SHARD_RECORDS: Final = 1000
# https://docs.aws.amazon.com/streams/latest/dev/how-do-i-size-a-stream.html: 4 MB/s at first.
ON_DEMAND_SHARDS: Final = 4


class Way(StrEnum):
    """How messages come to the stream."""

    MQTT = "mqtt"
    BASIC_INGEST = "basic-ingest"
    SDK = "sdk"


@dataclass(frozen=True)
class Load:
    """Messages a second, all month long, and what they are like."""

    messages_per_second: float
    payload_bytes: int
    readings_per_message: int
    devices: int
    way: Way
    rejected_share: float
    months_kept: float

    @property
    def messages(self) -> float:
        return self.messages_per_second * SECONDS_A_MONTH

    @property
    def readings(self) -> float:
        return self.messages * self.readings_per_message

    @property
    def metered_units(self) -> int:
        """Steps of 5 KB in which IoT Core meters a message."""
        return math.ceil((self.payload_bytes + TOPIC_BYTES) / (5 * KB))

    @property
    def record_bytes(self) -> int:
        """A message on the stream: as base64 in the rule's envelope, or bare from an SDK."""
        return self.payload_bytes if self.way is Way.SDK else _enveloped(self.payload_bytes)

    @property
    def action_units(self) -> int:
        """The rule's action is metered by what the rule hands on."""
        return math.ceil(_enveloped(self.payload_bytes) / (5 * KB))

    @property
    def stored_bytes(self) -> float:
        """What a month's readings take in one zone."""
        return self.messages * self.payload_bytes * STORED_SHARE


@dataclass(frozen=True)
class Batches:
    """How the function's invocations divide a month's records."""

    shards: int
    # How many shards' worth the load is, without any peak.
    needed_shards: float
    count: float
    records: float


def batches_of(load: Load, settings: Settings) -> Batches:
    """The invocations: a batch ends with the window, by its size, or by Lambda's 6 MB."""
    rate = load.messages_per_second
    needed = max(rate * load.record_bytes / SHARD_BYTES, rate / SHARD_RECORDS)
    is_provisioned = settings.stream_mode == "PROVISIONED"
    shards = settings.shard_count if is_provisioned else max(math.ceil(needed), ON_DEMAND_SHARDS)
    if not rate:
        return Batches(shards, needed, 0.0, 0.0)
    # Devices are spread over shards, and in a shard over the batches that are in flight at once.
    lanes = shards * settings.parallelization
    entry = EVENT_ENTRY_BYTES + math.ceil(load.record_bytes / 3) * 4
    most = max(1, min(settings.batch_size, EVENT_BYTES // entry))
    lane_rate = rate / lanes
    # The window opens with the first record, for which an idle lane waits.
    a_second = max(lane_rate / most, 1 / (settings.window_seconds + 1 / lane_rate))
    count = a_second * lanes * SECONDS_A_MONTH
    return Batches(shards, needed, count, load.messages / count)


def _enveloped(payload_bytes: int) -> int:
    return math.ceil(payload_bytes / 3) * 4 + ENVELOPE_BYTES
