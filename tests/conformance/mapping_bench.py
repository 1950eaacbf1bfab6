"""What the tests of the event source mapping run on: a stream, a function of their own, a clock.

Nothing here has threads: an invocation runs where it is submitted, or when the test says so.
"""

import base64
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from local.api import ApiError
from local.kinesis.streams import Streams
from local.mapping.event_source_mapping import EventSourceMapping, Surroundings
from local.metrics import Datum

STREAM = "telemetry"
STREAM_ARN = f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}"
FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:ingest"
ROLE_ARN = "arn:aws:iam::123456789012:role/ingest"
BUCKET_ARN = "arn:aws:s3:::failed-zone"
ON_FAILURE = {"OnFailure": {"Destination": BUCKET_ARN}}
START = 1_790_000_000.0  # 21 September 2026


class ThrottledError(ApiError):
    """What Lambda answers when the function's concurrency is used up."""

    def __init__(self) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.", 429)


class Inline(Executor):
    """Runs each task where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Held(Executor):
    """Keeps tasks until the test runs them, in the order that it likes."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run(self, index: int = 0) -> None:
        """Run the task at `index` of those that wait."""
        future, task = self.waiting.pop(index)
        future.set_result(task())


@dataclass(frozen=True)
class Answer:
    """A function's answer: no error, or a FunctionError."""

    error: str | None = None
    request_id: str = "c9b8fa9f-5a7f-4e0a-af9c-0c604cde93a5"


FAILURE = Answer("Unhandled")


@dataclass
class Bench:
    """A stream of `shards` shards, a function and what it was given, and a mapping once made."""

    shards: int = 1
    executor: Executor = field(default_factory=Inline)
    now: float = START
    batches: list[list[dict[str, Any]]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    metrics: list[Datum] = field(default_factory=list)
    # Answers for the next invocations, or a function of the event's data; then success.
    answers: list[Answer | ApiError] = field(default_factory=list)
    answer_for: Callable[[list[str]], Answer | ApiError] = lambda _data: Answer()
    destination_fails: int = 0
    throttling: bool = False

    def __post_init__(self) -> None:
        self.streams = Streams(lambda: round(self.now * 1000), throttling=self.throttling)
        self.streams.create_stream(StreamName=STREAM, ShardCount=self.shards)
        self.surroundings = Surroundings(
            kinesis=self.streams,
            invoke=self._invoke,
            put_object=self._put_object,
            add_metrics=lambda *data: self.metrics.extend(data),
            executor=self.executor,
            role_arn=lambda _name: ROLE_ARN,
            now=lambda: self.now,
        )

    def mapping(self, **properties: Any) -> EventSourceMapping:
        """A mapping of the stream to the function, from the oldest record on."""
        self.made = EventSourceMapping(
            "14e0db71-5d35-4eb5-b481-8945cf9d10c2",
            {
                "EventSourceArn": STREAM_ARN,
                "FunctionName": FUNCTION_ARN,
                "StartingPosition": "TRIM_HORIZON",
                **properties,
            },
            self.surroundings,
        )
        return self.made

    def put(self, *data: str, key: str = "device-1") -> None:
        """Put a record for each of `data`, in order."""
        for one in data:
            self.streams.put_record(StreamName=STREAM, PartitionKey=key, Data=one.encode())

    def run(self, seconds: float = 0.0) -> None:
        """Let the mapping do everything that is due within `seconds`, moving the clock with it."""
        until = self.now + seconds
        while True:
            due = self.made.step()
            if due > until:
                self.now = until
                self.made.step()
                return
            self.now = max(self.now, due)

    def given(self) -> list[list[str]]:
        """The data of each invocation's records."""
        return [data_of(batch) for batch in self.batches]

    def records(self) -> list[str]:
        """The data that the function was given, over all invocations."""
        return [one for batch in self.given() for one in batch]

    def total(self, name: str) -> float:
        """The sum of a metric."""
        return sum(sum(datum.values) for datum in self.metrics if datum.name == name)

    def discarded(self) -> list[list[str]]:
        """The data of the records in each object of the on-failure destination."""
        events = [json.loads(json.loads(body)["payload"]) for body in self.objects.values()]
        return [data_of(event["Records"]) for event in events]

    def _invoke(self, name: str, payload: bytes) -> Answer:
        assert name == "ingest"
        records = json.loads(payload)["Records"]
        answer = self.answers.pop(0) if self.answers else self.answer_for(data_of(records))
        if isinstance(answer, ApiError):
            raise answer
        self.batches.append(records)
        return answer

    def _put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
        assert Bucket == "failed-zone"
        if self.destination_fails:
            self.destination_fails -= 1
            raise OSError("the destination does not answer")
        self.objects[Key] = Body


def data_of(records: Sequence[dict[str, Any]]) -> list[str]:
    """The data of an event's records, as text."""
    return [base64.b64decode(record["kinesis"]["data"]).decode() for record in records]
