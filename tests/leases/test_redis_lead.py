"""What a leader tells, and when it tells nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.errors import (
    AskOnceError,
    Overloaded,
    UpstreamInterrupted,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.leases.messages import Kind
from tests.leases import HEADERS, NAME, Reading, Replica
from tests.redis_servers import RedisServer


async def kinds(replica: Replica, running: Any) -> list[str]:
    """What stands in a run's stream, kind by kind."""
    await replica.written()
    return [
        pairs[pairs.index(b"kind") + 1].decode() for _, pairs in await replica.redis("XRANGE", running.run, "-", "+")
    ]


# --- a call that goes well


async def test_a_follower_gets_the_head_and_every_byte_and_how_it_ended(a: Replica, b: Replica) -> None:
    lease, call = await a.lead()
    running = await b.follow()
    call.departs(201)
    call.says(b"one ", b"", b"two ")
    assert await running.begun()
    assert (running.status, running.headers, running.streaming, running.length) == (201, HEADERS, True, None)
    call.says(b"three\n\xff\x00")
    call.lands(stored=False, reason="content_filter")
    lease.release(stored=False)
    assert await Reading(running).rest() == b"one two three\n\xff\x00"
    assert (running.stored, running.reason) == (False, "content_filter")


async def test_a_call_that_nobody_follows_is_told_to_nobody(a: Replica, b: Replica) -> None:
    lease, call = await a.lead()
    call.departs()
    call.says(b"words")
    call.lands()
    lease.release(stored=True)
    await a.written()
    assert await b.redis("KEYS", "*:run:*") == []
    assert (call.flight._seats, await b.redis("KEYS", "*:in:*")) == (set(), [])


async def test_many_followers_are_told_once(a: Replica, b: Replica, c: Replica) -> None:
    lease, call = await a.lead()
    followers = [await replica.follow() for replica in (b, c)]
    call.departs()
    call.says(b"words")
    call.lands()
    assert [await running.begun() for running in followers] == [True, True]
    lease.release(stored=True)
    assert [await Reading(running).rest() for running in followers] == [b"words", b"words"]
    assert await kinds(a, followers[0]) == ["head", "data", "end"]


async def test_what_comes_while_a_piece_is_on_its_way_is_one_piece(a: Replica, b: Replica) -> None:
    _, call = await a.lead()
    running = await b.follow()
    await call.heard()
    call.departs()
    call.says(*(b"%d " % number for number in range(1000)))
    call.lands()
    assert await running.begun()
    assert await Reading(running).rest() == b"".join(b"%d " % number for number in range(1000))
    assert await kinds(a, running) == ["head", "data", "data", "end"]


async def test_the_last_piece_does_not_wait_for_a_next_one(a: Replica, b: Replica) -> None:
    _, call = await a.lead()
    running = await b.follow()
    await call.heard()
    call.departs()
    call.says(b"one ", b"two ", b"three")
    assert await running.begun()
    assert await Reading(running).until(b"three") == b"one two three"


async def test_a_run_does_not_stay_for_ever(a: Replica, b: Replica) -> None:
    _, call = await a.lead()
    running = await b.follow()
    call.departs()
    call.says(b"words")
    assert await running.begun()
    assert 0 < await b.redis("PTTL", running.run) <= 60_000  # type: ignore[attr-defined]


async def test_who_is_told_is_one_reader_of_the_flight_until_its_end(a: Replica, b: Replica) -> None:
    lease, call = await a.lead()
    running = await b.follow()
    await call.heard()
    call.departs()
    call.lands()
    lease.release(stored=True)
    assert await running.begun()
    assert (await Reading(running).rest(), call.flight._seats) == (b"", set())


async def test_a_leader_says_that_it_lives_while_there_is_nothing_else_to_say(mortal: Replica, b: Replica) -> None:
    await mortal.lead()
    running = await b.follow()
    while (await kinds(b, running)).count(Kind.ALIVE) < 3:
        pass


# --- a call that goes wrong

