"""What is not what its checksum says is not stored."""

import base64
import hashlib
from typing import Any

import pytest

from tests.conformance.s3_bench import BUCKET, get, put, refusal

INTEGRITY = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html"
)
ERRORS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
)


# What catalogues give the check values of: https://reveng.sourceforge.io/crc-catalogue/all.htm
BODY = b"123456789"
DIGESTS = {
    "ChecksumCRC32": bytes.fromhex("CBF43926"),
    "ChecksumCRC32C": bytes.fromhex("E3069283"),
    "ChecksumCRC64NVME": bytes.fromhex("AE8B14860A799888"),
    "ChecksumSHA1": hashlib.sha1(BODY, usedforsecurity=False).digest(),
    "ChecksumSHA256": hashlib.sha256(BODY).digest(),
}


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@INTEGRITY
@pytest.mark.parametrize("name", DIGESTS)
def test_an_object_with_its_checksum_is_stored(s3: Any, name: str) -> None:
    put(s3, "key", BODY, **{name: encoded(DIGESTS[name])})

    assert get(s3, "key") == BODY


@INTEGRITY
@pytest.mark.parametrize("name", DIGESTS)
def test_an_object_that_is_not_its_checksums_is_refused(s3: Any, name: str) -> None:
    answer = refusal(put, s3, "key", BODY[::-1], **{name: encoded(DIGESTS[name])})

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
    md5 = encoded(hashlib.md5(BODY, usedforsecurity=False).digest())

    assert refusal(put, s3, "key", BODY[::-1], ContentMD5=md5) == (400, "BadDigest")
    put(s3, "key", BODY, ContentMD5=md5)


@ERRORS
@pytest.mark.parametrize("md5", ["x", encoded(b"too short")])
def test_an_md5_that_is_none_is_refused(s3: Any, md5: str) -> None:
    assert refusal(put, s3, "key", ContentMD5=md5) == (400, "InvalidDigest")
