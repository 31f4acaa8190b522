"""What stands behind a model's name: what changes it, what does not, and what outlives the process."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest

from proxy.errors import CacheFailure
from proxy.stores.memory import MemoryStore
from proxy.upstream.epoch_note import Note
from proxy.upstream.epochs import Epochs
from proxy.upstream.kinds.base import Identity

A, B, C = "http://a:8000/v1", "http://b:8000/v1", "http://c/v1"
A_ORIGIN, B_ORIGIN, C_ORIGIN = "a:8000", "b:8000", "c:80"
TINY = Identity("0.32.0", {"tiny": "root one"})


class Shared(MemoryStore):
    """A store that replicas share. It can be out of reach, and counts."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.away = False
        self.reads = self.writes = 0
        self.under_way = self.most_under_way = 0

    async def note(self, key: str) -> bytes | None:
        self.reads += 1
        await self._take_a_while()
        return await super().note(key)

    async def put_note(self, key: str, value: bytes) -> None:
        self.writes += 1
        await self._take_a_while()
        await super().put_note(key, value)

    async def _take_a_while(self) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if self.away:
            raise CacheFailure("nobody answers")


class Watched:
    """Epochs, and how often it said that something changed."""

    def __init__(self, store: MemoryStore | None = None, **other: Any) -> None:
        self.store = store or MemoryStore(1 << 20)
        self.changes = 0
        given = {"upstream": "local", "fixed": "", "follow": True, "addresses": [A, B, C]} | other
        self.epochs = Epochs(notes=self.store, changed=self._changed, **given)

    def _changed(self) -> None:
        self.changes += 1

    def __call__(self, model: str = "tiny") -> str:
        return self.epochs.epoch(model)

    async def saw(self, identity: Identity = TINY, *addresses: str) -> Watched:
        for address in addresses or (A,):
            await self.epochs.saw(address, identity)
        return self

    async def opened(self) -> Watched:
        await self.epochs.open()
        return self


async def begun(*addresses: str, **other: Any) -> Watched:
    """One that is open and has looked."""
    return await (await Watched(**other).opened()).saw(TINY, *addresses)


# --- the operator's part


async def test_the_operators_part_is_in_every_epoch():
    one, other, none = [await begun(fixed=fixed) for fixed in ("1", "2", "")]
    assert len({one(), other(), none()}) == 3
    assert one().startswith("1")


async def test_before_anything_is_known_the_operators_part_is_all():
    assert (await Watched(fixed="1").opened())("tiny") == "1"


async def test_where_models_are_not_followed_the_operators_part_is_all():
    store = Shared()
    watched = await begun(store=store, fixed="1", follow=False)
    watched.epochs.answered(A_ORIGIN, "tiny", "print")
    await watched.epochs.refresh()
    assert (watched("tiny"), watched.changes, store.reads, store.writes) == ("1", 0, 0, 0)


# --- what changes it


@pytest.mark.parametrize("after", [Identity("", {"tiny": "root one"}), Identity("0.32.0", {}), Identity()])
async def test_what_is_not_told_any_more_has_not_changed_by_that(after):
    watched = await begun()
    before, changes = watched(), watched.changes
    await watched.saw(after)
    assert (watched(), watched.changes) == (before, changes)


@pytest.mark.parametrize(
    "after",
    [
        Identity("0.33.0", {"tiny": "root one"}),
        Identity("0.32.0", {"tiny": "root two"}),
        Identity("0.32.0", {"another": "root one"}),
        Identity("0.32.0", {"tiny": "root one"}, discarded_at=5.0),
    ],
    ids=["version", "card", "no longer served", "weights given up"],
)
async def test_another_identity_is_another_epoch(after):
    watched = await begun()
    before, changes = watched(), watched.changes
    await watched.saw(after)
    assert watched() != before
    assert watched.changes == changes + 1


async def test_what_comes_back_is_found_again():
    watched = await begun()
    before = watched()
    await watched.saw(Identity("0.32.0", {"tiny": "root two"}))
    await watched.saw(TINY)
    assert watched() == before


async def test_weights_that_were_given_up_do_not_come_back():
    watched = await begun()
    before = watched()
    await watched.saw(Identity("0.32.0", TINY.models, discarded_at=5.0))
    asleep = watched()
    await watched.saw(TINY)
    assert watched() == asleep != before


