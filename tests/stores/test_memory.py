"""The memory tier: never over its bytes, and no scan empties it."""

from __future__ import annotations

import random
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.stores.memory import FIELDS_BYTES, OVERHEAD_BYTES, MemoryStore, weigh
from proxy.types import Digest
from tests.stores import BEGIN, Clock, entry, name_of

ONE = weigh(entry(body=b"x" * 200))


def store_for(entries: int, clock: Clock | None = None) -> MemoryStore:
    return MemoryStore(entries * ONE, clock or Clock())


def sized(number: int, body: int = 200, **other):
    return entry(number, body=b"x" * body, **other)


def held(store: MemoryStore) -> set[Digest]:
    return set(store._slots)


def check(store: MemoryStore, limit: int) -> None:
    """What is true after every operation."""
    slots = store._slots.values()
    assert store.bytes == sum(slot.weight for slot in slots)
    assert store.bytes <= limit
    assert store._small.bytes == sum(slot.weight for slot in slots if slot.home is store._small)
    assert len(store._small.slots) + len(store._main.slots) <= 2 * len(slots) + 2


operations = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 15), st.integers(0, 9000)),
    st.tuples(st.just("peek"), st.integers(0, 15), st.just(0)),
    st.tuples(st.just("grow"), st.integers(0, 15), st.integers(0, 9000)),
    st.tuples(st.just("delete"), st.integers(0, 15), st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 4000)),
    st.tuples(st.just("purge"), st.just(0), st.just(0)),
)


@settings(max_examples=300, deadline=None)
@given(limit=st.integers(1, 30_000), steps=st.lists(operations, max_size=80))
async def test_it_is_never_over_its_bytes_and_never_serves_the_wrong_thing(limit, steps):
    clock = Clock()
    store = MemoryStore(limit, clock)
    newest = {}
    for step, number, amount in steps:
        match step:
            case "put":
                newest[number] = sized(number, amount, finished_at=clock.now, generation=store.generation)
                if await store.put(newest[number]):
                    assert len(store._ghost.names) <= len(store._ghost.order) <= len(store._slots)
            case "peek":
                found = store.peek(name_of(number))
                assert found is None or (found is newest[number] and not found.gone(clock.now))
            case "grow":
                found = store.peek(name_of(number))
                if found is not None:
                    found.renderings.keep("stream", (b"y" * amount,))
                    store.peek(name_of(number))
            case "delete":
                await store.delete(name_of(number))
                newest.pop(number, None)
                assert store.peek(name_of(number)) is None
            case "wait":
                clock.now += amount
            case "purge":
                await store.purge()
                newest.clear()
        check(store, limit)


