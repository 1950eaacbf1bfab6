"""Many devices: one failure is one device's, a common cause ends the run, a second run goes on."""

import threading

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from devices.bulk import Pace, for_each
from devices.errors import DeviceError


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "CreateThing")


def test_one_that_fails_keeps_no_other_from_its_turn() -> None:
    def act(number: int) -> int:
        if number in (3, 30):
            raise refusal("InvalidRequestException")
        if number == 20:
            raise DeviceError("no request")
        return number * number

    seen: list[tuple[int, int]] = []
    outcome = for_each(range(50), act, Pace(), lambda *told: seen.append(told))
    assert set(outcome.failed) == {3, 20, 30}
    assert outcome.done == {n: n * n for n in range(50) if n not in (3, 20, 30)}
    assert seen[-1] == (50, 50)


def test_what_strikes_every_one_ends_the_run_after_a_few() -> None:
    attempts: list[int] = []

    def act(number: int) -> None:
        attempts.append(number)
        raise refusal("UnauthorizedException")

    outcome = for_each(range(5_000), act, Pace())
    assert outcome.done == {}
    # Those that were under way when the tenth failed end too.
    assert 10 <= len(outcome.failed) == len(attempts) <= 10 + 32


def test_without_a_connection_the_run_ends_and_says_so() -> None:
    attempts: list[int] = []

    def act(number: int) -> None:
        attempts.append(number)
        if number == 5:
            raise EndpointConnectionError(endpoint_url="https://iot")

    with pytest.raises(EndpointConnectionError):
        for_each(range(5_000), act, Pace())
    assert 5 in attempts
    assert len(attempts) < 5_000


def test_a_run_that_was_ended_is_taken_up_by_running_it_again() -> None:
    registered: set[int] = set()
    lock = threading.Lock()
    broken = threading.Event()

    def act(number: int) -> None:
        if len(registered) >= 100 and not broken.is_set():
            raise refusal("ServiceUnavailableException")
        with lock:
            registered.add(number)

    first = for_each(range(1_000), act, Pace())
    assert 100 <= len(first.done) < 200
    broken.set()
    second = for_each(range(1_000), act, Pace())
    assert len(second.done) == 1_000
    assert registered == set(range(1_000))


def test_no_more_start_in_a_second_than_the_rate() -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(8.0, lambda: now[0], sleep)
    for _ in range(17):
        pace.wait()
    assert now[0] == pytest.approx(102.0)
    # Time that went by on its own is not made up for by a burst.
    now[0] += 60
    slept.clear()
    for _ in range(3):
        pace.wait()
    assert sum(slept) == pytest.approx(0.25)
