"""S3 as the local cloud serves it: who wins a race, what is refused, and what a listing shows.

It is moto's behind our front door, which makes conditional writes atomic and checks checksums.
"""

import base64
import hashlib
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.s3.models import s3_backends

from local.api import ACCOUNT_ID, Api
from local.object_store import moto_application
from tests.loopback import client_of, served

WRITERS = 8
BUCKET = "zone"
CONDITIONAL_WRITES = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"
)
INTEGRITY = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html"
)
ERRORS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
)
LIST_OBJECTS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"
)
KEY_ORDER = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/ListingKeysUsingAPIs.html"
)
PREFIXES = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-prefixes.html"
)
LIST_VERSIONS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html"
)
DELETE_OBJECTS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html"
)
DELETE_MARKERS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html"
)
VERSIONING = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html"
)
GET_OBJECT = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html"
)
CONSISTENCY = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html"
)


@pytest.fixture
def s3() -> Iterator[Any]:
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


@pytest.fixture
def turns() -> Iterator[None]:
    """Threads take turns as often as Python lets them, and between any two lines of a put.

    To be used before `s3`, so that the thread of its first connection takes part.
    """

    def take_turns(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if not ("moto/s3/" in code.co_filename and code.co_name == "put_object"):
            return None
        if event == "line":
            time.sleep(0.0005)  # a turn, however the system shares its processors out
        return take_turns

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threading.settrace(take_turns)  # of the threads that start from now on
    yield
    threading.settrace(None)
    sys.setswitchinterval(interval)


# ------------------------------------------------------------------------------ conditional writes


@CONDITIONAL_WRITES
@pytest.mark.usefixtures("turns")
def test_of_writers_that_want_a_key_to_be_new_one_wins_and_the_others_are_told(s3: Any) -> None:
    start = threading.Barrier(WRITERS)

    def write(writer: int) -> tuple[int, str]:
        start.wait()
        return refusal(put, s3, "contested", f"writer {writer}".encode(), IfNoneMatch="*")

    with ThreadPoolExecutor(WRITERS) as pool:
        answers = list(pool.map(write, range(WRITERS)))

    winners = [writer for writer, answer in enumerate(answers) if answer == (200, "")]
    losers = {answer for answer in answers if answer != (200, "")}
    assert len(winners) == 1
    assert losers <= {(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")}
    assert get(s3, "contested") == f"writer {winners[0]}".encode()


@CONDITIONAL_WRITES
@pytest.mark.usefixtures("turns")
def test_of_writers_that_read_one_etag_one_wins(s3: Any) -> None:
    etag = put(s3, "contested", b"before")["ETag"]
    start = threading.Barrier(WRITERS)

    def write(writer: int) -> tuple[int, str]:
        start.wait()
        return refusal(put, s3, "contested", f"writer {writer}".encode(), IfMatch=etag)

    with ThreadPoolExecutor(WRITERS) as pool:
        answers = list(pool.map(write, range(WRITERS)))

    winners = [writer for writer, answer in enumerate(answers) if answer == (200, "")]
    assert len(winners) == 1
    assert get(s3, "contested") == f"writer {winners[0]}".encode()


@CONDITIONAL_WRITES
def test_a_key_that_exists_is_not_written_again_where_it_had_to_be_new(s3: Any) -> None:
    put(s3, "key", b"first", IfNoneMatch="*")

    assert refusal(put, s3, "key", b"second", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert get(s3, "key") == b"first"


@CONDITIONAL_WRITES
def test_a_write_on_a_stale_etag_is_refused(s3: Any) -> None:
    stale = put(s3, "key", b"first")["ETag"]
    fresh = put(s3, "key", b"second")["ETag"]

    assert refusal(put, s3, "key", b"third", IfMatch=stale) == (412, "PreconditionFailed")
    assert get(s3, "key") == b"second"
    put(s3, "key", b"third", IfMatch=fresh)
    assert get(s3, "key") == b"third"


@CONDITIONAL_WRITES
def test_a_write_on_an_etag_of_a_key_that_is_gone_is_not_found(s3: Any) -> None:
    etag = put(s3, "key")["ETag"]
    s3.delete_object(Bucket=BUCKET, Key="key")

    assert refusal(put, s3, "key", IfMatch=etag) == (404, "NoSuchKey")


@CONDITIONAL_WRITES
def test_a_key_that_was_deleted_is_new_in_a_bucket_with_versions_too(s3: Any) -> None:
    with_versions(s3)
    put(s3, "key", b"first")
    s3.delete_object(Bucket=BUCKET, Key="key")

    put(s3, "key", b"second", IfNoneMatch="*")

    assert get(s3, "key") == b"second"


@CONDITIONAL_WRITES
def test_an_upload_in_parts_is_not_completed_where_the_key_had_to_be_new(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="key")["UploadId"]
    place = {"Bucket": BUCKET, "Key": "key", "UploadId": upload}
    etag = s3.upload_part(**place, PartNumber=1, Body=b"parts")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    put(s3, "key", b"whole")

    answer = refusal(s3.complete_multipart_upload, **place, MultipartUpload=parts, IfNoneMatch="*")

    assert answer == (412, "PreconditionFailed")
    assert get(s3, "key") == b"whole"


# ------------------------------------------------------------------------------ checksums

DIGESTS = {
    "ChecksumCRC32": zlib.crc32(b"reading").to_bytes(4),
    "ChecksumSHA1": hashlib.sha1(b"reading", usedforsecurity=False).digest(),
    "ChecksumSHA256": hashlib.sha256(b"reading").digest(),
}


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@INTEGRITY
@pytest.mark.parametrize("name", DIGESTS)
def test_an_object_with_its_checksum_is_stored(s3: Any, name: str) -> None:
    put(s3, "key", b"reading", **{name: encoded(DIGESTS[name])})

    assert get(s3, "key") == b"reading"


@INTEGRITY
@pytest.mark.parametrize("name", DIGESTS)
def test_an_object_that_is_not_its_checksums_is_refused(s3: Any, name: str) -> None:
    answer = refusal(put, s3, "key", b"reAding", **{name: encoded(DIGESTS[name])})

    assert answer == (400, "BadDigest")
    assert refusal(get, s3, "key") == (404, "NoSuchKey")


@INTEGRITY
def test_a_part_that_is_not_its_checksums_is_refused(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="key", ChecksumAlgorithm="SHA256")
    place = {"Bucket": BUCKET, "Key": "key", "UploadId": upload["UploadId"]}
    wrong = encoded(DIGESTS["ChecksumSHA256"])

    answer = refusal(s3.upload_part, **place, PartNumber=1, Body=b"x", ChecksumSHA256=wrong)

    assert answer == (400, "BadDigest")


@ERRORS
def test_an_object_that_is_not_its_md5s_is_refused(s3: Any) -> None:
    md5 = encoded(hashlib.md5(b"reading", usedforsecurity=False).digest())

    assert refusal(put, s3, "key", b"reAding", ContentMD5=md5) == (400, "BadDigest")
    put(s3, "key", b"reading", ContentMD5=md5)


@ERRORS
@pytest.mark.parametrize("md5", ["x", encoded(b"too short")])
def test_an_md5_that_is_none_is_refused(s3: Any, md5: str) -> None:
    assert refusal(put, s3, "key", ContentMD5=md5) == (400, "InvalidDigest")


# ------------------------------------------------------------------------------ listing


def pages(s3: Any, **request: Any) -> list[dict[str, Any]]:
    """All pages of a listing, by their continuation tokens."""
    listed = [s3.list_objects_v2(Bucket=BUCKET, **request)]
    while listed[-1]["IsTruncated"]:
        token = listed[-1]["NextContinuationToken"]
        listed.append(s3.list_objects_v2(Bucket=BUCKET, ContinuationToken=token, **request))
    return listed


def keys_of(page: dict[str, Any]) -> list[str]:
    return [one["Key"] for one in page.get("Contents", [])]


@LIST_OBJECTS
def test_a_listing_gives_at_most_1000_keys_a_page_and_all_over_its_pages(s3: Any) -> None:
    keys = [f"raw_data/{n:05}.parquet" for n in range(1_001)]
    put_many(keys)

    first, second = pages(s3)
    assert (first["KeyCount"], second["KeyCount"]) == (1_000, 1)
    assert keys_of(first) + keys_of(second) == keys
    assert s3.list_objects_v2(Bucket=BUCKET, MaxKeys=5_000)["KeyCount"] == 1_000


@LIST_OBJECTS
def test_a_page_has_as_many_keys_as_were_asked_for(s3: Any) -> None:
    keys = [f"{n}" for n in range(7)]
    put_many(keys)

    listed = pages(s3, MaxKeys=3)

    assert [keys_of(page) for page in listed] == [keys[0:3], keys[3:6], keys[6:7]]


@KEY_ORDER
def test_keys_are_listed_in_the_order_of_their_utf_8_bytes(s3: Any) -> None:
    keys = [
        "a",
        "B",
        "b",
        "a/b",
        "a-b",
        "a b",
        "é",
        "z",
        "\uff5e",
        "\U0001d11e",
        "a\u0301",
        "10",
        "9",
    ]
    put_many(keys)

    listed = [key for page in pages(s3, MaxKeys=4) for key in keys_of(page)]

    assert listed == sorted(keys, key=str.encode)


@LIST_OBJECTS
def test_a_listing_starts_after_a_key_whether_there_is_such_a_key_or_not(s3: Any) -> None:
    put_many(["a", "b", "c", "d"])

    assert keys_of(s3.list_objects_v2(Bucket=BUCKET, StartAfter="b")) == ["c", "d"]
    assert keys_of(s3.list_objects_v2(Bucket=BUCKET, StartAfter="bb")) == ["c", "d"]
    assert [keys_of(page) for page in pages(s3, StartAfter="a", MaxKeys=2)] == [["b", "c"], ["d"]]


@PREFIXES
def test_keys_with_a_delimiter_after_the_prefix_are_rolled_up(s3: Any) -> None:
    put_many(["raw/day=1/a", "raw/day=1/b", "raw/day=2/a", "raw/index", "rejected/a"])

    (page,) = pages(s3, Prefix="raw/", Delimiter="/")

    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["raw/day=1/", "raw/day=2/"]
    assert keys_of(page) == ["raw/index"]
    assert page["KeyCount"] == 3


@LIST_OBJECTS
def test_a_rolled_up_prefix_counts_as_one_key_of_a_page_and_is_listed_once(s3: Any) -> None:
    put_many([f"day={day}/{n}" for day in range(5) for n in range(3)] + ["index"])

    listed = pages(s3, Delimiter="/", MaxKeys=2)

    assert [page["KeyCount"] for page in listed] == [2, 2, 2]
    prefixes = [one["Prefix"] for page in listed for one in page.get("CommonPrefixes", [])]
    assert prefixes == [f"day={day}/" for day in range(5)]
    assert [key for page in listed for key in keys_of(page)] == ["index"]


@LIST_OBJECTS
def test_keys_that_come_and_go_between_pages_hide_no_other(s3: Any) -> None:
    keys = [f"k{n}" for n in range(1, 9)]
    put_many(keys)

    first = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=3)
    put(s3, "k0")  # before the place that was reached,
    put(s3, "k45")  # after it,
    s3.delete_object(Bucket=BUCKET, Key="k3")  # and the very key at it
    token = first["NextContinuationToken"]
    rest = s3.list_objects_v2(Bucket=BUCKET, ContinuationToken=token)

    assert keys_of(first) == ["k1", "k2", "k3"]
    assert keys_of(rest) == ["k4", "k45", "k5", "k6", "k7", "k8"]


# ------------------------------------------------------------------------------ reading


@CONSISTENCY
def test_what_was_written_is_read_and_listed_at_once(s3: Any) -> None:
    for n in range(20):
        put(s3, "key", str(n).encode())
        assert get(s3, "key") == str(n).encode()
        put(s3, f"new-{n:02}")
        assert keys_of(s3.list_objects_v2(Bucket=BUCKET, Prefix="new-"))[-1] == f"new-{n:02}"
    s3.delete_object(Bucket=BUCKET, Key="key")
    assert refusal(get, s3, "key") == (404, "NoSuchKey")


@CONSISTENCY
@pytest.mark.usefixtures("turns")
def test_a_reader_gets_one_writers_bytes_whole(s3: Any) -> None:
    bodies = [bytes([65 + writer]) * 4_000 for writer in range(4)]
    put(s3, "key", bodies[0])

    with ThreadPoolExecutor(WRITERS) as pool:
        writes = [pool.submit(put, s3, "key", bodies[n % 4]) for n in range(20)]
        reads = [pool.submit(get, s3, "key") for _ in range(20)]

    assert all(write.result() for write in writes)
    assert all(read.result() in bodies for read in reads)


@GET_OBJECT
@pytest.mark.parametrize(
    ("asked", "given", "said"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-4", b"4", "bytes 4-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ],
)
def test_a_range_of_an_object_is_read(s3: Any, asked: str, given: bytes, said: str) -> None:
    put(s3, "key", b"0123456789")

    answer = s3.get_object(Bucket=BUCKET, Key="key", Range=asked)

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert (answer["Body"].read(), answer["ContentRange"]) == (given, said)


@ERRORS
def test_a_range_beyond_the_object_is_refused(s3: Any) -> None:
    put(s3, "key", b"0123456789")

    assert refusal(get, s3, "key", Range="bytes=10-") == (416, "InvalidRange")


# ------------------------------------------------------------------------------ versions, deletion


def with_versions(s3: Any) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})


@VERSIONING
def test_every_version_stays_and_is_read_by_its_id(s3: Any) -> None:
    with_versions(s3)
    first, second = (put(s3, "key", body)["VersionId"] for body in (b"first", b"second"))

    assert first != second
    assert get(s3, "key") == b"second"
    assert get(s3, "key", VersionId=first) == b"first"


@DELETE_MARKERS
def test_a_delete_marker_hides_an_object_until_it_is_removed(s3: Any) -> None:
    with_versions(s3)
    version = put(s3, "key", b"kept")["VersionId"]

    deleted = s3.delete_object(Bucket=BUCKET, Key="key")

    assert deleted["DeleteMarker"]
    assert refusal(get, s3, "key") == (404, "NoSuchKey")
    assert keys_of(s3.list_objects_v2(Bucket=BUCKET)) == []
    assert get(s3, "key", VersionId=version) == b"kept"
    s3.delete_object(Bucket=BUCKET, Key="key", VersionId=deleted["VersionId"])
    assert get(s3, "key") == b"kept"


@LIST_VERSIONS
def test_versions_and_delete_markers_are_listed_in_pages_newest_first(s3: Any) -> None:
    with_versions(s3)
    wanted = []
    for key in ("a", "b", "c"):
        versions = [put(s3, key, str(n).encode())["VersionId"] for n in range(3)]
        versions.append(s3.delete_object(Bucket=BUCKET, Key=key)["VersionId"])
        wanted += [(key, version) for version in reversed(versions)]

    listed: list[tuple[str, str]] = []
    place: dict[str, str] = {}
    while True:
        page = s3.list_object_versions(Bucket=BUCKET, MaxKeys=5, **place)
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        assert len(entries) <= 5
        listed += [(one["Key"], one["VersionId"]) for one in entries]
        if not page["IsTruncated"]:
            break
        place = {"KeyMarker": page["NextKeyMarker"]}
        if "NextVersionIdMarker" in page:
            place["VersionIdMarker"] = page["NextVersionIdMarker"]

    assert sorted(listed) == sorted(wanted)
    versions = s3.list_object_versions(Bucket=BUCKET, Prefix="a")["Versions"]
    assert [("a", one["VersionId"]) for one in versions] == wanted[1:4]


@DELETE_OBJECTS
def test_up_to_1000_objects_are_deleted_in_one_call(s3: Any) -> None:
    keys = [f"{n:04}" for n in range(1_001)]
    put_many(keys)

    answer = s3.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys[:1_000]]}
    )

    assert len(answer["Deleted"]) == 1_000
    assert "Errors" not in answer
    assert keys_of(s3.list_objects_v2(Bucket=BUCKET)) == keys[1_000:]


@DELETE_OBJECTS
def test_more_than_1000_objects_in_one_call_are_refused(s3: Any) -> None:
    put(s3, "0")
    objects = [{"Key": str(n)} for n in range(1_001)]

    answer = refusal(s3.delete_objects, Bucket=BUCKET, Delete={"Objects": objects})

    assert answer == (400, "MalformedXML")
    assert get(s3, "0") == b"x"


@DELETE_OBJECTS
def test_an_object_that_is_not_there_is_deleted_like_any_other(s3: Any) -> None:
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "nothing"}]})

    assert [one["Key"] for one in answer["Deleted"]] == ["nothing"]
