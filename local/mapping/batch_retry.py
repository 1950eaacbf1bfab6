"""What becomes of a batch after an attempt: done, retried, split or discarded. Decisions only.

Nothing here reads a clock, waits or calls anything, so that every rule can be tested by itself.
Guarantee: each record of a batch is in exactly one of `done`, `again` and `discarded`, in its
order.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from local.mapping.kinesis_event import EventRecord


class Condition(StrEnum):
    """Why records were discarded, in the words of the invocation record."""

    RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
    AGE_EXCEEDED = "RecordAgeExceeded"
    # AWS documents that such a record goes to the destination only, but not under which word.
    TOO_LARGE = "RecordSizeExceeded"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The mapping's settings for failures. None: without limit. Back-off in seconds."""

    maximum_retry_attempts: int | None = None
    maximum_record_age_seconds: float | None = None
    bisect_on_function_error: bool = False
    # AWS documents that it backs off, but not by how much.
    first_backoff_seconds: float = 1.0
    longest_backoff_seconds: float = 60.0

    def backoff_seconds(self, attempts: int) -> float:
        """How long to wait after the `attempts`-th attempt in a row without success."""
        doublings = min(attempts - 1, 30)
        return min(self.longest_backoff_seconds, self.first_backoff_seconds * 2.0**doublings)


@dataclass(frozen=True, slots=True)
class Failure:
    """The last answer of the function about a batch: its request id and its FunctionError."""

    request_id: str
    function_error: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that go to the function together, and what was tried with them so far.

    `failed_attempts` counts against the retry quota; `attempts` are all attempts in a row, whatever
    stood in their way, and drive the back-off; `invocations` are those that reached the function.
    """

    records: tuple[EventRecord, ...]
    failed_attempts: int = 0
    attempts: int = 0
    invocations: int = 0
    not_before: float = 0.0
    last_failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """Records that are given up. They go to the on-failure destination if there is one."""

    records: tuple[EventRecord, ...]
    condition: Condition
    invocations: int
    last_failure: Failure | None = None
    delivery_attempts: int = 0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The function returned."""


@dataclass(frozen=True, slots=True)
class FunctionFailed:
    """The function was invoked and raised, timed out or ended."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class NotInvoked:
    """The function could not be invoked: throttled, missing, or the service failed."""

    reason: str


Outcome = Succeeded | FunctionFailed | NotInvoked


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: records that are finished, then what comes next, in this order."""

    done: tuple[EventRecord, ...] = ()
    again: tuple[Batch | Discard, ...] = ()


def decide(batch: Batch, outcome: Outcome, policy: RetryPolicy, now: float) -> Decision:
    """What becomes of `batch` after `outcome`; `now` in epoch seconds."""
    match outcome:
        case Succeeded():
            return Decision(done=batch.records)
        case NotInvoked():
            # A throttle is no attempt: it is retried until the records' age, whatever the quota.
            return Decision(again=(_later(batch, policy, now),))
        case FunctionFailed(failure):
            invoked = replace(batch, invocations=batch.invocations + 1, last_failure=failure)
            if policy.bisect_on_function_error and len(batch.records) > 1:
                return Decision(again=_halves(invoked))
            failed = replace(invoked, failed_attempts=batch.failed_attempts + 1)
            quota = policy.maximum_retry_attempts
            if quota is not None and failed.failed_attempts > quota:
                return Decision(again=(_given_up(failed, Condition.RETRIES_EXHAUSTED),))
            return Decision(again=(_later(failed, policy, now),))


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """Splitting does not use up the quota, and the halves are tried at once."""
    middle = (len(batch.records) + 1) // 2
    return (
        replace(batch, records=batch.records[:middle], attempts=0),
        replace(batch, records=batch.records[middle:], attempts=0),
    )


def _later(batch: Batch, policy: RetryPolicy, now: float) -> Batch:
    attempts = batch.attempts + 1
    return replace(batch, attempts=attempts, not_before=now + policy.backoff_seconds(attempts))


def _given_up(batch: Batch, condition: Condition) -> Discard:
    return Discard(batch.records, condition, batch.invocations, batch.last_failure)


def set_aside_expired(batch: Batch, policy: RetryPolicy, now: float) -> tuple[Batch | Discard, ...]:
    """The records of `batch` that are older than the policy allows, discarded, then the others.

    The maximum age is that of a record which is *sent* to the function, so this holds before every
    attempt, the first included.
    """
    age = policy.maximum_record_age_seconds
    if age is None or now - min(record.arrived_at for record in batch.records) <= age:
        return (batch,)
    expired = tuple(record for record in batch.records if now - record.arrived_at > age)
    young = tuple(record for record in batch.records if now - record.arrived_at <= age)
    discard = _given_up(replace(batch, records=expired), Condition.AGE_EXCEEDED)
    return (discard, replace(batch, records=young)) if young else (discard,)
