"""From a Kinesis record's data to a `Record`: the rule's envelope is taken off, if there is one.

A record is an envelope if and only if it is a JSON object with the key `payload_b64`. Everything
else is the payload itself, put by an SDK producer, and whether it is any good is decided later.
"""

from typing import Annotated, Final

import msgspec

from telemetry_contract.json_text import parse, refuse_deep_nesting, text_of
from telemetry_contract.limits import Limits
from telemetry_contract.record import Microseconds, Record
from telemetry_contract.rejection import ContractViolation, Reason, Rejection
from telemetry_contract.values import has_surrogates

PAYLOAD_KEY: Final = "payload_b64"
_PAYLOAD_KEY_BYTES: Final = PAYLOAD_KEY.encode()
# Only a redrive sets it; the rule does not.
SUB_SEQUENCE_KEY: Final = "sub_sequence"

_MICROSECONDS_PER_MILLISECOND: Final = 1_000
# Beyond it a column of microseconds overflows; rejected as malformed, not silently wrapped.
_LATEST_BROKER_TIME: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z in milliseconds


class _Envelope(msgspec.Struct, gc=False):
    """The envelope as the rule writes it; whatever does not fit goes the thorough way."""

    payload_b64: bytes
    topic: str | None = None
    client_id: str | None = None
    principal: str | None = None
    broker_time: Annotated[int, msgspec.Meta(ge=0, le=_LATEST_BROKER_TIME)] | None = None
    ingest_id: str | None = None
    sub_sequence: Annotated[int, msgspec.Meta(ge=0)] | None = None


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


def decode_record(
    position: str, arrival_time: Microseconds, data: bytes, limits: Limits
) -> Record | Rejection:
    """The record that `data` carries; a rejection if it is too large or a broken envelope."""
    if len(data) > limits.max_payload_bytes:
        bare = Record(position, arrival_time, data)
        return Rejection(bare, 0, Reason.TOO_LARGE, f"{len(data)} bytes", data)
    # `find`, since `in` costs bytes five times as much: it tries an integer first.
    if data.find(_PAYLOAD_KEY_BYTES) >= 0:
        try:
            rule = _decode_envelope(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return _decode_thoroughly(Record(position, arrival_time, data), limits)
        return Record(
            position,
            arrival_time,
            rule.payload_b64,
            rule.ingest_id,
            None if rule.broker_time is None else rule.broker_time * _MICROSECONDS_PER_MILLISECOND,
            rule.client_id,
            rule.principal,
            rule.topic,
            rule.sub_sequence,
        )
    bare = Record(position, arrival_time, data)
    # Without the key in plain sight only an escaped one could make it an envelope.
    return _decode_thoroughly(bare, limits) if b"\\" in data else bare


def _decode_thoroughly(bare: Record, limits: Limits) -> Record | Rejection:
    try:
        envelope = _envelope_in(bare.payload, limits)
        return bare if envelope is None else _open_envelope(bare, envelope)
    except ContractViolation as violation:
        return Rejection(bare, 0, violation.reason, violation.detail, bare.payload)


def _envelope_in(data: bytes, limits: Limits) -> dict[str, object] | None:
    try:
        text = text_of(data)
        refuse_deep_nesting(text, limits.max_depth)
        value = parse(text)
    except ContractViolation:
        return None  # no envelope, so the payload itself: interpretation says what is wrong
    return value if isinstance(value, dict) and PAYLOAD_KEY in value else None


def _open_envelope(bare: Record, envelope: dict[str, object]) -> Record:
    encoded = envelope[PAYLOAD_KEY]
    if not isinstance(encoded, str):
        raise ContractViolation(Reason.MALFORMED_ENVELOPE, f"{PAYLOAD_KEY} is not text")
    try:
        payload = msgspec.convert(encoded, bytes)
    except msgspec.ValidationError:
        raise ContractViolation(Reason.MALFORMED_ENVELOPE, f"{PAYLOAD_KEY} is not base64") from None
    return Record(
        bare.position,
        bare.arrival_time,
        payload,
        _text(envelope, "ingest_id"),
        _broker_time(envelope.get("broker_time")),
        _text(envelope, "client_id"),
        _text(envelope, "principal"),
        _text(envelope, "topic"),
        _sub_sequence(envelope.get(SUB_SEQUENCE_KEY)),
    )


def _text(envelope: dict[str, object], key: str) -> str | None:
    value = envelope.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or has_surrogates(value):
        raise ContractViolation(Reason.MALFORMED_ENVELOPE, f"{key} is not text")
    return value


def _broker_time(value: object) -> Microseconds | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _LATEST_BROKER_TIME:
        raise ContractViolation(
            Reason.MALFORMED_ENVELOPE, "broker_time is not milliseconds since 1970"
        )
    return value * _MICROSECONDS_PER_MILLISECOND


def _sub_sequence(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise ContractViolation(
            Reason.MALFORMED_ENVELOPE, f"{SUB_SEQUENCE_KEY} is no place in an array"
        )
    return value
