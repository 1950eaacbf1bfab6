"""What is a time, which unit a number has, and which doubts are marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_contract.event_time import event_time_of, instant_of
from telemetry_contract.limits import Limits
from telemetry_contract.rejection import ContractViolation, Reason
from tests.unit.telemetry_contract.samples import ARRIVAL, LIMITS

SECOND = 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        1_795_428_000,
        1_795_428_000.0,
        1_795_428_000_000,
        1_795_428_000_000_000,
        "1795428000",
        "1795428000.0",
        "1795428000000",
        "2026-11-23T10:00:00Z",
        "2026-11-23T10:00Z",
        "2026-11-23T10Z",
        "2026-11-23T100000Z",
        "2026-11-23T15+0500",
        "2026-11-23 10:00:00+00:00",
        "2026-11-23T10:00:00.000000999Z",
        "2026-11-23T15:30:00+05:30",
        "2026-11-23T15:30:00+0530",
        "2026-11-23T09:00:00-01",
        "2026-11-23T10:00:00-00:00",
        "2026-11-23T10:00:00,0Z",
    ],
)
def test_recognises_a_time_in_any_of_its_forms(value: object) -> None:
    assert event_time_of(value, ARRIVAL, LIMITS) == (ARRIVAL, ())


@pytest.mark.parametrize("value", ["2026-11-23T10:00:00", "2026-11-23 10:00"])
def test_reads_a_time_without_offset_as_utc_and_says_so(value: str) -> None:
    assert event_time_of(value, ARRIVAL, LIMITS) == (ARRIVAL, ("event_time_offset_assumed",))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "2026-11-23",
        "20261123T100000Z",
        "2026-W48-1T10:00:00Z",
        "2026-327T10:00:00Z",
        "2026-02-30T10:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-12-31T23:59:60Z",
        "2026-11-23T10:00:00+24:00",
        "2026-11-23t10:00:00z",
        "২026-11-23T10:00:00Z",
        " 1795428000",
        "1_795_428_000",
        "১৭৯৫৪২৮০০০",
        "\ud800026-11-23T10:00:00Z",
        True,
        [],
        {},
    ],
)
def test_what_is_no_time_is_invalid(value: object) -> None:
    with pytest.raises(ContractViolation) as violation:
        event_time_of(value, ARRIVAL, LIMITS)
    assert violation.value.reason is Reason.TIMESTAMP_INVALID


@pytest.mark.parametrize(
    "value",
    [
        "1999-12-31T23:59:59.999999Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        0,
        -1,
        -1.5e300,
        1.5e300,
        10**400,
        1_795_428_000_000_000_000,
        ARRIVAL + 86_400 * SECOND + 1,
    ],
)
def test_a_time_outside_the_limits_is_out_of_range(value: object) -> None:
    with pytest.raises(ContractViolation) as violation:
        event_time_of(value, ARRIVAL, LIMITS)
    assert violation.value.reason is Reason.TIMESTAMP_OUT_OF_RANGE


@pytest.mark.parametrize("value", ["2000-01-01T00:00:00Z", ARRIVAL + 86_400 * SECOND])
def test_the_limits_themselves_are_in_range(value: object) -> None:
    event_time_of(value, ARRIVAL, LIMITS)


def test_a_time_far_from_its_arrival_is_flagged_and_not_corrected() -> None:
    limits = Limits(clock_skew_flag=60 * SECOND)
    for skew, flags in [
        (60 * SECOND, ()),
        (-60 * SECOND, ()),
        (60 * SECOND + 1, ("event_time_far_from_arrival",)),
        (-60 * SECOND - 1, ("event_time_far_from_arrival",)),
    ]:
        assert event_time_of(ARRIVAL + skew, ARRIVAL, limits) == (ARRIVAL + skew, flags)


def test_no_accepted_time_could_be_read_in_two_units() -> None:
    latest = ARRIVAL // SECOND + 400 * 366 * 86_400
    earliest = LIMITS.earliest_event_time // SECOND
    assert latest < earliest * 1_000


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_every_time_that_python_writes_is_understood(moment: object) -> None:
    try:
        instant_of(str(moment))
    except ContractViolation as violation:
        pytest.fail(f"{moment}: {violation}")