async def test_weights_are_given_up_once_however_often_that_is_seen():
    watched = await begun()
    await watched.saw(Identity("0.32.0", TINY.models, discarded_at=5.0))
    epoch, changes = watched(), watched.changes
    for now in (6.0, 7.0, 4.0):
        await watched.saw(Identity("0.32.0", TINY.models, discarded_at=now))
    assert (watched(), watched.changes) == (epoch, changes)


@pytest.mark.parametrize("now", [9.0, 5.0, 1.0])
async def test_weights_that_are_given_up_again_are_other_weights_whatever_the_clock_says(now):
    watched = await begun()
    await watched.saw(Identity("0.32.0", TINY.models, discarded_at=5.0))
    await watched.saw(TINY)
    awake = watched()
    await watched.saw(Identity("0.32.0", TINY.models, discarded_at=now))
    assert watched() != awake


async def test_another_adapter_changes_nothing_for_the_base_and_one_that_is_swapped_only_itself():
    watched = await begun()
    base = watched("tiny")
    await watched.saw(Identity("0.32.0", {**TINY.models, "ad": "one", "other": "x"}))
    adapter, other = watched("ad"), watched("other")
    await watched.saw(Identity("0.32.0", {**TINY.models, "ad": "two", "other": "x"}))
    assert watched("tiny") == base
    assert watched("other") == other
    assert watched("ad") != adapter


async def test_a_change_of_a_model_that_nobody_asked_for_is_told_too():
    watched = await begun()
    changes = watched.changes
    await watched.saw(Identity("0.32.0", {**TINY.models, "ad": "one"}))
    await watched.saw(Identity("0.32.0", {**TINY.models, "ad": "two"}))
    assert watched.changes == changes + 2


async def test_looks_that_find_nothing_new_tell_nothing():
    watched = await begun()
    changes = watched.changes
    for _ in range(5):
        await watched.saw(Identity("0.32.0", dict(TINY.models)))
    assert watched.changes == changes


# --- several endpoints


async def test_endpoints_that_are_alike_are_as_one_in_any_number_and_order():
    epochs = {(await begun(*order))() for order in ([A], [A, B], [B, A], [C, B, A], [B])}
    assert len(epochs) == 1


async def test_the_order_in_which_endpoints_that_differ_are_seen_does_not_matter():
    identities = {A: TINY, B: Identity("0.32.0", {"tiny": "root two"}), C: Identity("0.33.0", {"tiny": "root one"})}
    found = set()
    for order in itertools.permutations(identities):
        watched = await Watched().opened()
        for address in order:
            await watched.saw(identities[address], address)
        found.add(watched())
    assert len(found) == 1


async def test_one_endpoint_that_differs_changes_it_and_an_upgrade_of_all_ends_where_one_would():
    newer = Identity("0.33.0", TINY.models)
    watched = await begun(A, B)
    old = watched()
    await watched.saw(newer, A)
    between = watched()
    await watched.saw(newer, B)
    alone = await Watched().opened()
    await alone.saw(newer, A)
    assert len({old, between, watched()}) == 3
    assert watched() == alone()


async def test_an_adapter_on_its_way_to_all_endpoints_changes_once():
    watched = await begun(A, B)
    loaded = Identity("0.32.0", {**TINY.models, "ad": "one"})
    await watched.saw(loaded, A)
    first = watched("ad")
    await watched.saw(loaded, B)
    assert watched("ad") == first


async def test_an_endpoint_that_is_not_configured_counts_no_more():
    store = Shared()
    await (await begun(A, store=store)).saw(Identity("0.33.0", TINY.models), B)
    after = await Watched(store, addresses=[A, C]).opened()
    assert after() == (await begun(A))()
    await after.saw(Identity("0.32.0", {"tiny": "x"}))
    note = Note.read(await store.note("epoch:local") or b"")
    assert note is not None
    assert note.endpoints.keys() == {A}


# --- fingerprints


async def test_the_first_fingerprint_is_the_usual_one_and_another_changes_the_epoch():
    watched = await begun()
    before, changes = watched(), watched.changes
    watched.epochs.answered(A_ORIGIN, "tiny", "usual")
    assert (watched(), watched.changes) == (before, changes)
    watched.epochs.answered(A_ORIGIN, "tiny", "another")
    assert (watched() != before, watched.changes) == (True, changes + 1)
    watched.epochs.answered(A_ORIGIN, "tiny", "usual")
    assert (watched(), watched.changes) == (before, changes + 2)


