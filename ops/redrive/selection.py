"""What a redrive is about, as its caller chose it.

A record is a device's if the device sent it (its client id, the thing in its topic) or if it names
the device (its device id; in an array or an aggregate, that of any element). Records go in whole
or not at all: a batch is taken apart for a device's records, a record only for an erased device's.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ops.rejected_zone import RejectedRow
from telemetry_contract.aggregation import MAGIC, user_records
from telemetry_contract.decoding import PAYLOAD_KEY
from telemetry_contract.fields import CONTAINER, DEVICE_ID, SPELLINGS
from telemetry_contract.identity import thing_of
from telemetry_contract.rejection import ContractViolation


@dataclass(frozen=True)
class Selection:
    """What to redrive. Rejected rows are chosen by arrival, failed objects by time of writing.

    `limit` is the most records that one run sends; `again` sends what is marked as redriven too.
    """

    rejected: bool = True
    failed: bool = True
    since: datetime | None = None
    until: datetime | None = None
    reasons: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    limit: int | None = None
    again: bool = False

    def takes(self, row: RejectedRow) -> bool:
        """Whether a rejected row is of the time and the reasons; its device is another question."""
        return (
            (self.since is None or row.arrival_time >= self.since)
            and (self.until is None or row.arrival_time < self.until)
            and (not self.reasons or row.reason in self.reasons)
        )


def devices_of(data: bytes) -> frozenset[str]:
    """The devices that sent a record or that it names, from its data as it is on the stream.

    Never raises: a record that says it too badly, or not at all, has none.
    """
    if not data.startswith(MAGIC):
        return _devices_of_one(data)
    try:
        return frozenset().union(*map(_devices_of_one, user_records(data)))
    except ContractViolation:
        return frozenset()


def _devices_of_one(data: bytes) -> frozenset[str]:
    value = _parsed(data)
    if not (isinstance(value, dict) and PAYLOAD_KEY in value):
        return frozenset(devices_named_in(value))
    topic, client_id = value.get("topic"), value.get("client_id")
    senders = [client_id, thing_of(topic) if isinstance(topic, str) else None]
    try:
        payload = _parsed(base64.b64decode(value[PAYLOAD_KEY], validate=True))
    except (TypeError, ValueError, binascii.Error):
        payload = None
    sent_by = {sender for sender in senders if isinstance(sender, str) and sender}
    return frozenset(sent_by | set(devices_named_in(payload)))


def devices_named_in(value: object) -> Iterator[str]:
    """The device ids in a payload, under every name and in every place that the contract knows."""
    for reading in value if isinstance(value, list) else [value]:
        if not isinstance(reading, dict):
            continue
        for place in (reading, reading.get(CONTAINER)):
            for key, named in place.items() if isinstance(place, dict) else ():
                field, _ = SPELLINGS.get(key, (None, 0))
                if field is DEVICE_ID and isinstance(named, str):
                    yield named


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
