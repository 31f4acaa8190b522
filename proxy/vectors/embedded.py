"""The embedded index: vectors in this process, kept in a file of their own beside the store's database.

All that is searched lives on the loop and is changed there only. Two threads work beside it: one owns the file, loads
what is in it bit by bit and writes what is new; one puts vectors into the graphs of large shapes. A point is found from
the moment it was added and on disk a moment later; what a killed process loses of it is a match, never an answer.

A file that cannot be used is said in `report` and tried again; until then the index lives in memory.

Imports numpy: to be imported only where matching by meaning is on.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from proxy.errors import CacheFailure
from proxy.own_file import OwnFile
from proxy.telemetry.tasks import Tasks
from proxy.types import Digest, Vector
from proxy.vectors import embedded_rows as rows
from proxy.vectors.base import Near, Point, VectorReport
from proxy.vectors.embedded_points import Points
from proxy.vectors.embedded_shapes import AT_ONCE, Found, Graph, Shape

_log = logging.getLogger("askonce.vectors")

_LOADED_AT_ONCE: Final = 128
_MOVED_AT_ONCE: Final = 64
_SWEPT_AT_ONCE: Final = 500
_FORGOTTEN_AT_ONCE: Final = 32
"""Each may have to wait for the graph, for as long as it takes in one vector."""
_WAITING: Final = 8192
"""Vectors that may wait to be put into a graph before loading holds still: exact search through them stays short."""
_PATIENCE_S: Final = 0.05
_OFF: Final = 0.02
"""By so much a vector's squared length may be off 1 for what rounding does to it; more, and it is not what was
written."""


class EmbeddedIndex:
    """Vectors in this process.

    path: of the file; its folder is made if need be. None: in memory only.
    identity: of the embedder. dimensions: numbers in a vector.
    exact_search: points of one shape up to which all are compared; above it a graph is used.
    max_points: over it the oldest go.
    sweep_s: this often what has ended is looked for. retry_s: so often a file in trouble is tried again.
    clock: Unix seconds.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        identity: str,
        dimensions: int,
        exact_search: int = 4096,
        max_points: int = 1_000_000,
        sweep_s: float = 5.0,
        retry_s: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identity = f"{identity}/v{rows.SCHEMA.version}"
        self._dimensions, self._exact_search, self._max_points = dimensions, exact_search, max_points
        self._sweep_s, self._clock = sweep_s, clock
        self._points = Points()
        self._shapes: dict[Digest, Shape] = {}
        self._generation = 0
        self._stale = 0
        self._file: OwnFile | None = None
        if path is not None:
            self._file = OwnFile(path, rows.SCHEMA, rest=self._rest, logger=_log, retry_s=retry_s)
        self._is_loaded = path is None
        self._removed_while_loading: set[Digest] = set()
        self._may_load = threading.Event()
        self._may_load.set()
        self._tasks = Tasks()
        self._mover: ThreadPoolExecutor | None = None
        self._moving: asyncio.Task[None] | None = None
        self._due: dict[Digest, None] = {}
        """Shapes with vectors that are to go into their graph."""
        self._closed = True
        # Of the file's thread.
        self._read_up_to: int | None = None
        self._all_is_read = False

    # -- what an index does ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin to load. `settled` waits for the end of it."""
        self._closed = False
        self._mover = ThreadPoolExecutor(1, thread_name_prefix="askonce-graph")
        self._tasks.spawn(self._sweep_often(), name="sweep vectors")
        if self._file is not None:
            self._file.start()

    async def nearest(self, shape: Digest, vector: Vector, *, most: int, floor: float) -> list[Near]:
        """Up to 0.5 ms on the loop: a thread would take longer to be asked. Lets others in every 4,096 comparisons."""
        here = self._shapes.get(shape)
        if here is None:
            return []
        self._check(vector)
        found: dict[Digest, Near] = {}
        if here.graph is not None:
            found.update(self._nearest_in(here.graph, vector, most, floor))
        for start in range(0, here.waiting, AT_ONCE):
            if start:
                await asyncio.sleep(0)
            found.update(self._alive(here.compare(vector, floor, start), most, floor))
        return heapq.nlargest(most, found.values(), key=lambda near: near.similarity)

    async def add(self, point: Point) -> bool:
        """Found at once, on disk soon. False: of a purged generation, ended, or not a vector of this embedder."""
        self._check(point.vector)
        if point.generation < self._generation or point.kept_until <= self._clock() or self._max_points < 1:
            return False
        try:
            words = point.words.encode()
        except UnicodeEncodeError:  # half a surrogate pair: no embedder and no file takes it
            return False
        if not math.isfinite(float(point.vector @ point.vector)):
            return False
        self._keep(point.name, point.shape, words, point.generation, point.kept_until, point.vector)
        if self._file is not None:
            row = rows.row_of(point, self._identity, point.vector.astype(np.float16).tobytes())
            self._write(partial(rows.put, row=row))
        self._make_room()
        return True

    async def remove(self, name: Digest) -> None:
        """Gone at once, on disk soon."""
        self._forget_everywhere(name)

    async def stale(self, most: int) -> AsyncIterator[Point]:
        """Those whose vectors are of another embedder. Raises CacheFailure while the file cannot be read."""
        if self._file is None or self._closed:
            return
        read = partial(rows.others, identity=self._identity, most=most, vector=np.zeros(0, np.float32))
        points = await self._file.do(read, lasting=False)
        if len(points) < most:
            self._stale = len(points)
        for point in points:
            yield point

    async def purge(self, generation: int) -> None:
        """In memory at once. Raises CacheFailure when it cannot be written down yet; it will be."""
        if generation <= self._generation:
            return
        self._generation = generation
        self._drop_older(generation)
        if self._file is not None and not self._closed:
            self._stale = await self._file.do(partial(self._purge_file, generation=generation))

    def report(self) -> VectorReport:
        """How it is."""
        trouble = self._file.trouble if self._file is not None else None
        return VectorReport(
            kind="embedded",
            identity=self._identity,
            degraded=trouble and f"{trouble}; new points are kept in memory only",
            points=len(self._points),
            bytes=self._points.size + sum(shape.size for shape in self._shapes.values()),
            pending=self._stale,
            errors={"file": self._file.failures, "dropped": self._file.dropped} if self._file is not None else {},
        )

    async def close(self) -> None:
        """Write what waits; the graphs are made again from the file."""
        if self._closed:
            return
        self._closed = True
        await self._tasks.drain(0)
        if self._file is not None:
            await self._file.stop()
        if self._mover is not None:
            await asyncio.to_thread(self._mover.shutdown)

    async def settled(self) -> None:
        """Until what the file holds is loaded, what was added is written, and the graphs are made: for measurements
        and tests. While the file cannot be used, as far as it goes."""
        if self._file is not None:
            await asyncio.wait([self._file.do(_nothing, lasting=False)])
            while not self._is_loaded and self._file.trouble is None:
                await asyncio.wait([self._file.do(_nothing, lasting=False)])
        while self._moving is not None:
            await asyncio.wait([self._moving])
        if self._file is not None:
            await asyncio.wait([self._file.do(_nothing, lasting=False)])

    # -- in memory ---------------------------------------------------------------------------------------------------

    def _check(self, vector: Vector) -> None:
        if vector.shape != (self._dimensions,):
            raise CacheFailure(f"a vector of {vector.shape} where {self._dimensions} dimensions are expected")

    def _nearest_in(self, graph: Graph, vector: Vector, most: int, floor: float) -> dict[Digest, Near]:
        ask = most + 5  # some to spare for those that have ended
        while True:
            found = graph.nearest(vector, ask)
            alive = self._alive(found, most, floor)
            exhausted = len(found.slots) < ask or found.cosines[-1] < floor
            if len(alive) >= most or exhausted:
                return alive
            ask *= 4

    def _alive(self, found: Found, most: int, floor: float) -> dict[Digest, Near]:
        """The nearest that are still there, by name."""
        now = self._clock()
        alive: dict[Digest, Near] = {}
        for slot, cosine in zip(*found, strict=True):
            if cosine < floor or len(alive) == most:
                break
            if self._points.lives(slot, now):
                name = self._points.names[slot]
                alive[name] = Near(name, self._points.words[slot].decode(errors="replace"), cosine)
        return alive

    def _keep(
        self, name: Digest, shape: Digest, words: bytes, generation: int, kept_until: float, vector: Vector
    ) -> None:
        self._forget(name)
        here = self._shapes.get(shape)
        if here is None:
            here = self._shapes[shape] = Shape(shape, self._dimensions)
        # `here.name` and not `shape`: one object, however many points are in it.
        slot = self._points.take(name, here.name, words, generation, kept_until)
        here.add(slot, vector)
        if here.waiting > (self._exact_search if here.graph is None else 0):
            self._due[shape] = None
            self._move()

    def _forget_everywhere(self, name: Digest) -> None:
        if not self._is_loaded:
            self._removed_while_loading.add(name)
        self._forget(name)
        self._write(partial(rows.delete, name=name, identity=self._identity))

    def _forget(self, name: Digest) -> None:
        slot = self._points.slot(name)
        if slot is None:
            return
        key = self._points.shapes[slot]
        shape = self._shapes[key]
        self._points.forget(slot)
        if shape.remove(slot):
            self._points.free(slot)
        if shape.empty:
            del self._shapes[key]

    def _make_room(self) -> None:
        while len(self._points) > self._max_points:
            self._forget_everywhere(self._points.names[self._points.oldest()])

    def _drop_older(self, generation: int) -> None:
        """By beginning anew with what is left, which is little: points that came since the purge."""
        before, shapes = self._points, self._shapes
        left = list(before.of_generation(generation))
        if len(left) == len(before):
            return
        self._points, self._shapes = Points(), {}
        for slot, of, kept_until in left:
            key = before.shapes[slot]
            vector = shapes[key].vector(slot)
            self._keep(before.names[slot], key, before.words[slot], of, kept_until, vector)

    async def _sweep_often(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            while ended := self._points.ended(self._clock(), _FORGOTTEN_AT_ONCE):
                for slot in ended:
                    self._forget(self._points.names[slot])
                await asyncio.sleep(0)

    # -- into the graphs ---------------------------------------------------------------------------------------------

    def _move(self) -> None:
        if self._moving is None and not self._closed:
            self._moving = self._tasks.spawn(self._move_all(), name="vectors into graphs")

    async def _move_all(self) -> None:
        try:
            while self._due:
                for key in list(self._due):
                    await self._move_some(key)
                    self._let_load()
        finally:
            self._moving = None

    async def _move_some(self, key: Digest) -> None:
        shape = self._shapes.get(key)
        if shape is None or not shape.waiting:
            del self._due[key]
            return
        loop = asyncio.get_running_loop()
        if shape.graph is None:
            # In the thread, as the first one imports usearch.
            shape.graph = await loop.run_in_executor(self._mover, Graph, self._dimensions)
        slots, vectors = shape.leave(_MOVED_AT_ONCE)
        await loop.run_in_executor(self._mover, shape.graph.add, slots, vectors)
        if self._shapes.get(key) is not shape:
            return  # purged meanwhile, with its slots
        for slot in shape.arrived(slots):
            self._points.free(slot)
        if shape.empty:
            del self._shapes[key]

    # -- from and to the file ----------------------------------------------------------------------------------------

    def _write(self, act: Callable[[sqlite3.Connection], int]) -> None:
        """act: gives how many points of another embedder it replaced."""
        if self._file is not None and not self._closed:
            self._file.do(act).add_done_callback(self._written)

    def _written(self, replaced: asyncio.Future[int]) -> None:
        if not replaced.cancelled() and replaced.exception() is None:
            self._stale = max(0, self._stale - replaced.result())

    def _begun(self, generation: int, stale: int) -> None:
        self._stale = stale
        if generation > self._generation:
            self._generation = generation
            self._drop_older(generation)

    def _take(self, loaded: list[rows.Loaded], vectors: NDArray[np.float32]) -> None:
        now = self._clock()
        for row, vector in zip(loaded, vectors, strict=True):
            is_old = row.name in self._removed_while_loading or self._points.slot(row.name) is not None
            if not is_old and row.generation >= self._generation and row.kept_until > now:
                self._keep(row.name, row.shape, row.words, row.generation, row.kept_until, vector)
        self._make_room()
        self._let_load()

    def _ended(self) -> None:
        self._is_loaded = True
        self._removed_while_loading = set()

    def _let_load(self) -> None:
        if sum(self._shapes[key].waiting for key in self._due if key in self._shapes) <= _WAITING:
            self._may_load.set()

    # -- in the file's thread ----------------------------------------------------------------------------------------

    def _rest(self, database: sqlite3.Connection) -> float:
        """Load a little, or sweep a little."""
        if not self._all_is_read:
            self._load(database)
            return 0.0
        return 0.0 if rows.sweep(database, self._clock(), _SWEPT_AT_ONCE) == _SWEPT_AT_ONCE else self._sweep_s

    def _load(self, database: sqlite3.Connection) -> None:
        file = self._file
        assert file is not None  # noqa: S101  this is its thread
        if self._read_up_to is None:
            self._read_up_to = 0
            state = rows.generation_of(database), rows.count_of_others(database, self._identity)
            file.tell(partial(self._begun, *state))
        # Not for long: others have something to write.
        if not self._may_load.wait(_PATIENCE_S):
            return
        loaded = rows.load(database, self._identity, self._read_up_to, _LOADED_AT_ONCE)
        if not loaded:
            self._all_is_read = True
            file.tell(self._ended)
            return
        good, bad, vectors = self._unpacked(loaded)
        if bad:
            rows.disown(database, bad)
        self._may_load.clear()
        self._read_up_to = loaded[-1].id
        file.tell(partial(self._take, good, vectors))
        if bad:
            file.tell(partial(self._more_stale, len(bad)))

    def _unpacked(self, loaded: list[rows.Loaded]) -> tuple[list[rows.Loaded], list[int], NDArray[np.float32]]:
        """Rows with their vectors; ids of those that have none that can be used."""
        size = 2 * self._dimensions
        good = [row for row in loaded if len(row.vector) == size]
        packed = np.frombuffer(b"".join(row.vector for row in good), np.float16)
        vectors = packed.reshape(-1, self._dimensions).astype(np.float32)
        sound = np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1.0) < _OFF
        good = [row for row, is_sound in zip(good, sound, strict=True) if is_sound]
        kept = {row.id for row in good}
        return good, [row.id for row in loaded if row.id not in kept], vectors[sound]

    def _more_stale(self, number: int) -> None:
        self._stale += number

    def _purge_file(self, database: sqlite3.Connection, generation: int) -> int:
        rows.purge(database, generation)
        return rows.count_of_others(database, self._identity)


def _nothing(_: sqlite3.Connection) -> None:
    """So that what came before is done."""
