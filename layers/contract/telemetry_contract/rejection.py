"""Reasons for which a reading is rejected, each said once, and what is kept of it.

A rejection is a success of the consumer: the bytes go to the rejected zone with their reason and
can be redriven. Nothing but the data itself leads here; trouble with S3 or KMS never does.
"""

from enum import StrEnum
from typing import Final

import msgspec

from telemetry_contract.record import Record

# Details are for people and for grouping in SQL; they never hold the payload, which is kept beside.
LONGEST_DETAIL: Final = 300


class Reason(StrEnum):
    """Why a reading was rejected. `description` says it to people."""

    description: str

    def __new__(cls, code: str, description: str) -> "Reason":
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.description = description
        return reason

    TOO_LARGE = "too_large", "The payload is larger than the limit; it was not parsed."
    NOT_UTF8 = "not_utf8", "The payload is not UTF-8 text."
    TOO_DEEP = "too_deep", "Objects and arrays are nested deeper than the limit; it was not parsed."
    NOT_JSON = "not_json", "The payload is not JSON (RFC 8259; NaN and Infinity are not)."
    NOT_AN_OBJECT = "not_an_object", "A reading has to be a JSON object."
    EMPTY_ARRAY = "empty_array", "The payload is an array without readings."
    MALFORMED_ENVELOPE = "malformed_envelope", "The rule's envelope is broken: see the detail."
    MALFORMED_AGGREGATE = (
        "malformed_aggregate",
        "The record begins like a KPL aggregate and is none, or is damaged: see the detail.",
    )
    DEVICE_ID_MISSING = "device_id_missing", "No device id."
    DEVICE_ID_INVALID = (
        "device_id_invalid",
        "The device id is not a text of 1 to 128 letters, digits and `_ - : . @ +`.",
    )
    IDENTITY_MISMATCH = (
        "identity_mismatch",
        "The payload names another device than its topic, or the topic begins with `dt/` and "
        "names none.",
    )
    TIMESTAMP_MISSING = "timestamp_missing", "No event time."
    TIMESTAMP_INVALID = "timestamp_invalid", "The event time is no time."
    TIMESTAMP_OUT_OF_RANGE = (
        "timestamp_out_of_range",
        "The event time is before the earliest accepted or too far after the arrival.",
    )


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A reading that breaks the contract: its record, its own bytes, the reason.

    `payload` is the whole payload, or for an element of an array that element's bytes; for a
    malformed envelope or aggregate, of which no payload can be had, it is the record's data.
    """

    record: Record
    sub_sequence: int
    reason: Reason
    detail: str
    payload: bytes

    @property
    def record_id(self) -> str:
        """`<shard>:<sequence>:<sub_sequence>`."""
        return f"{self.record.position}:{self.sub_sequence}"


class ContractViolation(Exception):  # noqa: N818 -- the sender's fault, not an error of this code
    """Raised where a payload is found to break the contract; caught where rejections are made."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail[:LONGEST_DETAIL]
