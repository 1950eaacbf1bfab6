"""What stands between finding and sending: dry run, limit, pace, and noting what became of it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ops.delivery import Function, Stream
from ops.erase.device import is_rejected_row_of, payload_without_device, without_erased
from ops.erasures import Tombstones, is_erased
from ops.errors import OperationError
from ops.failed_zone import FailedRecord, UndeliveredMessage
from ops.redrive.findings import Findings
from ops.redrive.pace import Pace
from ops.redrive.selection import devices_of
from ops.rejected_zone import RejectedRow
from telemetry_contract.decoding import PAYLOAD_KEY


@dataclass(frozen=True)
class Sending:
    """Sends for one run, and counts in its findings; trouble is noted there and not raised. What is
    `erased` is not sent."""

    function: Function
    stream: Stream
    pace: Pace
    limit: int | None
    findings: Findings
    erased: Tombstones = field(default_factory=dict)

    def allowed(self, records: int) -> int:
        """How many of so many records the limit allows yet; the others are left."""
        room = records if self.limit is None else self.limit - self.findings.chosen
        taken = min(records, room)
        self.findings.left += records - taken
        return taken

    def is_of(self, data: bytes, devices: frozenset[str]) -> bool:
        """Whether a record is one of the devices'; any is, where none are given."""
        if not devices:
            return True
        named = devices_of(data)
        self.findings.of_no_device += not named
        return not devices.isdisjoint(named)

    def left_of(self, record: FailedRecord) -> list[FailedRecord]:
        """A record without what is of devices that were erased after it had arrived: itself, if
        nothing of it is. What is left keeps its places."""
        left = without_erased(record.data, self.erased, record.arrived)
        return [record] if left == [record.data] else [record.holding(data) for data in left]

    def is_erased(self, record: FailedRecord) -> bool:
        """Whether nothing is left of a record; notes also what is left of one in part."""
        left = self.left_of(record)
        self.findings.erased += not left
        self.findings.erased_in_part += left not in ([], [record])
        return not left

    def is_erased_row(self, row: RejectedRow, data: bytes) -> bool:
        """Whether a row was an erased device's, whole, as an erasure would take it."""
        is_gone = bool(self.erased) and any(
            is_erased(self.erased, device, row.arrival_time) and is_rejected_row_of(row, device)
            for device in devices_of(data)
        )
        self.findings.erased += is_gone
        return is_gone

    def without_erased(
        self, message: UndeliveredMessage, written: datetime
    ) -> UndeliveredMessage | None:
        """The message without the readings of devices that were erased after it was written; None
        if nothing is left. On the stream it would arrive anew, and no tombstone would hold."""
        envelope = json.loads(message.envelope)
        payload: bytes | None = base64.b64decode(envelope[PAYLOAD_KEY])
        before = payload
        told = envelope.get("topic") or "", envelope.get("client_id") or ""
        for device in devices_of(message.envelope) if self.erased else ():
            if payload is not None and is_erased(self.erased, device, written):
                payload = payload_without_device(payload, device, *told)
        if payload is None:
            self.findings.erased += 1
            return None
        if payload == before:
            return message
        self.findings.erased_in_part += 1
        envelope[PAYLOAD_KEY] = base64.b64encode(payload).decode()
        return replace(message, envelope=json.dumps(envelope, separators=(",", ":")).encode())

    def event(self, event: bytes, records: int, what: str) -> dict[str, Any] | None:
        """The function's account of an event of so many records; None if it failed."""
        self.pace.wait(records)
        try:
            account = self.function.ingest(event)
        except OperationError as error:
            self.findings.troubles.append(f"{what}: {error}")
            return None
        self.findings.accepted_by_function += account["accepted"]
        self.findings.rejected_by_function += account["rejected"]
        return account

    def messages(self, messages: list[UndeliveredMessage]) -> bool:
        """Whether the stream took them all."""
        self.pace.wait(len(messages))
        try:
            self.stream.put([(message.partition_key, message.envelope) for message in messages])
        except OperationError as error:
            self.findings.troubles.append(f"up to {len(messages):,} undelivered messages: {error}")
            return False
        self.findings.sent_messages += len(messages)
        return True
