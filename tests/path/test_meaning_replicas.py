"""Matching by meaning on a Redis that replicas share: what one has answered all match, what one refuses none serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.embedding_model import lend
from tests.path.by_meaning import ASKED, ON, OTHERWISE, echo, feedback, figures, ready, remembered, until_hit, user, x
from tests.path.sharing import Between
from tests.path.test_redis_topologies import PASSWORD, RIGHTS, rules
from tests.provider import Provider
from tests.redis_servers import RedisServer
from tests.running import Running, Start, said

PATIENT: dict[str, Any] = {"store.redis.command_timeout": 60, "store.redis.connect_timeout": 60}

MATCHING_RIGHTS = {
    "hdel", "hexists", "ft.create", "ft.info", "ft.search", "ft._list", "time", "zadd", "zcard", "zmscore", "zrange",
    "zrevrange", "zremrangebyrank", "zremrangebyscore", "xrevrange",
}  # fmt: skip
"""What matching by meaning needs beside the least rights."""

Replica = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def between(redis_url: str) -> Iterator[Between]:
    shared = Between(redis_url)
    yield shared
    shared.close()


@pytest.fixture
def replica(askonce: Start, provider: Provider, redis_url: str, tmp_path: Path) -> Replica:
    lend(tmp_path / "data")
    provider.answer = echo

    @asynccontextmanager
    async def start(flags: dict[str, Any] | None = None) -> AsyncIterator[Running]:
        async with askonce(ON | PATIENT | (flags or {}), {"ASKONCE_STORE": redis_url}) as proxy:
            await ready(proxy)
            await indexed(proxy)
            yield proxy

    return start


async def indexed(proxy: Running) -> None:
    """Until the index is there."""
    while (await figures(proxy))["index"]["degraded"] is not None:
        await asyncio.sleep(0.02)


async def matched(proxy: Running, words: str = OTHERWISE) -> Any:
    """Until the query engine has the point: it indexes behind what was written."""
    while x(answer := await proxy.chat(**user(words)), "cache") == "miss":
        await proxy.http.delete(f"/admin/entries/{x(answer, 'cache-key')}")
        await asyncio.sleep(0.01)
    return answer


async def test_what_one_replica_has_answered_another_matches(replica: Replica, provider: Provider):
    async with replica() as a, replica() as b:
        await a.chat(**user(ASKED))
        await remembered(a)
        answer = await matched(b)
        assert said(answer) == f"You asked: {ASKED}"
        assert said(await until_hit(a, **user(OTHERWISE))) == f"You asked: {ASKED}"


async def test_a_pair_refused_on_one_replica_is_refused_on_all_from_the_next_request_on(
    replica: Replica, provider: Provider
):
    async with replica({"store.memory": 0}) as a, replica({"store.memory": 0}) as b:
        await a.chat(**user(ASKED))
        await remembered(a)
        answer = await matched(a)
        assert (await feedback(a, key=x(answer, "cache-key"), verdict="bad")).json() == {"done": "pair_refused"}
        assert said(await b.chat(**user(OTHERWISE))) == f"You asked: {OTHERWISE}"


async def test_an_index_that_is_lost_is_made_again_and_matches_again(replica: Replica, between: Between):
    async with replica() as a:
        await a.chat(**user(ASKED))
        await remembered(a)
        await matched(a)
        (index,) = between("FT._LIST")
        between("FT.DROPINDEX", index)
        again = "How could I reset my password?"
        assert said(await matched(a, again)) == f"You asked: {ASKED}"


async def test_after_everything_was_lost_questions_are_asked_and_matched_anew(
    replica: Replica, between: Between, provider: Provider
):
    async with replica({"store.memory": 0}) as a:
        await a.chat(**user(ASKED))
        await remembered(a)
        between("FLUSHALL")
        answer = await a.chat(**user(OTHERWISE))
        assert (x(answer, "cache"), said(answer)) == ("miss", f"You asked: {OTHERWISE}")
        # What was stored before the loss was noticed is of a generation that has ended: it is asked once more.
        again = "How could I reset my password?"
        while x(answer := await a.chat(**user(again)), "cache") == "miss":
            await a.http.delete(f"/admin/entries/{x(answer, 'cache-key')}")
            await a.chat(**user(OTHERWISE))
            await asyncio.sleep(0.01)
        assert said(answer) == f"You asked: {OTHERWISE}"


async def test_a_redis_without_the_query_engine_serves_exact_answers_and_says_so(
    askonce: Start, provider: Provider, own_redis: Callable[..., RedisServer], tmp_path: Path
):
    lend(tmp_path / "data")
    provider.answer = echo
    async with askonce(ON | PATIENT, {"ASKONCE_STORE": own_redis(search=False).url}) as proxy:
        await ready(proxy)
        await proxy.chat(**user(ASKED))
        assert x(await proxy.chat(**user(ASKED)), "cache") == "hit"
        assert x(await proxy.chat(**user(OTHERWISE)), "cache") == "miss"
        while "query engine" not in (await proxy.http.get("/readyz")).json()["semantic"].get("detail", ""):
            await asyncio.sleep(0.02)
        assert (await proxy.http.get("/readyz")).status_code == 200


async def test_the_least_rights_suffice_with_what_the_readme_adds_for_matching(
    askonce: Start, provider: Provider, own_redis: Callable[..., RedisServer], tmp_path: Path
):
    lend(tmp_path / "data")
    provider.answer = echo
    server = own_redis(users={"askonce": rules(RIGHTS | MATCHING_RIGHTS)})
    flags = ON | PATIENT | {"semantic.policy": "learned"}
    async with askonce(flags, {"ASKONCE_STORE": server.url_as("askonce", PASSWORD)}) as proxy:
        await ready(proxy)
        await indexed(proxy)
        await proxy.chat(**user(ASKED))
        await remembered(proxy)
        answer = await matched(proxy)
        assert (await feedback(proxy, key=x(answer, "cache-key"), verdict="bad")).status_code == 200
        await proxy.chat(**user(OTHERWISE))
        await proxy.http.post("/admin/purge", json={"all": True})
        assert server.raw("ACL", "LOG") == []
