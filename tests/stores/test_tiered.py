"""Memory in front of something that waits: what may happen meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import CacheFailure
from proxy.stores.memory import MemoryStore
from proxy.stores.off import OffStore
from proxy.stores.tiered import TieredStore
from proxy.types import Beat, StoreReport
from tests.stores import Clock, entry, name_of


class SlowStore(MemoryStore):
    """A back whose calls read or write at once and answer, or begin, when the test says so."""

    def __init__(self) -> None:
        super().__init__(1 << 20, Clock())
        self.read = asyncio.Event()
        self.answer = asyncio.Event()
        self.answer.set()
        self.write = asyncio.Event()
        self.write.set()
        self.failing = False

    async def get(self, name):
        found = super().peek(name)
        self.read.set()
        await self.answer.wait()
        return found

    async def put(self, kept):
        await self.write.wait()
        if self.failing:
            raise CacheFailure("the disk is full")
        return await super().put(kept)

    async def delete(self, name):
        await self.write.wait()
        if self.failing:
            raise CacheFailure("the disk is full")
        return await super().delete(name)

    async def purge(self, *, dry_run=False):
        if self.failing:
            if not dry_run:
                self.adopt(self.generation + 1)
            raise CacheFailure("the disk is full")
        return await super().purge(dry_run=dry_run)

    def report(self):
        return StoreReport("slow", "the disk is full" if self.failing else None, {"slow": 2}, {"slow": 1})


@pytest.fixture
def back():
    return SlowStore()


@pytest.fixture
def store(back):
    return TieredStore(MemoryStore(1 << 20, Clock()), back)


async def reading(store, back, name):
    """A look-up that has read the back's old answer and has not got it yet."""
    back.answer.clear()
    look_up = asyncio.create_task(store.get(name))
    await back.read.wait()
    return look_up


async def landed(back, look_up):
    back.answer.set()
    return await look_up


async def test_what_only_the_back_has_is_kept_in_front_from_then_on(store, back):
    await back.put(entry(1))
    assert store.peek(name_of(1)) is None
    found = await store.get(name_of(1))
    assert store.peek(name_of(1)) is found


async def test_a_put_can_be_peeked_at_before_the_back_has_it(store, back):
    back.write.clear()
    putting = asyncio.create_task(store.put(entry(1)))
    await asyncio.sleep(0)
    assert store.peek(name_of(1)) is not None
    assert back.peek(name_of(1)) is None
    back.write.set()
    assert await putting
    assert back.peek(name_of(1)) is not None


async def test_a_look_up_does_not_bring_back_what_was_deleted_meanwhile(store, back):
    await back.put(entry(1))
    look_up = await reading(store, back, name_of(1))
    assert await store.delete(name_of(1))
    await landed(back, look_up)
    assert store.peek(name_of(1)) is None


async def test_a_look_up_within_a_deletion_does_not_bring_it_back(store, back):
    await back.put(entry(1))
    back.write.clear()
    deleting = asyncio.create_task(store.delete(name_of(1)))
    await asyncio.sleep(0)
    assert await store.get(name_of(1)) is not None
    assert store.peek(name_of(1)) is None
    back.write.set()
    assert await deleting
    assert store.peek(name_of(1)) is None


async def test_a_look_up_begun_within_a_deletion_and_ended_after_it_does_not_bring_it_back(store, back):
    await back.put(entry(1))
    back.write.clear()
    deleting = asyncio.create_task(store.delete(name_of(1)))
    await asyncio.sleep(0)
    look_up = await reading(store, back, name_of(1))
    back.write.set()
    await deleting
    await landed(back, look_up)
    assert store.peek(name_of(1)) is None


async def test_a_look_up_does_not_hide_what_was_put_meanwhile(store, back):
    await back.put(entry(1, body=b"old"))
    look_up = await reading(store, back, name_of(1))
    await store.put(entry(1, body=b"new"))
    await landed(back, look_up)
    assert store.peek(name_of(1)).body == b"new"


async def test_a_look_up_does_not_bring_in_the_old_answer_while_the_new_one_is_being_written(store, back):
    await back.put(entry(1, body=b"old"))
    back.write.clear()
    putting = asyncio.create_task(store.put(entry(1, body=b"new")))
    await asyncio.sleep(0)
    await store.front.delete(name_of(1))  # as an eviction would
    await store.get(name_of(1))
    assert store.peek(name_of(1)) is None
    back.write.set()
    await putting


async def test_a_look_up_does_not_bring_back_what_was_purged_meanwhile(store, back):
    await back.put(entry(1))
    look_up = await reading(store, back, name_of(1))
    assert await store.purge() == 1
    await landed(back, look_up)
    assert store.peek(name_of(1)) is None
    assert await store.get(name_of(1)) is None


async def test_another_names_change_does_not_keep_a_look_up_from_promoting(store, back):
    await back.put(entry(1))
    look_up = await reading(store, back, name_of(1))
    await store.put(entry(3))
    await landed(back, look_up)
    assert store.peek(name_of(1)) is not None