async def test_an_answer_without_a_fingerprint_says_nothing():
    watched = await begun()
    watched.epochs.answered(A_ORIGIN, "tiny", "usual")
    watched.epochs.answered(A_ORIGIN, "tiny", "another")
    changed = watched()
    watched.epochs.answered(A_ORIGIN, "tiny", "")
    assert watched() == changed


async def test_a_fingerprint_is_one_models_only():
    watched = await (await Watched().opened()).saw(Identity("0.32.0", {"tiny": "root one", "ad": "one"}))
    other = watched("ad")
    for fingerprint in ("usual", "another"):
        watched.epochs.answered(A_ORIGIN, "tiny", fingerprint)
    assert watched("ad") == other


async def test_endpoints_of_one_fingerprint_are_alike_and_one_of_another_is_not():
    watched = await begun(A, B, C)
    before = watched()
    for origin in (A_ORIGIN, B_ORIGIN, C_ORIGIN):
        watched.epochs.answered(origin, "tiny", "usual")
    assert watched() == before
    watched.epochs.answered(C_ORIGIN, "tiny", "another")
    assert watched() != before


async def test_after_an_upgrade_the_first_fingerprint_is_the_usual_one_again():
    watched = await begun()
    watched.epochs.answered(A_ORIGIN, "tiny", "of 0.32")
    await watched.saw(Identity("0.33.0", TINY.models))
    after = watched()
    watched.epochs.answered(A_ORIGIN, "tiny", "of 0.33")
    assert watched() == after


async def test_a_fingerprint_that_was_not_usual_says_nothing_of_what_came_after_an_upgrade():
    watched = await begun()
    for fingerprint in ("usual", "another"):
        watched.epochs.answered(A_ORIGIN, "tiny", fingerprint)
    await watched.saw(Identity("0.33.0", TINY.models))
    after, changes = watched(), watched.changes
    watched.epochs.answered(A_ORIGIN, "tiny", "of 0.33")
    assert (watched(), watched.changes) == (after, changes)


async def test_a_downgrade_to_another_configuration_is_not_what_was_there_before():
    watched = await begun()
    before = watched()
    watched.epochs.answered(A_ORIGIN, "tiny", "of 0.32")
    await watched.saw(Identity("0.33.0", TINY.models))
    await watched.saw(TINY)
    watched.epochs.answered(A_ORIGIN, "tiny", "of 0.32, quantized")
    assert watched() != before


async def test_what_is_known_of_fingerprints_has_a_bound():
    watched = await begun()
    for number in range(1500):
        watched.epochs.answered(A_ORIGIN, f"model {number}", "usual")
    await watched.epochs.refresh()
    note = Note.read(await watched.store.note("epoch:local") or b"")
    assert note is not None
    assert len(note.prints[A_ORIGIN]) == 1000
    assert "model 1499" in note.prints[A_ORIGIN]


# --- what outlives the process


async def test_a_restart_begins_with_the_epoch_it_ended_with():
    store = Shared()
    before = await begun(A, B, store=store)
    before.epochs.answered(A_ORIGIN, "tiny", "usual")
    before.epochs.answered(A_ORIGIN, "tiny", "another")
    await before.saw(Identity("0.32.0", TINY.models, discarded_at=5.0), B)
    after = await Watched(store).opened()
    assert after() == before()
    changes = after.changes
    await after.saw(TINY, A)
    after.epochs.answered(A_ORIGIN, "tiny", "another")
    assert (after(), after.changes) == (before(), changes)


async def test_other_weights_that_came_while_it_was_down_are_seen_by_the_first_look():
    store = Shared()
    before = await begun(store=store)
    after = await (await Watched(store).opened()).saw(Identity("0.32.0", {"tiny": "root two"}))
    assert after() != before()


async def test_each_upstream_has_a_note_of_its_own():
    store = Shared()
    await begun(store=store)
    assert (await Watched(store, upstream="other", fixed="1").opened())() == "1"


