"""Event source mappings: what carries a stream's records to a function, until they are done.

Guarantees: a record is delivered at least once, in the order of its partition key; enabling,
disabling and changing a mapping loses nothing, because its checkpoints outlive all three; a setting
that is not understood is refused.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from local.api import ApiError
from local.mapping.batch_retry import (
    Batch,
    Discard,
    Failure,
    FunctionFailed,
    NotInvoked,
    Outcome,
    Succeeded,
)
from local.mapping.invocation_record import invocation_record, object_key
from local.mapping.kinesis_event import event_payload
from local.mapping.settings import CREATE_ONLY, MappingSettings, invalid, mapping_settings
from local.mapping.shard_consumer import Actions
from local.mapping.shard_reader import KinesisClient
from local.mapping.stream_consumer import Checkpoints, StreamConsumer
from local.metrics import Datum, counts

_log = logging.getLogger(__name__)


class InvocationResult(Protocol):
    """What an invocation answers (`local.functions.runtime.Invocation`)."""

    @property
    def request_id(self) -> str: ...

    @property
    def error(self) -> str | None: ...


@dataclass(frozen=True)
class Surroundings:
    """What mappings work with.

    `invoke(function_name, payload)` raises ApiError when the function could not be invoked.
    `put_object(Bucket=, Key=, Body=)` is boto3's. `now` gives epoch seconds. `role_arn` tells a
    function's role.
    """

    kinesis: KinesisClient
    invoke: Callable[[str, bytes], InvocationResult]
    put_object: Callable[..., object]
    add_metrics: Callable[..., None]
    executor: Executor
    role_arn: Callable[[str], str] = lambda _name: ""
    now: Callable[[], float] = time.time


class EventSourceMapping:
    """One mapping: its settings, its checkpoints and, while enabled, its consumer.

    `step` does what can be done now; a thread (`start`) calls it again and again, and tests call it
    themselves. Changes of settings take effect when what is at the function has been answered.
    """

    def __init__(
        self, uuid: str, properties: Mapping[str, Any], surroundings: Surroundings
    ) -> None:
        self.uuid = uuid
        self.properties = dict(properties)
        self.modified_at = surroundings.now()
        self.last_result = "No records processed"
        self._settings = mapping_settings(properties)
        self._surroundings = surroundings
        self._checkpoints = Checkpoints()
        self._consumer: StreamConsumer | None = None
        self._consumed_with: MappingSettings | None = None
        self._ending = False
        self._stepped_at = 0.0
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def settings(self) -> MappingSettings:
        """The settings that hold, or will as soon as running invocations have been answered."""
        return self._settings

    @property
    def state(self) -> str:
        """AWS's word for what the mapping is doing."""
        running, wanted = self._consumed_with, self._settings
        if self._ending:
            return "Deleting"
        if running is None:
            return "Enabling" if wanted.enabled else "Disabled"
        if not wanted.enabled:
            return "Disabling"
        return "Enabled" if running == wanted else "Updating"

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change settings; ApiError if they are wrong or can't be changed."""
        fixed = sorted(CREATE_ONLY & changes.keys())
        if fixed:
            raise invalid(f"{', '.join(fixed)}: can't be changed")
        self.replace_properties(self.properties | dict(changes))

    def replace_properties(self, properties: Mapping[str, Any]) -> None:
        """Put `properties` in the place of all that were set; ApiError if they are wrong."""
        settings = mapping_settings(properties)
        with self._lock:
            self.properties, self._settings = dict(properties), settings
            self.modified_at = self._surroundings.now()
        self._wake.set()

    def step(self) -> float:
        """Do what can be done now; the time at which to come back at the latest (epoch seconds)."""
        now = self._surroundings.now()
        with self._lock:
            settings = self._settings
            # A clock that went back would let the consumer wait until its times come once more.
            went_back = now < self._stepped_at
            outdated = self._ending or self._consumed_with != settings or went_back
            if self._consumer is not None and outdated:
                self._consumer.collect(now)
                if self._consumer.busy:
                    return now + 1.0
                self._consumer = self._consumed_with = None
            self._stepped_at = now
            if self._ending or not settings.enabled:
                return now + 60.0
            if self._consumer is None:
                self._consumer, self._consumed_with = self._new_consumer(settings), settings
            return self._consumer.step(now)

    def restart(self) -> None:
        """Drop all that is under way, and go on from the checkpoints with the next step.

        What is at the function ends there with nobody to hear of it, and is delivered again.
        """
        with self._lock:
            self._consumer = self._consumed_with = None

    def status(self) -> dict[str, Any]:
        """State and `behind`: the records of the stream that are not behind a checkpoint.

        `behind` is None when the stream can't tell.
        """
        with self._lock:
            consumer = self._consumer or self._new_consumer(self._settings)
            behind: int | None = None
            try:
                behind = consumer.behind()
            except (ApiError, ClientError, BotoCoreError) as error:
                _log.info("mapping %s can't tell what is behind: %s", self.uuid, error)
            return {
                "uuid": self.uuid,
                "function": self._settings.function_name,
                "stream": self._settings.stream_name,
                "state": self.state,
                "behind": behind,
                "last_result": consumer.problem or self.last_result,
            }

    def start(self) -> None:
        """Step in a thread of its own until `stop`."""
        self._thread = threading.Thread(
            target=self._run, name=f"mapping-{self.uuid[:8]}", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_seconds: float | None = None) -> None:
        """Take nothing new to the function, and wait for what is there."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                due = self.step()
            except Exception:  # noqa: BLE001 - a bug of ours must not end the mapping silently
                _log.exception("mapping %s failed; it goes on from its checkpoints", self.uuid)
                self.restart()
                due = self._surroundings.now() + 5.0
            if self._ending and self._consumer is None:
                return
            self._wake.wait(max(0.0, due - self._surroundings.now()))

    def _new_consumer(self, settings: MappingSettings) -> StreamConsumer:
        surroundings = self._surroundings
        meter = _Meter(self.uuid, settings, surroundings)
        actions = Actions(
            invoke=partial(self._invoke, settings),
            deliver=partial(self._deliver, settings) if settings.destination_bucket else None,
            submit=self._submit,
            counts=meter,
        )
        role_arn = surroundings.role_arn(settings.function_name)
        return StreamConsumer(surroundings.kinesis, settings, self._checkpoints, actions, role_arn)

    def _submit(self, task: Callable[[], Outcome | bool]) -> "Future[Outcome | bool]":
        future = self._surroundings.executor.submit(task)
        future.add_done_callback(lambda _future: self._wake.set())
        return future

    def _invoke(self, settings: MappingSettings, batch: Batch) -> Outcome:
        try:
            answer = self._surroundings.invoke(settings.function_name, event_payload(batch.records))
        except (ApiError, BotoCoreError) as error:
            self.last_result = f"PROBLEM: {error}"
            return NotInvoked(str(error))
        except Exception as error:  # noqa: BLE001 - a bug of ours must not lose the records
            _log.exception("invoking %s failed", settings.function_name)
            self.last_result = "PROBLEM: the local cloud failed to invoke the function"
            return NotInvoked(repr(error))
        if answer.error is None:
            self.last_result = "OK"
            return Succeeded()
        self.last_result = "PROBLEM: Function call failed"
        return FunctionFailed(Failure(answer.request_id, answer.error))

    def _deliver(self, settings: MappingSettings, discard: Discard, shard_id: str) -> bool:
        now = self._surroundings.now()
        body = invocation_record(discard, settings.function_arn, settings.stream_arn, shard_id, now)
        try:
            self._surroundings.put_object(
                Bucket=settings.destination_bucket,
                Key=object_key(self.uuid, shard_id, now),
                Body=body,
            )
        except Exception:  # noqa: BLE001 - whatever S3's client raises, it is tried again
            _log.exception("mapping %s could not deliver to its destination", self.uuid)
            return False
        return True


class _Meter:
    """Counts into CloudWatch: the mapping's events where asked for, the function's iterator age."""

    def __init__(self, uuid: str, settings: MappingSettings, surroundings: Surroundings) -> None:
        self._mapping = {"EventSourceMappingUUID": uuid}
        self._function = {"FunctionName": settings.function_name}
        self._counts_events = settings.counts_events
        self._surroundings = surroundings

    def count(self, name: str, records: int) -> None:
        of_function = name == "DestinationDeliveryFailures"
        if of_function or self._counts_events:
            dimensions = self._function if of_function else self._mapping
            now = self._surroundings.now()
            self._surroundings.add_metrics(*counts("AWS/Lambda", dimensions, {name: records}, now))

    def iterator_age(self, seconds: float) -> None:
        milliseconds = (max(0.0, seconds * 1000),)
        now = self._surroundings.now()
        self._surroundings.add_metrics(
            Datum("AWS/Lambda", "IteratorAge", milliseconds, now, "Milliseconds", self._function)
        )


class EventSourceMappings:
    """All mappings of the local cloud. Thread-safe."""

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        start: Callable[[EventSourceMapping], None] = EventSourceMapping.start,
    ) -> None:
        self._surroundings = surroundings
        self._start = start
        self._mappings: dict[str, EventSourceMapping] = {}
        self._lock = threading.Lock()

    def create(self, properties: Mapping[str, Any]) -> EventSourceMapping:
        """A new mapping, started; ApiError if its properties are wrong or such a mapping exists."""
        mapping = EventSourceMapping(str(uuid4()), properties, self._surroundings)
        with self._lock:
            for other in self._mappings.values():
                if _joins(other) == _joins(mapping):
                    raise ApiError(
                        "ResourceConflictException",
                        f"A mapping of {mapping.settings.stream_arn} to"
                        f" {mapping.settings.function_name} exists: {other.uuid}",
                        409,
                    )
            self._mappings[mapping.uuid] = mapping
        self._start(mapping)
        return mapping

    def get(self, uuid: str) -> EventSourceMapping:
        """The mapping; ApiError if there is none."""
        with self._lock:
            if uuid in self._mappings:
                return self._mappings[uuid]
        raise ApiError("ResourceNotFoundException", f"There is no mapping {uuid}", 404)

    def find(self, stream_arn: str | None, name: str | None) -> list[EventSourceMapping]:
        """The mappings of a stream, of a function, of both, or all."""
        with self._lock:
            return [
                mapping
                for mapping in self._mappings.values()
                if stream_arn in (None, mapping.settings.stream_arn)
                and name in (None, mapping.settings.function_name)
            ]

    def delete(self, uuid: str) -> EventSourceMapping:
        """Take the mapping out and end it, without waiting for what is at the function."""
        mapping = self.get(uuid)
        with self._lock:
            self._mappings.pop(uuid, None)
        mapping.stop(timeout_seconds=0)
        return mapping

    def status(self) -> list[dict[str, Any]]:
        """`EventSourceMapping.status` of each."""
        return [mapping.status() for mapping in self.find(None, None)]

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End every mapping."""
        mappings = self.find(None, None)
        for mapping in mappings:
            mapping.stop(timeout_seconds=0)  # all of them first, so that they end side by side
        for mapping in mappings:
            mapping.stop(timeout_seconds)


