"""What every vector index promises, on every one there is."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import numpy as np
import pytest

from proxy.types import Digest
from proxy.vectors.base import Near, VectorIndex
from tests.vectors import BEGIN, OTHER_SHAPE, SHAPE, Clock, beside, name_of, names, point, unit
from tests.vectors.implementations import IMPLEMENTATIONS, Implementation

FIRST = "model-a/test"
SECOND = "model-b/test"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request) -> Implementation:
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def make(request, implementation, clock):
    prepared = implementation.prepare(request)
    return lambda identity=FIRST: prepared(identity, clock)


@pytest.fixture
async def index(make, implementation) -> AsyncIterator[VectorIndex]:
    made = make()
    await made.open()
    await implementation.settled(made)
    yield made
    await made.close()


@pytest.fixture
def near(implementation):
    """Asks once all that was added can be found."""

    async def ask(index, vector, *, shape: Digest = SHAPE, most: int = 3, floor: float = 0.5) -> list[Near]:
        await implementation.settled(index)
        return await index.nearest(shape, vector, most=most, floor=floor)

    return ask


async def test_nothing_is_near_in_an_empty_index(index, near):
    assert await near(index, unit(1)) == []


async def test_what_was_added_is_found_with_its_words_and_its_cosine(index, near):
    asked = unit(1)
    assert await index.add(point(1, beside(asked, 0.9), words="Wie geht das?  ü\n😀 'x'"))
    (found,) = await near(index, asked)
    assert (found.name, found.words) == (name_of(1), "Wie geht das?  ü\n😀 'x'")
    assert found.similarity == pytest.approx(0.9, abs=2e-3)


async def test_the_nearest_come_first_and_no_more_than_asked_for(index, near):
    asked = unit(1)
    cosines = [0.6, 0.95, 0.7, 0.9, 0.8]
    for number, cosine in enumerate(cosines):
        assert await index.add(point(number, beside(asked, cosine, seed=10 + number)))
    found = await near(index, asked, most=3)
    assert names(found) == [name_of(1), name_of(3), name_of(4)]
    assert await near(index, asked, most=1) == found[:1]
    assert names(await near(index, asked, most=10)) == [name_of(number) for number in (1, 3, 4, 2, 0)]


async def test_what_lies_below_the_floor_is_not_near(index, near):
    asked = unit(1)
    await index.add(point(1, beside(asked, 0.9)))
    await index.add(point(2, beside(asked, 0.7)))
    assert names(await near(index, asked, floor=0.8)) == [name_of(1)]
    assert await near(index, asked, floor=0.95) == []


async def test_only_the_same_shape_is_looked_at(index, near):
    asked = unit(1)
    await index.add(point(1, asked))
    await index.add(point(2, asked, shape=OTHER_SHAPE))
    assert names(await near(index, asked)) == [name_of(1)]
    assert names(await near(index, asked, shape=OTHER_SHAPE)) == [name_of(2)]
    assert await near(index, asked, shape=Digest(b"no such shape...")) == []


async def test_an_add_replaces_what_has_its_name(index, near):
    asked = unit(1)
    await index.add(point(1, asked, words="old"))
    await index.add(point(1, unit(2), words="new"))
    assert await near(index, asked, floor=0.9) == []
    assert [each.words for each in await near(index, unit(2))] == ["new"]


async def test_a_point_that_is_added_in_another_shape_leaves_its_first(index, near):
    asked = unit(1)
    await index.add(point(1, asked))
    await index.add(point(1, asked, shape=OTHER_SHAPE))
    assert await near(index, asked) == []
    assert names(await near(index, asked, shape=OTHER_SHAPE)) == [name_of(1)]


async def test_a_removed_one_is_gone_and_can_be_added_again(index, near):
    asked = unit(1)
    await index.add(point(1, asked))
    await index.add(point(2, beside(asked, 0.9)))
    await index.remove(name_of(1))
    assert names(await near(index, asked)) == [name_of(2)]
    await index.remove(name_of(1))
    await index.remove(name_of(77))
    assert await index.add(point(1, asked))
    assert names(await near(index, asked)) == [name_of(1), name_of(2)]


async def test_what_has_ended_is_not_near_and_takes_no_ones_place(index, near, clock):
    asked = unit(1)
    for number in range(12):
        await index.add(point(number, beside(asked, 0.95, seed=number + 10), kept_until=BEGIN + 10.0))
    await index.add(point(50, beside(asked, 0.8), kept_until=BEGIN + 20.0))
    clock.now = BEGIN + 9.0
    assert len(await near(index, asked, most=2)) == 2
    clock.now = BEGIN + 10.0
    assert names(await near(index, asked, most=2)) == [name_of(50)]
    clock.now = BEGIN + 20.0
    assert await near(index, asked, most=2) == []


async def test_a_purge_forgets_what_is_of_earlier_generations_only(index, near):
    asked = unit(1)
    await index.add(point(1, asked, generation=3))
    await index.add(point(2, beside(asked, 0.9), generation=4))
    await index.purge(4)
    assert names(await near(index, asked)) == [name_of(2)]


async def test_a_point_of_a_purged_generation_is_refused(index, near):
    asked = unit(1)
    await index.purge(2)
    assert not await index.add(point(1, asked, generation=1))
    assert await near(index, asked) == []
    assert await index.add(point(1, asked, generation=2))
    assert names(await near(index, asked)) == [name_of(1)]


async def test_a_purge_of_an_earlier_generation_changes_nothing(index, near):
    asked = unit(1)
    await index.purge(5)
    await index.add(point(1, asked, generation=5))
    await index.purge(4)
    assert names(await near(index, asked)) == [name_of(1)]
    assert not await index.add(point(2, asked, generation=4))


async def test_many_at_once_are_all_found(index, near):
    points = [point(number) for number in range(200)]
    assert all(await asyncio.gather(*map(index.add, points)))
    for each in points:
        assert names(await near(index, each.vector, most=1, floor=0.99)) == [each.name]


async def test_the_order_in_which_points_come_does_not_matter(make, implementation, near):
    asked = unit(1)
    made = [point(number, beside(asked, 0.5 + number / 50, seed=number)) for number in range(20)]
    found = []
    for order in (made, made[::-1]):
        index = make()
        await index.open()
        for each in order:
            await index.add(each)
        found.append(await near(index, asked, most=20, floor=0.4))
        for each in order:
            await index.remove(each.name)
        await index.close()
    assert names(found[0]) == names(found[1]) == [each.name for each in made[::-1]]


async def test_a_cancelled_search_leaves_everything_usable(index, near):
    await index.add(point(1))
    for _ in range(3):
        search = asyncio.ensure_future(index.nearest(SHAPE, unit(1), most=3, floor=0.5))
        await asyncio.sleep(0)
        search.cancel()
        await asyncio.gather(search, return_exceptions=True)
    assert names(await near(index, unit(1))) == [name_of(1)]


async def test_what_is_given_is_not_held_on_to(index, near):
    vector = unit(1)
    await index.add(point(1, vector))
    vector[:] = 0.0
    assert names(await near(index, unit(1))) == [name_of(1)]


async def test_a_report_tells_kind_identity_and_points(index, implementation):
    await index.add(point(1))
    await implementation.settled(index)
    report = index.report()
    assert report.kind
    assert FIRST in report.identity
    assert report.degraded is None
    assert report.pending == 0
    if report.kind != "redis":  # a server tells its own sizes, from time to time
        assert report.points == 1
        assert report.bytes > 0


async def test_closing_twice_is_harmless(index):
    await index.close()
    await index.close()


async def test_the_next_one_finds_what_was_added_and_not_what_was_removed(make, implementation, near):
    if not implementation.durable:
        pytest.skip("in memory only")
    first = make()
    await first.open()
    await first.add(point(1))
    await first.add(point(2))
    await first.remove(name_of(2))
    await first.close()
    second = make()
    await second.open()
    assert names(await near(second, unit(1), most=5, floor=0.99)) == [name_of(1)]
    assert names(await near(second, unit(2), most=5, floor=0.99)) == []
    await second.close()


async def test_the_next_one_knows_of_the_purge(make, implementation, near):
    if not implementation.durable:
        pytest.skip("in memory only")
    first = make()
    await first.open()
    await first.add(point(1))
    await first.purge(7)
    await first.close()
    second = make()
    await second.open()
    assert await near(second, unit(1)) == []
    await second.purge(7)
    assert not await second.add(point(1, generation=6))
    assert await second.add(point(1, generation=7))
    assert names(await near(second, unit(1))) == [name_of(1)]
    await second.close()


async def test_vectors_of_another_embedder_are_never_near_and_their_words_are_stale(make, implementation, near):
    if not implementation.durable:
        pytest.skip("in memory only")
    first = make(FIRST)
    await first.open()
    kept = [point(number, tags=("a", "b, c"), generation=1, words=f"ü{number}") for number in range(5)]
    for each in kept:
        await first.add(each)
    await implementation.settled(first)
    await first.close()

    second = make(SECOND)
    await second.open()
    assert await near(second, kept[0].vector) == []
    assert second.report().pending == 5
    assert len([each async for each in second.stale(3)]) == 3
    stale = sorted([each async for each in second.stale(100)], key=lambda each: each.words)
    assert [len(each.vector) for each in stale] == [0] * 5
    empty = np.zeros(0, np.float32)
    bare = [dataclasses.replace(each, vector=empty) for each in stale]
    for got, put in zip(bare, kept, strict=True):
        assert dataclasses.astuple(got)[:5] == dataclasses.astuple(put)[:5]
        assert (got.tags, got.generation, got.kept_until) == (put.tags, put.generation, put.kept_until)

    for number, each in enumerate(stale[:4]):
        assert await second.add(dataclasses.replace(each, vector=unit(100 + number)))
    assert names(await near(second, unit(101), floor=0.9)) == [name_of(1)]
    assert [each.name async for each in second.stale(100)] == [name_of(4)]
    await second.remove(name_of(4))
    assert [each async for each in second.stale(100)] == []
    await implementation.settled(second)
    assert second.report().pending == 0
    await second.close()
