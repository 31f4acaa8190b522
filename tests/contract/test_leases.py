"""What every kind of leases promises, on every one there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.leases.base import NOBODY, Lease, Leases
from proxy.leases.off import NoLeases
from tests.leases import NAME, OTHER, Replica, name_of
from tests.redis_servers import RedisServer, free_port


@pytest.fixture(params=["off", "redis", "a Redis that was never there", "a Redis that is gone"])
async def leases(request: pytest.FixtureRequest) -> AsyncIterator[Leases]:
    match request.param:
        case "off":
            yield NoLeases()
        case "redis":
            async with Replica(request.getfixturevalue("redis_url")) as replica:
                yield replica.leases
        case "a Redis that was never there":
            replica = Replica(f"redis://127.0.0.1:{free_port()}")
            await replica.leases.open()
            yield replica.leases
            await replica.__aexit__()
        case "a Redis that is gone":
            server: RedisServer = request.getfixturevalue("own_redis")()
            async with Replica(server.url) as replica:
                await replica.lead(name_of(3))
                server.kill()
                yield replica.leases


def ended(lease: Lease | None, *, stored: bool) -> None:
    if lease is not None:
        lease.release(stored=stored)


async def test_who_takes_may_ask_and_follows_nobody_where_there_is_nobody(leases: Leases) -> None:
    taken = await leases.take(NAME)
    assert taken.running is None
    assert taken.lease is None or not taken.lease.look_first


async def test_of_many_who_take_one_name_at_once_one_at_most_leads(leases: Leases) -> None:
    taken = await asyncio.gather(*(leases.take(NAME) for _ in range(20)))
    assert len([each for each in taken if each.lease is not None]) <= 1
    assert all(each == NOBODY for each in taken if each.lease is None)


async def test_names_have_nothing_to_do_with_each_other(leases: Leases) -> None:
    first, second = [await leases.take(name) for name in (NAME, OTHER)]
    assert (first.lease is None) == (second.lease is None)


@pytest.mark.parametrize("stored", [True, False])
async def test_after_a_lease_ended_nobody_is_followed(leases: Leases, stored: bool) -> None:
    for _ in range(3):
        taken = await leases.take(NAME)
        assert taken.running is None
        ended(taken.lease, stored=stored)


async def test_a_lease_may_end_more_than_once(leases: Leases) -> None:
    lease = (await leases.take(NAME)).lease
    for stored in (True, False):
        ended(lease, stored=stored)


async def test_to_drop_what_nobody_asks_is_harmless(leases: Leases) -> None:
    for _ in range(2):
        await leases.drop(OTHER)


async def test_after_a_name_was_dropped_the_next_to_come_asks_anew(leases: Leases) -> None:
    first = await leases.take(NAME)
    await leases.drop(NAME)
    second = await leases.take(NAME)
    assert second.running is None
    assert (second.lease is None) == (first.lease is None)


async def test_to_close_is_harmless_however_often_and_whatever_comes_after(leases: Leases) -> None:
    lease = (await leases.take(NAME)).lease
    await leases.close()
    await leases.close()
    ended(lease, stored=True)
    await leases.take(OTHER)
    await leases.drop(NAME)


async def test_closed_without_having_been_used(leases: Leases) -> None:
    await leases.close()
