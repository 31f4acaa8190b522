"""Who asks: leases between replicas on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxy.leases.base import NOBODY
from proxy.redis_link.client import Access, connect
from proxy.redis_link.link import Link
from proxy.settings.redis_address import RedisAddress
from tests.leases import NAME, OTHER, Reading, Replica
from tests.redis_servers import RedisServer
from tests.slow_wire import SlowWire


async def until_free(replica: Replica) -> None:
    """Until nobody has the lease. A key that expires tells nobody."""
    while await replica.holder() is not None:
        await asyncio.sleep(0.01)


async def shortened(replica: Replica, ms: int) -> None:
    assert await replica.redis("PEXPIRE", replica.lease_key(), ms)


# --- taking


async def test_the_first_leads_and_the_second_follows(a: Replica, b: Replica) -> None:
    await a.lead()
    await b.follow()


async def test_of_many_takers_on_many_replicas_one_leads(a: Replica, b: Replica, c: Replica) -> None:
    taken = await asyncio.gather(*(replica.leases.take(NAME) for _ in range(10) for replica in (a, b, c)))
    assert len([each for each in taken if each.lease is not None]) == 1
    assert len([each for each in taken if each.running is not None]) == 2  # one for each of the others


async def test_another_question_is_another_lease(a: Replica, b: Replica) -> None:
    await a.lead(NAME)
    await b.lead(OTHER)


async def test_a_lease_has_an_end_of_its_own(a: Replica) -> None:
    await a.lead()
    assert 0 < await a.redis("PTTL", a.lease_key()) <= 60_000


async def test_a_replica_does_not_follow_itself(a: Replica) -> None:
    """Its own board lets nobody join that call any more: it is too large, too old, or has too many readers."""
    await a.lead()
    assert await a.leases.take(NAME) == NOBODY


async def test_a_call_is_followed_once_in_a_process(a: Replica, b: Replica) -> None:
    await a.lead()
    running = await b.follow()
    assert await b.leases.take(NAME) == NOBODY
    await running.aclose()
    await running.aclose()
    assert await b.leases.take(NAME) == NOBODY  # it was left for a reason


async def test_the_next_call_is_followed_like_the_first(a: Replica, b: Replica) -> None:
    for words in (b"one", b"two"):
        lease, call = await a.lead()
        running = await b.follow()
        call.departs()
        call.says(words)
        assert await running.begun()
        call.lands()
        lease.release(stored=True)
        assert await Reading(running).rest() == words
        await running.aclose()
        await a.written()


# --- holding and ending


async def test_a_lease_is_kept_while_its_holder_lives(mortal: Replica) -> None:
    await mortal.lead()
    for _ in range(3):
        await shortened(mortal, 400)
        while await mortal.redis("PTTL", mortal.lease_key()) <= 400:
            assert await mortal.holder() is not None
            await asyncio.sleep(0.005)


async def test_the_lease_of_a_holder_that_died_ends_by_itself(mortal: Replica, b: Replica) -> None:
    await mortal.lead()
    await mortal.die()
    await until_free(b)
    lease, _ = await b.lead()
    assert not lease.look_first


@pytest.mark.parametrize(("stored", "mark"), [(True, b"-"), (False, b"~")])
async def test_who_comes_after_a_stored_answer_looks_first(a: Replica, b: Replica, stored: bool, mark: bytes) -> None:
    lease, _ = await a.lead()
    lease.release(stored=stored)
    await a.written()
    assert await b.holder() == mark
    assert 0 < await b.redis("PTTL", b.lease_key()) <= 5000
    after, _ = await b.lead()
    assert after.look_first is stored


async def test_what_is_written_before_a_lease_ends_is_there_when_it_has(a: Replica, b: Replica) -> None:
    lease, _ = await a.lead()
    a.writes.add(("SET", "an answer", "words"))
    lease.release(stored=True)
    while await b.holder() != b"-":
        pass
    assert await b.redis("GET", "an answer") == b"words"


async def test_who_lost_its_lease_ends_nobody_elses(a: Replica, b: Replica) -> None:
    late, _ = await a.lead()
    await a.redis("UNLINK", a.lease_key())
    await b.lead()
    holder = await b.holder()
    late.release(stored=True)
    await a.written()
    assert await b.holder() == holder


async def test_who_lost_its_lease_does_not_keep_anothers_alive(mortal: Replica, b: Replica) -> None:
    await mortal.lead()
    await b.redis("SET", b.lease_key(), "another.1", "PX", 400)
    await until_free(b)


async def test_after_a_purge_of_everything_the_question_is_asked_anew(a: Replica, b: Replica) -> None:
    await a.lead()
    b.generation += 1
    await b.lead()


async def test_after_a_deletion_the_question_is_asked_anew(a: Replica, b: Replica) -> None:
    await a.lead()
    await b.leases.drop(NAME)
    await b.lead()


async def test_a_deletion_forgets_that_an_answer_was_stored(a: Replica, b: Replica) -> None:
    lease, _ = await a.lead()
    lease.release(stored=True)
    await a.written()
    await b.leases.drop(NAME)
    after, _ = await b.lead()
    assert not after.look_first


# --- stopping


async def test_a_replica_that_closes_gives_its_leases_up(a: Replica, b: Replica) -> None:
    await a.lead(NAME)
    await a.lead(OTHER)
    await a.leases.close()
    await a.written()
    for name in (NAME, OTHER):
        assert await b.holder(name) == b"~"
        await b.lead(name)


async def test_who_follows_a_replica_that_closes_takes_over_at_once(a: Replica, b: Replica) -> None:
    """At once: with these replicas a minute would have to pass before anybody were taken for gone."""
    _, call = await a.lead()
    running = await b.follow()
    await call.heard()
    await a.leases.close()
    assert not await running.begun()
    assert not running.useless
    await b.lead()


async def test_who_follows_what_is_not_even_asked_yet_takes_over_at_once_too(a: Replica, b: Replica) -> None:
    lease = (await a.leases.take(NAME)).lease
    running = await b.follow()
    await a.leases.close()
    assert not await running.begun()
    assert lease is not None
    lease.release(stored=False)
    await b.lead()


async def test_a_replica_that_closes_follows_nobody_any_more(a: Replica, b: Replica) -> None:
    await a.lead()
    running = await b.follow()
    await b.leases.close()
    assert not await running.begun()


# --- what nobody holds


async def test_who_follows_a_call_that_is_over_learns_it_at_once(a: Replica, b: Replica) -> None:
    """Between its taking and the holder's hearing of it the call came to its end."""
    lease, call = await a.lead()
    holder = await a.holder()
    call.lands()
    lease.release(stored=True)
    await a.written()
    await a.redis("SET", a.lease_key(), holder)
    assert not await (running := await b.follow()).begun()
    assert not running.useless
    await a.redis("SET", a.lease_key(), b"-")
    after, _ = await b.lead()
    assert after.look_first


