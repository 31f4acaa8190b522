"""The embedded store: SQLite on disk, one thread that reads and one that writes.

Look-ups of one turn of the loop go to the reading thread together. Writes go to the writing thread, which commits all
that has come in since its last commit at once; `put` answers after that commit. Between commits it reclaims a few rows.

What cannot be done is said in `report` and tried again later: a cache in trouble is a cache that misses.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from proxy.errors import CacheFailure, Unreadable
from proxy.stores.frame import FrameCodec
from proxy.stores.sqlite_file import DAMAGED, CacheFile
from proxy.stores.turns import TurnGather
from proxy.stores.worker import Worker
from proxy.types import Digest, Entry, StoreReport

_log = logging.getLogger("askonce.store")

R = TypeVar("R")

_MiB: Final = 1024 * 1024
_SWEEP_ROWS: Final = 64


class SqliteStore:
    """Answers on disk, by exact name.

    path: of the database; its folder is made if need be.
    max_bytes: what the database's pages may take; the oldest answers make room.
    read_timeout_s: a look-up that takes longer fails, and for `retry_s` all others are misses at once.
    write_timeout_s: as long is waited for a commit; what was asked is still done when it can be.
    queue_bytes, queue_entries: what may wait to be written; a put beyond is refused. Two seconds of a slow disk.
    retry_s: after a failed write this long nothing is written, then one attempt shows how things are.
    sweep_s: when nothing is written, this often what has ended is looked for.
    clock, steady: Unix seconds, and seconds that never step back.
    """

    def __init__(
        self,
        path: Path,
        codec: FrameCodec,
        *,
        max_bytes: int,
        read_timeout_s: float = 0.25,
        write_timeout_s: float = 10.0,
        queue_bytes: int = 64 * _MiB,
        queue_entries: int = 10_000,
        retry_s: float = 5.0,
        sweep_s: float = 5.0,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.errors: dict[str, int] = dict.fromkeys(("open", "get", "put", "delete", "purge", "sweep", "note"), 0)
        """Failures by operation."""
        self.unreadable: dict[str, int] = dict.fromkeys(("version", "tag", "torn"), 0)
        """Frames that were found and could not be used, by reason."""
        self.evictions: dict[str, int] = dict.fromkeys(("size", "expired", "purged"), 0)
        """Rows reclaimed, by cause."""
        self.refused = 0
        """Puts refused because too much waits to be written."""
        self._codec = codec
        self._file = CacheFile(path, max_bytes)
        self._read_timeout_s, self._write_timeout_s = read_timeout_s, write_timeout_s
        self._retry_s, self._sweep_s = retry_s, sweep_s
        self._clock, self._steady = clock, steady
        self._backlog = _Backlog(queue_bytes, queue_entries)
        self._reader = Worker[list[Digest], Mapping[Digest, Entry]]("askonce-sqlite-reads", self._read)
        self._writer = Worker[_Write, int]("askonce-sqlite-writes", self._commit, self._rest)
        self._turns = TurnGather[Digest, Entry](self._fetch)
        self._closed = True
        self._generation = 0
        self._trouble: str | None = "the store was not opened yet"
        self._write_again_at = 0.0
        self._read_again_at = 0.0
        self._asked = self._answered = 0
        self._purge_owed = False
        self._lately_written = 0

    @property
    def generation(self) -> int:
        """Entries of an earlier generation are gone."""
        return self._generation

    # -- on the loop -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start the threads and open the file; why that fails is in `report`, and a later put tries again."""
        self._reader.start()
        self._writer.start()
        self._closed = False
        with suppress(CacheFailure):
            await self._written("open", _Write(_nothing))

    def peek(self, name: Digest) -> Entry | None:
        """A disk always waits."""
        return None

    async def get(self, name: Digest) -> Entry | None:
        """The entry, if it can be read and is still good. Raises CacheFailure when it takes too long."""
        if self._closed or self._steady() < self._read_again_at:
            return None
        try:
            return await self._turns.get(name)
        except CacheFailure as failure:
            self.errors["get"] += 1
            if failure.reason != DAMAGED:
                raise
            self._mend(failure)
            return None

    async def put(self, entry: Entry) -> bool:
        """True after the commit. False: of another generation, over a limit, too much waits, or nothing can be
        written these seconds. Raises CacheFailure when this very write fails."""
        if self._closed or entry.generation != self._generation or len(entry.body) > self._codec.max_body:
            return False
        if not self._backlog.has_room_for(entry):
            self.refused += 1
            return False
        if not self._may_write():
            return False
        self._backlog.came(entry)
        return bool(await self._written("put", _Write(partial(self._put, entry), entry)))

    async def delete(self, name: Digest) -> bool:
        """Forget it. Raises CacheFailure when that cannot be promised."""
        act = partial(self._file.delete, name, self._clock())
        return bool(await self._written("delete", _Write(act)))

    async def purge(self, *, dry_run: bool = False) -> int:
        """Begin a new generation. When it cannot be written down (CacheFailure) it holds in this process all the
        same, and is written before anything else as soon as that works."""
        if dry_run:
            return await self._written("purge", _Write(partial(self._file.count_live, self._clock())))
        return await self._written("purge", _Write(partial(self._file.purge, self._clock()), purges=True))

    async def note(self, key: str) -> bytes | None:
        """As of the last commit. Raises CacheFailure while the file is not open: it may hold one."""
        if self._closed or not self._file.is_open:
            raise CacheFailure(self._trouble or "the store is closed")
        sealed = self._file.notes.get(key)
        try:
            return None if sealed is None else self._codec.unseal(key, sealed)
        except Unreadable as failure:
            self.unreadable[failure.reason] += 1
            return None

    async def put_note(self, key: str, value: bytes) -> None:
        """Returns after the commit."""
        sealed = self._codec.seal(key, value)
        if not self._may_write():
            raise CacheFailure(self._trouble or "nothing can be written")
        await self._written("note", _Write(partial(self._put_note, key, sealed)))

    def report(self) -> StoreReport:
        """Sizes as of the last commit, rows that are yet to be reclaimed included."""
        return StoreReport(
            kind="sqlite",
            degraded=self._trouble or self._slowness(),
            bytes_by_tier={"sqlite": self._file.used_bytes},
            entries_by_tier={"sqlite": self._file.entries},
            evictions={("sqlite", cause): number for cause, number in self.evictions.items()},
            errors={("sqlite", operation): number for operation, number in self._errors().items()},
        )

    def _errors(self) -> dict[str, int]:
        unreadable = {f"unreadable_{why}": number for why, number in self.unreadable.items()}
        return self.errors | unreadable | {"put_refused": self.refused}

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        await self._writer.stop()
        await self._reader.stop()
        await asyncio.to_thread(self._file.close)

    def _fetch(self, names: list[Digest]) -> asyncio.Future[Mapping[Digest, Entry]]:
        self._asked += 1
        return self._within(self._read_timeout_s, self._reader.ask(names), partial(self._read_is_late, self._asked))

    async def _written(self, operation: str, write: _Write) -> int:
        if self._closed:
            raise CacheFailure("the store is closed")
        try:
            return await self._within(self._write_timeout_s, self._writer.ask(write), lambda: True)
        except CacheFailure:
            self.errors[operation] += 1
            raise

    def _within(self, limit_s: float, future: asyncio.Future[R], is_late: Callable[[], bool]) -> asyncio.Future[R]:
        def end() -> None:
            if not future.done() and is_late():
                future.set_exception(CacheFailure(f"{self._file.path}: no answer in {limit_s:g} s"))

        timer = asyncio.get_running_loop().call_later(limit_s, end)
        future.add_done_callback(lambda _: timer.cancel())
        return future

    def _read_is_late(self, ticket: int) -> bool:
        # A loop that was held up itself comes to its timers before it comes to an answer that has long been there.
        if self._answered >= ticket:
            return False
        # Whoever asks while the thread hangs would only wait as long again. `_read` takes it back.
        self._read_again_at = self._steady() + self._retry_s
        return True

    def _slowness(self) -> str | None:
        if self._steady() >= self._read_again_at:
            return None
        return f"{self._file.path}: reading takes longer than {self._read_timeout_s:g} s, look-ups are misses"

    def _may_write(self) -> bool:
        if self._trouble is None:
            return True
        if self._steady() < self._write_again_at:
            return False
        self._write_again_at = self._steady() + self._retry_s  # one attempt shows how things are, not all that come
        return True

    def _mend(self, failure: CacheFailure) -> None:
        self._trouble = self._trouble or failure.message
        if self._may_write():
            attempt = self._writer.ask(_Write(_nothing))
            attempt.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # `_note` has said it

    # -- in the reading thread ---------------------------------------------------------------------------------------

    def _read(self, asked: list[list[Digest]]) -> list[Mapping[Digest, Entry]]:
        names = list(dict.fromkeys(chain.from_iterable(asked)))
        try:
            frames = self._file.read(names, self._generation)
        finally:
            self._answered += len(asked)
            self._read_again_at = 0.0
        # Unpacked here: once for all who ask in the same turn, and the loop is not held up by a large body.
        opened = {name: self._opened(name, frame) for name, frame in frames.items()}
        found = {name: entry for name, entry in opened.items() if entry is not None}
        return [found] * len(asked)

    def _opened(self, name: Digest, frame: bytes) -> Entry | None:
        try:
            entry = self._codec.decode(name, frame)
        except Unreadable as failure:
            self.unreadable[failure.reason] += 1
            return None
        # By the header, which is under the tag: the columns beside it are not.
        good = entry.generation == self._generation and not entry.gone(self._clock())
        return entry if good else None

    # -- in the writing thread ---------------------------------------------------------------------------------------

    def _commit(self, writes: list[_Write]) -> list[int]:
        try:
            outcomes = self._in_one_transaction(writes)
        except CacheFailure as failure:
            self._note(failure)
            if any(write.purges for write in writes):
                self._generation += 1
                self._purge_owed = True
            raise
        finally:
            self._backlog.went(writes)
        self._generation = self._file.generation
        self._trouble, self._purge_owed = None, False
        self._lately_written = len(writes)
        return outcomes

    def _in_one_transaction(self, writes: list[_Write]) -> list[int]:
        if self._file.damaged or not self._file.is_open:
            self._file.open(floor=self._generation)
        with self._file.transaction():
            if self._purge_owed:
                self._file.purge(self._clock(), floor=self._generation)
            return [write.act() for write in writes]

    def _put(self, entry: Entry) -> int:
        try:
            frame = self._codec.encode(entry)
        except CacheFailure as failure:
            _log.warning("an answer is not kept: %s", failure.message)
            return 0
        return self._file.put(entry, frame, self._clock())

    def _put_note(self, key: str, sealed: bytes) -> int:
        self._file.put_note(key, sealed)
        return 1

    def _rest(self) -> float:
        """Reclaim a little; more at once after many puts, so that they cannot outrun it."""
        if not self._file.is_open or self._file.damaged:
            return self._sweep_s
        most = _SWEEP_ROWS + 2 * self._lately_written
        self._lately_written = 0
        try:
            swept = self._file.sweep(self._clock(), most)
        except CacheFailure as failure:
            self.errors["sweep"] += 1
            self._note(failure)
            return self._sweep_s
        self.evictions["expired"] += swept.expired
        self.evictions["purged"] += swept.purged
        self.evictions["size"] += swept.oldest
        return 0.0 if swept.more else self._sweep_s

    def _note(self, failure: CacheFailure) -> None:
        if failure.message != self._trouble:
            _log.warning("the store is degraded: %s", failure.message)
        self._trouble = failure.message
        self._write_again_at = self._steady() + self._retry_s


@dataclass(frozen=True, slots=True)
class _Write:
    """Something for the writing thread to do within a transaction."""

    act: Callable[[], int]
    entry: Entry | None = None
    purges: bool = False


class _Backlog:
    """What waits to be written. Two counts that only grow, one of each thread, need no lock."""

    def __init__(self, most_bytes: int, most_entries: int) -> None:
        self._most_bytes, self._most_entries = most_bytes, most_entries
        self._came_bytes = self._came_entries = 0
        self._went_bytes = self._went_entries = 0

    def has_room_for(self, entry: Entry) -> bool:
        return (
            self._came_entries - self._went_entries < self._most_entries
            and self._came_bytes - self._went_bytes + len(entry.body) <= self._most_bytes
        )

    def came(self, entry: Entry) -> None:
        self._came_entries += 1
        self._came_bytes += len(entry.body)

    def went(self, writes: list[_Write]) -> None:
        entries = [write.entry for write in writes if write.entry is not None]
        self._went_entries += len(entries)
        self._went_bytes += sum(len(entry.body) for entry in entries)


def _nothing() -> int:
    return 0
