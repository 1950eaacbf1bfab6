"""Kinesis Data Streams, in memory: what stands between the intake and the consumer.

Guarantees: a record whose put was acknowledged is read back from its shard, once, in order, until
the stream's retention ends, however many producers put and however often the stream is scaled;
limits and errors are those that AWS documents. Throughput limits hold when `throttling` is on.

Methods take and give what boto3's Kinesis client does, so that code which takes a client works with
either. https://docs.aws.amazon.com/kinesis/latest/APIReference/
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from local.api import ACCOUNT_ID, ApiError, Operation, decode_blob
from local.kinesis.settings import StreamSettings
from local.kinesis.shard import MAX_HASH_KEY, Shard, StoredRecord
from local.kinesis.stream import Stream, epoch_ms, hash_key_range

ITERATOR_LIFE_MS: Final = 300_000
MAX_ITERATOR_LENGTH: Final = 512
MAX_GET_RECORDS: Final = 10_000
MAX_GET_BYTES: Final = 10 * 1024 * 1024
MAX_PUT_RECORDS: Final = 500
# 5 MiB until 2025; the request limit grew with records of up to 10 MiB.
# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
MAX_PUT_BYTES: Final = 10 * 1024 * 1024

_HASH_KEY = re.compile(r"0|[1-9]\d{0,38}")
_SEQUENCE_NUMBER = re.compile(r"0|[1-9]\d{0,128}")


class Streams(StreamSettings):
    """All streams of the local cloud.

    `now_ms` gives epoch milliseconds.
    """

    def __init__(self, now_ms: Callable[[], int], *, throttling: bool = False) -> None:
        super().__init__(now_ms)
        self.throttling = throttling

    def operations(self) -> dict[str, Operation]:
        """The JSON API, by `X-Amz-Target`."""
        named: dict[str, Callable[..., dict[str, Any]]] = {
            "PutRecord": self.put_record,
            "PutRecords": self.put_records,
            "GetShardIterator": self.get_shard_iterator,
            "GetRecords": self.get_records,
            **self.settings_operations(),
        }
        return {f"Kinesis_20131202.{name}": _operation(method) for name, method in named.items()}

    # ------------------------------------------------------------------------------ putting

    def put_record(self, **request: Any) -> dict[str, Any]:
        """PutRecord: store one record; its shard and sequence number."""
        stream = self._stream(request)
        record = _Put.of(request)
        if problem := record.size_problem(stream, "data"):
            raise ApiError("ValidationException", problem)
        if (ordering := request.get("SequenceNumberForOrdering")) is not None:
            _check_pattern("sequenceNumberForOrdering", ordering, _SEQUENCE_NUMBER)
        with stream.lock:
            result = self._store(stream, record, self.now_ms())
        if "ErrorCode" in result:
            raise ApiError(result["ErrorCode"], result["ErrorMessage"])
        return {**result, **_encryption(stream)}

    def put_records(self, **request: Any) -> dict[str, Any]:
        """PutRecords: store up to 500 records; per record its place or its error."""
        stream = self._stream(request)
        entries = request.get("Records") or []
        if not 1 <= len(entries) <= MAX_PUT_RECORDS:
            raise _constraint(
                "records",
                f"{len(entries)} records",
                f"Member must have length between 1 and {MAX_PUT_RECORDS}",
            )
        records = [_Put.of(entry) for entry in entries]
        for position, record in enumerate(records, 1):
            if problem := record.size_problem(stream, f"records.{position}.member.data"):
                raise ApiError("ValidationException", problem)
        if sum(record.size for record in records) > MAX_PUT_BYTES:
            raise ApiError("InvalidArgumentException", "Records size exceeds 10 MB limit")
        with stream.lock:
            now_ms = self.now_ms()
            results = [self._store(stream, record, now_ms) for record in records]
        failed = sum("ErrorCode" in result for result in results)
        return {"FailedRecordCount": failed, "Records": results, **_encryption(stream)}

    def _store(self, stream: Stream, record: "_Put", now_ms: int) -> dict[str, Any]:
        shard = stream.shard_for(record.hash_key)
        if self.throttling and not shard.take_write_capacity(record.size, now_ms):
            stream.counts["WriteProvisionedThroughputExceeded"] += 1
            return {
                "ErrorCode": "ProvisionedThroughputExceededException",
                "ErrorMessage": _rate_exceeded(stream, shard),
            }
        stream.counts["IncomingRecords"] += 1
        stream.counts["IncomingBytes"] += record.size
        # Time of arrival never goes back within a shard, even if the clock does.
        if shard.records:
            now_ms = max(now_ms, shard.records[-1].arrived_ms)
        number = shard.append(StoredRecord(now_ms, record.partition_key, record.data))
        return {"SequenceNumber": str(number), "ShardId": shard.shard_id}

    # ------------------------------------------------------------------------------ reading

    def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
        """GetShardIterator: a place in a shard to read from, good for five minutes."""
        stream = self._stream(request)
        with stream.lock:
            stream.trim(self.now_ms())
            shard = stream.shard(request.get("ShardId"))
            position = self._position(stream, shard, request)
        return {"ShardIterator": self._iterator(stream, shard, position)}

    def _position(self, stream: Stream, shard: Shard, request: dict[str, Any]) -> int:
        match request.get("ShardIteratorType"):
            case "TRIM_HORIZON":
                return shard.trimmed
            case "LATEST":
                return shard.end
            case "AT_TIMESTAMP":
                timestamp_ms = epoch_ms(request.get("Timestamp"), "AT_TIMESTAMP")
                if timestamp_ms > self.now_ms():
                    raise ApiError(
                        "InvalidArgumentException",
                        "The timestampInMillis parameter cannot be greater than the "
                        f"currentTimestampInMillis. timestampInMillis: {timestamp_ms}, "
                        f"currentTimestampInMillis: {self.now_ms()}",
                    )
                return shard.position_at(timestamp_ms)
            case "AT_SEQUENCE_NUMBER":
                return max(shard.trimmed, self._numbered(stream, shard, request))
            case "AFTER_SEQUENCE_NUMBER":
                return max(shard.trimmed, self._numbered(stream, shard, request) + 1)
            case other:
                raise _constraint(
                    "shardIteratorType",
                    other,
                    "Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, "
                    "AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]",
                )

    def _numbered(self, stream: Stream, shard: Shard, request: dict[str, Any]) -> int:
        number = request.get("StartingSequenceNumber")
        position = None
        if number is not None:
            _check_pattern("startingSequenceNumber", number, _SEQUENCE_NUMBER)
            position = shard.position_of(int(number))
        if position is None:
            raise ApiError(
                "InvalidArgumentException",
                f"StartingSequenceNumber {number} used in GetShardIterator on shard "
                f"{shard.shard_id} in stream {stream.name} under account {ACCOUNT_ID} is invalid.",
            )
        return position

    def get_records(self, **request: Any) -> dict[str, Any]:
        """GetRecords: what stands at an iterator, at most 10,000 records and 10 MiB."""
        stream, shard, position = self._opened(request.get("ShardIterator"))
        limit = int(request.get("Limit", MAX_GET_RECORDS))
        if limit < 1:
            raise _constraint("limit", limit, "Member must have value greater than or equal to 1")
        if limit > MAX_GET_RECORDS:
            raise ApiError(
                "InvalidArgumentException", f"Limit {limit} is greater than {MAX_GET_RECORDS}"
            )
        now_ms = self.now_ms()
        with stream.lock:
            if self.throttling and not shard.take_read_capacity(now_ms):
                stream.counts["ReadProvisionedThroughputExceeded"] += 1
                raise ApiError(
                    "ProvisionedThroughputExceededException", _rate_exceeded(stream, shard)
                )
            stream.trim(now_ms)
            start = max(position, shard.trimmed)
            records, position = shard.read(position, limit, MAX_GET_BYTES)
            size = sum(len(record.data) for record in records)
            if self.throttling:
                shard.note_read(size, now_ms)
            is_over = not shard.is_open and position >= shard.end
            behind = _behind(shard, records, position, now_ms)
            stream.counts["GetRecords.Records"] += len(records)
            stream.counts["GetRecords.Bytes"] += size
            children = stream.children(shard) if is_over else []
        encryption = _encryption(stream)
        answer: dict[str, Any] = {
            "Records": [
                {
                    "SequenceNumber": str(shard.sequence_number(start + offset)),
                    "ApproximateArrivalTimestamp": _datetime(record.arrived_ms),
                    "Data": record.data,
                    "PartitionKey": record.partition_key,
                    **encryption,
                }
                for offset, record in enumerate(records)
            ],
            "MillisBehindLatest": behind,
        }
        if is_over:
            answer["ChildShards"] = [
                {
                    "ShardId": child.shard_id,
                    "ParentShards": list(child.parents),
                    "HashKeyRange": hash_key_range(child),
                }
                for child in children
            ]
        else:
            answer["NextShardIterator"] = self._iterator(stream, shard, position)
        return answer

    def _iterator(self, stream: Stream, shard: Shard, position: int) -> str:
        fields = (stream.name, stream.nonce, shard.index, position, self.now_ms())
        return base64.b64encode("/".join(map(str, fields)).encode()).decode()

    def _opened(self, iterator: object) -> tuple[Stream, Shard, int]:
        if not 1 <= len(str(iterator)) <= MAX_ITERATOR_LENGTH:
            raise _constraint(
                "shardIterator",
                iterator,
                f"Member must have length between 1 and {MAX_ITERATOR_LENGTH}",
            )
        try:
            name, *numbers = base64.b64decode(str(iterator), validate=True).decode().split("/")
            nonce, index, position, issued_ms = map(int, numbers)
        except ValueError:
            raise ApiError("InvalidArgumentException", "Invalid ShardIterator.") from None
        stream = self._stream({"StreamName": name})
        if stream.nonce != nonce:
            raise ApiError(
                "ResourceNotFoundException", f"the iterator is of an earlier stream {name}"
            )
        now_ms = self.now_ms()
        if now_ms - issued_ms > ITERATOR_LIFE_MS:
            raise ApiError(
                "ExpiredIteratorException",
                f"Iterator expired. The iterator was created at time {_datetime(issued_ms)} while "
                f"right now it is {_datetime(now_ms)} which is further in the future than the "
                f"tolerated delay of {ITERATOR_LIFE_MS} milliseconds.",
            )
        return stream, stream.shards[index], position

    # ------------------------------------------------------------------------------ in process

    def take_metrics(self) -> list[tuple[str, str, float, str]]:
        """What AWS/Kinesis metrics count, since the last call: (stream, metric, value, unit)."""
        taken = []
        for stream in list(self._streams.values()):
            with stream.lock:
                counts, stream.counts = stream.counts, Counter()
            for name, value in counts.items():
                unit = "Bytes" if name.endswith("Bytes") else "Count"
                taken.append((stream.name, name, float(value), unit))
        return taken


class _Put:
    """A record of a put request, checked but for what depends on the stream."""

    __slots__ = ("data", "hash_key", "partition_key", "size")

    def __init__(self, partition_key: str, hash_key: int, data: bytes) -> None:
        self.partition_key = partition_key
        self.hash_key = hash_key
        self.data = data
        self.size = len(data) + len(partition_key.encode())

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "_Put":
        """The record in `entry`; ApiError if a member is missing or wrong."""
        key = entry.get("PartitionKey")
        if not isinstance(key, str) or not 1 <= len(key) <= 256:
            raise _constraint("partitionKey", key, "Member must have length between 1 and 256")
        data = entry.get("Data")
        if isinstance(data, str):
            data = data.encode()
        if not isinstance(data, (bytes, bytearray)):
            raise ApiError("ValidationException", "Value at 'data' must not be null")
        explicit = entry.get("ExplicitHashKey")
        if explicit is None:
            # https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key
            digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
            return cls(key, int.from_bytes(digest), bytes(data))
        _check_pattern("explicitHashKey", explicit, _HASH_KEY)
        if int(explicit) > MAX_HASH_KEY:
            raise ApiError(
                "InvalidArgumentException",
                f"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
                f"Specified value was {explicit}",
            )
        return cls(key, int(explicit), bytes(data))

    def size_problem(self, stream: Stream, where: str) -> str | None:
        """Why the stream does not take a record of this size, if it does not."""
        limit = stream.max_record_kib * 1024
        if self.size <= limit:
            return None
        return (
            f"1 validation error detected: Value at '{where}' failed to satisfy constraint: "
            f"Member must have length less than or equal to {limit} (with its partition key)"
        )


def _check_pattern(name: str, value: object, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(str(value)):
        raise _constraint(
            name, value, f"Member must satisfy regular expression pattern: {pattern.pattern}"
        )


def _constraint(name: str, value: object, constraint: str) -> ApiError:
    """What AWS answers when a member breaks what the API's model says of it."""
    return ApiError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
        f"{constraint}",
    )


def _operation(method: Callable[..., dict[str, Any]]) -> Operation:
    return lambda request: method(**_decoded(request))


def _decoded(request: dict[str, Any]) -> dict[str, Any]:
    """A JSON request with its base64 members as bytes."""
    if "Data" in request:
        request["Data"] = decode_blob(request["Data"], "Data")
    for record in request.get("Records") or ():
        if "Data" in record:
            record["Data"] = decode_blob(record["Data"], "Data")
    return request


def _behind(shard: Shard, records: list[StoredRecord], position: int, now_ms: int) -> int:
    """How far the last of `records` is from the tip; 0 only if nothing newer is in the shard."""
    if position >= shard.end:
        return 0
    return max(1, now_ms - records[-1].arrived_ms) if records else 1


def _encryption(stream: Stream) -> dict[str, str]:
    return {"EncryptionType": "KMS"} if stream.encryption_key else {}


def _rate_exceeded(stream: Stream, shard: Shard) -> str:
    return (
        f"Rate exceeded for shard {shard.shard_id} in stream {stream.name} under account "
        f"{ACCOUNT_ID}."
    )


def _datetime(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
