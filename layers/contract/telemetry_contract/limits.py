"""What an operator may decide about readings, handed to every decision explicitly."""

from dataclasses import dataclass
from typing import Final, Literal

from telemetry_contract.record import Microseconds

type IdentityMismatchPolicy = Literal["reject", "flag"]
type MissingTimestampPolicy = Literal["reject", "arrival_time"]

MICROSECONDS_PER_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and policies. The defaults are those of the template.

    Event times are accepted from `earliest_event_time` to `max_event_time_ahead` after the record's
    arrival; one further than `clock_skew_flag` from the arrival is flagged.

    `max_payload_bytes`: Kinesis takes 1 MiB per record unless a stream is told otherwise.
    `max_depth`: readings are flat; parsers that recurse are kept far from the end of their stack.
    """

    earliest_event_time: Microseconds = 946_684_800 * MICROSECONDS_PER_SECOND  # 2000-01-01
    max_event_time_ahead: Microseconds = 86_400 * MICROSECONDS_PER_SECOND
    clock_skew_flag: Microseconds = 3_600 * MICROSECONDS_PER_SECOND
    identity_mismatch_policy: IdentityMismatchPolicy = "reject"
    missing_timestamp_policy: MissingTimestampPolicy = "reject"
    max_payload_bytes: int = 1_048_576
    max_depth: int = 64
