"""The index on a real Redis: what it leaves in an answer's hash, what it believes of what it finds, what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis as redis_py
from redisvl.query.filter import Tag  # type: ignore[import-untyped]

from proxy.errors import CacheFailure
from proxy.vectors.base import Near
from proxy.vectors.redis import CLUSTER, NO_ENGINE, RedisIndex
from proxy.vectors.redis_names import place_of
from tests.redis_link import PATIENT_S, SHORT_S, until
from tests.redis_servers import RedisServer
from tests.stores import entry
from tests.stores.replica import StoreReplica
from tests.vectors import BEGIN, DIMENSIONS, OTHER_SHAPE, SHAPE, Clock, beside, name_of, names, point, unit
from tests.vectors.redis_points import CONNECT_S, PREFIX, SECRET, RedisPoints, key_of

Own = Callable[..., RedisServer]


@pytest.fixture
def raw(redis_url: str) -> Any:
    """Redis as another program sees it."""
    with redis_py.Redis.from_url(redis_url, protocol=2) as client:
        yield client


@pytest.fixture
async def index(redis_url: str) -> AsyncIterator[RedisPoints]:
    made = await RedisPoints(redis_url).opened()
    yield made
    await made.close()


async def near(index: RedisIndex, vector: Any, **other: Any) -> list[Near]:
    return await index.nearest(SHAPE, vector, **{"most": 3, "floor": 0.8} | other)


async def found(index: RedisIndex, number: int) -> None:
    """Until that one is near its own vector."""
    while names(await near(index, unit(number), floor=0.9)) != [name_of(number)]:
        await asyncio.sleep(0.01)


def fields_of(raw: Any, number: int = 1, generation: int = 0) -> dict[bytes, bytes]:
    kept: dict[bytes, bytes] = raw.hgetall(key_of(name_of(number), generation))
    return kept


# --- what it leaves in Redis


async def test_a_point_is_a_part_of_its_answers_hash_and_changes_nothing_of_its_end(
    index: RedisPoints, raw: Any
) -> None:
    await index.put(point(1))
    await index.writes.settled()
    before, ends = fields_of(raw), raw.pexpiretime(key_of(name_of(1)))
    assert await index.add_only(point(1, tags=("a", "b")))
    after = fields_of(raw)
    assert before.items() <= after.items()
    assert raw.pexpiretime(key_of(name_of(1))) == ends
    assert raw.keys("*") == [key_of(name_of(1)).encode()]


async def test_without_its_answer_a_point_is_refused_and_leaves_nothing(index: RedisPoints, raw: Any) -> None:
    assert not await index.add_only(point(1))
    assert raw.keys("*") == []
    raw.hset(key_of(name_of(1)), "words", "left over")
    assert not await index.add_only(point(1))
    assert fields_of(raw) == {b"words": b"left over"}


async def test_what_is_no_hash_is_refused(index: RedisPoints, raw: Any) -> None:
    raw.rpush(key_of(name_of(1)), "a list")
    assert not await index.add_only(point(1))
    assert index.errors["add_refused"] == 1


async def test_a_vector_takes_two_bytes_a_number_and_a_cosine_is_right_to_four_places(redis_url: str) -> None:
    index = await RedisPoints(redis_url, dimensions=384).opened()
    asked = unit(1, 384)
    stored = [beside(asked, cosine, seed=7) for cosine in (0.99, 0.9, 0.7)]
    for number, vector in enumerate(stored):
        assert await index.add(point(number, vector))
    for each, vector in zip(await near(index, asked, floor=0.5), stored, strict=True):
        assert each.similarity == pytest.approx(float(np.dot(asked, vector)), abs=1e-4)
    await index.close()


async def test_a_removed_point_leaves_its_answer(index: RedisPoints, raw: Any) -> None:
    await index.put(point(1))
    await index.writes.settled()
    before = fields_of(raw)
    await index.add_only(point(1, tags=("a",)))
    await index.remove(name_of(1))
    assert fields_of(raw) == before


async def test_the_index_has_tags_to_find_points_by(index: RedisPoints, raw: Any) -> None:
    await index.add(point(1, tags=("Report, 2024", "ü"), model="org/model-1"))
    await index.add(point(2))
    [listed] = raw.execute_command("FT._LIST")
    filters = (Tag("tags") == "Report, 2024", Tag("tags") == "ü", Tag("model") == "org/model-1")
    for query in map(str, filters):
        [number, *keys] = raw.execute_command("FT.SEARCH", listed, query, "NOCONTENT", "DIALECT", 2)
        assert (number, keys) == (1, [key_of(name_of(1)).encode()])


# --- what becomes of an answer becomes of its point


@pytest.mark.parametrize("how", [("DEL",), ("UNLINK",), ("PEXPIREAT", 1)])
async def test_a_point_goes_with_its_answer(index: RedisPoints, raw: Any, how: tuple[Any, ...]) -> None:
    await index.add(point(1))
    raw.execute_command(how[0], key_of(name_of(1)), *how[1:])
    assert await near(index, unit(1)) == []


async def test_an_answer_that_ended_but_still_lies_in_the_index_is_not_near(own_redis: Own) -> None:
    server = own_redis(arguments=("--enable-debug-command", "yes"))
    server.raw("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    index = await RedisPoints(server.url).opened()
    await index.add(point(1))
    await index.add(point(2, beside(unit(1), 0.9, seed=5)))
    ends = server.raw("PEXPIRE", key_of(name_of(1)), 1) and server.raw("PEXPIRETIME", key_of(name_of(1)))
    while int(server.raw("TIME")[0]) * 1000 + int(server.raw("TIME")[1]) // 1000 <= ends:
        await asyncio.sleep(0.001)
    assert names(await near(index, unit(1))) == [name_of(2)]
    assert index.errors["seal"] == 0
    await index.close()


async def test_beside_a_real_store_a_point_comes_right_after_its_answer_and_goes_with_it(redis_url: str) -> None:
    async with StoreReplica(redis_url) as replica:
        index = RedisIndex(
            replica.link,
            replica.writes,
            prefix="askonce",
            identity="model-a/test",
            dimensions=DIMENSIONS,
            secret=SECRET,
            tasks=replica.tasks,
            look_s=0.01,
            clock=replica.clock,
        )
        replica.store.heard.append(index.heard)
        await replica.store.beat()
        await index.open()
        await index.settled()
        generation = replica.store.generation
        answer = entry(1, generation=generation)
        stored = point(1, name=answer.name, generation=generation)

        await replica.store.put(answer)
        assert await index.add(stored)
        assert names(await near(index, unit(1))) == [answer.name]

        await replica.store.put(answer)
        await replica.written()
        assert await near(index, unit(1)) == []  # another answer: its words may be others
        assert await index.add(stored)
        assert names(await near(index, unit(1))) == [answer.name]

        await replica.store.purge()
        assert await near(index, unit(1)) == []
        assert not await index.add(stored)
        await index.close()


async def test_after_a_purge_that_was_not_swept_yet_nothing_old_stands_before_what_is_new(redis_url: str) -> None:
    index = await RedisPoints(redis_url).opened()
    for number in range(100):
        await index.add(point(number, unit(1)))
    await RedisIndex.purge(index, 4)  # no sweep
    assert await near(index, unit(1)) == []
    await index.add(point(99, beside(unit(1), 0.9, seed=5), generation=4))
    assert names(await near(index, unit(1))) == [name_of(99)]
    await index.close()


# --- what it believes


async def test_nothing_is_believed_that_was_changed_in_redis(index: RedisPoints, raw: Any) -> None:
    asked = unit(1)
    await index.add(point(1, asked, words="May I?"))
    await index.add(point(2, beside(asked, 0.9, seed=5), words="Must I?"))
    good, other = fields_of(raw, 1), fields_of(raw, 2)
    [vector] = [field for field in good if field.startswith(b"vector_")]
    [seal] = [field for field in good if field.startswith(b"seal_")]
    forged = good[b"words"].replace(b"May I?", b"Can I?")
    changes: list[dict[bytes, bytes]] = [
        {b"words": forged},
        {b"words": other[b"words"]},
        {b"words": other[b"words"], seal: other[seal]},
        {vector: other[vector]},
        {seal: other[seal]},
        {seal: b""},
        {b"words": b""},
        other | {vector: good[vector]},
        other,
    ]
    for number, change in enumerate(changes):
        raw.hset(key_of(name_of(1)), mapping=good | change)
        assert names(await near(index, asked)) == [name_of(2)], change
        assert index.errors["seal"] == number + 1
    raw.hset(key_of(name_of(1)), mapping=good)
    assert names(await near(index, asked)) == [name_of(1), name_of(2)]


async def test_a_point_that_was_moved_to_another_shape_is_not_near_there(index: RedisPoints, raw: Any) -> None:
    await index.add(point(1))
    raw.hset(key_of(name_of(1)), "shape", place_of(OTHER_SHAPE, 0))
    assert await index.nearest(OTHER_SHAPE, unit(1), most=3, floor=0.5) == []


async def test_a_point_of_before_a_purge_is_not_brought_back(index: RedisPoints, raw: Any) -> None:
    await index.add(point(1, generation=3))
    old = fields_of(raw, 1, 3)
    await index.purge(4)
    raw.hset(key_of(name_of(1), 4), mapping=old | {b"shape": place_of(SHAPE, 4)})
    assert await near(index, unit(1)) == []


async def test_unbelievable_ones_stand_in_nobodys_way(index: RedisPoints, raw: Any) -> None:
    await index.add(point(1, beside(unit(1), 0.9, seed=5)))
    await index.add(point(2, unit(1)))
    nearest = fields_of(raw, 2)
    for number in range(20):
        raw.hset(key_of(name_of(100 + number)), mapping=nearest)
    raw.delete(key_of(name_of(2)))
    assert names(await near(index, unit(1), most=1)) == [name_of(1)]


async def test_another_secret_believes_nothing_until_it_is_agreed_on(redis_url: str, index: RedisPoints) -> None:
    await index.add(point(1))
    other = await RedisPoints(redis_url, secret=b"another").opened()
    assert await near(other, unit(1)) == []
    assert other.errors["seal"] == 1
    other.rekey(SECRET)
    assert names(await near(other, unit(1))) == [name_of(1)]
    await other.close()


async def test_words_that_are_no_text_are_refused(index: RedisPoints) -> None:
    with pytest.raises(CacheFailure):
        await index.add(point(1, words="\ud800"))


# --- embedders


async def test_a_vector_of_another_size_is_refused(index: RedisPoints) -> None:
    for use in (index.add(point(1, unit(1, 8))), near(index, unit(1, 8))):
        with pytest.raises(CacheFailure) as refusal:
            await use
        assert refusal.value.reason == "dimensions"


async def test_old_and_new_replicas_each_use_their_own_vectors_of_the_same_answers(redis_url: str) -> None:
    old = await RedisPoints(redis_url).opened()
    await old.add(point(1))
    new = await RedisPoints(redis_url, identity="model-b/test", dimensions=8).opened()
    assert new.report().pending == 1
    [stale] = [each async for each in new.stale(10)]
    assert await new.add(point(1, unit(50, 8), words=stale.words))
    assert names(await near(new, unit(50, 8))) == [name_of(1)]
    assert names(await near(old, unit(1))) == [name_of(1)]
    assert (new.report().points, new.report().pending) == (1, 0)
    await old.add(point(2))
    assert names(await near(old, unit(2))) == [name_of(2)]
    await new.settled()
    assert new.report().pending == 1
    await new.close()
    await old.close()


# --- what goes wrong


async def test_an_index_that_was_dropped_is_made_again_and_filled_from_the_answers(
    index: RedisPoints, raw: Any
) -> None:
    await index.add(point(1))
    [listed] = raw.execute_command("FT._LIST")
    raw.execute_command("FT.DROPINDEX", listed)
    assert names(await near(index, unit(1))) in ([], [name_of(1)])
    await found(index, 1)
    assert index.report().degraded is None


async def test_a_search_that_finds_no_index_asks_for_one_at_once(redis_url: str, raw: Any) -> None:
    index = await RedisPoints(redis_url, look_s=3600.0).opened()
    await index.add(point(1))
    [listed] = raw.execute_command("FT._LIST")
    raw.execute_command("FT.DROPINDEX", listed)
    assert await near(index, unit(1)) == []
    assert "cannot be searched" in str(index.report().degraded)
    await found(index, 1)
    await index.close()


async def test_an_emptied_redis_gets_its_index_again_and_what_is_added_then_is_found(
    index: RedisPoints, raw: Any
) -> None:
    await index.add(point(1))
    raw.flushall()
    await until(lambda: raw.execute_command("FT._LIST") != [])
    assert await near(index, unit(1)) == []
    await index.settled()
    assert (index.report().points, index.report().pending) == (0, 0)
    assert await index.add(point(2))
    await found(index, 2)


async def test_replicas_that_make_the_index_at_once_do_not_disturb_each_other(redis_url: str, raw: Any) -> None:
    replicas = [RedisPoints(redis_url) for _ in range(4)]
    await asyncio.gather(*(each.opened() for each in replicas))
    for _ in range(5):
        [listed] = raw.execute_command("FT._LIST")
        raw.execute_command("FT.DROPINDEX", listed)
        await until(lambda: raw.execute_command("FT._LIST") != [])
    await replicas[0].add(point(1))
    for each in replicas:
        await found(each, 1)
        assert each.errors["index"] == 0
        await each.close()


async def test_a_redis_without_the_query_engine_is_told_of_and_asked_nothing(
    own_redis: Own, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_redis(search=False)
    index = await RedisPoints(server.url).opened()
    await until(lambda: index.errors["index"] > 3)
    assert index.report().degraded == NO_ENGINE
    assert [record.getMessage() for record in caplog.records if NO_ENGINE in record.getMessage()] != []
    assert len([record for record in caplog.records if NO_ENGINE in record.getMessage()]) == 1
    assert await near(index, unit(1)) == []
    assert not await index.add(point(1))
    assert [each async for each in index.stale(5)] == []
    assert b"words" not in server.raw("HKEYS", key_of(name_of(1)))
    assert index.errors["search"] == 0
    await index.close()


async def test_an_engine_that_appears_is_used(own_redis: Own, redis_stack: Path) -> None:
    server = own_redis(search=False, arguments=("--enable-module-command", "yes"))
    index = await RedisPoints(server.url).opened()
    assert index.report().degraded == NO_ENGINE
    server.raw("MODULE", "LOAD", str(redis_stack / "lib" / "redisearch.so"))
    await until(lambda: index.report().degraded is None)
    assert await index.add(point(1))
    await found(index, 1)
    await index.close()


async def test_a_cluster_is_told_of_and_asked_nothing(own_redis: Own) -> None:
    index = RedisPoints("redis://127.0.0.1:1/0", clustered=True)
    await RedisIndex.open(index)
    assert index.report().degraded == CLUSTER
    assert await near(index, unit(1)) == []
    assert not await index.add_only(point(1))
    assert [each async for each in index.stale(5)] == []
    await index.close()


async def test_a_search_that_is_refused_is_not_tried_all_the_time(own_redis: Own) -> None:
    server = own_redis(users={"app": "on >secret ~* +@all -ft.search"})
    index = await RedisPoints(server.url_as("app", "secret"), retry_s=3600.0).opened()
    assert await near(index, unit(1)) == []
    for _ in range(20):
        assert await near(index, unit(1)) == []
        await asyncio.sleep(0.002)
    assert index.errors["search"] == 1
    assert "cannot be searched" in str(index.report().degraded)
    await index.close()


async def test_a_full_redis_refuses_points_and_goes_on_being_searched(own_redis: Own) -> None:
    server = own_redis(policy="noeviction")
    index = await RedisPoints(server.url).opened()
    await index.add(point(1))
    await index.put(point(2))
    await index.writes.settled()
    server.config("maxmemory", 1)
    assert not await index.add_only(point(2))
    assert index.errors["add_refused"] == 1
    assert names(await near(index, unit(1))) == [name_of(1)]
    await index.close()


async def test_a_stalled_redis_costs_one_deadline_and_then_nothing(own_redis: Own) -> None:
    server = own_redis()
    index = await RedisPoints(server.url, look_s=3600.0, connect_timeout_s=CONNECT_S).opened()
    await index.add(point(1))
    process = server.raw("INFO", "server")["process_id"]
    index.link._limit_s = SHORT_S
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(CacheFailure):
            await near(index, unit(1))
        # The link was found wanting: until something else gets through nobody waits for it.
        assert [await near(index, unit(1)) for _ in range(50)] == [[]] * 50
        assert index.errors["search"] == 1
        for _ in range(2):
            with pytest.raises(CacheFailure):
                await index.remove(name_of(2))
        assert not index.link.breaker.closed
        assert "exact answers only" in str(index.report().degraded)
        assert not await index.add_only(point(2))
    finally:
        os.kill(process, signal.SIGCONT)
    index.link._limit_s = PATIENT_S
    await index.back()
    assert index.report().degraded is None
    await found(index, 1)
    await index.close()


async def test_a_redis_that_comes_back_empty_gets_its_index_again(own_redis: Own) -> None:
    server = own_redis()
    index = await RedisPoints(server.url).opened()
    await index.add(point(1))
    server.kill()
    await until(lambda: not index.link.breaker.closed)
    assert await near(index, unit(1)) == []
    server.start()
    await index.probe()
    await index.settled()
    assert await index.add(point(2))
    await found(index, 2)
    assert await near(index, unit(1), floor=0.9) == []
    await index.close()


async def test_a_redis_that_is_not_there_at_first_is_used_when_it_is(own_redis: Own) -> None:
    server = own_redis()
    server.kill()
    index = RedisPoints(server.url)
    await RedisIndex.open(index)
    assert await near(index, unit(1)) == []
    assert not await index.add_only(point(1))
    assert "exact answers only" in str(index.report().degraded)
    server.start()
    await index.probe()
    await index.settled()
    assert await index.add(point(1))
    await found(index, 1)
    await index.close()


async def test_over_the_backlog_points_are_refused(redis_url: str) -> None:
    index = await RedisPoints(redis_url).opened()
    index.writes._limit = 10
    assert not await index.add(point(1))
    assert index.errors["add_refused"] == 1
    await index.close()


async def test_what_has_ended_is_refused(redis_url: str) -> None:
    index = await RedisPoints(redis_url, clock=Clock(BEGIN)).opened()
    assert not await index.add(point(1, kept_until=BEGIN))
    await index.close()


def test_nothing_heavy_is_imported_before_it_is_opened() -> None:
    program = "import sys, proxy.vectors.redis; sys.exit('redisvl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_prefix_of_another_installation_has_its_own_index() -> None:
    one, two = (RedisPoints("redis://127.0.0.1:1/0", prefix=prefix) for prefix in (PREFIX, "other"))
    assert one._names.index != two._names.index