FAILURES: list[AskOnceError] = [
    UpstreamUnreachable("no such host"),
    UpstreamInterrupted("the connection broke"),
    UpstreamInterrupted("the stream stopped", code="stream_interrupted"),
    UpstreamProtocolError("not HTTP"),
    UpstreamTimeout("nothing came"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
async def test_a_call_that_fails_before_it_answers_fails_its_followers_alike(
    a: Replica, b: Replica, failure: AskOnceError
) -> None:
    lease, call = await a.lead()
    running = await b.follow()
    call.fails(failure)
    lease.release(stored=False)
    with pytest.raises(type(failure)) as raised:
        await running.begun()
    assert (raised.value.message, raised.value.reason) == (failure.message, failure.reason)


@pytest.mark.parametrize("failure", FAILURES, ids=str)
async def test_a_stream_that_breaks_off_breaks_off_alike_after_all_that_came(
    a: Replica, b: Replica, failure: AskOnceError
) -> None:
    lease, call = await a.lead()
    running = await b.follow()
    call.departs()
    call.says(b"one ", b"two ")
    assert await running.begun()
    call.fails(failure)
    lease.release(stored=False)
    reading = Reading(running)
    with pytest.raises(type(failure)) as raised:
        await reading.rest()
    assert (raised.value.reason, reading.seen) == (failure.reason, b"one two ")


async def test_a_call_given_up_before_it_answered_is_taken_over(a: Replica, b: Replica) -> None:
    """A holder that shuts down: its answer would have been good, so nobody fails with it."""
    lease, call = await a.lead()
    running = await b.follow()
    call.departs()
    call.fails(Overloaded("shutting down"))
    lease.release(stored=False)
    assert not await running.begun()
    assert not running.useless
    await b.lead()


async def test_a_stream_given_up_ends_with_an_error(a: Replica, b: Replica) -> None:
    _, call = await a.lead()
    running = await b.follow()
    call.departs()
    call.says(b"words")
    assert await running.begun()
    call.fails(Overloaded("shutting down"))
    with pytest.raises(Overloaded):
        await Reading(running).rest()


async def test_an_answer_given_up_while_it_is_waited_out_does_not_end_well(a: Replica, b: Replica) -> None:
    _, call = await a.lead()
    running = await b.follow()
    call.departs()
    call.says(b"words")
    assert await running.begun()
    call.fails(Overloaded("shutting down"))
    assert not await running.ended()


async def test_a_lease_that_ends_before_anything_was_asked_tells_so(a: Replica, b: Replica) -> None:
    """Its holder looked once more, and found the answer stored."""
    lease = (await a.leases.take(NAME)).lease
    running = await b.follow()
    assert lease is not None
    lease.release(stored=True)
    assert not await running.begun()
    after, _ = await b.lead()
    assert after.look_first


# --- an answer past the bound

SMALL = {"max_bytes": 100}
BIG = b"x" * 60
"""Two of these are over the bound."""


async def test_a_stream_that_grows_past_the_bound_ends_with_an_error_for_who_follows(a: Replica, b: Replica) -> None:
    _, call = await a.lead(**SMALL)
    running = await b.follow()
    call.departs()
    call.says(BIG)
    assert await running.begun()
    await call.heard()
    call.says(BIG)
    reading = Reading(running)
    with pytest.raises(AskOnceError) as raised:
        await reading.rest()
    assert (raised.value.reason, reading.seen) == ("too_large", BIG)


async def test_who_waits_for_a_whole_answer_that_grows_past_the_bound_asks_for_itself(a: Replica, b: Replica) -> None:
    _, call = await a.lead(streaming=False, **SMALL)
    running = await b.follow()
    await call.heard()
    call.departs()
    call.says(BIG, BIG)
    assert not await running.begun()


async def test_who_comes_when_it_is_past_the_bound_asks_for_itself(a: Replica, b: Replica, c: Replica) -> None:
    """Whether it was told to somebody before or not."""
    _, call = await a.lead(**SMALL)
    call.departs()
    call.says(BIG, BIG)
    running = await b.follow()
    assert not await running.begun()
    await running.aclose()
    await b.lead()
    await c.follow()


async def test_who_comes_when_its_first_bytes_are_let_go_of_asks_for_itself(a: Replica, b: Replica) -> None:
    _, call = await a.lead(**SMALL)
    call.departs()
    call.says(BIG, BIG, BIG)
    reading = call.sit().frames()
    for _ in range(3):
        await anext(reading)
    await call.flight.room()
    assert not await (await b.follow()).begun()
    await reading.aclose()


async def test_nobody_is_sent_to_a_stream_that_was_told_until_it_was_too_large(
    a: Replica, b: Replica, c: Replica
) -> None:
    _, call = await a.lead(**SMALL)
    running = await b.follow()
    call.departs()
    call.says(BIG)
    assert await running.begun()
    call.says(BIG)
    with pytest.raises(Overloaded):
        await Reading(running).rest()
    await c.lead()


async def test_a_flight_past_the_bound_has_no_reader_of_ours(a: Replica, b: Replica) -> None:
    _, call = await a.lead(**SMALL)
    running = await b.follow()
    await call.heard()
    call.departs()
    call.says(BIG, BIG)
    await running.begun()
    assert call.flight._seats == set()


# --- coming late


async def test_a_late_follower_gets_everything_from_the_first_byte(a: Replica, b: Replica, c: Replica) -> None:
    lease, call = await a.lead()
    early = await b.follow()
    call.departs()
    call.says(b"one ")
    assert await early.begun()
    call.says(b"two ")
    await Reading(early).until(b"two ")
    late = await c.follow()
    assert await late.begun()
    reading = Reading(late)
    assert await reading.until(b"two ") == b"one two "
    call.says(b"three")
    call.lands()
    lease.release(stored=True)
    assert await reading.rest() == b"one two three"
    assert (late.status, late.stored) == (200, True)


async def test_who_comes_between_the_end_of_a_lease_and_that_of_its_call_gets_everything(
    a: Replica, b: Replica, c: Replica
) -> None:
    """A lease ends when the answer is kept; its last bytes are passed on after that."""
    lease, call = await a.lead()
    early = await b.follow()
    call.departs()
    call.says(b"one ")
    assert await early.begun()
    holder = await a.holder()
    lease.release(stored=True)
    await a.written()
    await a.redis("SET", a.lease_key(), holder)  # as it was when the late one asked
    late = await c.follow()
    assert await late.begun()
    call.says(b"two")
    call.lands()
    for running in (early, late):
        assert await Reading(running).rest() == b"one two"


async def test_who_comes_after_the_end_finds_it_in_the_stream(a: Replica, b: Replica, c: Replica) -> None:
    lease, call = await a.lead()
    early = await b.follow()
    holder = await a.holder()
    call.departs()
    call.says(b"words")
    call.lands()
    lease.release(stored=True)
    assert await early.begun()
    assert await Reading(early).rest() == b"words"
    await a.redis("SET", a.lease_key(), holder)
    late = await c.follow()
    assert await late.begun()
    assert await Reading(late).rest() == b"words"


# --- Redis in trouble


async def test_what_a_full_redis_refuses_to_take_its_follower_does_not_wait_for(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    async with Replica(server.url, ttl_s=0.5) as a, Replica(server.url, ttl_s=0.5) as b:
        _, call = await a.lead()
        running = await b.follow()
        await call.heard()
        server.config("maxmemory", 1)
        call.departs()
        call.says(b"words")
        assert not await running.begun()
        assert call.flight.status == 200
