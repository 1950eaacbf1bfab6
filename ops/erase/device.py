"""What is a device's, in a record or a rejected row, and what is left when it is taken out.

A reading is the device's if it names the device; what names none, or can't be read, is its sender's
(the client id, the thing in the topic). A reading of another device stays, though the device sent
it: a gateway can be erased without those that it speaks for. Only what was rejected because the
device spoke in another's name is the device's.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from ops.erasures import Tombstones, is_erased
from ops.redrive.selection import devices_named_in, devices_of
from ops.rejected_zone import RejectedRow, record_data
from telemetry_contract.aggregation import MAGIC, de_aggregate
from telemetry_contract.decoding import PAYLOAD_KEY, SUB_SEQUENCE_KEY
from telemetry_contract.identity import thing_of
from telemetry_contract.json_text import cut_elements, parse, text_of
from telemetry_contract.limits import Limits
from telemetry_contract.record import Record
from telemetry_contract.rejection import ContractViolation, Reason

# Characters that a device id may have, so that no longer id is taken for a shorter one.
_ID_CHARACTERS: Final = rb"[A-Za-z0-9:_.@+-]"


def is_rejected_row_of(row: RejectedRow, device: str) -> bool:
    """Whether a row of the rejected zone is the device's, all of it."""
    senders = {row.client_id, thing_of(row.topic)}
    if row.reason == Reason.IDENTITY_MISMATCH and device in senders:
        return True
    # An array that was rejected whole goes whole: nobody could take it apart before either.
    return without_device(record_data(row), device) is not None


def without_device(data: bytes, device: str) -> list[bytes] | None:
    """The records, as they stand on the stream, that are left of one when the device is taken out
    of it; None if it is not in it. What is left of an array are its other elements, each with its
    place, so that it becomes the reading that it would have been."""
    if data.startswith(MAGIC):
        return _aggregate_without(data, device)
    envelope, payload = _opened(data)
    topic = envelope.get("topic")
    senders = {envelope.get("client_id"), thing_of(topic if isinstance(topic, str) else None)}
    try:
        text = text_of(payload)
        value = parse(text)
    except (ContractViolation, RecursionError):
        return [] if device in senders or _names(payload, device) else None
    if not isinstance(value, list):
        return [] if _is_of(value, device, senders) else None
    kept = [not _is_of(element, device, senders) for element in value]
    if all(kept) and value:
        return None
    if not value:
        return [] if device in senders else None
    return list(_elements(text, kept, envelope))


def without_erased(data: bytes, erased: Tombstones, arrived: datetime) -> list[bytes]:
    """The records that are left of one without what is of devices that were erased after it had
    arrived: itself, if nothing of it is."""
    left = [data]
    for device in devices_of(data) if erased else ():
        if is_erased(erased, device, arrived):
            cut = [(one, without_device(one, device)) for one in left]
            left = [kept for one, parts in cut for kept in ([one] if parts is None else parts)]
    return left


def _aggregate_without(data: bytes, device: str) -> list[bytes] | None:
    """The same of an aggregate: its other user records, each with its place."""
    parts: list[tuple[Record, int, bytes]] = []
    for one in de_aggregate("", 0, data, Limits()):
        if isinstance(one, Record):
            parts.append((one, one.sub_sequence or 0, one.payload))
        elif one.reason == Reason.MALFORMED_AGGREGATE:
            return [] if _names(data, device) else None
        else:
            parts.append((one.record, one.sub_sequence, one.payload))
    kept = [
        _enveloped(record, place, payload)
        for record, place, payload in parts
        if without_device(_enveloped(record, place, payload), device) is None
    ]
    return None if len(kept) == len(parts) else kept


def _enveloped(record: Record, place: int, payload: bytes) -> bytes:
    """A user record as a record by itself."""
    told = {
        "topic": record.topic,
        "client_id": record.client_id,
        "principal": record.principal,
        "broker_time": None if record.broker_time is None else record.broker_time // 1_000,
        "ingest_id": record.ingest_id,
    }
    said = {name: value for name, value in told.items() if value is not None}
    said |= {PAYLOAD_KEY: base64.b64encode(payload).decode(), SUB_SEQUENCE_KEY: place}
    return json.dumps(said, separators=(",", ":")).encode()


def payload_without_device(payload: bytes, device: str, topic: str, client: str) -> bytes | None:
    """The payload of a message that is on no stream yet, without the device; None if nothing of it
    is left. Its elements have no places yet."""
    envelope = {"topic": topic, "client_id": client}
    data = json.dumps(envelope | {PAYLOAD_KEY: base64.b64encode(payload).decode()}).encode()
    left = without_device(data, device)
    if left is None:
        return payload
    if not left:
        return None
    return b"[" + b",".join(_opened(one)[1] for one in left) + b"]"


def _is_of(value: object, device: str, senders: set[Any]) -> bool:
    named = set(devices_named_in(value))
    return device in named or (not named and device in senders)


def _elements(text: str, kept: list[bool], envelope: dict[str, Any]) -> Iterator[bytes]:
    for place, (element, is_kept) in enumerate(zip(cut_elements(text), kept, strict=True)):
        if is_kept:
            payload = {PAYLOAD_KEY: base64.b64encode(element).decode(), SUB_SEQUENCE_KEY: place}
            yield json.dumps({**envelope, **payload}, separators=(",", ":")).encode()


def _opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The envelope of a record, empty if it has none, and its payload."""
    try:
        value = json.loads(data)
        if isinstance(value, dict) and PAYLOAD_KEY in value:
            return value, base64.b64decode(value[PAYLOAD_KEY], validate=True)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        pass
    return {}, data


def _names(payload: bytes, device: str) -> bool:
    """Whether the device's whole id stands in what can't be read."""
    parts = (_ID_CHARACTERS, re.escape(device.encode()), _ID_CHARACTERS)
    return re.search(rb"(?<!%b)%b(?!%b)" % parts, payload) is not None
