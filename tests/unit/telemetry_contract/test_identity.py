"""Who a reading is of, and how far that is to be trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_contract.fast_path import prove
from telemetry_contract.identity import NO_THING, is_device_id, thing_of
from telemetry_contract.limits import Limits
from telemetry_contract.rejection import Reason
from tests.unit.telemetry_contract.samples import good, reading_of, record_of, rejection_of

TOPIC = "dt/fleet/device-1/telemetry"
# Basic Ingest takes a message on any topic, the rule's filter notwithstanding.
MISFORMED = [
    "dt/device-1/telemetry",
    "dt/x/y/device-1/telemetry",
    "dt/fleet//telemetry",
    "dt//device-1/telemetry",
    "dt/fleet/device-1/telemetry/x",
    "dt/fleet/device-1/telemetry\n",
    "dt/fleet/device-1/state",
    "dt/",
]


def test_a_device_on_its_own_topic_is_verified() -> None:
    assert reading_of(good(), topic=TOPIC).identity == "verified"


@pytest.mark.parametrize("topic", [None, "elsewhere", "dt", "x/" + TOPIC, "dtx/fleet/device-1"])
def test_without_a_thing_in_the_topic_the_payloads_word_stands(topic: str | None) -> None:
    reading = reading_of(good(), topic=topic)
    assert (reading.identity, reading.device_id) == ("claimed", "device-1")


def test_a_payload_that_names_another_device_is_rejected() -> None:
    rejection = rejection_of(good(), topic="dt/fleet/device-2/telemetry")
    assert rejection.reason is Reason.IDENTITY_MISMATCH


def test_a_gateway_may_speak_for_others_by_policy_and_is_flagged() -> None:
    limits = Limits(identity_mismatch_policy="flag")
    reading = reading_of(good(), limits, topic="dt/fleet/gateway/telemetry")
    assert (reading.identity, reading.device_id) == ("claimed", "device-1")
    assert reading.quality_flags == ("identity_mismatch",)


@pytest.mark.parametrize("topic", MISFORMED)
def test_a_telemetry_topic_of_another_form_is_a_mismatch(topic: str) -> None:
    rejection = rejection_of(good(), topic=topic)
    assert rejection.reason is Reason.IDENTITY_MISMATCH
    assert "<thing>" in rejection.detail
    flagged = reading_of(good(), Limits(identity_mismatch_policy="flag"), topic=topic)
    assert (flagged.identity, flagged.quality_flags) == ("claimed", ("identity_mismatch",))


@pytest.mark.parametrize("topic", MISFORMED)
def test_no_number_of_readings_on_such_a_topic_is_proven_good(topic: str) -> None:
    records = [record_of(good(), topic=topic)] * 100
    assert prove(records, Limits()).readings == 0


def test_of_a_key_given_twice_the_last_counts_and_is_what_is_verified() -> None:
    twice = b'{"device_id":"device-2","device_id":"device-1","ts":1795428000}'
    assert reading_of(twice, topic=TOPIC).device_id == "device-1"
    assert (
        rejection_of(twice, topic="dt/fleet/device-2/telemetry").reason is Reason.IDENTITY_MISMATCH
    )


def test_one_id_under_two_names_has_to_be_the_same() -> None:
    assert reading_of(good(deviceId="device-1")).device_id == "device-1"
    assert rejection_of(good(deviceId="device-2")).reason is Reason.DEVICE_ID_INVALID


@pytest.mark.parametrize("text", ["a", "5e:44:3b:f3:79:c8", "-_:a.b@c+d", "x" * 128])
def test_device_ids_are_of_letters_digits_and_a_few_signs(text: str) -> None:
    assert is_device_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "-",
        "x" * 129,
        "a/b",
        "a=b",
        "a b",
        "a\n",
        "a\0",
        "é",
        "٣",
        "${jndi:x}",
        "a;b",
    ],
)
def test_nothing_else_is_a_device_id(text: str) -> None:
    assert not is_device_id(text)


def test_a_topic_names_a_thing_at_its_third_level() -> None:
    assert thing_of("dt/fleet/a:b/telemetry") == "a:b"
    assert thing_of("elsewhere/fleet/a/telemetry") is None


@given(st.text(st.sampled_from("adt/x\n")).map(lambda end: "dt/" + end))
def test_every_topic_that_begins_as_telemetrys_do_names_its_thing_or_none_that_can_be(
    topic: str,
) -> None:
    thing = thing_of(topic + "/telemetry")
    assert thing is not None
    if thing == NO_THING:
        assert not is_device_id(thing)
    else:
        assert topic == f"dt/{topic.split('/')[1]}/{thing}"
    assert thing_of(topic) == NO_THING
