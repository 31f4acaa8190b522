"""What is known of each point but its vector, in columns: a number in place of an object keeps a million of them out of
the garbage collector's way and at some 300 bytes each, words included.

A point is a *slot*, the place of its values in the columns; the slot of a forgotten one is used again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from proxy.types import Digest

EMPTY = Digest(b"")
"""Name of a slot that holds no point."""

_OVERHEAD_BYTES = 270
"""Of a point in the columns and the table of names, by measurement."""


class Points:
    """The columns."""

    def __init__(self) -> None:
        self.names: list[Digest] = []
        self.words: list[bytes] = []
        self.shapes: list[Digest] = []
        self._generations = array("q")
        self._ends = array("d")
        self._slots: dict[Digest, int] = {}
        self._free: list[int] = []
        self._words_bytes = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def size(self) -> int:
        """Bytes they take, about."""
        return len(self) * _OVERHEAD_BYTES + self._words_bytes

    def slot(self, name: Digest) -> int | None:
        """Where the point of this name is."""
        return self._slots.get(name)

    def take(self, name: Digest, shape: Digest, words: bytes, generation: int, kept_until: float) -> int:
        """A slot for a new point; none has its name."""
        self._words_bytes += len(words)
        if self._free:
            slot = self._free.pop()
            self.names[slot], self.words[slot], self.shapes[slot] = name, words, shape
            self._generations[slot], self._ends[slot] = generation, kept_until
        else:
            slot = len(self.names)
            self.names.append(name)
            self.words.append(words)
            self.shapes.append(shape)
            self._generations.append(generation)
            self._ends.append(kept_until)
        self._slots[name] = slot
        return slot

    def forget(self, slot: int) -> None:
        """The point is gone; its slot is not given out again before `free`."""
        self._words_bytes -= len(self.words[slot])
        del self._slots[self.names[slot]]
        self.names[slot], self.words[slot], self.shapes[slot] = EMPTY, b"", EMPTY
        self._ends[slot] = np.inf

    def free(self, slot: int) -> None:
        """Nothing refers to this forgotten point's slot any more."""
        self._free.append(slot)

    def lives(self, slot: int, now: float) -> bool:
        """Whether there is a point and it has not ended."""
        return self._ends[slot] > now and self.names[slot] is not EMPTY

    def oldest(self) -> int:
        """The slot of the one that came first."""
        return next(iter(self._slots.values()))

    def ended(self, now: float, most: int) -> list[int]:
        """Slots of points that have ended, so many at most."""
        return np.flatnonzero(np.frombuffer(self._ends) <= now)[:most].tolist() if self._ends else []

    def of_generation(self, least: int) -> Iterator[tuple[int, int, float]]:
        """Slot, generation and end of each point of that generation or a later one."""
        for slot in np.flatnonzero(np.frombuffer(self._generations, np.int64) >= least) if self.names else ():
            if self.names[slot] is not EMPTY:
                yield int(slot), self._generations[slot], self._ends[slot]
