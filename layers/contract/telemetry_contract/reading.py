"""Interpretation of a payload: the one slow, thorough classification, which alone names reasons.

`interpret` is total: for every record it returns readings and rejections that together hold each
of its elements exactly once, and it never raises because of what the record holds. The fast path
proves only what would come out here in the same way. Dry runs of a redrive call it too.
"""

from collections.abc import Iterator

import msgspec

from telemetry_contract.event_id import event_id_of
from telemetry_contract.event_time import FROM_ARRIVAL, event_time_of, refuse_out_of_range
from telemetry_contract.fields import CONTAINER, DEVICE_ID, EVENT_TIME, FIELDS, SPELLINGS
from telemetry_contract.identity import Identity, device_id_of, identity_of
from telemetry_contract.json_text import cut_elements, parse, refuse_deep_nesting, text_of
from telemetry_contract.limits import Limits
from telemetry_contract.record import Microseconds, Record
from telemetry_contract.rejection import ContractViolation, Reason, Rejection
from telemetry_contract.unknown_fields import keep_unknown
from telemetry_contract.values import Value, value_of


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A device observation that satisfies the contract.

    `values` holds the contract's fields that are present and good; `payload` is the reading's own
    bytes, for an element of an array cut out verbatim.
    """

    record: Record
    sub_sequence: int
    identity: Identity
    event_id: str
    device_id: str
    event_time: Microseconds
    values: dict[str, Value]
    measurements: dict[str, float]
    attributes: dict[str, str]
    quality_flags: tuple[str, ...]
    payload: bytes

    @property
    def record_id(self) -> str:
        """`<shard>:<sequence>:<sub_sequence>`."""
        return f"{self.record.position}:{self.sub_sequence}"


class _Given(msgspec.Struct, gc=False):
    """What an object gives, sorted by what it is for, before anything is judged."""

    device_ids: list[object]
    event_time: object
    values: dict[str, object]
    unknown: list[tuple[str, object]]


def interpret(record: Record, limits: Limits) -> tuple[list[Reading], list[Rejection]]:
    """Every reading and every rejection in a record's payload."""
    readings: list[Reading] = []
    rejections: list[Rejection] = []
    try:
        elements = list(elements_of(record, limits))
    except ContractViolation as violation:
        place = record.sub_sequence or 0
        return readings, [
            Rejection(record, place, violation.reason, violation.detail, record.payload)
        ]
    for sub_sequence, (value, payload) in enumerate(elements, start=record.sub_sequence or 0):
        try:
            readings.append(_reading_of(value, payload, record, sub_sequence, limits))
        except ContractViolation as violation:
            rejections.append(
                Rejection(record, sub_sequence, violation.reason, violation.detail, payload)
            )
    return readings, rejections


def elements_of(record: Record, limits: Limits) -> Iterator[tuple[object, bytes]]:
    """Each element's value beside its own bytes; the payload itself if it is no array.

    Raises ContractViolation where the payload can't be read at all.
    """
    payload = record.payload
    if len(payload) > limits.max_payload_bytes:
        raise ContractViolation(Reason.TOO_LARGE, f"{len(payload)} bytes")
    text = text_of(payload)
    refuse_deep_nesting(text, limits.max_depth)
    value = parse(text)
    if record.sub_sequence is not None or not isinstance(value, list):
        return iter([(value, payload)])
    if not value:
        raise ContractViolation(Reason.EMPTY_ARRAY)
    return zip(value, cut_elements(text), strict=True)


def _reading_of(
    value: object, payload: bytes, record: Record, sub_sequence: int, limits: Limits
) -> Reading:
    if not isinstance(value, dict):
        raise ContractViolation(Reason.NOT_AN_OBJECT, f"but {type(value).__name__}")
    given = _sort(value)
    device_id = device_id_of(given.device_ids)
    identity, identity_flags = identity_of(device_id, record.topic, limits)
    event_time, time_flags, delivery_id = _placed_in_time(
        given.event_time, record, sub_sequence, limits
    )
    values, value_flags = _validated(given.values)
    measurements: dict[str, float] = {}
    attributes: dict[str, str] = {}
    for name, unknown in given.unknown:
        keep_unknown(name, unknown, measurements, attributes)
    return Reading(
        record,
        sub_sequence,
        identity,
        event_id_of(device_id, payload, delivery_id),
        device_id,
        event_time,
        values,
        measurements,
        attributes,
        (*value_flags, *time_flags, *identity_flags),
        payload,
    )


def _placed_in_time(
    value: object, record: Record, sub_sequence: int, limits: Limits
) -> tuple[Microseconds, tuple[str, ...], str | None]:
    """Event time, its flags, and what must join the event id when the device gave no time.

    Then id and time are functions of the same envelope: a message may come twice from the stream,
    each time with another arrival, and has to be one event at one time.
    """
    if value is not None:
        return *event_time_of(value, record.arrival_time, limits), None
    if limits.missing_timestamp_policy == "reject":
        raise ContractViolation(Reason.TIMESTAMP_MISSING)
    delivery_id = f"{record.ingest_id or record.position}:{sub_sequence}"
    if record.broker_time is None:
        return record.arrival_time, (FROM_ARRIVAL,), delivery_id
    refuse_out_of_range(record.broker_time, record.arrival_time, limits)
    return record.broker_time, (FROM_ARRIVAL,), delivery_id


def _validated(given: dict[str, object]) -> tuple[dict[str, Value], list[str]]:
    values: dict[str, Value] = {}
    flags: list[str] = []
    for field in FIELDS:
        if field.name not in given:
            continue
        value, flag = value_of(field, given[field.name])
        if flag is not None:
            flags.append(flag)
        elif value is not None:
            values[field.name] = value
    return values, flags


def _sort(reading: dict[str, object]) -> _Given:
    """Give every value its field. A null is the same as no value; the first spelling wins."""
    candidates: dict[str, list[tuple[int, str, object]]] = {}
    unknown: list[tuple[str, object]] = []
    _collect(reading, "", candidates, unknown)
    contained = reading.get(CONTAINER)
    if isinstance(contained, dict):
        _collect(contained, f"{CONTAINER}.", candidates, unknown)

    chosen: dict[str, object] = {}
    device_ids: list[object] = []
    for name, spelled in candidates.items():
        if len(spelled) > 1:
            spelled.sort(key=_precedence)
        if name == DEVICE_ID.name:
            device_ids = [value for _, _, value in spelled]
            continue
        chosen[name] = spelled[0][2]
        if len(spelled) > 1:
            unknown += [(path, value) for _, path, value in spelled[1:]]
    return _Given(device_ids, chosen.pop(EVENT_TIME.name, None), chosen, unknown)


def _precedence(candidate: tuple[int, str, object]) -> int:
    return candidate[0]


def _collect(
    source: dict[str, object],
    path: str,
    candidates: dict[str, list[tuple[int, str, object]]],
    unknown: list[tuple[str, object]],
) -> None:
    for key, value in source.items():
        spelling = SPELLINGS.get(key)
        if spelling is not None:
            if value is not None:
                field, precedence = spelling
                # Whatever is at the top comes before whatever is in the container.
                rank = precedence + (len(SPELLINGS) if path else 0)
                candidates.setdefault(field.name, []).append((rank, path + key, value))
        elif not (path == "" and key == CONTAINER and isinstance(value, dict)):
            unknown.append((path + key, value))
