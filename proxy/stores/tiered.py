"""The memory tier in front of a store that waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from proxy.errors import CacheFailure
from proxy.stores.base import ExactStore
from proxy.stores.memory import MemoryStore
from proxy.stores.off import OffStore
from proxy.types import Beat, Digest, Entry, StoreReport

_STRIPES: Final = 256


class TieredStore:
    """Looks in front, then in the back, and keeps in front what the back had.

    The back's generation is the generation of both. While the back is in trouble the front goes on alone.

    A look-up that waits for the back may bring in what was changed meanwhile:

        get(n)                      delete(n)
        front: not there
        back reads the old answer
                                    front and back forget n
        front keeps the old answer, and serves what was deleted

    The same with `put` for `delete`, where the newer answer would be hidden, and with the change begun before the
    look-up and ended within it. So a look-up only promotes when no change of its name is under way, and none has ended
    since it began. Purging needs no such care: what the back gave is of its old generation and the front refuses it.
    """

    def __init__(self, front: MemoryStore | OffStore, back: ExactStore) -> None:
        self.front = front
        self.back = back
        # The front's own method: what is called on every hit takes no step in between.
        self.peek: Callable[[Digest], Entry | None] = front.peek
        self._changing: Counter[Digest] = Counter()
        # Counts by the name's first byte: names are MACs, so another name's change seldom stands in the way.
        self._changed = [0] * _STRIPES

    @property
    def generation(self) -> int:
        """The back's."""
        return self.back.generation

    async def open(self) -> None:
        """Both."""
        await self.front.open()
        await self.back.open()
        self._follow_the_back()

    async def get(self, name: Digest) -> Entry | None:
        """From the front, or else from the back."""
        entry = self.peek(name)
        if entry is not None:
            return entry
        changed = self._changed[name[0]]
        entry = await self.back.get(name)
        if entry is not None and name not in self._changing and self._changed[name[0]] == changed:
            self._follow_the_back()
            await self.front.put(entry)
        return entry

    async def put(self, entry: Entry) -> bool:
        """In front before anything waits; True when the back has it too. A failing back is a refusal."""
        self._follow_the_back()
        with self._change(entry.name):
            await self.front.put(entry)
            try:
                return await self.back.put(entry)
            except CacheFailure:
                return False

    async def delete(self, name: Digest) -> bool:
        """From both. What the back raises is passed on: it may still have it."""
        with self._change(name):
            in_front = await self.front.delete(name)
            return await self.back.delete(name) or in_front

    async def purge(self, *, dry_run: bool = False) -> int:
        """Both. How many is what the fuller one had: nearly all that is in front is in the back too."""
        in_front = await self.front.purge(dry_run=True)
        if dry_run:
            with suppress(CacheFailure):
                return max(in_front, await self.back.purge(dry_run=True))
            return in_front
        try:
            return max(in_front, await self.back.purge())
        finally:
            self._follow_the_back()

    async def note(self, key: str) -> bytes | None:
        """The back's."""
        return await self.back.note(key)

    async def put_note(self, key: str, value: bytes) -> None:
        """In the back, which outlives this process."""
        await self.back.put_note(key, value)

    # What happened elsewhere, where the back is shared with other processes.

    async def heard(self, beat: Beat) -> None:
        """What others deleted or replaced is gone from the front, and all of it where that is not known."""
        self._follow_the_back()
        if not beat.sure:
            self.unsure()
        for name in beat.changes:
            with self._change(name):
                await self.front.delete(name)

    def unsure(self) -> None:
        """Nobody knows what was changed elsewhere: nothing in front may be served, nothing on its way be kept there."""
        self._changed = [count + 1 for count in self._changed]
        self.front.empty()

    def report(self) -> StoreReport:
        """The back's, with the front's sizes beside it."""
        front, back = self.front.report(), self.back.report()
        return StoreReport(
            kind=back.kind,
            degraded=back.degraded,
            bytes_by_tier=front.bytes_by_tier | back.bytes_by_tier,
            entries_by_tier=front.entries_by_tier | back.entries_by_tier,
            evictions=front.evictions | back.evictions,
            errors=front.errors | back.errors,
            breaker=back.breaker,
            openings=back.openings,
        )

    async def close(self) -> None:
        """Both."""
        await self.back.close()
        await self.front.close()

    def _follow_the_back(self) -> None:
        self.front.adopt(self.back.generation)

    @contextmanager
    def _change(self, name: Digest) -> Iterator[None]:
        self._changing[name] += 1
        try:
            yield
        finally:
            self._changing[name] -= 1
            if not self._changing[name]:
                del self._changing[name]
            self._changed[name[0]] += 1
