"""The breaker: what opens it, what closes it."""

from __future__ import annotations

import pytest

from proxy.breaker import Breaker, State


@pytest.fixture
def breaker() -> Breaker:
    """One that is closed."""
    breaker = Breaker(3)
    breaker.probing()
    breaker.succeeded(probe=True)
    return breaker


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed("no answer in 100 ms")


def test_it_is_open_until_the_first_probe_went_well():
    breaker = Breaker(3)
    assert (breaker.state, breaker.closed, breaker.why) == (State.OPEN, False, "not connected yet")
    breaker.probing()
    assert (breaker.state, breaker.closed) == (State.HALF_OPEN, False)
    breaker.succeeded(probe=True)
    assert (breaker.state, breaker.closed, breaker.why) == (State.CLOSED, True, "")
    assert breaker.openings == 0


def test_one_that_is_trusted_is_closed_before_anything_was_heard():
    breaker = Breaker(3, trusted=True)
    assert (breaker.state, breaker.why, breaker.openings) == (State.CLOSED, "", 0)
    fail(breaker, 3)
    assert (breaker.state, breaker.openings) == (State.OPEN, 1)


def test_so_many_failures_in_a_row_open_it(breaker):
    fail(breaker, 2)
    assert breaker.closed
    fail(breaker)
    assert (breaker.state, breaker.openings, breaker.why) == (State.OPEN, 1, "no answer in 100 ms")


def test_one_word_of_the_peer_itself_opens_it(breaker):
    breaker.failed("it sleeps", certain=True)
    assert (breaker.state, breaker.openings, breaker.why) == (State.OPEN, 1, "it sleeps")
    breaker.probing()
    breaker.succeeded(probe=True)
    fail(breaker, 2)
    assert breaker.closed


def test_a_success_between_failures_begins_the_row_anew(breaker):
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.closed


def test_closed_again_it_takes_as_many_failures_as_before(breaker):
    fail(breaker, 3)
    breaker.probing()
    breaker.succeeded(probe=True)
    fail(breaker, 2)
    assert breaker.closed


def test_what_was_sent_before_it_opened_and_comes_in_late_does_not_close_it(breaker):
    fail(breaker, 3)
    breaker.succeeded()
    assert breaker.state is State.OPEN
    breaker.probing()
    breaker.succeeded()
    assert breaker.state is State.HALF_OPEN


def test_a_probe_that_fails_opens_it_again_and_is_no_new_opening(breaker):
    fail(breaker, 3)
    breaker.probing()
    breaker.failed("refused")
    assert (breaker.state, breaker.openings, breaker.why) == (State.OPEN, 1, "refused")


def test_failures_that_come_in_late_are_no_new_opening(breaker):
    fail(breaker, 5)
    assert (breaker.state, breaker.openings) == (State.OPEN, 1)


def test_a_probe_of_a_closed_one_is_a_request_like_any_other(breaker):
    breaker.probing()
    assert breaker.closed
    fail(breaker, 2)
    breaker.succeeded(probe=True)
    fail(breaker, 2)
    assert breaker.closed
