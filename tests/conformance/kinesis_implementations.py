"""The implementations of Kinesis that one suite holds to what AWS documents, and their known gaps.

`ours` is the local cloud's. `kinesalite` shares nothing with it, and so tells whether a test asks
for what AWS documents or for what we happen to do. `moto` is moto's own, which ours replaced:
`pytest tests/conformance --kinesis=moto` puts it back and shows why.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from unittest.mock import patch

from moto.kinesis.models import kinesis_backends
from moto.server import DomainDispatcherApplication, create_backend_app

from local.api import Api
from local.kinesis.streams import Streams
from tests.conformance.kinesalite_process import Kinesalite
from tests.conformance.kinesis_service import Clock, client
from tests.loopback import served

# Serves a fresh, empty Kinesis for as long as its context lasts; a second one is the service after
# a restart.
Serve = Callable[..., AbstractContextManager[Any]]

# What kinesalite 3.3.3 does not do, by test, or by test and case. Each is expected to fail: one
# that passes is mended, and turns the suite red until it is taken from this table.
KINESALITE_GAPS: Final[Mapping[str, str]] = {
    # It follows the service of 2020.
    "test_a_stream_can_be_named_by_its_arn": "no StreamARN in a request",
    "test_a_new_provisioned_stream_has_the_shards_asked_for_and_keeps_24_hours": "no stream modes",
    "test_a_new_on_demand_stream_has_four_shards": "no stream modes",
    "test_an_on_demand_stream_is_not_scaled_by_hand": "no stream modes",
    "test_retention_is_a_day_to_a_year[8761]": "retention ends at 168 hours",
    "test_shard_filters_choose_by_time_and_by_place": "no ShardFilter",
    "test_the_end_of_a_closed_shard_and_nothing_before_it_names_the_children": "no ChildShards",
    "test_the_end_of_both_parents_of_a_merge_names_their_one_child": "no ChildShards",
    "test_a_single_record_is_read_whatever_its_size": "no UpdateMaxRecordSize",
    "test_a_stream_takes_larger_records_once_its_limit_is_raised": "no UpdateMaxRecordSize",
    "test_put_records_of_more_than_10_mebibytes_is_refused_whole": "a request ends at 7 MiB",
    "test_a_limit_above_10000_is_refused": "a ValidationException",
    # It has none of these.
    "test_update_shard_count_takes_no_number_below_1": "no scaling",
    "test_update_shard_count_leaves_uniform_open_shards_that_cover_every_hash_key": "no scaling",
    "test_no_record_is_lost_or_doubled_while_a_stream_is_scaled": "no scaling",
    "test_order_is_kept_from_parents_to_children": "no scaling",
    "test_a_stream_is_scaled_to_double_or_half_at_most": "no scaling",
    "test_a_stream_is_scaled_ten_times_in_24_hours_at_most": "no scaling",
    "test_encryption_shows_in_the_stream_and_in_every_answer": "no encryption",
    "test_shards_are_listed_in_pages": "no pages of shards",
    "test_a_page_of_shards_is_asked_for_by_its_token_alone": "no pages of shards",
    "test_describe_stream_lists_shards_after_one": "no pages of shards",
    "test_a_shard_takes_1000_records_a_second": "no throttling",
    "test_a_shard_takes_a_mebibyte_a_second": "no throttling",
    "test_put_records_that_fail_in_part_say_which_and_why": "no throttling",
    "test_put_record_beyond_the_limit_is_refused": "no throttling",
    "test_a_shard_is_read_five_times_a_second": "no throttling",
    "test_after_a_read_of_10_mebibytes_the_next_waits_five_seconds": "no throttling",
    # It does these otherwise than documented.
    "test_a_read_gives_at_most_10_mebibytes": "a read ends by count alone",
    "test_millis_behind_latest_is_the_age_of_the_last_record_read_and_0_at_the_tip": "always 0",
    "test_millis_behind_latest_is_never_0_while_there_is_more": "always 0",
    "test_a_record_of_one_mebibyte_with_its_partition_key_is_taken_and_a_byte_more_is_refused": (
        "the partition key does not count"
    ),
    "test_a_closed_shard_is_not_split_or_merged_again": "closed shards split again",
    "test_a_closed_shard_is_listed_until_its_records_are_past_retention": "closed shards stay",
    "test_a_sequence_number_that_is_no_number_is_refused[01]": "a pattern may match in part",
    "test_a_sequence_number_that_is_no_number_is_refused[-1]": "a pattern may match in part",
    "test_an_explicit_hash_key_that_is_no_number_of_39_digits_is_refused[01]": (
        "a pattern may match in part"
    ),
    "test_an_explicit_hash_key_that_is_no_number_of_39_digits_is_refused[-1]": (
        "a pattern may match in part"
    ),
    "test_an_explicit_hash_key_that_is_no_number_of_39_digits_is_refused[forty-digits]": (
        "a pattern may match in part"
    ),
}


@contextmanager
def ours(clock: Clock, *, throttling: bool = False) -> Iterator[Any]:
    """A client of the local cloud's Kinesis."""
    streams = Streams(clock, throttling=throttling)
    with served(Api(streams.operations(), [], {}, _nothing_else)) as endpoint:
        yield client(endpoint)


@contextmanager
def kinesalite(clock: Clock, process: Kinesalite) -> Iterator[Any]:
    """A client of a fresh kinesalite, which goes by the test's clock."""
    endpoint = process.start(clock())
    clock.tell = process.set_clock
    try:
        yield client(endpoint)
    finally:
        clock.tell = None


@contextmanager
def moto(clock: Clock) -> Iterator[Any]:
    """A client of moto's Kinesis as moto ships it, which goes by the test's clock."""

    def utcnow() -> datetime:
        return datetime.fromtimestamp(clock() / 1000, UTC).replace(tzinfo=None)

    kinesis_backends.reset()
    with (
        patch("moto.kinesis.models.utcnow", utcnow),
        served(DomainDispatcherApplication(create_backend_app)) as endpoint,
    ):
        yield client(endpoint)


def _nothing_else(*_: object) -> list[bytes]:
    raise AssertionError("a request that was not for Kinesis")
