"""The vectors of one shape: searched exactly while they are few, through a graph when they are many.

New vectors always go to the exact part and are found at once. Once that holds more than its share they are moved, some
at a time and in a thread, into the graph (usearch's HNSW of float16: 1 kB a point, its cosines off by less than
0.0001, so there is nothing to rank again). What is on the move is in both until it has arrived.

Points are known by their slot (`embedded_points`). Imports numpy, and usearch with the first graph.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy.types import Digest, Vector

if TYPE_CHECKING:
    from usearch.index import Index

AT_ONCE: Final = 4096
"""Vectors compared in one go, which takes 0.3 ms."""

FEW: Final = 16
"""Up to so many are kept as float16, which halves what a shape of one question takes and has to be converted for every
search. More are float32."""

_CONNECTIVITY: Final = 16
_WIDTH_WHEN_ADDING: Final = 64
_WIDTH_WHEN_SEARCHING: Final = 64
"""Of 47,637 real questions the nearest with a cosine of .7 and more is found every time, and 9,994 in 10,000 of the
nearest three, in 0.2 ms; twice the width takes 0.34. Made-up vectors are harder: there 95 in 100 of the nearest."""
_GRAPH_BYTES: Final = 260
"""Of a point in the graph beside its vector, by measurement."""

_SHAPE_BYTES: Final = 500
"""Of a shape beside its vectors, by measurement."""


class Found(NamedTuple):
    """Slots and cosines, the nearest first."""

    slots: Sequence[int]
    cosines: Sequence[float]


class Shape:
    """The exact part, and the graph if there is one."""

    __slots__ = ("_count", "_doomed", "_moving", "_slots", "_vectors", "graph", "name")

    def __init__(self, name: Digest, dimensions: int) -> None:
        self.name = name
        self.graph: Graph | None = None
        self._vectors: NDArray[np.floating] = np.empty((1, dimensions), np.float16)
        self._slots: NDArray[np.int64] = np.empty(1, np.int64)
        self._count = 0
        self._moving: frozenset[int] = frozenset()
        self._doomed: frozenset[int] = frozenset()

    @property
    def waiting(self) -> int:
        """Vectors in the exact part."""
        return self._count

    @property
    def empty(self) -> bool:
        """Nothing is left, and nothing is on the move."""
        return not self._count and not self._moving and (self.graph is None or not len(self.graph))

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        exact = self._vectors.nbytes + self._slots.nbytes + _SHAPE_BYTES
        return exact + (self.graph.size if self.graph is not None else 0)

    def add(self, slot: int, vector: Vector) -> None:
        """A copy of it is kept."""
        if self._count == len(self._slots):
            # An eighth: what is spare takes memory, what is copied takes time.
            self._resize(self._count + max(1, self._count // 8))
        self._vectors[self._count] = vector
        self._slots[self._count] = slot
        self._count += 1

    def remove(self, slot: int) -> bool:
        """Forget it. True: its slot may be used again; False: it is on the move and `arrived` will name it."""
        self._take_out(self._rows(slot))
        if slot in self._moving:
            self._doomed |= {slot}
            return False
        if self.graph is not None:
            self.graph.remove(slot)
        return True

    def vector(self, slot: int) -> Vector:
        """Of a point that is here."""
        rows = self._rows(slot)
        if len(rows):
            own: Vector = self._vectors[rows[0]].astype(np.float32)
            return own
        assert self.graph is not None  # noqa: S101  it is here, so it is there
        return self.graph.vector(slot)

    def compare(self, vector: Vector, floor: float, start: int) -> Found:
        """Those in the exact part from that row on, at most `AT_ONCE` of them, which reach the floor."""
        stop = min(self._count, start + AT_ONCE)
        # Not "@": that is a BLAS call, which for so many numbers wakes a thread on every core and waits for all of
        # them, 40 ms where others keep the cores busy. This stays on this one, at the same speed.
        cosines = np.vecdot(self._vectors[start:stop].astype(np.float32, copy=False), vector)
        (near,) = np.nonzero(cosines >= floor)
        order = near[np.argsort(-cosines[near])]
        return Found(self._slots[start:stop][order].tolist(), cosines[order].tolist())

    def leave(self, most: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Copies of the oldest in the exact part, which go on the move into the graph."""
        stop = min(self._count, most)
        slots = self._slots[:stop].copy()
        self._moving = frozenset(slots.tolist())
        return slots, self._vectors[:stop].astype(np.float32)

    def arrived(self, slots: NDArray[np.int64]) -> list[int]:
        """They are in the graph now. The slots of those that were removed meanwhile, which may be used again."""
        assert self.graph is not None  # noqa: S101  they are in it
        self._moving = frozenset()
        doomed, self._doomed = list(self._doomed), frozenset()
        for slot in doomed:
            self.graph.remove(slot)
        self._take_out(np.flatnonzero(np.isin(self._slots[: self._count], slots)))
        return doomed

    def _rows(self, slot: int) -> NDArray[np.intp]:
        """Where it is in the exact part: one row, or none."""
        return np.flatnonzero(self._slots[: self._count] == slot)

    def _take_out(self, rows: NDArray[np.intp]) -> None:
        """The last ones move into the gaps."""
        count = self._count - len(rows)
        gaps = rows[rows < count]
        last = np.setdiff1d(np.arange(count, self._count), rows, assume_unique=True)
        self._slots[gaps], self._vectors[gaps] = self._slots[last], self._vectors[last]
        self._count = count
        if count < len(self._slots) // 2:
            self._resize(max(1, count))

    def _resize(self, rows: int) -> None:
        kind = np.float16 if rows <= FEW else np.float32
        if self._vectors.dtype != kind:
            self._vectors = self._vectors[: self._count].astype(kind)
        # In place: memory that is copied to a new one each time is left in pieces. Nobody else holds a view of it.
        self._vectors.resize((rows, self._vectors.shape[1]), refcheck=False)
        self._slots.resize(rows, refcheck=False)


class Graph:
    """usearch's index behind a lock: it takes one caller at a time, as both threads would have the same scratch space
    in it. Who adds lets others in after every vector, so a search waits for no more than one (0.3 ms)."""

    def __init__(self, dimensions: int) -> None:
        from usearch.index import Index  # noqa: PLC0415  0.1 s that an index of few points never needs

        self._index: Index = Index(
            ndim=dimensions,
            metric="cos",
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_WIDTH_WHEN_ADDING,
            expansion_search=_WIDTH_WHEN_SEARCHING,
        )
        self._lock = threading.Lock()
        # Who waits for the lock holds the turn, so that who had the lock cannot take it again at once.
        self._turn = threading.Lock()
        self._dimensions = dimensions

    def __len__(self) -> int:
        return len(self._index)

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return len(self) * (2 * self._dimensions + _GRAPH_BYTES)

    def add(self, slots: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """In any thread; none of the slots is in it."""
        for slot, vector in zip(slots.tolist(), vectors, strict=True):
            with self._alone():
                self._index.add(slot, vector, threads=1)

    def remove(self, slot: int) -> None:
        """If it is there."""
        with self._alone():
            self._index.remove(slot, threads=1)

    def vector(self, slot: int) -> Vector:
        """Of a slot that is in it."""
        with self._alone():
            return np.asarray(self._index.get(slot, "f32"), np.float32).reshape(-1)

    def nearest(self, vector: Vector, most: int) -> Found:
        """About the nearest."""
        with self._alone():
            found = self._index.search(vector, most, threads=1)
        return Found(found.keys.tolist(), (1.0 - found.distances).tolist())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._turn:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()
