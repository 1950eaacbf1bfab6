"""Writing an object once, against S3 in memory and against moto: one suite for both."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
)
from moto import mock_aws

from ingest_telemetry.patience import LONGEST_PAUSE_SECONDS, RESERVE_SECONDS
from ingest_telemetry.raw_zone import (
    CONNECT_TIMEOUT_SECONDS,
    DIGEST_METADATA,
    READ_TIMEOUT_SECONDS,
    ObjectConflictError,
    Zone,
    digest_of,
    s3_client,
)
from tests.unit.ingest_telemetry.effects import Clock

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET, KEY, BODY = "raw-zone", "raw_data/object.parquet", b"the batch"

type Fault = Callable[[Callable[[], Any]], Any]


def client_error(status: int, code: str) -> ClientError:
    return ClientError(
        # Of what a response has, all that is looked at.
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PutObject",
    )


@dataclass
class FakeS3:
    """As much of S3 as writing once needs."""

    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes,
        ChecksumSHA256: str,
        **options: Any,
    ) -> dict[str, Any]:
        assert Bucket == BUCKET
        if options.get("IfNoneMatch") == "*" and Key in self.objects:
            raise client_error(412, "PreconditionFailed")
        if ChecksumSHA256 != b64encode(sha256(Body).digest()).decode():
            raise client_error(400, "BadDigest")
        self.objects[Key] = (Body, options.get("Metadata", {}))
        return {}

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        assert Bucket == BUCKET
        if Key not in self.objects:
            raise client_error(404, "404")
        body, metadata = self.objects[Key]
        return {"ContentLength": len(body), "Metadata": metadata}


@dataclass
class FaultyS3:
    """An S3 client whose next writes go wrong in the ways given."""

    client: "S3Client"
    faults: list[Fault] = field(default_factory=list)
    attempts: int = 0

    def put_object(self, **request: Any) -> Any:
        self.attempts += 1
        if self.faults:
            return self.faults.pop(0)(lambda: self.client.put_object(**request))
        return self.client.put_object(**request)

    def head_object(self, **request: Any) -> Any:
        return self.client.head_object(**request)


def refused(error: Exception) -> Fault:
    def fault(_: Callable[[], Any]) -> None:
        raise error

    return fault


def answer_lost(put: Callable[[], Any]) -> None:
    put()
    raise ReadTimeoutError(endpoint_url="https://s3")


@pytest.fixture(params=["in memory", "moto"])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    if request.param == "in memory":
        yield FaultyS3(cast("S3Client", FakeS3()))
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = s3_client("")
        client.create_bucket(Bucket=BUCKET)
        yield FaultyS3(client)


@dataclass
class Writing:
    """A zone, a clock, and what was said of trouble."""

    s3: FaultyS3
    clock: Clock = field(default_factory=Clock)
    trouble: list[str] = field(default_factory=list)

    def put(self, body: bytes = BODY) -> None:
        zone = Zone(
            cast("S3Client", self.s3), BUCKET, lambda _, error: self.trouble.append(str(error))
        )
        zone.put_once(KEY, body, self.clock.patience)

    @property
    def digest(self) -> str:
        digest: str = self.s3.head_object(Bucket=BUCKET, Key=KEY)["Metadata"][DIGEST_METADATA]
        return digest


def test_stores_the_object_with_its_digest(s3: FaultyS3) -> None:
    writing = Writing(s3)
    writing.put()
    assert writing.digest == digest_of(BODY)
    assert s3.attempts == 1


def test_the_same_object_again_is_a_success(s3: FaultyS3) -> None:
    writing = Writing(s3)
    writing.put()
    writing.put()
    assert writing.trouble == []


def test_a_lost_answer_is_found_to_be_our_own_object(s3: FaultyS3) -> None:
    writing = Writing(s3)
    s3.faults = [answer_lost]
    writing.put()
    assert s3.attempts == 2
    assert writing.digest == digest_of(BODY)


def test_another_object_under_the_key_is_an_error_and_stays(s3: FaultyS3) -> None:
    writing = Writing(s3)
    writing.put(b"another batch")
    with pytest.raises(ObjectConflictError):
        writing.put()
    assert writing.digest == digest_of(b"another batch")
    assert writing.clock.pauses == []


@pytest.mark.parametrize(
    "error",
    [
        client_error(409, "ConditionalRequestConflict"),
        client_error(403, "AccessDenied"),
        client_error(403, "KMS.DisabledException"),
        client_error(400, "KMS.ThrottlingException"),
        client_error(404, "NoSuchBucket"),
        client_error(500, "InternalError"),
        client_error(503, "SlowDown"),
        EndpointConnectionError(endpoint_url="https://s3"),
        ReadTimeoutError(endpoint_url="https://s3"),
    ],
    ids=lambda error: str(error)[:60],
)
def test_waits_out_trouble_of_any_kind(s3: FaultyS3, error: Exception) -> None:
    writing = Writing(s3)
    s3.faults = [refused(error)] * 5
    writing.put()
    assert s3.attempts == 6
    assert len(writing.trouble) == len(writing.clock.pauses) == 5
    assert writing.digest == digest_of(BODY)


def test_gives_up_shortly_before_the_timeout_with_the_last_error(s3: FaultyS3) -> None:
    writing = Writing(s3)
    s3.faults = [refused(client_error(403, "AccessDenied"))] * 1_000
    with pytest.raises(ClientError, match="AccessDenied"):
        writing.put()
    left = writing.clock.remaining_seconds()
    assert RESERVE_SECONDS <= left <= RESERVE_SECONDS + LONGEST_PAUSE_SECONDS
    assert s3.attempts == len(writing.clock.pauses) + 1


def test_tries_once_when_there_is_no_time_to_wait(s3: FaultyS3) -> None:
    writing = Writing(s3)
    writing.clock.deadline = writing.clock.now
    s3.faults = [refused(client_error(503, "SlowDown"))]
    with pytest.raises(ClientError, match="SlowDown"):
        writing.put()
    assert s3.attempts == 1


def test_a_call_that_can_never_work_is_not_repeated(s3: FaultyS3) -> None:
    writing = Writing(s3)
    s3.faults = [refused(ParamValidationError(report="Missing required parameter"))]
    with pytest.raises(ParamValidationError):
        writing.put()
    assert writing.clock.pauses == []


def test_one_more_attempt_fits_into_the_reserve() -> None:
    assert RESERVE_SECONDS > CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS


def test_pauses_grow_and_are_bounded(s3: FaultyS3) -> None:
    writing = Writing(s3)
    s3.faults = [refused(client_error(503, "SlowDown"))] * 12
    writing.put()
    pauses = writing.clock.pauses
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert sum(pauses[:4]) < 5
