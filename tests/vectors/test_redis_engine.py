"""redisvl and the query engine of a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from proxy.errors import CacheFailure
from proxy.redis_link.link import Link, LinkDown
from proxy.vectors.redis_engine import Engine, NoEngine
from proxy.vectors.redis_names import Names
from tests.redis_link import link_to
from tests.redis_servers import RedisServer

NAMES = Names("askonce", "model-a", 16)


def engine_on(link: Link) -> Engine:
    return Engine(link, NAMES, "askonce:1:", 16)


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    made = link_to(redis_url)
    await made.run([("PING",)], probe=True)
    yield made
    await made.close()


async def test_an_index_is_there_once_it_was_made(link: Link) -> None:
    engine = engine_on(link)
    assert not await engine.there()
    await engine.create()
    assert await engine.there()
    assert not await Engine(link, Names("askonce", "model-b", 16), "askonce:1:", 16).there()


async def test_making_it_again_or_at_once_is_harmless(link: Link) -> None:
    await asyncio.gather(*(engine_on(link).create() for _ in range(8)))
    await engine_on(link).create()
    assert await engine_on(link).there()


async def test_it_is_a_graph_by_cosine_of_half_floats_over_the_answers(link: Link) -> None:
    await engine_on(link).create()
    [told] = await link.run([("FT.INFO", NAMES.index)])
    told = dict(zip(told[::2], told[1::2], strict=True))
    assert told[b"index_definition"][:4] == [b"key_type", b"HASH", b"prefixes", [b"askonce:1:"]]
    fields = {each[1]: each for each in told[b"attributes"]}
    assert set(fields) == {b"shape", b"scope", b"model", b"tags", NAMES.vector.encode()}
    assert {b"HNSW", b"FLOAT16", b"COSINE"} <= {
        word for word in fields[NAMES.vector.encode()] if isinstance(word, bytes)
    }


async def test_a_search_is_one_command_that_asks_for_what_is_sealed(link: Link) -> None:
    engine = engine_on(link)
    await engine.create()
    vector = b"\0\x3c" + b"\0\0" * 15
    fields = (NAMES.words, "w", NAMES.vector, vector, NAMES.seal, "s", "shape", "aag0")
    await link.run([("HSET", "askonce:1:0:bb", *fields)])
    await link.run([("HSET", "askonce:1:0:cc", *fields[:-1], "aag1")])
    [reply] = await link.run([engine.search("aag0", vector, 3)])
    assert reply[:2] == [1, b"askonce:1:0:bb"]
    assert dict(zip(reply[2][::2], reply[2][1::2], strict=True)) == {
        NAMES.words.encode(): b"w",
        NAMES.vector.encode(): vector,
        NAMES.seal.encode(): b"s",
    }


async def test_a_redis_without_engine_is_told_from_one_that_refuses(
    own_redis: Callable[..., RedisServer],
) -> None:
    plain = link_to(own_redis(search=False).url)
    await plain.run([("PING",)], probe=True)
    barred = link_to(own_redis(users={"app": "on >secret ~* +@all -ft.create"}).url_as("app", "secret"))
    await barred.run([("PING",)], probe=True)
    with pytest.raises(NoEngine):
        await engine_on(plain).there()
    assert not await engine_on(barred).there()
    with pytest.raises(CacheFailure, match="permission") as refusal:
        await engine_on(barred).create()
    assert refusal.value.reason == "refused"
    await plain.close()
    await barred.close()


async def test_a_broken_link_says_so_itself() -> None:
    link = link_to("redis://127.0.0.1:1/0")
    for ask in (engine_on(link).there, engine_on(link).create):
        with pytest.raises(LinkDown):
            await ask()
    await link.close()
