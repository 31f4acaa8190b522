"""Nearest stored questions from Redis' query engine: an answer, its question's words and its vector are one hash.

    {prefix}:1:{generation}:{name}   hash    frame, model     the answer (stores/redis.py)
                                             words            the question, sealed (redis_seal.py)
                                             vector_{id}      its vector, of the embedder whose digest `id` is
                                             seal_{id}        that both belong together and to this name
                                             shape, scope, tags
    {prefix}:index:1:{identity}      index   over those hashes, for one embedder (redis_engine.py)

So what becomes of an answer (expiry, deletion, purge, eviction) becomes of its vector in the same instant, and nothing
has to be kept in step. Fields are added only where the answer is; the hash keeps its end.

Index and fields carry the embedder's identity: replicas with another embedder use theirs, on the same answers. The
index is looked at every second; where it is gone any replica makes it again, and Redis fills it from the hashes.

A candidate is believed only where its seal fits, and its cosine is computed here, of the vector that was sealed: who
can write to Redis without the installation's secret can neither make up words nor make them look near.

Every command goes over the store's own link: its deadline and its breaker. While Redis is in trouble nothing waits.

This file imports numpy: it is itself imported only where it is chosen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from redis.exceptions import ResponseError

from proxy.errors import CacheFailure, Unreadable
from proxy.redis_link import keys as entry_keys
from proxy.redis_link.client import Reply
from proxy.redis_link.link import Link, LinkDown
from proxy.redis_link.script import Script, Word
from proxy.redis_link.writes import Writes
from proxy.telemetry.tasks import Tasks
from proxy.types import Beat, Digest, Vector
from proxy.vectors.base import Near, Point, VectorReport
from proxy.vectors.redis_backlog import Backlog
from proxy.vectors.redis_names import Names, place_of
from proxy.vectors.redis_seal import PointSeal

if TYPE_CHECKING:
    from proxy.vectors.redis_engine import Engine

_log = logging.getLogger("askonce.vectors")

NO_ENGINE: Final = (
    "this Redis has no query engine: exact answers only; matching by meaning needs Redis 8 or Redis Stack"
)
CLUSTER: Final = (
    "a Redis Cluster cannot be searched as a whole: exact answers only; matching by meaning needs one Redis, alone or "
    "under Sentinel, with the query engine (Redis 8 or Redis Stack)"
)

LOOK_S: Final = 1.0
"""Seconds between two looks at the index."""

COUNT_S: Final = 600.0
"""Seconds between two counts of all points."""

SELDOM: Final = 500
"""A count takes 8 s for a million points, less than a millisecond at a time: the pause is so many times as long."""

OVERHEAD_BYTES: Final = 1430
"""What a point takes in Redis beside its vector, which is there twice. Measured over 100,000 of 384 numbers with words
of 60 letters: a hash takes 2,970 bytes more than without, 1,280 of them in the index."""

MORE: Final = 60
"""So many more are asked for where what came first could not be used."""

HALF: Final = np.dtype("<f2")

ADD = Script("""
if redis.call('HEXISTS', KEYS[1], 'frame') == 0 then return -1 end
local had = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return had[2] and 0 or had[1] and 1 or 2
""")
"""KEYS: the answer. ARGV: the fields of words and of our seal, then fields and values. -1: the answer is gone; 0: it
had a vector of ours; 1: it had words and no such vector; 2: it had none."""

REMOVE = Script("""
local had = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[1], unpack(ARGV))
return had[2] and 0 or had[1] and 1 or 2
""")
"""KEYS: the answer. ARGV: fields, those of words and of our seal first. What it had, as above."""

GONE, REPLACED, CAUGHT_UP, NEW = -1, 0, 1, 2


class RedisIndex:
    """As `VectorIndex`, over the hashes of a `RedisStore` with the same prefix. What is added must have been put there
    before, over the same `writes`: they keep the order.

    identity, dimensions: of the embedder; vectors have so many numbers.
    secret: the installation's; see `rekey`.
    clustered: it is a Redis Cluster.
    look_s: pause between two looks at the index. retry_s: the same while it cannot be had. count_s: between two counts.
    clock, steady: Unix seconds, and seconds that never step back.
    """

    def __init__(
        self,
        link: Link,
        writes: Writes,
        *,
        prefix: str,
        identity: str,
        dimensions: int,
        secret: bytes,
        tasks: Tasks,
        clustered: bool = False,
        look_s: float = LOOK_S,
        retry_s: float = 5.0,
        count_s: float = COUNT_S,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.errors: dict[str, int] = dict.fromkeys(("search", "add", "add_refused", "remove", "seal", "index"), 0)
        """Failures by operation; `seal` is what was found and could not be believed."""
        self._names = Names(prefix, identity, dimensions)
        self._seal = PointSeal(secret, self._names.identity)
        self._backlog = Backlog(link, self._names, self._seal, prefix)
        self._link, self._writes, self._tasks = link, writes, tasks
        self._prefix, self._dimensions = prefix, dimensions
        self._look_s, self._retry_s, self._count_s = look_s, retry_s, count_s
        self._clock, self._steady = clock, steady
        self._generation = 0
        self._engine: Engine | None = None
        self._there = False
        """The index can be searched, as far as we know."""
        self._trouble: str | None = CLUSTER if clustered else "the index was not looked at yet"
        self._usable = not clustered
        """Adding makes sense: there is an engine, or nobody knows yet."""
        self._points = self._pending = 0
        self._count_at = 0.0
        self._said = False
        """The trouble was logged."""
        self._refused_search = False
        self._wanted = asyncio.Event()
        """Somebody found out that the index is gone."""
        self._looked = asyncio.Condition()
        self._looks = 0
        self._watching: asyncio.Task[None] | None = None
        link.learn(ADD, REMOVE)

    def rekey(self, secret: bytes) -> None:
        """From now on seals are made and checked with this one."""
        self._seal.rekey(secret)

    async def heard(self, beat: Beat) -> None:
        """What the store heard of other replicas: its generation."""
        await self.purge(beat.generation)

    async def open(self) -> None:
        """As `VectorIndex.open`."""
        if self._usable and self._watching is None:
            self._watching = self._tasks.spawn(self._watch(), name="redis index")

    # -- the path ----------------------------------------------------------------------------------------------------

    async def nearest(self, shape: Digest, vector: Vector, *, most: int, floor: float) -> list[Near]:
        """As `VectorIndex.nearest`: one round trip. Nothing is near while the index or Redis is in trouble."""
        packed = self._packed(vector)
        if self._engine is None or not self._there or not self._link.breaker.closed or self._link.breaker.wavers:
            return []
        for wanted in (most, most + MORE):
            reply = await self._searched(self._engine.search(place_of(shape, self._generation), packed, wanted))
            found = [] if reply is None else list(self._believed(reply, shape, vector))
            # Where something could not be used it may have stood before what can.
            if reply is None or len(found) >= most or (len(reply) - 1) // 2 < wanted:
                break
        found.sort(key=lambda near: -near.similarity)
        return [near for near in found[:most] if near.similarity >= floor]

    async def _searched(self, command: tuple[Word, ...]) -> list[Reply] | None:
        try:
            [reply] = await self._link.run([command])
        except CacheFailure:
            self.errors["search"] += 1
            raise
        if isinstance(reply, ResponseError):
            self._cannot_search(reply)
            return None
        found: list[Reply] = reply
        return found

    def _cannot_search(self, refusal: ResponseError) -> None:
        """Most likely the index is gone: the watch finds out what it is. Until then nobody asks."""
        self.errors["search"] += 1
        self._there, self._refused_search = False, True
        self._in_trouble(f"the index cannot be searched: {str(refusal)[:200]}")
        self._wanted.set()

    def _believed(self, reply: list[Reply], shape: Digest, asked: Vector) -> Iterator[Near]:
        """Of a reply that is a number, then key and fields by turns."""
        for key, pairs in zip(reply[1::2], reply[2::2], strict=True):
            fields = dict(zip(pairs[::2], pairs[1::2], strict=True)) if pairs else {}
            parts = [fields.get(field.encode()) for field in (self._names.words, self._names.vector, self._names.seal)]
            words, vector, seal = parts
            if words is None or vector is None or seal is None:
                continue  # it ended between being found and being read
            point = self._opened(entry_keys.name_in(key), words, vector, seal)
            if point is not None and point.shape == shape and self._good(point):
                cosine = float(np.frombuffer(vector, HALF).astype(np.float32) @ asked)
                yield Near(point.name, point.words, max(-1.0, min(1.0, cosine)))

    def _opened(self, name: Digest | None, words: bytes, vector: bytes, seal: bytes) -> Point | None:
        try:
            if name is not None:
                return self._seal.opened(name, words, vector, seal)
        except Unreadable:
            pass
        self.errors["seal"] += 1
        return None

    def _good(self, point: Point) -> bool:
        return point.generation >= self._generation and point.kept_until > self._clock()

    # -- writing -----------------------------------------------------------------------------------------------------

    async def add(self, point: Point) -> bool:
        """As `VectorIndex.add`: false too where its answer is not in Redis, or too much waits to be written."""
        packed = self._packed(point.vector)
        if not self._usable or not self._link.breaker.closed or not self._good(point):
            return False
        words = self._seal.words(point)
        weight = len(words) + len(packed) + entry_keys.KEY_BYTES
        if not self._writes.has_room_for(weight):
            self.errors["add_refused"] += 1
            return False
        # A purge was made that nobody has told us of yet.
        self._generation = max(self._generation, point.generation)
        fields = self._names.fields(point, words, packed, self._seal.vector(point.name, words, packed))
        given = (self._names.words, self._names.seal, *fields)
        try:
            had = await self._writes.add(ADD.call([self._key(point.name, point.generation)], *given), weight)
        except ResponseError:  # it is full, say
            self.errors["add_refused"] += 1
            return False
        except CacheFailure:
            self.errors["add"] += 1
            raise
        self._points += had in (NEW, CAUGHT_UP)
        self._pending = max(0, self._pending - (had == CAUGHT_UP))
        return bool(had != GONE)

    async def remove(self, name: Digest) -> None:
        """As `VectorIndex.remove`, for every embedder."""
        try:
            had = await self._writes.add(REMOVE.call([self._key(name, self._generation)], *self._names.all))
        except (CacheFailure, ResponseError) as failure:
            self.errors["remove"] += 1
            raise _as_cache_failure(failure) from failure
        self._points = max(0, self._points - (had == REPLACED))
        self._pending = max(0, self._pending - (had == CAUGHT_UP))

    async def stale(self, most: int) -> AsyncIterator[Point]:
        """As `VectorIndex.stale`. For one caller at a time; where nothing was counted Redis is not asked."""
        if not self._usable or not self._pending or most < 1:
            return
        async for point in self._backlog.points(self._generation, most):
            if self._good(point):
                yield point

    async def purge(self, generation: int) -> None:
        """As `VectorIndex.purge`. The store sweeps the hashes."""
        if generation > self._generation:
            self._generation = generation
            self._points = self._pending = 0

    # -- the index ---------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        try:
            self._engine = await asyncio.to_thread(self._made)
        except ImportError as missing:
            self._in_trouble(f"{missing}: matching by meaning needs askonce[semantic]")
            return
        while True:
            pause_s = await self._look()
            async with self._looked:
                self._looks += 1
                self._looked.notify_all()
            if pause_s is None:
                await self._wait_for_want()
            else:
                await asyncio.sleep(pause_s)
            self._wanted.clear()

    async def _wait_for_want(self) -> None:
        try:
            async with asyncio.timeout(self._look_s):
                await self._wanted.wait()
        except TimeoutError:
            return

    def _made(self) -> Engine:
        from proxy.vectors.redis_engine import Engine  # noqa: PLC0415 - redisvl takes half a second

        return Engine(self._link, self._names, entry_keys.pattern(self._prefix)[:-1], self._dimensions)

    async def _look(self) -> float | None:
        """See to it that the index is there. How long to leave it alone now; None where all is well, and somebody who
        finds that it is not may say so."""
        assert self._engine is not None  # noqa: S101 - for the type: only the watch comes here
        if not self._link.breaker.closed:
            return self._look_s  # the link tells of it
        try:
            if not await self._engine.there():
                await self._engine.create()
                self._count_at, self._refused_search = 0.0, False
            if self._refused_search:  # and yet it is there: what is wrong is not ours to mend
                self._refused_search = False
                return self._retry_s
            self._is_there()
            if self._steady() >= self._count_at:
                await self._count()
        except LinkDown:
            return self._look_s
        except CacheFailure as failure:
            self._cannot_be_had(failure)
            return self._retry_s
        return None

    async def _count(self) -> None:
        began = self._steady()
        self._points, self._pending = await self._backlog.count()
        took_s = self._steady() - began
        self._count_at = self._steady() + max(self._count_s, took_s * SELDOM)

    def _cannot_be_had(self, failure: CacheFailure) -> None:
        self.errors["index"] += 1
        self._there = False
        self._usable = failure.reason != "no_engine"
        self._in_trouble(f"the index cannot be had: {failure.message}" if self._usable else NO_ENGINE)

    def _in_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("matching by meaning is off, exact answers go on: %s", trouble)
            self._said = True
        self._trouble = trouble

    def _is_there(self) -> None:
        if self._said:
            _log.info("matching by meaning is back: the index is there")
        self._there = self._usable = True
        self._trouble, self._said = None, False

    async def settled(self) -> None:
        """Until it was looked at, and counted, once more from now on."""
        if self._watching is None:
            return
        self._count_at = 0.0
        async with self._looked:
            # One that is under way may have counted already.
            after = self._looks + 2
            while self._looks < after:
                self._wanted.set()
                await self._looked.wait()

    def report(self) -> VectorReport:
        """As `VectorIndex.report`: `points` and `pending` as last counted, with what this process did since; `bytes` by
        measurement."""
        return VectorReport(
            kind="redis",
            identity=self._names.identity,
            degraded=self._degraded(),
            points=self._points,
            bytes=self._points * (2 * self._dimensions * HALF.itemsize + OVERHEAD_BYTES),
            pending=self._pending,
            errors=self.errors | {"unreadable": self._backlog.unreadable},
        )

    def _degraded(self) -> str | None:
        if self._usable and not self._link.breaker.closed:
            return f"{self._link.shown}: {self._link.breaker.why}; exact answers only"
        return self._trouble

    async def close(self) -> None:
        """As `VectorIndex.close`; the link is the store's."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None
        self._there = False

    # -- names -------------------------------------------------------------------------------------------------------

    def _key(self, name: Digest, generation: int) -> str:
        return entry_keys.of(self._prefix, generation, name)

    def _packed(self, vector: Vector) -> bytes:
        if vector.shape != (self._dimensions,):
            expected = f"{self._dimensions} numbers, this one has the shape {vector.shape}"
            raise CacheFailure(f"a vector of this index has {expected}", code="dimensions")
        return vector.astype(HALF).tobytes()


def _as_cache_failure(failure: CacheFailure | ResponseError) -> CacheFailure:
    return failure if isinstance(failure, CacheFailure) else CacheFailure(str(failure)[:200], code="refused")
