"""What a follower takes for the answer, how long it waits, and what it never passes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.errors import UpstreamInterrupted
from proxy.leases import redis, redis_follow
from proxy.leases.messages import Kind
from tests.leases import NAME, OTHER, SOON_S, Call, Reading, Replica
from tests.redis_servers import RedisServer


async def begun(a: Replica, b: Replica, *pieces: bytes) -> tuple[Any, Call]:
    """A stream on its way that is followed: these pieces are told, and its first is here."""
    _, call = await a.lead()
    running = await b.follow()
    call.departs()
    call.says(*pieces)
    assert await running.begun()
    return running, call


async def signs(replica: Replica, running: Any, count: int) -> None:
    """Until a leader with nothing to say has so often said that it lives."""
    told: list[str] = []
    while told.count(Kind.ALIVE) < count:
        entries = await replica.redis("XRANGE", running.run, "-", "+")
        told = [pairs[pairs.index(b"kind") + 1].decode() for _, pairs in entries]
        await asyncio.sleep(0.01)


LONG = 8
"""So many signs of life take more than twice the time after which a holder that says nothing is gone."""


# --- beginning


async def test_a_stream_has_begun_with_its_head_and_some_of_its_body(a: Replica, b: Replica) -> None:
    _, call = await a.lead()
    running = await b.follow()
    beginning = asyncio.create_task(running.begun())
    call.departs()
    while not running.status:
        await asyncio.sleep(0)
    assert not beginning.done()
    call.says(b"w")
    assert await beginning


async def test_what_is_no_stream_has_begun_when_all_of_it_is_here(a: Replica, b: Replica) -> None:
    _, call = await a.lead(streaming=False)
    running = await b.follow()
    beginning = asyncio.create_task(running.begun())
    call.departs()
    call.says(b"half ", b"whole")
    while not running.status:
        await asyncio.sleep(0)
    await a.written()
    assert not beginning.done()
    call.lands()
    assert await beginning
    assert (running.stored, await Reading(running).rest()) == (True, b"half whole")


async def test_an_answer_without_a_body_has_begun_when_it_has_ended(a: Replica, b: Replica) -> None:
    _, call = await a.lead()
    running = await b.follow()
    call.departs(204, ())
    call.lands(stored=False)
    assert await running.begun()
    assert (running.status, running.headers, await Reading(running).rest()) == (204, (), b"")


async def test_a_stream_that_is_only_waited_out_says_whether_it_is_stored(a: Replica, b: Replica) -> None:
    running, call = await begun(a, b, b"one ")
    ending = asyncio.create_task(running.ended())
    call.says(*[b"x" * 10_000] * 100)
    call.lands(stored=True)
    assert await ending
    assert (running.stored, await Reading(running).rest()) == (True, b"")


# --- a holder that says nothing


async def test_a_holder_that_died_before_it_answered_is_gone(mortal: Replica, heir: Replica) -> None:
    await mortal.lead()
    running = await heir.follow()
    await mortal.die()
    assert not await running.begun()
    assert not running.useless
    await running.aclose()
    await heir.lead()


async def test_a_holder_that_died_within_a_plain_answer_is_gone(mortal: Replica, heir: Replica) -> None:
    _, call = await mortal.lead(streaming=False)
    running = await heir.follow()
    call.departs()
    call.says(b"half ")
    beginning = asyncio.create_task(running.begun())
    while not running.status:
        await asyncio.sleep(0)
    await mortal.die()
    assert not await beginning
    await running.aclose()
    await heir.lead()


async def test_a_stream_whose_holder_died_ends_with_an_error_after_all_that_came(
    mortal: Replica, heir: Replica
) -> None:
    running, _ = await begun(mortal, heir, b"half ")
    await mortal.die()
    reading = Reading(running)
    with pytest.raises(UpstreamInterrupted) as raised:
        await reading.rest()
    assert (raised.value.reason, reading.seen) == ("leader_lost", b"half ")


async def test_a_holder_that_died_while_its_stream_is_waited_out_is_gone(mortal: Replica, heir: Replica) -> None:
    running, _ = await begun(mortal, heir, b"half ")
    await mortal.die()
    assert not await running.ended()


async def test_of_all_who_followed_a_holder_that_died_one_takes_over(
    mortal: Replica, heir: Replica, redis_url: str
) -> None:
    await mortal.lead()
    async with Replica(redis_url, ttl_s=SOON_S) as other:
        heirs = (heir, other)
        followers = [await replica.follow() for replica in heirs]
        await mortal.die()
        assert await asyncio.gather(*(running.begun() for running in followers)) == [False, False]
        taken = [await replica.leases.take(NAME) for replica in heirs]
        assert [each.lease is not None for each in taken].count(True) == 1
        assert [each.running is not None for each in taken].count(True) == 1


async def test_a_holder_that_lives_may_think_as_long_as_it_likes(mortal: Replica, heir: Replica) -> None:
    _, call = await mortal.lead()
    running = await heir.follow()
    beginning = asyncio.create_task(running.begun())
    await signs(heir, running, LONG)
    call.departs()
    call.says(b"one ")
    assert await beginning
    reading = Reading(running)
    assert await reading.until(b"one ")
    await signs(heir, running, 2 * LONG)
    call.says(b"two")
    call.lands()
    assert await reading.rest() == b"one two"


@pytest.mark.parametrize("how", ["dropped", "evicted", "purged"])
async def test_a_stream_goes_on_for_who_follows_it_when_its_lease_is_lost(
    mortal: Replica, heir: Replica, b: Replica, how: str
) -> None:
    """A deletion wants a new answer for who comes after it; who came before it hears the old one to its end."""
    running, call = await begun(mortal, heir, b"one ")
    match how:
        case "dropped":
            await b.leases.drop(NAME)
        case "evicted":
            await b.redis("UNLINK", b.lease_key())
        case "purged":
            for replica in (mortal, heir, b):
                replica.generation += 1
    await b.lead()
    reading = Reading(running)
    ending = asyncio.create_task(reading.rest())
    await signs(heir, running, LONG)
    call.says(b"two")
    call.lands()
    assert await ending == b"one two"


async def test_a_holder_that_cannot_be_heard_is_gone_though_it_keeps_its_lease(heir: Replica, a: Replica) -> None:
    """What it wrote was lost: who waited for it would wait as long as the upstream takes."""
    await a.redis("SET", heir.lease_key(), "another.1")
    assert not await (await heir.follow()).begun()


# --- waiting no longer than is allowed


async def test_who_waited_long_enough_for_a_head_asks_for_itself(a: Replica, redis_url: str) -> None:
    async with Replica(redis_url, wait_s=0.05) as impatient:
        await a.lead()
        running = await impatient.follow()
        assert not await running.begun()
        assert running.useless


@pytest.mark.parametrize("streaming", [True, False])
async def test_what_has_a_head_is_waited_for_as_long_as_it_takes(
    mortal: Replica, redis_url: str, streaming: bool
) -> None:
    async with Replica(redis_url, wait_s=0.2) as impatient:
        _, call = await mortal.lead(streaming=streaming)
        running: Any = await impatient.follow()
        beginning = asyncio.create_task(running.begun())
        call.departs()
        await signs(impatient, running, 3)
        call.says(b"words")
        call.lands()
        assert await beginning
        assert not running.useless


# --- Redis in trouble


async def test_who_follows_through_a_redis_that_is_gone_asks_for_itself(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    async with Replica(server.url, ttl_s=SOON_S) as a, Replica(server.url, ttl_s=SOON_S) as b:
        await a.lead()
        running = await b.follow()
        server.kill()
        assert not await running.begun()
        await running.aclose()


async def test_a_stream_through_a_redis_that_is_gone_ends_with_an_error(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    async with Replica(server.url, ttl_s=SOON_S) as a, Replica(server.url, ttl_s=SOON_S) as b:
        running, call = await begun(a, b, b"half ")
        server.kill()
        call.says(b"whole")
        call.lands()
        reading = Reading(running)
        with pytest.raises(UpstreamInterrupted):
            await reading.rest()
        assert reading.seen == b"half "


async def test_a_stream_survives_that_every_connection_to_redis_is_cut(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    async with Replica(server.url) as a, Replica(server.url) as b:
        running, call = await begun(a, b, b"one ")
        reading = Reading(running)
        for words in (b"two ", b"three "):
            server.raw("CLIENT", "KILL", "TYPE", "normal")
            call.says(words)
            await reading.until(words)
        call.lands()
        assert await reading.rest() == b"one two three "


# --- what is not of its leader


FORGED: dict[str, tuple[object, ...]] = {
    "without a tag": ("kind", "data", "content", "evil"),
    "with a tag of nothing": ("kind", "data", "content", "evil", "tag", bytes(16)),
    "an end": ("kind", "end", "content", b'{"stored":true,"reason":""}', "tag", bytes(16)),
    "of no kind": ("field", "value"),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_nothing_is_passed_on_of_a_run_that_begins_with_a_forged_message(
    a: Replica, b: Replica, forged: tuple[object, ...]
) -> None:
    lease, call = await a.lead()
    running: Any = await b.follow()
    await b.redis("XADD", running.run, "*", *forged)
    call.departs()
    call.says(b"words")
    call.lands()
    lease.release(stored=True)
    assert not await running.begun()


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_message_ends_a_run_and_never_reaches_its_reader(
    a: Replica, b: Replica, forged: tuple[object, ...]
) -> None:
    running, call = await begun(a, b, b"one ")
    reading = Reading(running)
    await b.redis("XADD", running.run, "*", *forged)
    call.says(b"two ")
    call.lands()
    with pytest.raises(UpstreamInterrupted):
        await reading.rest()
    assert reading.seen == b"one "


async def test_a_run_that_somebody_tampers_with_is_not_followed_again(a: Replica, b: Replica) -> None:
    await a.lead()
    running: Any = await b.follow()
    await b.redis("XADD", running.run, "*", "kind", "data", "content", "evil")
    assert not await running.begun()
    await running.aclose()
    taken = await b.leases.take(NAME)
    assert (taken.lease, taken.running) == (None, None)


async def test_a_message_that_was_taken_out_ends_the_run(a: Replica, b: Replica, c: Replica) -> None:
    running, call = await begun(a, b, b"one ")
    reading = Reading(running)
    for words in (b"two ", b"three "):
        call.says(words)
        await reading.until(words)
    [(_, _), (_, _), (second, _), (_, _)] = await b.redis("XRANGE", running.run, "-", "+")
    await b.redis("XDEL", running.run, second)
    late = await c.follow()
    assert await late.begun()
    with pytest.raises(UpstreamInterrupted):
        await Reading(late).rest()


async def test_a_message_that_is_said_again_ends_the_run(a: Replica, b: Replica) -> None:
    running, call = await begun(a, b, b"one ")
    [(_, _), (_, first)] = await b.redis("XRANGE", running.run, "-", "+")
    await b.redis("XADD", running.run, "*", *first)
    call.says(b"two")
    reading = Reading(running)
    with pytest.raises(UpstreamInterrupted):
        await reading.rest()
    assert reading.seen == b"one "


async def test_another_questions_answer_is_not_passed_on_whatever_the_lease_says(a: Replica, b: Replica) -> None:
    """Whoever can write to Redis can point a question's lease to a call for another, whose answer they know."""
    _, call = await a.lead(OTHER)
    call.departs()
    call.says(b"an answer to something else")
    call.lands()
    await b.redis("SET", b.lease_key(NAME), await b.holder(OTHER))
    assert not await (await b.follow(NAME)).begun()


