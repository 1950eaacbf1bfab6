"""Reads one shard of a stream in order, from a position that survives its iterators.

Guarantee: every record after the position is returned exactly once per reader, whatever iterators
expire in between, and `ended` is true only when a closed shard was read to its end.

https://docs.aws.amazon.com/streams/latest/dev/developing-consumers-with-sdk.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from local.api import ApiError

MAX_RECORDS_PER_READ: Final = 10_000


class KinesisClient(Protocol):
    """What a mapping needs of Kinesis: boto3's client, or the streams of the local cloud."""

    def list_shards(self, **kwargs: Any) -> Any: ...

    def get_shard_iterator(self, **kwargs: Any) -> Any: ...

    def get_records(self, **kwargs: Any) -> Any: ...

    def describe_stream_summary(self, **kwargs: Any) -> Any: ...


def error_code(error: ApiError | ClientError) -> str:
    """AWS's name of `error`, from whichever of the two clients it came."""
    if isinstance(error, ApiError):
        return error.code
    code: str = error.response["Error"]["Code"]
    return code


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading goes on: a type of shard iterator with what it needs.

    `iterator` is one that is already there, and is preferred while it is valid: between the newest
    record and the next one, nothing else names the place.
    """

    iterator_type: str
    sequence_number: str | None = None
    at: float | None = None  # epoch seconds
    iterator: str | None = None


def after(sequence_number: str) -> Position:
    """The position behind a record."""
    return Position("AFTER_SEQUENCE_NUMBER", sequence_number)


class ShardReader:
    """A cursor on one shard. Not thread-safe."""

    def __init__(self, kinesis: KinesisClient, stream_arn: str, shard_id: str, start: Position):
        self._kinesis = kinesis
        self._stream_arn = stream_arn
        self._shard_id = shard_id
        self._start = start
        self._iterator = start.iterator
        self.last_read: str | None = None
        self.ended = False
        self.millis_behind = 0

    @property
    def start(self) -> Position:
        """Where a new reader would have to start to read everything that this one was given."""
        return self._start

    @property
    def position(self) -> Position:
        """Where the next read goes on."""
        return self._start if self.last_read is None else after(self.last_read)

    def open(self, now: float) -> None:
        """Take the place in the shard now, which matters for LATEST; `now` in epoch seconds."""
        if self._iterator is None and not self.ended:
            self._iterator = self._new_iterator(self.position)
            if self._start.iterator_type == "LATEST":
                self._start = Position("AT_TIMESTAMP", at=now, iterator=self._iterator)

    def read(self, now: float, limit: int = MAX_RECORDS_PER_READ) -> Sequence[Mapping[str, Any]]:
        """The next records, at most `limit`; ApiError or ClientError as Kinesis raises them."""
        if self.ended:
            return ()
        self.open(now)
        answer = self._get_records(limit)
        records: Sequence[Mapping[str, Any]] = answer["Records"]
        self._iterator = answer.get("NextShardIterator")
        self.ended = self._iterator is None
        self.millis_behind = answer.get("MillisBehindLatest", 0)
        if records:
            self.last_read = records[-1]["SequenceNumber"]
        elif self.last_read is None and self._start.iterator is not None and self._iterator:
            self._start = Position("AT_TIMESTAMP", at=self._start.at, iterator=self._iterator)
        return records

    def count_unread(self, most: int = 100_000) -> int:
        """How many records wait in the shard beyond the last one read; counting ends at `most`."""
        if self.ended:
            return 0
        count = 0
        answer = self._get_records(MAX_RECORDS_PER_READ)
        while count < most:
            count += len(answer["Records"])
            iterator = answer.get("NextShardIterator")
            at_tip = not answer["Records"] and answer.get("MillisBehindLatest", 0) == 0
            if iterator is None or at_tip:
                break
            answer = self._kinesis.get_records(ShardIterator=iterator, Limit=MAX_RECORDS_PER_READ)
        return count

    def _get_records(self, limit: int) -> Any:
        """GetRecords where this reader stands. Iterators live five minutes; the position longer."""
        if self._iterator is not None:
            try:
                return self._kinesis.get_records(ShardIterator=self._iterator, Limit=limit)
            except (ApiError, ClientError) as error:
                if error_code(error) != "ExpiredIteratorException":
                    raise
        self._iterator = self._new_iterator(self.position)
        return self._kinesis.get_records(ShardIterator=self._iterator, Limit=limit)

    def _new_iterator(self, position: Position) -> str:
        request: dict[str, Any] = {"ShardIteratorType": position.iterator_type}
        if position.sequence_number is not None:
            request["StartingSequenceNumber"] = position.sequence_number
        if position.at is not None:
            request["Timestamp"] = datetime.fromtimestamp(position.at, UTC)
        answer = self._kinesis.get_shard_iterator(
            StreamARN=self._stream_arn, ShardId=self._shard_id, **request
        )
        iterator: str = answer["ShardIterator"]
        return iterator
