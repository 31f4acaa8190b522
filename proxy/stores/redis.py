"""The shared store: one Redis for any number of replicas.

    {prefix}:1:{generation}:{name}   hash   frame     the entry, as `frame.py` has it
                                            model     beside it for people and tools; what is served is in the frame
                                            ...       what matching by meaning adds (vectors/redis.py); it goes with it
    {prefix}:notes                   hash   each note, sealed as `frame.py` has it, under its own key

`1` is the version of this layout: another version keeps its own entries beside these. The generation is in the key, so
that a purge of everything makes all of it unreachable at once; the bytes are then swept away.

Look-ups of one turn of the loop are one round trip. Writes are queued and sent behind the request's back; until one is
through, this process answers from the queue. Nothing here ever makes a request wait longer than `store.redis`
says, and while Redis is in trouble nothing waits for it at all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from redis.exceptions import OutOfMemoryError, ResponseError

from proxy.errors import CacheFailure, Unreadable
from proxy.redis_link import keys as entry_keys
from proxy.redis_link.client import Reply
from proxy.redis_link.link import Link
from proxy.redis_link.script import Script
from proxy.redis_link.writes import Writes
from proxy.stores.frame import FrameCodec
from proxy.stores.redis_pulse import Heard, Pulse
from proxy.stores.troubles import Troubles
from proxy.stores.turns import TurnGather
from proxy.telemetry.tasks import Tasks
from proxy.types import Beat, Digest, Entry, StoreReport

_log = logging.getLogger("askonce.store")

LAYOUT: Final = entry_keys.LAYOUT

LARGE_FRAME: Final = 256 * 1024
"""Bytes above which a frame is made or read in a thread: some milliseconds that would hold every other caller up."""

KEY_BYTES: Final = 200
"""What a write weighs in the queue beside its frame."""

LOOK_UPS_AT_ONCE: Final = 256
"""Of one batch: so few that a crowd's batch fits in the deadline."""

LAG_S: Final = 60.0
"""How far behind its master a replica may be that becomes the next one."""

MOST_DELETED: Final = 10_000

SWEPT_AT_ONCE: Final = 500

PUT = Script("""
local was = redis.call('EXISTS', KEYS[1])
if was == 1 then redis.call('UNLINK', KEYS[1]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return was
""")
"""KEYS: the entry's. ARGV: milliseconds to live, then fields and values. Whether something was replaced. One step, so
that no entry is ever there without an end; the old one goes first, whatever type it had. Nothing is written before HSET
where there is no old one: after its first write Redis lets a script go on, full or not."""