@pytest.mark.parametrize(
    "note",
    [b"", b"\xff", b"[]", b"null", b"{}", b'{"version":2,"endpoints":{},"prints":{},"usual":{}}',
     b'{"version":1,"endpoints":{"http://a:8000/v1":[1]},"prints":{},"usual":{}}',
     b'{"version":1,"endpoints":{"http://a:8000/v1":[-1,"",{},false,0.0]},"prints":{},"usual":{}}',
     b'{"version":1,"endpoints":{"http://a:8000/v1":[1,"",{"tiny":5},false,0.0]},"prints":{},"usual":{}}',
     b'{"version":1,"endpoints":{},"prints":{"a":{"tiny":[1,2,3]}},"usual":{}}',
     b'{"version":1,"endpoints":{},"prints":[],"usual":{}}'],
)  # fmt: skip
async def test_a_note_that_is_none_counts_as_none(note):
    store = Shared()
    await store.put_note("epoch:local", note)
    watched = await begun(store=store)
    assert watched() == (await begun())()
    assert Note.read(await store.note("epoch:local") or b"") is not None


async def test_a_store_that_is_away_delays_nothing_but_itself():
    store = Shared()
    store.away = True
    watched = await begun(store=store)
    assert watched() == (await begun())()
    await watched.saw(Identity("0.33.0", TINY.models))
    changed = watched()
    store.away = False
    await watched.saw(Identity("0.33.0", TINY.models))
    assert (await Watched(store).opened())() == changed


@pytest.mark.parametrize("which", ["note", "put_note"])
async def test_a_store_that_hangs_is_not_waited_for(which):
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    store = Shared()
    setattr(store, which, hang)
    watched = await begun(store=store, patience_s=0.01)
    assert watched() == (await begun())()
    delattr(store, which)
    await watched.saw(TINY)
    assert (await Watched(store).opened())() == watched()


async def test_what_could_not_be_told_is_told_later_and_said_once(caplog):
    store = Shared()
    watched = await begun(store=store)

    async def refuse(key: str, value: bytes) -> None:
        raise CacheFailure("the disk is full")

    store.put_note = refuse  # type: ignore[method-assign]
    for version in ("1", "2", "3"):
        await watched.saw(Identity(version, TINY.models))
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "what stands behind the models of local is not kept: the disk is full"
    ]
    del store.put_note
    await watched.saw(Identity("3", TINY.models))
    assert (await Watched(store).opened())() == watched()


async def test_a_fingerprint_seen_while_the_store_is_away_is_taken_for_usual_only_when_nothing_else_was():
    store = Shared()
    before = await begun(store=store)
    before.epochs.answered(A_ORIGIN, "tiny", "usual")
    await before.epochs.refresh()
    old = before()
    store.away = True
    after = await begun(store=store)
    after.epochs.answered(A_ORIGIN, "tiny", "another")
    assert after() != old
    store.away = False
    await after.epochs.refresh()
    assert after() != old


async def test_what_was_seen_while_the_store_was_away_holds_against_what_others_wrote():
    store = Shared()
    one, other = await begun(A, B, store=store), await begun(A, B, store=store)
    store.away = True
    newer = Identity("0.33.0", TINY.models)
    await one.saw(newer, A)
    one.epochs.answered(B_ORIGIN, "tiny", "a print")
    epoch = one()
    store.away = False
    for version in ("1", "2", "3", "0.32.0"):
        await other.saw(Identity(version, TINY.models), A)
        other.epochs.answered(B_ORIGIN, "tiny", f"print {version}")
    await other.epochs.refresh()
    await one.epochs.refresh()
    note = Note.read(await store.note("epoch:local") or b"")
    assert note is not None
    assert note.endpoints[A].version == "0.33.0"
    assert note.prints[B_ORIGIN]["tiny"].text == "a print"
    await other.epochs.refresh()
    assert other() == one()
    assert one() != epoch  # what `other` was first to tell, "print 1", is the usual one


async def test_looks_that_find_nothing_new_read_the_store_once_for_all_endpoints_and_write_nothing():
    store = Shared()
    watched = await begun(A, B, C, store=store)
    await watched.epochs.refresh()
    reads, writes = store.reads, store.writes
    for _ in range(4):
        await watched.saw(TINY, A, B, C)
    assert (store.reads - reads, store.writes - writes) == (4, 0)


# --- replicas


async def test_what_one_replica_saw_another_takes_over():
    store = Shared()
    one, other = await begun(store=store), await begun(store=store)
    await one.saw(Identity("0.32.0", TINY.models, discarded_at=5.0))
    changes = other.changes
    await other.epochs.refresh()
    assert (other(), other.changes) == (one(), changes + 1)


async def test_what_one_replica_saw_is_no_news_when_another_sees_it():
    store = Shared()
    one, other = await begun(store=store), await begun(store=store)
    await one.saw(Identity("0.32.0", TINY.models, discarded_at=5.0))
    await other.saw(Identity("0.32.0", TINY.models, discarded_at=6.0))
    changes = one.changes
    await one.epochs.refresh()
    assert (one(), one.changes) == (other(), changes)


