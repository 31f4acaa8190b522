"""The memory tier: S3-FIFO (Yang et al., SOSP 2023), bounded in bytes.

What is new enters a small queue, a tenth of the bytes. What is asked for again while in it moves on to the main
queue; what is not leaves only its name behind, in the ghost queue, and goes straight to main if it is put again while
the ghost remembers it. Main is a clock: the oldest goes unless it was asked for since, which buys one more round for
each time, three at most. So a flood of questions asked once runs through the small queue and main never sees it.

Nothing moves on a hit: a hit is a dictionary look-up and a counter of two bits. All reordering is done by `put`.

What leaves out of turn (deleted, replaced, expired) is only marked; its place in a queue goes when it comes to the
front, or when such places are half of the queue. So every operation is O(1) amortised.
"""

from __future__ import annotations

import builtins
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.types import Digest, Entry, StoreReport

OVERHEAD_BYTES: Final = 1950
"""What an entry takes beside its body and renderings. Measured with tracemalloc over 20,000 entries decoded from
frames (the worst case: they share no text): entry with its name, texts and empty renderings 1,310, slot with its places
in queue and dictionary 180 to 240, the first rendering's place 230, one ghost name 160 (after each put there are no
more of them than entries)."""

PIECE_BYTES: Final = 41
"""A `bytes` object's own size and its place in the tuple: a streamed rendering has hundreds of pieces."""

FIELDS_BYTES: Final = 620
"""The header fields kept for one form, measured with seven of them."""

_MOST_ASKED: Final = 3
_SWEEP_STEP: Final = 4


def weigh(entry: Entry) -> int:
    """Bytes of memory an entry is charged with."""
    renderings = entry.renderings
    beside = sum(map(len, renderings.values())) * PIECE_BYTES + len(renderings.fields) * FIELDS_BYTES
    return OVERHEAD_BYTES + len(entry.body) + renderings.size + beside


