"""S3 as the local cloud serves it: who wins a race, what a reader and a history of versions see.

It is moto's behind our front door, which makes conditional writes atomic.
"""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from tests.conformance.s3_bench import BUCKET, WRITERS, get, keys_of, put, put_many, refusal

CONDITIONAL_WRITES = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"
)
ERRORS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
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