async def test_a_lease_whose_holder_knows_nothing_of_it_is_not_followed_over_and_over(a: Replica, b: Replica) -> None:
    await a.redis("SET", a.lease_key(), f"{a.name}.99")
    running = await b.follow()
    assert not await running.begun()
    await running.aclose()
    assert await b.leases.take(NAME) == NOBODY


async def test_a_lease_that_was_taken_and_not_heard_of_is_given_back(redis_server: RedisServer, b: Replica) -> None:
    """Its reply comes too late: the taker asks by itself, and nobody must wait for what it does not tell."""
    async with SlowWire("127.0.0.1", redis_server.port) as wire:
        slow = Replica(f"redis://127.0.0.1:{wire.port}")
        slow.link = slow.leases._link = slow.writes._link = Link(
            connect(Access(RedisAddress.parse(f"redis://127.0.0.1:{wire.port}"), 5.0)),
            limit_s=0.1,
            connections=4,
            breaker_failures=100,
            shown="a slow wire",
        )
        await slow.link.run([("PING",)], probe=True)
        wire.delay_s = 0.08
        assert await slow.leases.take(NAME) == NOBODY
        while await b.holder() != b"~":
            await asyncio.sleep(0.005)
        await slow.tasks.drain(5)
        await slow.link.close()
    await b.lead()


ODD: dict[str, tuple[object, ...]] = {
    "of another type": ("LPUSH", "element"),
    "not of a replica": ("SET", b"\xff\xfe"),
    "empty": ("SET", b""),
    "without a number": ("SET", b"replica"),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_whatever_stands_where_a_lease_should_nothing_is_raised(a: Replica, odd: tuple[object, ...]) -> None:
    command, value = odd
    await a.redis(command, a.lease_key(), value)
    taken = await a.leases.take(NAME)
    assert taken.lease is None
    await a.leases.drop(NAME)
    await a.lead()


POSTED: dict[str, tuple[object, ...]] = {
    "nothing to follow": ("what", "follow"),
    "nothing wanted": ("token", "no.1"),
    "something else": ("what", "dance", "lease", "no", "token", "no.1"),
    "no text": ("what", "follow", "lease", b"\xff", "token", b"\xff"),
}


@pytest.mark.parametrize("posted", POSTED.values(), ids=POSTED)
async def test_whatever_is_posted_a_replica_goes_on_to_hear(a: Replica, b: Replica, posted: tuple[object, ...]) -> None:
    await b.redis("XADD", f"{{askonce}}:1:in:{a.name}", "*", *posted)
    _, call = await a.lead()
    running = await b.follow()
    call.departs()
    call.says(b"words")
    assert await running.begun()


# --- Redis in trouble

Own = Callable[..., RedisServer]


async def test_without_redis_everybody_asks_and_with_it_again_one_for_all(own_redis: Own) -> None:
    server = own_redis()
    async with Replica(server.url) as a, Replica(server.url) as b:
        await a.lead()
        server.kill()
        for replica in (a, b):
            assert await replica.leases.take(NAME) == NOBODY
            await replica.leases.drop(NAME)
        server.start()
        for replica in (a, b):
            await replica.link.run([("PING",)], probe=True)
        _, call = await a.lead()
        running = await b.follow()
        call.departs()
        call.says(b"words")
        assert await running.begun()


async def test_in_a_full_redis_nobody_leads(own_redis: Own) -> None:
    server = own_redis()
    async with Replica(server.url) as a:
        server.config("maxmemory", 1)
        assert await a.leases.take(NAME) == NOBODY
        server.config("maxmemory", 0)
        await a.lead()


async def test_who_cannot_tell_the_holder_that_it_follows_does_not_wait_for_it(own_redis: Own) -> None:
    server = own_redis()
    async with Replica(server.url) as a, Replica(server.url) as b:
        await a.lead()
        server.config("maxmemory", 1)
        assert await b.leases.take(NAME) == NOBODY