class PlainLru:
    """What the scan would do to the usual thing."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self.entries: OrderedDict[Digest, int] = OrderedDict()

    def ask(self, asked) -> bool:
        if asked.name in self.entries:
            self.entries.move_to_end(asked.name)
            return True
        self.entries[asked.name] = weigh(asked)
        self.bytes += weigh(asked)
        while self.bytes > self.limit:
            self.bytes -= self.entries.popitem(last=False)[1]
        return False


async def ask(store: MemoryStore, asked) -> bool:
    if store.peek(asked.name) is not None:
        return True
    await store.put(asked)
    return False


async def test_a_hot_set_survives_a_scan_of_ten_times_the_size_where_lru_loses_it():
    store, lru = store_for(100), PlainLru(100 * ONE)
    hot = [sized(number) for number in range(60)]
    scan = [sized(number) for number in range(1000, 2000)]
    for asked in hot * 3 + scan:
        await ask(store, asked)
        lru.ask(asked)
    after = [await ask(store, asked) for asked in hot]
    after_lru = [lru.ask(asked) for asked in hot]
    assert sum(after) == len(hot)
    assert sum(after_lru) == 0


async def test_on_a_skewed_load_with_many_single_questions_it_beats_lru():
    seeded = random.Random(20231023)
    store, lru = store_for(100), PlainLru(100 * ONE)
    hits = lru_hits = 0
    for step in range(20_000):
        # Half of the questions come once; the other half follow Zipf's law over a thousand.
        number = 10_000 + step if seeded.random() < 0.5 else int(1000 ** seeded.random())
        hits += await ask(store, sized(number))
        lru_hits += lru.ask(sized(number))
    assert hits > 1.1 * lru_hits


async def test_what_is_asked_once_leaves_by_the_small_queue_and_is_remembered_by_name():
    store = store_for(10)
    for number in range(10):
        await store.put(sized(number))
    await store.put(sized(10))
    assert name_of(0) not in held(store)
    assert store._ghost.names == {name_of(0)}
    await store.put(sized(0))
    assert store._slots[name_of(0)].home is store._main


async def test_what_is_asked_again_in_the_small_queue_moves_on():
    store = store_for(10)
    for number in range(10):
        await store.put(sized(number))
    assert store.peek(name_of(0)) is not None
    await store.put(sized(10))
    assert store._slots[name_of(0)].home is store._main
    assert name_of(1) not in held(store)


async def test_what_was_in_main_stays_there_when_it_is_replaced():
    store = store_for(10)
    for number in range(10):
        await store.put(sized(number))
    store.peek(name_of(0))
    await store.put(sized(10))
    await store.put(sized(0, body=100))
    assert store._slots[name_of(0)].home is store._main


async def test_one_larger_than_the_small_share_is_kept_and_costs_main_no_more_than_its_weight():
    store = store_for(100)
    hot = [sized(number) for number in range(60)]
    for asked in hot * 2:
        await ask(store, asked)
    for number in range(1000, 1200):
        await ask(store, sized(number))
    for number in range(50):
        large = sized(5000 + number, body=25 * ONE)
        assert await store.put(large)
        assert large.name in held(store)
        check(store, 100 * ONE)
    assert len(held(store) & {asked.name for asked in hot}) >= 60 - 27


async def test_one_heavier_than_everything_is_refused_and_what_it_replaces_goes():
    store = store_for(10)
    await store.put(sized(1))
    await store.put(sized(2))
    assert not await store.put(sized(1, body=11 * ONE))
    assert held(store) == {name_of(2)}


async def test_an_ended_entry_is_not_served_and_counts_as_expired():
    clock = Clock()
    store = store_for(10, clock)
    await store.put(sized(1, kept_s=10.0))
    clock.now = BEGIN + 10.0
    assert store.peek(name_of(1)) is None
    assert store.evictions == {"size": 0, "expired": 1, "purged": 0, "unsure": 0}
    assert store.bytes == 0


async def test_an_ended_entry_that_nobody_asks_for_goes_as_others_come():
    clock = Clock()
    store = store_for(1000, clock)
    for number in range(100):
        await store.put(sized(number, kept_s=10.0))
    clock.now = BEGIN + 10.0
    for number in range(1000, 1100):
        await store.put(sized(number, finished_at=clock.now))
    assert len(held(store)) == 100
    assert store.evictions["expired"] == 100


async def test_an_entry_already_gone_is_refused():
    assert not await store_for(10, Clock(BEGIN + 7200.0)).put(sized(1))


async def test_renderings_count_and_make_others_go():
    store = store_for(10)
    for number in range(10):
        await store.put(sized(number))
    grown = store.peek(name_of(9))
    grown.renderings.keep("stream", tuple([b"x" * 10] * 100))
    assert store.peek(name_of(9)) is grown
    assert store._slots[name_of(9)].weight == ONE + 100 * (10 + 41)
    check(store, 10 * ONE)
    assert store.evictions["size"] > 0


async def test_an_entry_that_grows_beyond_the_limit_goes_alone():
    store = store_for(10)
    for number in range(10):
        await store.put(sized(number))
    grown = store.peek(name_of(5))
    grown.renderings.keep("stream", (b"x" * 20 * ONE,))
    assert store.peek(name_of(5)) is grown
    assert store.peek(name_of(5)) is None
    assert len(held(store)) == 9


async def test_growth_nobody_looks_at_is_noticed_as_others_come():
    store = store_for(100)
    for number in range(50):
        await store.put(sized(number))
    entries = [store._slots[name_of(number)].entry for number in range(50)]
    for kept in entries:
        kept.renderings.keep("stream", (b"x" * ONE,))
    for number in range(100, 140):
        await store.put(sized(number))
    weights = sum(weigh(slot.entry) for slot in store._slots.values())
    assert store.bytes == weights <= 100 * ONE


async def test_deleting_and_putting_for_ever_leaves_no_places_behind():
    store = store_for(10)
    for round_ in range(1000):
        await store.put(sized(round_ % 3))
        await store.delete(name_of(round_ % 3))
        check(store, 10 * ONE)
    assert len(store._small.slots) <= 2


async def test_adopting_another_generation_forgets_everything_and_refuses_the_old():
    store = store_for(10)
    await store.put(sized(1))
    store.adopt(0)
    assert store.peek(name_of(1)) is not None
    store.adopt(7)
    assert store.generation == 7
    assert store.peek(name_of(1)) is None
    assert not await store.put(sized(1))
    assert await store.put(sized(1, generation=7))
    assert store.evictions["purged"] == 1


@pytest.mark.parametrize("body", [0, 100, 5000])
def test_the_weight_is_overhead_body_and_renderings(body):
    weighed = sized(1, body)
    assert weigh(weighed) == OVERHEAD_BYTES + body
    weighed.renderings.keep("plain", (b"12345",))
    assert weigh(weighed) == OVERHEAD_BYTES + body + 5 + 41
    weighed.renderings.fields["hit"] = ((b"x-cache", b"hit"),)
    assert weigh(weighed) == OVERHEAD_BYTES + body + 5 + 41 + FIELDS_BYTES


async def test_what_nobody_can_vouch_for_is_let_go_of_and_the_generation_stays():
    store = MemoryStore(1 << 20, Clock())
    await store.put(entry(1))
    store.empty()
    assert store.peek(name_of(1)) is None
    assert (store.generation, store.bytes, store.evictions["unsure"]) == (0, 0, 1)
    assert await store.put(entry(1))