def _joins(mapping: EventSourceMapping) -> tuple[str, str]:
    return mapping.settings.stream_arn, mapping.settings.function_name


def described(mapping: EventSourceMapping) -> dict[str, Any]:
    """The mapping as the API tells it (EventSourceMappingConfiguration)."""
    settings = mapping.settings
    answer: dict[str, Any] = {
        "UUID": mapping.uuid,
        "EventSourceArn": settings.stream_arn,
        "FunctionArn": settings.function_arn,
        "StartingPosition": settings.starting_position,
        "BatchSize": settings.batches.batch_size,
        "MaximumBatchingWindowInSeconds": int(settings.batches.batching_window_seconds),
        "ParallelizationFactor": settings.batches.parallelization_factor,
        "MaximumRetryAttempts": _or_unlimited(settings.retries.maximum_retry_attempts),
        "MaximumRecordAgeInSeconds": _or_unlimited(settings.retries.maximum_record_age_seconds),
        "BisectBatchOnFunctionError": settings.retries.bisect_on_function_error,
        "DestinationConfig": {"OnFailure": {}},
        "MetricsConfig": {"Metrics": ["EventCount"] if settings.counts_events else []},
        "FunctionResponseTypes": [],
        "TumblingWindowInSeconds": 0,
        "LastModified": mapping.modified_at,
        "LastProcessingResult": mapping.last_result,
        "State": mapping.state,
        "StateTransitionReason": "User action",
    }
    if settings.destination_bucket:
        destination = f"arn:aws:s3:::{settings.destination_bucket}"
        answer["DestinationConfig"] = {"OnFailure": {"Destination": destination}}
    if settings.starting_at is not None:
        answer["StartingPositionTimestamp"] = settings.starting_at
    return answer


def _or_unlimited(limit: float | None) -> int:
    return -1 if limit is None else int(limit)