class RedisStore:
    """Answers in Redis, by exact name.

    at_once: batches of look-ups under way; what is asked meanwhile is the next one.
    poll_s: how often other replicas' changes are fetched. retry_s: the same while Redis cannot be reached.
    max_silence_s: how long what is in front may be served when Redis is not heard.
    secret: to agree on where Redis has none yet; empty where it is configured, and Redis is to know nothing of it.
    clock, steady: Unix seconds, and seconds that never step back.
    """

    def __init__(
        self,
        link: Link,
        codec: FrameCodec,
        writes: Writes,
        pulse: Pulse,
        *,
        prefix: str,
        tasks: Tasks,
        at_once: int,
        poll_s: float,
        retry_s: float,
        max_silence_s: float,
        secret: bytes,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.errors: dict[str, int] = dict.fromkeys(("get", "put", "put_refused", "delete", "purge", "note"), 0)
        """Failures by operation."""
        self.unreadable: dict[str, int] = dict.fromkeys(("version", "tag", "torn", "type"), 0)
        """What was found under our keys and could not be used, by reason."""
        self.heard: list[Heard] = []
        """Told of every beat, in this order, once this store has taken it in."""
        self.unheard: list[Callable[[], None]] = []
        """Called when Redis was not heard for so long that nothing in front may be trusted."""
        self._deleted: deque[tuple[float, Digest]] = deque(maxlen=MOST_DELETED)
        """Lately, by us: when, and what."""
        self._link, self._codec, self._writes, self._pulse = link, codec, writes, pulse
        self._prefix = prefix
        self._tasks = tasks
        self._poll_s, self._retry_s, self._max_silence_s = poll_s, retry_s, max_silence_s
        self._secret = secret
        self._clock, self._steady = clock, steady
        self._turns = TurnGather[Digest, Entry](self._fetch, at_once, LOOK_UPS_AT_ONCE)
        self._pending: dict[Digest, Entry] = {}
        self._generation = 0
        self._hearing = asyncio.Lock()
        self._heard_at = 0.0
        self._troubles = Troubles(_log, steady)
        self._write_again_at = 0.0
        self._figures = Figures()
        self._beating: asyncio.Task[None] | None = None
        link.learn(PUT)

    @property
    def generation(self) -> int:
        """Entries of an earlier generation are gone."""
        return self._generation

    async def open(self) -> None:
        """Hear of the agreement, if Redis answers in time; go on asking for it."""
        self._heard_at = self._steady()
        await self.beat(aloud=False)  # who opens it says what it found
        self._beating = self._tasks.spawn(self._keep_beating(), name="redis pulse")

    def peek(self, name: Digest) -> Entry | None:
        """A network always waits."""
        return None

    async def get(self, name: Digest) -> Entry | None:
        """The entry, if it can be read and is still good. Raises CacheFailure when Redis fails or takes too long."""
        entry = self._pending.get(name)
        if entry is None and self._link.breaker.closed:
            try:
                entry = await self._turns.get(name)
            except CacheFailure:
                self.errors["get"] += 1
                raise
        return entry if entry is not None and not entry.gone(self._clock()) else None

    async def put(self, entry: Entry) -> bool:
        """True: it will be written, in its turn, and until then is answered from here. False: of another generation,
        over a limit, too much waits, or Redis takes no writes these seconds."""
        ttl_ms = int((entry.finished_at + entry.kept_s - self._clock()) * 1000)
        if entry.generation != self._generation or len(entry.body) > self._codec.max_body or ttl_ms < 1:
            return False
        if not self._may_write(len(entry.body)):
            return self._refused(entry)
        self._pending[entry.name] = entry
        try:
            frame = await self._encoded(entry)
        except BaseException:
            self._drop(entry)
            raise
        if self._pending.get(entry.name) is not entry:
            return False  # deleted, purged or replaced while a thread made its frame: what came later stays
        if not self._writes.has_room_for(len(frame)):
            return self._refused(entry)
        fields = ("frame", frame, "model", entry.model)
        written = self._writes.add(PUT.call([self._key(entry.name)], ttl_ms, *fields), len(frame) + KEY_BYTES)
        written.add_done_callback(partial(self._written, entry))
        return True

    async def delete(self, name: Digest) -> bool:
        """Forget it, here and in every replica's memory. Raises CacheFailure when that cannot be promised."""
        waiting = self._pending.pop(name, None)
        try:
            await self._hear()  # it lies under the generation of now, which somebody may just have begun
            # One after the other: told first, a replica could fetch it once more before it is gone.
            found = await self._writes.add(("UNLINK", self._key(name)))
            await self._writes.add(self._pulse.changed(name))
        except (CacheFailure, ResponseError) as failure:
            self.errors["delete"] += 1
            raise _as_cache_failure(failure) from failure
        self._deleted.append((self._steady(), name))
        return bool(found) or waiting is not None

    async def purge(self, *, dry_run: bool = False) -> int:
        """Begin a new generation, then sweep. When it cannot be told (CacheFailure) it holds in this process all the
        same, and is told to the others as soon as Redis is heard again."""
        before = self._generation
        if not dry_run:
            self._generation = max(before + 1, int(self._clock() * 1000))
            self._pending.clear()
        await self._writes.settled()  # what was put before counts too, and is not to come after the sweep
        if dry_run:
            return await self._count(self._key_pattern(before))
        try:
            await self._hear()
            return await self._sweep(before)
        except (CacheFailure, ResponseError) as failure:
            self.errors["purge"] += 1
            raise _as_cache_failure(failure) from failure

    async def note(self, key: str) -> bytes | None:
        """As Redis has it now. Raises CacheFailure when Redis fails or takes too long."""
        if not self._link.breaker.closed:
            raise CacheFailure(f"{self._link.shown} is left alone for now: {self._link.breaker.why}")
        try:
            [reply] = await self._link.run([("HGET", entry_keys.notes(self._prefix), key)])
        except CacheFailure:
            self.errors["note"] += 1
            raise
        if isinstance(reply, ResponseError):
            self.errors["note"] += 1
            raise _as_cache_failure(reply) from reply
        try:
            return self._codec.unseal(key, reply) if isinstance(reply, bytes) else None
        except Unreadable as failure:
            self.unreadable[failure.reason] += 1
            return None

    async def put_note(self, key: str, value: bytes) -> None:
        """Returns when Redis has it."""
        sealed = self._codec.seal(key, value)
        if not self._writes.has_room_for(len(sealed)):
            raise CacheFailure("too much waits to be written to Redis", code="refused")
        command = ("HSET", entry_keys.notes(self._prefix), key, sealed)
        try:
            await self._writes.add(command, len(sealed) + KEY_BYTES)
        except (CacheFailure, ResponseError) as failure:
            self.errors["note"] += 1
            raise _as_cache_failure(failure) from failure

    def report(self) -> StoreReport:
        """Sizes as the server last told them: of all its databases in bytes, of ours in keys. They and its evictions
        are the server's, so every replica tells the same."""
        figures = self._figures
        return StoreReport(
            kind="redis",
            degraded=self._degraded(),
            bytes_by_tier={"redis": figures.used_bytes},
            entries_by_tier={"redis": figures.keys},
            evictions={("redis", "size"): figures.evicted},
            errors={("redis", operation): number for operation, number in self._errors().items()},
            breaker=self._link.breaker.state.value,
            openings=self._link.breaker.openings,
        )

    async def close(self) -> None:
        """Write what waits, for as long as a batch may take, then let go."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
            self._beating = None
            await self._tasks.drain(CLOSING_S)
        await self._link.close()

    # -- looking -----------------------------------------------------------------------------------------------------

    def _fetch(self, names: list[Digest]) -> asyncio.Future[Mapping[Digest, Entry]]:
        return self._tasks.spawn(self._read(names), name="redis look-ups", expected=CacheFailure)

    async def _read(self, names: list[Digest]) -> Mapping[Digest, Entry]:
        replies = await self._link.run([("HGET", self._key(name), "frame") for name in names])
        if self._troubles.about(READING) and not isinstance(replies[0], ResponseError):
            self._troubles.end(READING)
        if sum(len(reply) for reply in replies if isinstance(reply, bytes)) > LARGE_FRAME:
            return await asyncio.to_thread(self._opened, names, replies)
        return self._opened(names, replies)

    def _opened(self, names: list[Digest], replies: list[Reply]) -> Mapping[Digest, Entry]:
        found = ((name, self._entry(name, reply)) for name, reply in zip(names, replies, strict=True))
        return {name: entry for name, entry in found if entry is not None}

    def _entry(self, name: Digest, reply: Reply) -> Entry | None:
        if reply is None:
            return None
        if isinstance(reply, ResponseError):
            self._cannot_read(reply)
            return None
        try:
            entry = self._codec.decode(name, reply)
        except Unreadable as failure:
            self.unreadable[failure.reason] += 1
            return None
        # By the header, which is under the tag: the key is not.
        return entry if entry.generation == self._generation else None

    def _cannot_read(self, refusal: ResponseError) -> None:
        if str(refusal).startswith("WRONGTYPE"):
            self.unreadable["type"] += 1
        else:
            self.errors["get"] += 1
            self._troubles.begin(READING, _refusal(refusal))

    # -- writing -----------------------------------------------------------------------------------------------------

    async def _encoded(self, entry: Entry) -> bytes:
        if len(entry.body) > LARGE_FRAME:
            return await asyncio.to_thread(self._codec.encode, entry)
        return self._codec.encode(entry)

    def _may_write(self, size: int) -> bool:
        if not self._link.breaker.closed or not self._writes.has_room_for(size):
            return False
        if self._troubles.about(WRITING):
            if self._steady() < self._write_again_at:
                return False
            self._write_again_at = self._steady() + self._retry_s  # one attempt shows how things are
        return True

    def _refused(self, entry: Entry) -> bool:
        self._drop(entry)
        self.errors["put_refused"] += 1
        return False

    def _drop(self, entry: Entry) -> None:
        if self._pending.get(entry.name) is entry:
            del self._pending[entry.name]

    def _written(self, entry: Entry, written: asyncio.Future[Reply]) -> None:
        self._drop(entry)
        if written.cancelled():
            return
        failure = written.exception()
        if failure is None:
            self._troubles.end(WRITING)
            if written.result():
                # Somebody may have what was replaced in memory.
                self._writes.add(self._pulse.changed(entry.name))
            return
        self.errors["put"] += 1
        if isinstance(failure, ResponseError):
            self._troubles.begin(WRITING, _refusal(failure))
            self._write_again_at = self._steady() + self._retry_s

    async def _count(self, pattern: str) -> int:
        try:
            return sum([len(keys) async for keys in self._link.scan(pattern)])
        except CacheFailure:
            self.errors["purge"] += 1
            raise

    async def _sweep(self, before: int) -> int:
        """Take away what no generation reaches; how many answers of the last one that were."""
        swept = 0
        kept, wanted = self._key_pattern(self._generation)[:-1].encode(), self._key_pattern(before)[:-1].encode()
        async for keys in self._link.scan(entry_keys.pattern(self._prefix)):
            gone = [key for key in keys if not key.startswith(kept)]
            for at in range(0, len(gone), SWEPT_AT_ONCE):
                some = gone[at : at + SWEPT_AT_ONCE]
                replies = await self._link.run([("UNLINK", key) for key in some])
                swept += sum(reply == 1 and key.startswith(wanted) for key, reply in zip(some, replies, strict=True))
        return swept

    # -- beating -----------------------------------------------------------------------------------------------------

    async def _keep_beating(self) -> None:
        figures_at = 0.0
        while True:
            await asyncio.sleep(self._poll_s if self._link.breaker.closed else self._retry_s)
            await self.beat()
            if self._link.breaker.closed and self._steady() >= figures_at:
                await self._take_figures()
                figures_at = self._steady() + FIGURES_S

    async def beat(self, *, aloud: bool = True) -> None:
        """One poll of what others did; what fails is in `report`. `open` sees to it that it goes on by itself."""
        try:
            heard = await self._hear()
        except CacheFailure as failure:
            self._troubles.begin(HEARING, failure.message, aloud=aloud)
            if self._steady() - self._heard_at >= self._max_silence_s:
                # Once in so long: what comes in front from now on was asked for later, and may be served as long.
                self._heard_at = self._steady()
                for forget in self.unheard:
                    forget()
            return
        if self._troubles.about(HEARING) or not heard.sure:
            await self._delete_again()
        self._troubles.end(HEARING)

    async def _delete_again(self) -> None:
        """Redis was away, or is not as we left it: maybe another server that had not heard of the last deletions."""
        since = self._steady() - LAG_S
        for name in [name for at, name in self._deleted if at >= since]:
            self._writes.add(("UNLINK", self._key(name)))
            self._writes.add(self._pulse.changed(name))
        self._deleted.clear()
        await self._writes.settled()

    async def _hear(self) -> Beat:
        async with self._hearing:  # the pulse reads a log from its place on: not twice at once
            beat = await self._pulse.beat(
                generation=self._generation, first_generation=int(self._clock() * 1000), secret=self._secret
            )
            if beat.generation > self._generation:  # a purge may have begun a later one while this was on its way
                self._pending.clear()
                self._generation = beat.generation
            self._secret = beat.secret
            self._heard_at = self._steady()
            for tell in self.heard:
                await tell(beat)
            return beat

    async def _take_figures(self) -> None:
        try:
            [reply] = await self._link.run([("INFO",)])
        except CacheFailure:
            return
        if isinstance(reply, bytes):
            self._figures = Figures.read(reply)

    # -- names and words ---------------------------------------------------------------------------------------------

    def _key(self, name: Digest) -> str:
        return entry_keys.of(self._prefix, self._generation, name)

    def _key_pattern(self, generation: int) -> str:
        return entry_keys.pattern(self._prefix, generation)

    def _errors(self) -> dict[str, int]:
        unreadable = {f"unreadable_{why}": number for why, number in self.unreadable.items()}
        return self.errors | unreadable | self._link.failures

    def _degraded(self) -> str | None:
        if not self._link.breaker.closed:
            return f"{self._link.shown}: {self._link.breaker.why}; requests go on without it"
        return self._troubles.first


READING, WRITING, HEARING = "reading", "writing", "hearing other replicas"
"""What troubles are about."""

FIGURES_S: Final = 5.0
"""Seconds between two looks at the server's own figures."""

CLOSING_S: Final = 2.0
"""How long what waits to be written may take at a stop."""


class Figures:
    """The server's own, from INFO."""

    def __init__(self, used_bytes: int = 0, keys: int = 0, evicted: int = 0) -> None:
        self.used_bytes, self.keys, self.evicted = used_bytes, keys, evicted

    @classmethod
    def read(cls, info: bytes) -> Figures:
        """Text of INFO, lines of `name:value`, of one server or of several, whose figures are added up."""
        figures = cls()
        for line in info.decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name == "used_memory":
                figures.used_bytes += int(value)
            elif name == "evicted_keys":
                figures.evicted += int(value)
            elif name.startswith("db") and value.startswith("keys="):
                figures.keys += int(value[5:].partition(",")[0])
        return figures


def _refusal(failure: ResponseError) -> str:
    if isinstance(failure, OutOfMemoryError):
        return (
            "Redis is full and refuses writes (maxmemory is reached): answers are served and not kept; "
            "set maxmemory-policy allkeys-lfu, or give it more memory"
        )
    return f"Redis refuses: {str(failure)[:200]}"


def _as_cache_failure(failure: CacheFailure | ResponseError) -> CacheFailure:
    return failure if isinstance(failure, CacheFailure) else CacheFailure(_refusal(failure), code="refused")
