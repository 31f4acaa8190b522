"""One endpoint: what makes it failing, what makes it well again, and what is known of its load."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from proxy.errors import (
    BadRequest,
    UpstreamError,
    UpstreamInterrupted,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.types import Call
from proxy.upstream.faults import NoConnection, NoFreeConnection
from proxy.upstream.kinds.base import Condition
from proxy.upstream.member import FULL_KV_USAGE, Member
from tests.upstream.fleets import ILL, WELL, Time

ASK = Call("POST", "/chat/completions", (), b"{}")


class Answer:
    """A reply of this status."""

    def __init__(self, status: int) -> None:
        self.status = status

    def when_over(self, told: Any) -> None:
        self.over = told


class Endpoint:
    """Answers as scripted, then 200."""

    address = "http://h:8000/v1"
    origin = "h:8000"

    def __init__(self) -> None:
        self.answers: list[int | BaseException] = []

    async def send(self, call: Call) -> Answer:
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, BaseException):
            raise answer
        return Answer(answer)

    def why(self, error: UpstreamError) -> str:
        return error.message.removeprefix("upstream local: ")


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


def member_of(endpoint: Any, *, watched: bool = True, time: Time | None = None) -> Member:
    return Member(endpoint, upstream="local", failures=3, watched=watched, steady=time or Time())


async def calls(member: Member, endpoint: Endpoint, *answers: int | BaseException) -> None:
    endpoint.answers.extend(answers)
    for answer in answers:
        if isinstance(answer, BaseException):
            with pytest.raises(type(answer)):
                await member.send(ASK)
        else:
            (await member.send(ASK)).over()  # type: ignore[attr-defined]


REFUSED = UpstreamUnreachable("upstream local: refused")
FAILURES = [REFUSED, NoConnection("upstream local: no connection")]
NO_FAILURES = [
    # What one call may bring on itself.
    UpstreamInterrupted("upstream local: closed"),
    UpstreamTimeout("upstream local: no answer began"),
    NoFreeConnection("upstream local: no connection became free"),
    UpstreamProtocolError("upstream local: not HTTP"),
    BadRequest("yours"),
    *(504, 503, 502, 500, 429, 400, 200),
]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_so_many_failures_in_a_row_and_it_is_left_alone(endpoint: Endpoint, failure: Any) -> None:
    member = member_of(endpoint)
    await calls(member, endpoint, failure, failure)
    assert member.well
    await calls(member, endpoint, failure)
    assert not member.well
    assert member.report().openings == 1
    assert not member.why.startswith("upstream")


@pytest.mark.parametrize("other", NO_FAILURES, ids=repr)
async def test_other_answers_and_errors_are_no_such_failures(endpoint: Endpoint, other: Any) -> None:
    member = member_of(endpoint)
    await calls(member, endpoint, *[other] * 5)
    assert member.well


@pytest.mark.parametrize("answer", [200, 400, 429, 500])
async def test_an_answer_between_failures_begins_the_row_anew(endpoint: Endpoint, answer: int) -> None:
    member = member_of(endpoint)
    await calls(member, endpoint, REFUSED, REFUSED, answer, REFUSED, REFUSED)
    assert member.well


async def test_looks_that_fail_count_too(endpoint: Endpoint) -> None:
    member = member_of(endpoint)
    await calls(member, endpoint, REFUSED)
    member.looked(ILL)
    member.looked(ILL)
    assert (member.well, member.why) == (False, ILL.why)


async def test_one_that_says_itself_that_it_does_not_serve_is_left_alone_at_once(endpoint: Endpoint) -> None:
    member = member_of(endpoint)
    member.looked(Condition(well=False, why="it sleeps", certain=True))
    assert (member.well, member.why) == (False, "it sleeps")
    member.looking()
    member.looked(WELL)
    assert member.well


async def test_only_a_look_makes_it_well_again_where_looks_are_taken(endpoint: Endpoint) -> None:
    member = member_of(endpoint)
    await calls(member, endpoint, REFUSED, REFUSED, REFUSED, 200, 200)
    assert not member.well
    member.looking()
    await calls(member, endpoint, 200)
    assert not member.well
    member.looked(WELL)
    assert member.well
    await calls(member, endpoint, 503, 503)
    assert member.well


async def test_where_no_looks_are_taken_every_call_is_a_probe(endpoint: Endpoint) -> None:
    member = member_of(endpoint, watched=False)
    await calls(member, endpoint, *[REFUSED] * 5)
    assert not member.well
    await calls(member, endpoint, BadRequest("yours"), 200)
    assert member.well


async def test_a_change_is_logged_once_each_way(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    member = member_of(endpoint)
    with caplog.at_level(logging.DEBUG, logger="askonce.upstream"):
        await calls(member, endpoint, *[UpstreamUnreachable("upstream local: refused")] * 5)
        member.looked(ILL)
        member.looked(WELL)
        member.looked(WELL)
        await calls(member, endpoint, 200)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "upstream local: h:8000 fails: refused"),
        ("INFO", "upstream local: h:8000 is well again"),
    ]


async def test_one_that_does_not_answer_the_first_look_is_told_of_at_once(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    member = member_of(endpoint)
    for _ in range(2):
        member.looked(ILL)
    assert [record.getMessage() for record in caplog.records] == [f"upstream local: h:8000 does not answer: {ILL.why}"]
    assert member.well


async def test_it_says_when_it_last_failed(endpoint: Endpoint) -> None:
    time = Time()
    member = member_of(endpoint, time=time)
    await calls(member, endpoint, 503)
    time.now += 5
    await calls(member, endpoint, 200)
    assert member.failed_at == time.now - 5
    member.looked(ILL)
    assert member.failed_at == time.now


async def test_a_call_that_fails_is_not_in_flight(endpoint: Endpoint) -> None:
    member = member_of(endpoint)
    await calls(member, endpoint, UpstreamInterrupted("closed"), BadRequest("yours"), 503)
    assert member.in_flight == 0


async def test_others_calls_are_those_it_tells_of_that_are_not_ours(endpoint: Endpoint) -> None:
    member = member_of(endpoint)
    ours = [await member.send(ASK) for _ in range(2)]
    member.looked(Condition(well=True, running=4, waiting=1, kv_usage=0.5))
    assert (member.load.in_flight, member.load.elsewhere, member.load.full) == (2, 3, False)
    ours[0].over()  # type: ignore[attr-defined]
    assert (member.load.in_flight, member.load.elsewhere) == (1, 3)
    member.looked(Condition(well=True, running=0))
    assert member.load.elsewhere == 0
    report = member.report()
    assert (report.in_flight, report.waiting, report.kv_usage) == (1, 0, 0.0)


@pytest.mark.parametrize(
    ("waiting", "kv_usage", "full"),
    [(1, FULL_KV_USAGE, True), (0, 1.0, False), (9, FULL_KV_USAGE - 0.01, False)],
)
def test_it_is_full_where_some_wait_and_its_cache_is_used_up(
    endpoint: Endpoint, waiting: int, kv_usage: float, full: bool
) -> None:
    member = member_of(endpoint)
    member.looked(Condition(well=True, waiting=waiting, kv_usage=kv_usage))
    assert member.load.full is full


async def test_its_state_is_what_operators_read(endpoint: Endpoint) -> None:
    member = member_of(endpoint)
    assert (member.report().state, member.report().address, member.load.address) == (
        "unknown",
        "h:8000",
        "http://h:8000/v1",
    )
    member.looked(ILL)
    assert (member.report().state, member.report().detail) == ("well", ILL.why)
    await calls(member, endpoint, REFUSED, REFUSED)
    assert (member.report().state, member.report().detail) == ("failing", "refused")
    member.looked(WELL)
    assert (member.report().state, member.report().detail) == ("well", "")
    assert "h:8000" in repr(member)