async def test_a_replica_that_only_looks_hears_of_the_others_too():
    store = Shared()
    one, other = await begun(store=store), await begun(store=store)
    one.epochs.answered(A_ORIGIN, "tiny", "usual")
    one.epochs.answered(A_ORIGIN, "tiny", "another")
    await one.saw(TINY)
    await other.saw(TINY)
    assert other() == one()


async def test_what_another_replica_says_of_a_name_that_nobody_has_is_no_change():
    store = Shared()
    one, other = await begun(store=store), await begun(store=store)
    one.epochs.answered(A_ORIGIN, "made up", "usual")
    await one.epochs.refresh()
    changes = other.changes
    await other.epochs.refresh()
    assert other.changes == changes


async def test_a_note_that_was_lost_is_written_again():
    store = Shared()
    watched = await begun(store=store)
    store._notes.clear()
    await watched.epochs.refresh()
    assert (await Watched(store).opened())() == watched()


async def test_replicas_with_other_endpoints_do_not_write_against_each_other():
    store = Shared()
    one, other = await begun(A, store=store, addresses=[A]), await begun(B, store=store, addresses=[A, B])
    for _ in range(3):
        await one.epochs.refresh()
        await other.epochs.refresh()
    writes = store.writes
    for _ in range(5):
        await one.epochs.refresh()
        await other.epochs.refresh()
    assert store.writes == writes


@pytest.mark.parametrize("round_", range(20))
async def test_replicas_that_see_the_same_come_to_the_same_in_whatever_order(round_):
    """Everything at once, the store now and then away; then some quiet looks."""
    seeded, store = random.Random(round_), Shared()
    replicas = [await Watched(store).opened() for _ in range(3)]
    identities = [
        Identity(version, {"tiny": card}, discarded_at)
        for version in ("1", "2")
        for card in ("x", "y")
        for discarded_at in (0.0, 5.0)
    ]
    for _ in range(40):
        store.away = seeded.random() < 0.2
        for replica in replicas:
            replica.epochs.answered(seeded.choice([A_ORIGIN, B_ORIGIN]), "tiny", seeded.choice("pq"))
        await asyncio.gather(
            *(replica.saw(seeded.choice(identities), seeded.choice([A, B, C])) for replica in replicas),
            seeded.choice(replicas).epochs.refresh(),
        )
    store.away = False
    last = {A: identities[0], B: identities[2], C: identities[4]}
    for _ in range(4):
        for replica in replicas:
            for address, identity in last.items():
                await replica.saw(identity, address)
    assert len({replica() for replica in replicas}) == 1
    before = [replica.changes for replica in replicas]
    for _ in range(3):
        for replica in replicas:
            await replica.saw(last[A], A)
            await replica.epochs.refresh()
    assert [replica.changes for replica in replicas] == before
    assert (await Watched(store).opened())() == replicas[0]()


async def test_looks_at_once_lose_nothing_of_each_other():
    store = Shared()
    watched = await Watched(store).opened()
    await asyncio.gather(*(watched.epochs.saw(address, Identity(address, {})) for address in (A, B, C)))
    assert (await Watched(store).opened())() == watched()
    note = Note.read(await store.note("epoch:local") or b"")
    assert note is not None
    assert note.endpoints.keys() == {A, B, C}
    # Two writes under way might arrive in the other order.
    assert store.most_under_way == 1


# --- names


async def test_names_that_callers_make_up_are_all_nobodys_and_take_no_room_for_ever():
    watched = await begun()
    assert len({watched(f"made up {number}") for number in range(5000)}) == 1
    assert len(watched.epochs._memo) <= 1024


@pytest.mark.parametrize(
    ("address", "origin"),
    [("http://[::1]:8000/v1", "[::1]:8000"), ("https://Host/v1", "host:443"), ("http://h:80/p/v1", "h:80"),
     ("a:8000", "a:8000")],
)  # fmt: skip
async def test_an_answer_is_of_the_endpoint_whose_address_has_its_origin(address, origin):
    watched = await (await Watched(addresses=[address]).opened()).saw(TINY, address)
    before = watched()
    for fingerprint in ("usual", "another"):
        watched.epochs.answered(origin, "tiny", fingerprint)
    assert watched() != before
