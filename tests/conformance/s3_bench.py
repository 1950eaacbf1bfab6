"""S3 as the local cloud serves it, for its tests: moto's behind our front door."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError
from moto.s3.models import s3_backends

from local.api import ACCOUNT_ID, Api
from local.object_store import moto_application
from tests.loopback import client_of, served

WRITERS = 8
BUCKET = "zone"


@contextmanager
def running_s3() -> Iterator[Any]:
    """A boto3 client of the local S3, with an empty bucket `zone`."""
    s3_backends.reset()
    with served(Api({}, [], {}, moto_application())) as endpoint:
        client = client_of(endpoint, "s3", max_pool_connections=2 * WRITERS)
        client.create_bucket(Bucket=BUCKET)
        yield client


def put(s3: Any, key: str, body: bytes = b"x", **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)
    return answer


def get(s3: Any, key: str, **more: Any) -> bytes:
    body: bytes = s3.get_object(Bucket=BUCKET, Key=key, **more)["Body"].read()
    return body


def refusal(call: Any, *arguments: Any, **more: Any) -> tuple[int, str]:
    """The status and code with which a call is refused; (200, "") if it is not."""
    try:
        call(*arguments, **more)
    except ClientError as error:
        return (
            error.response["ResponseMetadata"]["HTTPStatusCode"],
            error.response["Error"]["Code"],
        )
    return 200, ""


def put_many(keys: list[str]) -> None:
    """Put keys behind the API's back: thousands of requests would take the suite's time."""
    for key in keys:
        s3_backends[ACCOUNT_ID]["aws"].put_object(BUCKET, key, b"x")


def keys_of(page: dict[str, Any]) -> list[str]:
    return [one["Key"] for one in page.get("Contents", [])]
