"""A consumer as a user would write it with Powertools and pydantic, as their documentation says.

Powertools' batch processor with a parser model of the record (`Json[...]` for the decoded data),
one pydantic model for the reading, rejects collected with the error's type, one gzipped NDJSON
object per batch and one for its rejects. Everything that pydantic can do in its core is left to
it: aliases, number bounds, the three forms of time, base64, JSON in and out.

It does less than the contract: it keeps no verbatim payload, derives no event id, explodes no
arrays, checks no identity and rejects a reading whose single value is out of its bounds.
"""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

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
    ConfigDict,
    Field,
    Json,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from benchmarks.object_store import ObjectStore

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
# zlib's own default. `gzip.compress` alone would take 9: slower, and hardly smaller here.
GZIP_LEVEL = 6


def _placed_in_time(at: datetime) -> datetime:
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    if at < EARLIEST:
        raise ValueError("event time is before 2000")
    return at


DeviceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.-]{1,128}$")]
EventTime = Annotated[datetime, AfterValidator(_placed_in_time)]


class Measured(BaseModel):
    """Values that a reading carries at its top or under `data`."""

    model_config = ConfigDict(extra="allow")

    temperature: float | None = Field(
        None, ge=-100, le=200, validation_alias=AliasChoices("temperature", "temp")
    )
    humidity: float | None = Field(None, ge=0, le=100)
    pressure: float | None = Field(None, ge=0)
    battery: float | None = Field(None, ge=0, le=100)
    co: float | None = Field(None, ge=0)
    lpg: float | None = Field(None, ge=0)
    smoke: float | None = Field(None, ge=0)
    light: bool | None = None
    motion: bool | None = None


class Reading(Measured):
    """One device observation, in any of the three dialects; unknown fields are kept."""

    device_id: DeviceId = Field(validation_alias=AliasChoices("device_id", "deviceId"))
    event_time: EventTime = Field(
        validation_alias=AliasChoices("timestamp", "ts", "event_time", "eventTime", "time")
    )
    sequence: int | None = None
    device_name: str | None = Field(
        None, validation_alias=AliasChoices("device_name", "deviceName", "device")
    )
    status: str | None = None
    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)
    speed: float | None = Field(None, ge=0)
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


READING = TypeAdapter(Reading)


class UsualConsumer:
    """Takes Lambda events; `accepted` and `rejected` count the last one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._processor = BatchProcessor(
            event_type=EventType.KinesisDataStreams, model=TelemetryRecord
        )
        self._lines: list[str] = []
        self._rejects: list[str] = []
        self.accepted = self.rejected = 0

    def __call__(self, event: dict[str, Any]) -> object:
        self._lines, self._rejects = [], []
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
        head = (
            f'{{"record_id":"{record.eventID}","arrival_time":{arrival},'
            f'"ingest_id":"{envelope.ingest_id}","topic":"{envelope.topic}",'
            f'"client_id":"{envelope.client_id}","principal":"{envelope.principal}",'
            f'"broker_time":{envelope.broker_time},'
        )
        try:
            reading = READING.validate_json(envelope.payload_b64)
        except ValidationError as error:
            self._reject(head, error.errors(include_url=False)[0]["type"], envelope)
            return
        if reading.event_time > datetime.fromtimestamp(arrival, UTC) + AHEAD:
            self._reject(head, "event_time_ahead", envelope)
            return
        self._lines.append(f'{head}"reading":{reading.model_dump_json(exclude_none=True)}}}')

    def _reject(self, head: str, reason: str, envelope: Envelope) -> None:
        payload = json.dumps(envelope.payload_b64.decode("utf-8", "backslashreplace"))
        self._rejects.append(f'{head}"reason":"{reason}","payload":{payload}}}')

    def _write(self, key: str, lines: list[str]) -> None:
        if lines:
            body = gzip.compress("\n".join(lines).encode(), compresslevel=GZIP_LEVEL)
            self._store.put_object(Bucket="zone", Key=f"{key}.ndjson.gz", Body=body)
