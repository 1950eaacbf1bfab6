"""A consumer as a user would write it with Powertools and pydantic, as their documentation says.

Powertools' batch processor with a parser model of the record (`Json[...]` for the decoded data),
one pydantic model for the reading, rejects collected with the error's type, one gzipped NDJSON
object per batch and one for its rejects. Everything that pydantic can do in its core is left to
it: aliases, number bounds, the three forms of time, base64, JSON in and out.

It validates what the contract does for these records and keeps what the raw zone does: a limit of
size, times in seconds, milliseconds and microseconds, identity against the topic, values out of
bounds or of another type nulled and named, doubts about the time flagged, unknown numbers apart
from other unknown values, an event id, the verbatim payload. It takes no arrays apart and does not
notice a device id that is given twice, differently.
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Any, Literal

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.parser.models import (
    KinesisDataStreamRecord,
    KinesisDataStreamRecordPayload,
)
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from benchmarks.object_store import ObjectStore

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
# zlib's own default. `gzip.compress` alone would take 9: slower, and hardly smaller here.
GZIP_LEVEL = 6


FAR = timedelta(hours=1)
MOST_BYTES = 1024 * 1024
OUT_OF_BOUNDS = ("greater_than_equal", "less_than_equal")


def _flag(info: ValidationInfo, flag: str) -> None:
    # pydantic types the context as anything; it is the list given to validate_json.
    flags: list[str] = info.context  # type: ignore[assignment]
    flags.append(flag)


def _with_unit(value: Any) -> Any:
    """Epoch seconds of a number whose size says its unit; text is left to pydantic."""
    if type(value) is int or type(value) is float:
        if value < 10**11:
            return value
        return value / 1_000 if value < 10**14 else value / 1_000_000
    return value


def _placed_in_time(at: datetime, info: ValidationInfo) -> datetime:
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
        _flag(info, "event_time_offset_assumed")
    if at < EARLIEST:
        raise ValueError("event time is before 2000")
    return at


def _null_if_odd(value: Any, inner: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """A value out of bounds or of the wrong type costs itself, not its neighbours."""
    try:
        return inner(value)
    except ValidationError as error:
        kind = error.errors(include_url=False)[0]["type"]
        what = "out_of_range" if kind in OUT_OF_BOUNDS else "wrong_type"
        _flag(info, f"{info.field_name}_{what}")
        return None


DeviceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.@+-]{1,128}$")]
EventTime = Annotated[datetime, BeforeValidator(_with_unit), AfterValidator(_placed_in_time)]
LENIENT = WrapValidator(_null_if_odd)
# Strict, since a boolean is no number; `float` still takes whole ones.
Number = Annotated[float, Field(strict=True)]
Positive = Annotated[Number | None, Field(ge=0, le=1_000_000), LENIENT]
Percent = Annotated[Number | None, Field(ge=0, le=100), LENIENT]
Text = Annotated[str | None, Field(max_length=256), LENIENT]
Switch = Annotated[bool | None, LENIENT]


class Measured(BaseModel):
    """Values that a reading carries at its top or under `data`."""

    model_config = ConfigDict(extra="allow")

    temperature: Annotated[Number | None, Field(ge=-100, le=200), LENIENT] = Field(
        None, validation_alias=AliasChoices("temperature", "temp")
    )
    humidity: Percent = None
    pressure: Annotated[Number | None, Field(ge=0, le=2_000), LENIENT] = None
    battery: Percent = None
    co: Positive = None
    lpg: Positive = None
    smoke: Positive = None
    light: Switch = None
    motion: Switch = None


class Reading(Measured):
    """One device observation, in any of the three dialects; unknown fields are kept."""

    device_id: DeviceId = Field(validation_alias=AliasChoices("device_id", "deviceId"))
    event_time: EventTime = Field(
        validation_alias=AliasChoices("timestamp", "ts", "event_time", "eventTime", "time")
    )
    sequence: Annotated[int | None, Field(ge=0), LENIENT] = None
    device_name: Text = Field(
        None, validation_alias=AliasChoices("device_name", "deviceName", "device")
    )
    status: Text = None
    latitude: Annotated[Number | None, Field(ge=-90, le=90), LENIENT] = None
    longitude: Annotated[Number | None, Field(ge=-180, le=180), LENIENT] = None
    speed: Annotated[Number | None, Field(ge=0, le=2_000), LENIENT] = None
    data: Measured | None = None


class Envelope(BaseModel):
    """What the IoT rule puts on the stream."""

    model_config = ConfigDict(val_json_bytes="base64")

    payload_b64: bytes
    topic: str
    client_id: str
    principal: str
    broker_time: int
    ingest_id: str


class TelemetryData(KinesisDataStreamRecordPayload):
    """The Kinesis part of a record, its data decoded to the envelope."""

    data: Json[Envelope]


class TelemetryRecord(KinesisDataStreamRecord):
    """A record as the batch processor hands it to the record handler."""

    kinesis: TelemetryData


def _unknown(reading: Reading) -> tuple[dict[str, float], dict[str, Any]]:
    """Fields that no model names: numbers, and the rest."""
    measurements: dict[str, float] = {}
    attributes: dict[str, Any] = {}
    for part in (reading, reading.data):
        extra = (part and part.model_extra) or {}
        while extra:  # moved, so that they are stored once
            name, value = extra.popitem()
            is_number = type(value) is int or type(value) is float
            (measurements if is_number else attributes)[name] = value
    return measurements, attributes


class Row(BaseModel):
    """What is kept of a record."""

    record_id: str
    arrival_time: float
    ingest_id: str
    topic: str
    client_id: str
    principal: str
    broker_time: int
    payload: str


class AcceptedRow(Row):
    """A row of the raw zone."""

    identity: Literal["verified", "claimed"]
    event_id: str
    quality_flags: list[str]
    measurements: dict[str, float]
    attributes: dict[str, Any]
    reading: Reading


class RejectedRow(Row):
    """A row of the rejected zone."""

    reason: str


READING = TypeAdapter(Reading)


class UsualConsumer:
    """Takes Lambda events; `accepted`, `rejected` and `flagged` count the last one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._processor = BatchProcessor(
            event_type=EventType.KinesisDataStreams, model=TelemetryRecord
        )
        self._lines: list[str] = []
        self._rejects: list[str] = []
        self.accepted = self.rejected = self.flagged = 0

    def __call__(self, event: dict[str, Any]) -> object:
        self._lines, self._rejects, self.flagged = [], [], 0
        response = process_partial_response(
            event=event, record_handler=self._handle, processor=self._processor, context=None
        )
        self._write("usual/raw", self._lines)
        self._write("usual/rejected", self._rejects)
        self.accepted, self.rejected = len(self._lines), len(self._rejects)
        return response

    def _handle(self, record: TelemetryRecord) -> None:
        envelope = record.kinesis.data
        arrival = record.kinesis.approximateArrivalTimestamp
        kept: dict[str, Any] = {
            "record_id": record.eventID,
            "arrival_time": arrival,
            "ingest_id": envelope.ingest_id,
            "topic": envelope.topic,
            "client_id": envelope.client_id,
            "principal": envelope.principal,
            "broker_time": envelope.broker_time,
            "payload": envelope.payload_b64.decode("utf-8", "backslashreplace"),
        }
        if len(envelope.payload_b64) > MOST_BYTES:
            self._reject(kept, "too_large")
            return
        flags: list[str] = []
        try:
            reading = READING.validate_json(envelope.payload_b64, context=flags)
        except ValidationError as error:
            self._reject(kept, error.errors(include_url=False)[0]["type"])
            return
        from_arrival = reading.event_time - datetime.fromtimestamp(arrival, UTC)
        if from_arrival > AHEAD:
            self._reject(kept, "event_time_ahead")
            return
        if abs(from_arrival) > FAR:
            flags.append("event_time_far_from_arrival")
        levels = envelope.topic.split("/")
        names_a_thing = len(levels) == 4 and levels[0] == "dt" and levels[3] == "telemetry"
        if names_a_thing and levels[2] != reading.device_id:
            self._reject(kept, "identity_mismatch")
            return
        hashed = blake2b(reading.device_id.encode() + b"\0", digest_size=16)
        hashed.update(envelope.payload_b64)
        measurements, attributes = _unknown(reading)
        row = AcceptedRow.model_construct(
            **kept,
            identity="verified" if names_a_thing else "claimed",
            event_id=hashed.hexdigest(),
            quality_flags=flags,
            measurements=measurements,
            attributes=attributes,
            reading=reading,
        )
        self._lines.append(row.model_dump_json(exclude_none=True))
        self.flagged += bool(flags)

    def _reject(self, kept: dict[str, Any], reason: str) -> None:
        self._rejects.append(RejectedRow.model_construct(**kept, reason=reason).model_dump_json())

    def _write(self, key: str, lines: list[str]) -> None:
        if lines:
            body = gzip.compress("\n".join(lines).encode(), compresslevel=GZIP_LEVEL)
            self._store.put_object(Bucket="zone", Key=f"{key}.ndjson.gz", Body=body)
