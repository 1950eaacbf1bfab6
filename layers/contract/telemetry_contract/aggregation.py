"""KPL aggregates: many user records of an SDK producer, packed into one Kinesis record.

Guarantee: an aggregate that is whole gives each of its user records its own place, which depends on
the record alone; of any other the record is rejected as one, with its bytes. So what comes out is
never nothing. Nothing is left out by its hash key either, as some de-aggregators do after a
reshard: https://github.com/awslabs/kinesis-aggregation/blob/master/potential_data_loss.md

Only the record's data itself can be an aggregate. What a device published stands in the rule's
envelope as base64, and is a payload whatever it begins with.

Format: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
"""

from collections.abc import Iterator
from hashlib import md5
from typing import Final

from msgspec.structs import replace

from telemetry_contract.decoding import decode_record
from telemetry_contract.json_text import UTF8_BOM
from telemetry_contract.limits import Limits
from telemetry_contract.reading import elements_of
from telemetry_contract.record import Microseconds, Record
from telemetry_contract.rejection import ContractViolation, Reason, Rejection

# No UTF-8 text begins so, hence no payload that the contract takes.
MAGIC: Final = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES: Final = 16

# Fields of AggregatedRecord, and of its Record.
_PARTITION_KEY, _HASH_KEY, _RECORD = 1, 2, 3
_PARTITION_KEY_INDEX, _HASH_KEY_INDEX, _DATA = 1, 2, 3

# https://protobuf.dev/programming-guides/encoding/#structure
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED_64: 8, _FIXED_32: 4}
_LONGEST_VARINT: Final = 10


def de_aggregate(
    position: str, arrival_time: Microseconds, data: bytes, limits: Limits
) -> Iterator[Record | Rejection]:
    """What the aggregate holds, each with its place; one rejection if it is not whole.

    A user record that is an array takes a place for each element, as if each had been added alone.
    """
    try:
        parts = user_records(data)
    except ContractViolation as violation:
        whole = Record(position, arrival_time, data)
        yield Rejection(whole, 0, violation.reason, violation.detail, data)
        return
    place = 0
    for part in parts:
        for one in _unfolded(decode_record(position, arrival_time, part, limits), limits):
            yield replace(one, sub_sequence=place)
            place += 1


def records_in(
    position: str, arrival_time: Microseconds, data: bytes, limits: Limits
) -> Iterator[Record | Rejection]:
    """What any record holds, an aggregate or not: what the consumer makes of it, call by call."""
    if data.startswith(MAGIC):
        yield from de_aggregate(position, arrival_time, data, limits)
    else:
        yield decode_record(position, arrival_time, data, limits)


def user_records(data: bytes) -> list[bytes]:
    """The data of an aggregate's user records. ContractViolation: malformed_aggregate."""
    message, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if md5(message, usedforsecurity=False).digest() != digest:
        raise _malformed("the checksum is not that of its content")
    partition_keys = hash_keys = 0
    records: list[bytes] = []
    for field, value in _fields_of(message):
        if field == _PARTITION_KEY:
            partition_keys += 1
        elif field == _HASH_KEY:
            hash_keys += 1
        elif field == _RECORD:
            records.append(_bytes(value))
    if not records:
        # Accepted, it would be a record that is in no zone.
        raise _malformed("there is no user record in it")
    return [_data_of(record, partition_keys, hash_keys) for record in records]


def _data_of(record: bytes, partition_keys: int, hash_keys: int) -> bytes:
    data: bytes | None = None
    partition_key: int | bytes | None = None
    hash_key: int | bytes = -1
    for field, value in _fields_of(record):
        if field == _DATA:
            data = _bytes(value)
        elif field == _PARTITION_KEY_INDEX:
            partition_key = value
        elif field == _HASH_KEY_INDEX:
            hash_key = value
    if data is None or partition_key is None:
        raise _malformed("a user record has no data or no partition key")
    # The keys are not needed here; but a table that lacks them shows that something is missing.
    if not (_is_below(partition_key, partition_keys) and _is_below(hash_key, hash_keys)):
        raise _malformed("a user record names a key that is not in its table")
    return data


def _fields_of(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field; of unknown ones too, as protobuf's own parsers skip them."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        field, kind = key >> 3, key & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = _varint(message, place)
        else:
            if kind == _BYTES:
                size, place = _varint(message, place)
            elif kind in _FIXED_SIZES:
                size = _FIXED_SIZES[kind]
            else:
                raise _malformed(f"there is no wire type {kind}")
            value = message[place : place + size]
            place += size
            if place > len(message):
                raise _malformed("a field is longer than what is left")
        yield field, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    # Nearly all are below 128: keys, indices, short lengths.
    if place < len(message) and (first := message[place]) < 0x80:
        return first, place + 1
    number = 0
    for shift, byte in enumerate(message[place : place + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number, place + shift + 1
    raise _malformed("a number does not end")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _malformed("a number stands where bytes belong")
    return value


def _is_below(index: int | bytes, length: int) -> bool:
    return isinstance(index, int) and index < length


def _malformed(detail: str) -> ContractViolation:
    return ContractViolation(Reason.MALFORMED_AGGREGATE, detail)


def _unfolded(decoded: Record | Rejection, limits: Limits) -> Iterator[Record | Rejection]:
    """The record itself, or if its payload is an array a record for each element."""
    if isinstance(decoded, Rejection):
        yield decoded
        return
    if not decoded.payload.removeprefix(UTF8_BOM).lstrip().startswith(b"["):
        yield decoded
        return
    try:
        elements = list(elements_of(decoded, limits))
    except ContractViolation as violation:
        yield Rejection(decoded, 0, violation.reason, violation.detail, decoded.payload)
        return
    for _, payload in elements:
        yield replace(decoded, payload=payload)