async def test_changes_leave_nothing_behind(store, back):
    await store.put(entry(1))
    await store.delete(name_of(1))
    back.failing = True
    await store.put(entry(2))
    with pytest.raises(CacheFailure):
        await store.delete(name_of(2))
    assert not store._changing


async def test_the_generation_is_the_backs(store, back):
    await back.purge()
    await store.open()
    assert store.generation == back.generation == store.front.generation == 1
    await store.purge()
    assert store.generation == back.generation == store.front.generation == 2


async def test_a_back_that_opens_late_with_a_higher_generation_takes_the_front_along(store, back):
    await store.put(entry(1))
    back.adopt(7)
    assert await store.put(entry(2, generation=7))
    assert store.peek(name_of(2)) is not None
    assert store.peek(name_of(1)) is None


async def test_when_the_back_fails_memory_goes_on_alone(store, back):
    back.failing = True
    assert not await store.put(entry(1))
    assert store.peek(name_of(1)) is not None
    assert store.report().degraded == "the disk is full"
    assert await store.purge(dry_run=True) == 1


async def test_a_purge_the_back_cannot_write_down_is_raised_and_holds_in_front(store, back):
    await store.put(entry(1))
    back.failing = True
    with pytest.raises(CacheFailure):
        await store.purge()
    assert store.peek(name_of(1)) is None


async def test_a_deletion_the_back_cannot_do_is_raised_and_holds_in_front(store, back):
    await store.put(entry(1))
    back.failing = True
    with pytest.raises(CacheFailure):
        await store.delete(name_of(1))
    assert store.peek(name_of(1)) is None


async def test_the_report_has_both_tiers(store):
    await store.put(entry(1))
    report = store.report()
    assert report.kind == "slow"
    assert report.entries_by_tier == {"memory": 1, "slow": 1}
    assert report.bytes_by_tier.keys() == {"memory", "slow"}


async def test_with_the_front_off_everything_comes_from_the_back(back):
    store = TieredStore(OffStore(), back)
    assert await store.put(entry(1))
    assert store.peek(name_of(1)) is None
    assert await store.get(name_of(1)) is not None


# --- what was heard of other processes


async def test_what_others_changed_is_gone_from_the_front(back):
    tiered = TieredStore(MemoryStore(1 << 20, Clock()), back)
    for number in (1, 2):
        await tiered.put(entry(number))
    await tiered.heard(Beat(b"", 0, (name_of(1),)))
    assert tiered.peek(name_of(1)) is None
    assert tiered.peek(name_of(2)) is not None
    assert await tiered.get(name_of(1)) is not None  # the back knows what is the answer now
    assert tiered.peek(name_of(1)) is not None


async def test_a_look_up_under_way_when_a_change_is_heard_keeps_nothing_in_front(back):
    tiered = TieredStore(MemoryStore(1 << 20, Clock()), back)
    await back.put(entry(1, body=b"old"))
    back.answer.clear()
    looking = asyncio.create_task(tiered.get(name_of(1)))
    await back.read.wait()
    await back.put(entry(1, body=b"new"))
    await tiered.heard(Beat(b"", 0, (name_of(1),)))
    back.answer.set()
    assert (await looking).body == b"old"
    assert tiered.peek(name_of(1)) is None


async def test_when_something_may_have_been_missed_nothing_in_front_is_served(back):
    tiered = TieredStore(MemoryStore(1 << 20, Clock()), back)
    for number in (1, 2):
        await tiered.put(entry(number))
    await tiered.heard(Beat(b"", 0, sure=False))
    assert [tiered.peek(name_of(number)) for number in (1, 2)] == [None, None]
    assert tiered.front.evictions["unsure"] == 2


async def test_a_look_up_under_way_when_nothing_is_sure_keeps_nothing_in_front(back):
    tiered = TieredStore(MemoryStore(1 << 20, Clock()), back)
    await back.put(entry(1))
    back.answer.clear()
    looking = asyncio.create_task(tiered.get(name_of(1)))
    await back.read.wait()
    tiered.unsure()
    back.answer.set()
    assert await looking is not None
    assert tiered.peek(name_of(1)) is None


async def test_a_purge_that_is_heard_empties_the_front(back):
    tiered = TieredStore(MemoryStore(1 << 20, Clock()), back)
    await tiered.put(entry(1))
    back.adopt(5)
    await tiered.heard(Beat(b"", 5))
    assert tiered.peek(name_of(1)) is None
    assert tiered.generation == tiered.front.generation == 5


async def test_a_front_that_is_off_has_nothing_to_forget(back):
    tiered = TieredStore(OffStore(), back)
    await tiered.put(entry(1))
    await tiered.heard(Beat(b"", 0, (name_of(1),), sure=False))
    assert await tiered.get(name_of(1)) is not None


async def test_a_note_is_the_backs_alone():
    front, back = MemoryStore(1 << 20, Clock()), MemoryStore(1 << 20, Clock())
    store = TieredStore(front, back)
    await store.put_note("key", b"value")
    assert await front.note("key") is None
    assert await back.note("key") == b"value"
    await back.put_note("key", b"of another replica")
    assert await store.note("key") == b"of another replica"
