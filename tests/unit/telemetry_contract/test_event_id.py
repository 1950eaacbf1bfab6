"""The id of a reading: pinned, since changing it would store every reading again."""

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from telemetry_contract.event_id import event_id_of


def test_is_the_blake2b_of_the_length_prefixed_device_and_the_payload() -> None:
    expected = blake2b(b"\x00\x00\x00\x01a" + b'{"x":1}', digest_size=16).hexdigest()
    assert event_id_of("a", b'{"x":1}') == expected == "45daa599e7ed04a84c909445142a457a"


@given(st.tuples(st.text(min_size=1), st.binary()), st.tuples(st.text(min_size=1), st.binary()))
def test_device_and_payload_do_not_run_into_each_other(
    one: tuple[str, bytes], other: tuple[str, bytes]
) -> None:
    assert (event_id_of(*one) == event_id_of(*other)) == (one == other)


def test_the_delivery_joins_only_where_it_is_given() -> None:
    ids = {
        event_id_of("a", b"{}"),
        event_id_of("a", b"{}", "i:0"),
        event_id_of("a", b"{}", "i:1"),
        event_id_of("a", b"i:0{}"),
    }
    assert len(ids) == 4