async def test_a_replica_with_another_secret_is_not_believed(a: Replica, redis_url: str) -> None:
    async with Replica(redis_url, secret=b"the secret of another installation") as stranger:
        _, call = await a.lead()
        running = await stranger.follow()
        call.departs()
        call.says(b"words")
        call.lands()
        assert not await running.begun()


# --- memory


async def test_what_a_reader_does_not_take_stays_in_redis_until_there_is_room(
    a: Replica, b: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_follow, "ROOM_BYTES", 10_000)
    monkeypatch.setattr(redis, "MESSAGES_AT_ONCE", 1)
    pieces = [b"%06d" % number * 1000 for number in range(50)]
    running, call = await begun(a, b, b"first")
    for piece in pieces:
        call.says(piece)
        await a.written()
    call.lands()
    await a.written()
    [(last, _)] = await b.redis("XREVRANGE", running.run, "+", "-", "COUNT", 1)
    # Somebody else's run comes in meanwhile: the listener has gone round, and left the full one alone.
    other, _ = await begun_other(a, b)
    assert running._bytes < 10_000 + len(pieces[0])
    assert running.place.encode() < last
    assert await Reading(running).rest() == b"first" + b"".join(pieces)
    await other.aclose()


async def begun_other(a: Replica, b: Replica) -> tuple[Any, Call]:
    _, call = await a.lead(OTHER)
    running = await b.follow(OTHER)
    call.departs()
    call.says(b"words")
    assert await running.begun()
    return running, call


async def test_what_nobody_follows_any_more_is_not_listened_to(a: Replica, b: Replica) -> None:
    running, call = await begun(a, b, b"one ")
    await running.aclose()
    call.says(b"two ")
    other, _ = await begun_other(a, b)
    assert running._messages == type(running._messages)()
    assert list(b.leases._followed) == [other.run]
