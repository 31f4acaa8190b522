"""Words without a vector, found in a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.errors import CacheFailure
from proxy.redis_link import keys
from proxy.redis_link.link import Link
from proxy.types import Digest
from proxy.vectors.redis_backlog import AT_ONCE, Backlog
from proxy.vectors.redis_names import Names
from proxy.vectors.redis_seal import PointSeal
from tests.redis_link import link_to
from tests.vectors import name_of, point

NAMES = Names("askonce", "model-a", 16)
SEAL = PointSeal(b"secret", NAMES.identity)


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    made = link_to(redis_url)
    await made.run([("PING",)], probe=True)
    yield made
    await made.close()


@pytest.fixture
def backlog(link: Link) -> Backlog:
    return Backlog(link, NAMES, SEAL, "askonce")


async def put(link: Link, number: int, *more: str, generation: int = 0) -> None:
    words = SEAL.words(point(number, generation=generation))
    await link.run([("HSET", keys.of("askonce", generation, name_of(number)), "frame", "x", "words", words, *more)])


async def some(backlog: Backlog, most: int, generation: int = 0) -> list[Digest]:
    return [each.name async for each in backlog.points(generation, most)]


async def test_only_words_without_a_seal_of_this_embedder_are_found_and_both_are_counted(
    link: Link, backlog: Backlog
) -> None:
    await put(link, 1)
    await put(link, 2, NAMES.seal, "x")
    await put(link, 3, Names("askonce", "model-b", 16).seal, "x")
    await link.run([("HSET", keys.of("askonce", 0, name_of(4)), "frame", "x")])
    await link.run([("RPUSH", keys.of("askonce", 0, name_of(5)), "x")])
    await link.run([("HSET", "askonce:1:0:no name", "words", "x")])
    assert set(await some(backlog, 10)) == {name_of(1), name_of(3)}
    assert await backlog.count() == (1, 3)


async def test_it_goes_on_where_it_was_and_each_comes_once_in_a_round(link: Link, backlog: Backlog) -> None:
    everything = {name_of(number) for number in range(3 * AT_ONCE)}
    for number in range(3 * AT_ONCE):
        await put(link, number)
    first, second = await some(backlog, AT_ONCE), await some(backlog, 2 * AT_ONCE)
    assert set(first) | set(second) == everything
    assert len(first) + len(second) == len(everything)


async def test_what_got_no_vector_comes_again(link: Link, backlog: Backlog) -> None:
    for number in range(5):
        await put(link, number)
    assert len(await some(backlog, 3)) == 3
    assert sorted(await some(backlog, 100)) == sorted(name_of(number) for number in range(5))
    assert len(await some(backlog, 100)) == 5


async def test_earlier_generations_are_left_out(link: Link, backlog: Backlog) -> None:
    await put(link, 1, generation=3)
    await put(link, 2, generation=4)
    assert await some(backlog, 10, generation=4) == [name_of(2)]


async def test_words_that_were_not_sealed_are_counted_and_left_out(link: Link, backlog: Backlog) -> None:
    await put(link, 1)
    await link.run([("HSET", keys.of("askonce", 0, name_of(2)), "words", SEAL.words(point(1)))])
    assert await some(backlog, 10) == [name_of(1)]
    assert backlog.unreadable == 1


async def test_a_broken_link_ends_the_round(link: Link, backlog: Backlog) -> None:
    await put(link, 1)
    link.breaker.failed("x")
    link.breaker.failed("x")
    link.breaker.failed("x")
    with pytest.raises(CacheFailure):
        await some(backlog, 10)
    await link.run([("PING",)], probe=True)
    assert await some(backlog, 10) == [name_of(1)]
