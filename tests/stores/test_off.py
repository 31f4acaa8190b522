"""A tier that is switched off."""

from __future__ import annotations

from proxy.stores.base import ExactStore
from proxy.stores.off import OffStore
from proxy.types import StoreReport
from tests.stores import entry, name_of


async def test_it_keeps_nothing_and_is_not_degraded():
    store: ExactStore = OffStore()
    await store.open()
    assert not await store.put(entry(1))
    assert store.peek(name_of(1)) is None
    assert await store.get(name_of(1)) is None
    assert not await store.delete(name_of(1))
    assert store.report() == StoreReport(kind="off")
    await store.close()


async def test_a_note_is_forgotten_at_once():
    store = OffStore()
    await store.put_note("key", b"value")
    assert await store.note("key") is None


async def test_a_purge_still_begins_a_generation():
    store = OffStore()
    assert await store.purge(dry_run=True) == 0
    assert store.generation == 0
    assert await store.purge() == 0
    assert store.generation == 1
    store.adopt(5)
    assert store.generation == 5


async def test_there_is_nothing_to_let_go_of():
    store = OffStore()
    store.adopt(5)
    store.empty()
    assert store.generation == 5
