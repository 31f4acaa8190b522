"""What every exact store promises, on every one there is."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from proxy.stores.base import ExactStore
from proxy.stores.memory import MemoryStore
from proxy.stores.off import OffStore
from proxy.stores.redis import RedisStore
from proxy.stores.sqlite import SqliteStore
from proxy.stores.tiered import TieredStore
from proxy.types import Entry
from tests.stores import BEGIN, Clock, codec, entry, full_entry, name_of
from tests.stores.replica import StoreReplica

LIMIT = 1 << 20


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        "redis",
        "tiered",
        "tiered with the front off",
        "tiered redis",
        "tiered redis, no front",
    ]
)
async def store(request, tmp_path, clock) -> AsyncIterator[ExactStore]:
    def sqlite() -> SqliteStore:
        path = tmp_path / "data" / "cache.db"
        return SqliteStore(path, codec(LIMIT), max_bytes=64 * LIMIT, read_timeout_s=60.0, clock=clock)

    def redis() -> RedisStore:
        return StoreReplica(request.getfixturevalue("redis_url"), clock=clock, max_body=LIMIT).store

    built: ExactStore
    match request.param:
        case "memory":
            built = MemoryStore(LIMIT, clock)
        case "sqlite":
            built = sqlite()
        case "redis":
            built = redis()
        case "tiered redis":
            built = TieredStore(MemoryStore(LIMIT, clock), redis())
        case "tiered redis, no front":
            built = TieredStore(OffStore(), redis())
        case "tiered":
            built = TieredStore(MemoryStore(LIMIT, clock), sqlite())
        case "tiered with the front off":
            built = TieredStore(OffStore(), sqlite())
    await built.open()
    yield built
    await built.close()


def asked_now(store: ExactStore, made: Entry) -> Entry:
    """The entry, of a question that is asked now."""
    return dataclasses.replace(made, generation=store.generation)


async def test_what_was_put_comes_back_whole(store):
    for made in (entry(1), full_entry(2), entry(3, body=b"")):
        kept = asked_now(store, made)
        assert await store.put(kept)
        assert await store.get(kept.name) == kept


async def test_what_was_not_put_is_not_there(store):
    await store.put(asked_now(store, entry(1)))
    assert await store.get(name_of(2)) is None
    assert store.peek(name_of(2)) is None


async def test_a_peek_says_what_a_get_says_or_nothing(store):
    await store.put(asked_now(store, entry(1)))
    assert store.peek(name_of(1)) in (None, await store.get(name_of(1)))


async def test_many_at_once_each_get_their_own(store):
    kept = [asked_now(store, entry(number, body=b"%d" % number * 50)) for number in range(100)]
    assert all(await asyncio.gather(*map(store.put, kept)))
    assert await asyncio.gather(*(store.get(each.name) for each in kept)) == kept


async def test_a_put_replaces_what_has_its_name(store):
    await store.put(asked_now(store, entry(1, body=b"old")))
    assert await store.put(asked_now(store, entry(1, body=b"new")))
    assert (await store.get(name_of(1))).body == b"new"
    assert await store.purge(dry_run=True) == 1


async def test_of_two_puts_of_one_name_at_once_the_later_stays(store):
    await asyncio.gather(
        store.put(asked_now(store, entry(1, body=b"old"))), store.put(asked_now(store, entry(1, body=b"new")))
    )
    assert (await store.get(name_of(1))).body == b"new"


async def test_a_deleted_one_is_gone_and_can_be_put_again(store):
    await store.put(asked_now(store, entry(1)))
    await store.put(asked_now(store, entry(2)))
    assert await store.delete(name_of(1))
    assert store.peek(name_of(1)) is None
    assert await store.get(name_of(1)) is None
    assert not await store.delete(name_of(1))
    assert await store.get(name_of(2)) is not None
    assert await store.put(asked_now(store, entry(1)))
    assert await store.get(name_of(1)) is not None


async def test_a_purge_forgets_everything_and_says_how_much(store):
    for number in range(5):
        await store.put(asked_now(store, entry(number)))
    generation = store.generation
    assert await store.purge() == 5
    assert store.generation > generation
    for number in range(5):
        assert store.peek(name_of(number)) is None
        assert await store.get(name_of(number)) is None
    assert await store.purge(dry_run=True) == 0
    assert not await store.delete(name_of(1))


async def test_a_dry_run_only_counts(store):
    await store.put(asked_now(store, entry(1)))
    generation = store.generation
    assert await store.purge(dry_run=True) == 1
    assert store.generation == generation
    assert await store.get(name_of(1)) is not None


async def test_a_put_asked_before_a_purge_is_refused(store):
    asked = store.generation
    await store.purge()
    assert not await store.put(entry(1, generation=asked))
    assert await store.get(name_of(1)) is None
    assert await store.put(entry(1, generation=store.generation))
    assert await store.get(name_of(1)) is not None


async def test_an_ended_one_is_as_if_it_were_not_there(store, clock):
    await store.put(asked_now(store, entry(1, kept_s=10.0)))
    await store.put(asked_now(store, entry(2, kept_s=20.0)))
    clock.now = BEGIN + 9.9
    assert await store.get(name_of(1)) is not None
    clock.now = BEGIN + 10.0
    assert store.peek(name_of(1)) is None
    assert await store.get(name_of(1)) is None
    if store.report().kind == "redis":
        return  # its server counts and deletes by a clock of its own: tests/stores/test_redis.py
    assert await store.purge(dry_run=True) == 1
    assert not await store.delete(name_of(1))


async def test_a_clock_set_back_ends_nothing(store, clock):
    await store.put(asked_now(store, entry(1)))
    clock.now = BEGIN - 1_000_000.0
    assert await store.get(name_of(1)) is not None


async def test_one_over_the_limit_is_refused_and_harms_no_other(store):
    await store.put(asked_now(store, entry(1)))
    assert not await store.put(asked_now(store, entry(2, body=b"x" * (LIMIT + 1))))
    assert await store.get(name_of(2)) is None
    assert await store.get(name_of(1)) is not None


async def test_a_note_comes_back_as_it_was_put_last(store):
    assert await store.note("epoch:a") is None
    await store.put_note("epoch:a", b"old")
    await store.put_note("epoch:a", b'{"new": "\xc3\xa9", "nul": "\x00"}')
    await store.put_note("epoch:b", b"")
    assert await store.note("epoch:a") == b'{"new": "\xc3\xa9", "nul": "\x00"}'
    assert await store.note("epoch:b") == b""
    assert await store.note("epoch:") is None


async def test_a_note_outlives_a_purge(store):
    await store.put(asked_now(store, entry(1)))
    await store.put_note("key", b"value")
    assert await store.purge() == 1
    assert await store.note("key") == b"value"
    await store.put_note("key", b"later")
    assert await store.purge() == 0
    assert await store.note("key") == b"later"


async def test_a_note_is_no_answer(store):
    await store.put_note(name_of(1).hex(), b"value")
    assert await store.get(name_of(1)) is None
    assert await store.purge(dry_run=True) == 0


async def test_a_report_tells_kind_and_sizes(store):
    await store.put(asked_now(store, entry(1)))
    report = store.report()
    assert report.kind in ("memory", "sqlite", "redis")
    assert report.degraded is None
    if report.kind != "redis":  # a server tells its own sizes, from time to time
        assert sum(report.entries_by_tier.values()) >= 1
        assert sum(report.bytes_by_tier.values()) > len(entry(1).body)


async def test_closing_twice_is_harmless(store):
    await store.close()
    await store.close()