class MemoryStore:
    """Answers in this process, by exact name.

    limit_bytes: the most its entries may weigh together (see `weigh`); above 0.
    clock: Unix seconds.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.evictions: dict[str, int] = {"size": 0, "expired": 0, "purged": 0, "unsure": 0}
        """Entries that went without being asked to, by cause; deleting and replacing are no evictions."""
        self._limit = limit_bytes
        self._small_share = limit_bytes // 10
        self._clock = clock
        self._generation = 0
        self._notes: dict[str, bytes] = {}
        self._start_empty()

    def _start_empty(self) -> None:
        self._slots: dict[Digest, _Slot] = {}
        self._small = _Fifo()
        self._main = _Fifo()
        self._ghost = _Ghost()
        self._unswept: list[Digest] = []

    @property
    def generation(self) -> int:
        """Entries of an earlier generation are gone."""
        return self._generation

    @property
    def bytes(self) -> int:
        """What the entries weigh together, as far as their growth was noticed: never above the limit."""
        return self._small.bytes + self._main.bytes

    async def open(self) -> None:
        """Nothing to get ready."""

    def peek(self, name: Digest) -> Entry | None:
        """The entry, if it is here. This is the hottest function of the program."""
        slot = self._slots.get(name)
        if slot is None:
            return None
        if slot.dies_at <= self._clock():
            self._evict(slot, "expired")
            return None
        if slot.asked < _MOST_ASKED:
            slot.asked += 1
        entry = slot.entry
        if entry.renderings.size != slot.rendered:
            self._note_growth(slot)
        return entry

    async def get(self, name: Digest) -> Entry | None:
        """As `peek`."""
        return self.peek(name)

    async def put(self, entry: Entry) -> bool:
        """Keep it; never waits. False: heavier than the limit, gone already, or of another generation."""
        if entry.generation != self._generation:
            return False
        was = self._slots.get(entry.name)
        was_in_main = was is not None and was.home is self._main
        if was is not None:
            self._take_out(was)  # even if the new one is refused: an older answer must not outlive it
        self._sweep()
        slot = _Slot(entry)
        if slot.weight > self._limit or entry.gone(self._clock()):
            return False
        self._settle(slot, stays_in_main=was_in_main)
        return True

    async def delete(self, name: Digest) -> bool:
        """Forget it."""
        slot = self._slots.get(name)
        if slot is None:
            return False
        there = slot.dies_at > self._clock()
        self._take_out(slot)
        return there

    async def purge(self, *, dry_run: bool = False) -> int:
        """Forget everything."""
        now = self._clock()
        count = sum(slot.dies_at > now for slot in self._slots.values())
        if not dry_run:
            self.adopt(self._generation + 1)
        return count

    async def note(self, key: str) -> builtins.bytes | None:
        """As it was put in this process."""
        return self._notes.get(key)

    async def put_note(self, key: str, value: builtins.bytes) -> None:
        """Keep it as long as this process lives. Notes are few and small: they weigh nothing here."""
        self._notes[key] = value

    def adopt(self, generation: int) -> None:
        """Take over the generation of the tier behind; what is of another one is gone."""
        if generation == self._generation:
            return
        self._generation = generation
        self.evictions["purged"] += len(self._slots)
        self._start_empty()

    def empty(self) -> None:
        """Forget everything of the same generation: nobody can say any more what of it is still good."""
        self.evictions["unsure"] += len(self._slots)
        self._start_empty()

    def report(self) -> StoreReport:
        """Sizes, expired entries that were not met yet included."""
        return StoreReport(
            "memory",
            bytes_by_tier={"memory": self.bytes},
            entries_by_tier={"memory": len(self._slots)},
            evictions={("memory", cause): number for cause, number in self.evictions.items()},
        )

    async def close(self) -> None:
        """Let go of the entries."""
        self._start_empty()

    def _settle(self, slot: _Slot, *, stays_in_main: bool) -> None:
        name = slot.entry.name
        known = self._ghost.take(name) or stays_in_main
        # Room is made first, so that what comes is never itself the victim; one that is larger than the small queue's
        # share costs main no more than its own weight, as the next of its kind finds it in small.
        self._make_room(slot.weight, 0 if known else slot.weight)
        (self._main if known else self._small).push(slot)
        self._slots[name] = slot
        self._ghost.trim(at_most=len(self._slots))

    def _make_room(self, weight: int, for_small: int = 0) -> None:
        while self.bytes + weight > self._limit:
            small_is_full = self._small.bytes + for_small > self._small_share
            if self._small.bytes and (small_is_full or not self._main.bytes):
                self._shed_small()
            else:
                self._shed_main()

    def _shed_small(self) -> None:
        slot = self._small.pop()
        if slot.asked:
            slot.asked = 0
            self._main.push(slot)
            return
        self._ghost.add(slot.entry.name)
        self._shed(slot)

    def _shed_main(self) -> None:
        slot = self._main.pop()
        if slot.asked:
            slot.asked -= 1
            self._main.push(slot)
            return
        self._shed(slot)

    def _shed(self, slot: _Slot) -> None:
        del self._slots[slot.entry.name]
        self.evictions["expired" if slot.dies_at <= self._clock() else "size"] += 1

    def _sweep(self) -> None:
        """Look at a few entries, so that one that is never asked for again goes too, within len/4 puts of its end."""
        now = self._clock()
        self._unswept = self._unswept or list(self._slots)
        for name in self._unswept[-_SWEEP_STEP:]:
            slot = self._slots.get(name)
            if slot is None:
                continue
            if slot.dies_at <= now:
                self._evict(slot, "expired")
            elif slot.entry.renderings.size != slot.rendered:
                self._note_growth(slot)
        del self._unswept[-_SWEEP_STEP:]

    def _note_growth(self, slot: _Slot) -> None:
        """Renderings are made and kept beside an entry after it was put."""
        slot.home.bytes -= slot.weight
        slot.weigh()
        slot.home.bytes += slot.weight
        if slot.weight > self._limit:
            self._evict(slot, "size")
        self._make_room(0)

    def _evict(self, slot: _Slot, cause: str) -> None:
        self._take_out(slot)
        self.evictions[cause] += 1

    def _take_out(self, slot: _Slot) -> None:
        del self._slots[slot.entry.name]
        slot.home.leave(slot)


class _Slot:
    """An entry's place: how often it was asked for since it got there, and what is read on every hit."""

    __slots__ = ("asked", "dies_at", "entry", "home", "rendered", "weight")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.asked = 0
        self.dies_at = entry.finished_at + entry.kept_s
        self.home = _NOWHERE
        self.weigh()

    def weigh(self) -> None:
        self.rendered = self.entry.renderings.size
        self.weight = weigh(self.entry)


class _Fifo:
    """Slots in the order they came, and the bytes of those that are still there."""

    __slots__ = ("bytes", "left", "slots")

    def __init__(self) -> None:
        self.slots: deque[_Slot] = deque()
        self.bytes = 0
        self.left = 0
        """How many of the slots have only their place here still."""

    def push(self, slot: _Slot) -> None:
        slot.home = self
        self.slots.append(slot)
        self.bytes += slot.weight

    def pop(self) -> _Slot:
        """The oldest that is still there; there must be one."""
        slot = self.slots.popleft()
        while slot.home is not self:
            self.left -= 1
            slot = self.slots.popleft()
        self.bytes -= slot.weight
        return slot

    def leave(self, slot: _Slot) -> None:
        self.bytes -= slot.weight
        slot.home = _NOWHERE
        del slot.entry  # its place may stay for long, its bytes may not
        self.left += 1
        if self.left * 2 > len(self.slots):
            self.slots = deque(slot for slot in self.slots if slot.home is self)
            self.left = 0


_NOWHERE: Final = _Fifo()


class _Ghost:
    """Names of what lately left the small queue unasked.

    A name that was taken and came back has two places in the order, and the older one ends both: it is forgotten a
    little early, which costs one more look at it, and nothing has to be searched for.
    """

    __slots__ = ("names", "order")

    def __init__(self) -> None:
        self.names: set[Digest] = set()
        self.order: deque[Digest] = deque()

    def add(self, name: Digest) -> None:
        self.names.add(name)
        self.order.append(name)

    def trim(self, at_most: int) -> None:
        while len(self.order) > at_most:
            self.names.discard(self.order.popleft())

    def take(self, name: Digest) -> bool:
        if name not in self.names:
            return False
        self.names.discard(name)
        return True
