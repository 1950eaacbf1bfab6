"""What a listing of the local S3 shows, page by page."""

from typing import Any

import pytest

from tests.conformance.s3_bench import BUCKET, keys_of, put, put_many

LIST_OBJECTS = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"
)
KEY_ORDER = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/ListingKeysUsingAPIs.html"
)
PREFIXES = pytest.mark.documented(
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-prefixes.html"
)


def pages(s3: Any, **request: Any) -> list[dict[str, Any]]:
    """All pages of a listing, by their continuation tokens."""
    listed = [s3.list_objects_v2(Bucket=BUCKET, **request)]
    while listed[-1]["IsTruncated"]:
        token = listed[-1]["NextContinuationToken"]
        listed.append(s3.list_objects_v2(Bucket=BUCKET, ContinuationToken=token, **request))
    return listed


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
