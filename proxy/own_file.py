"""A database of this process alone, and the one thread that opens, reads and writes it.

What it keeps is derived: nothing is lost for good with it. Hence a damaged file, if it is ours, is set aside as
`….corrupt` and a new one is begun, and a file of another schema version is made anew.

SQLite in WAL mode with `synchronous=NORMAL`: what was committed survives the death of the process, `kill -9` included;
a power cut may lose the last commits, never tear one. `locking_mode=EXCLUSIVE` keeps a second process out for as long
as this one lives, however it ends.

Acts that come in while one transaction is written are the next. What fails is kept and tried again every `retry_s`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from proxy.errors import CacheFailure

R = TypeVar("R")

_BUSY_S: Final = 1.0
_WAL_BYTES: Final = 16 * 1024 * 1024
_PAGES_BACK: Final = 256


@dataclass(frozen=True)
class Schema:
    """What a file must say of itself to be opened, and the statements that make one."""

    application: int
    """SQLite's `application_id`: four bytes by which a file is known to be ours."""
    version: int
    tables: tuple[str, ...]


class OwnFile:
    """A database and its thread.

    rest: called in the thread between transactions with the open database, in a transaction of its own; says in how
    many seconds it wants to be called again, 0 for as soon as nothing waits. It must do little at a time.
    most_waiting: acts kept while the file cannot be written; over it the oldest go.
    retry_s: after a failure nothing is tried for as long.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema,
        *,
        rest: Callable[[sqlite3.Connection], float],
        logger: logging.Logger,
        retry_s: float = 5.0,
        most_waiting: int = 20_000,
    ) -> None:
        self.path = path
        self.trouble: str | None = None
        """What is wrong at the moment, for the operator."""
        self.failures = 0
        self.dropped = 0
        """Acts that went because too many waited."""
        self._schema, self._rest, self._log = schema, rest, logger
        self._retry_s, self._most_waiting = retry_s, most_waiting
        self._queue: SimpleQueue[_Act | None] = SimpleQueue()
        self._waiting: deque[_Act] = deque()
        self._database: sqlite3.Connection | None = None
        self._damaged = False
        self._again_at = self._rest_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None

    # -- on the loop -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, which opens the file at once; outcomes come back to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        threading.Thread(target=self._run, name=f"askonce-{self.path.name}", daemon=True).start()

    def do(self, act: Callable[[sqlite3.Connection], R], *, lasting: bool = True) -> asyncio.Future[R]:
        """Have it done in the next transaction; settled after the commit, or with CacheFailure when that fails.

        lasting: it is then tried again all the same. Nobody needs to wait for the future.
        """
        if self._loop is None:
            raise CacheFailure(f"{self.path} is not open")
        future: asyncio.Future[R] = self._loop.create_future()
        future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # `trouble` says it too
        self._queue.put(_Act(act, future, lasting))
        return future

    async def stop(self) -> None:
        """Write what waits, as far as that works, and let go. More than once is harmless."""
        if self._ended is None:
            return
        self._queue.put(None)
        await asyncio.shield(self._ended)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            last = self._take(0.0 if self._database is None and self._may_try() else self._pause())
            if last:
                self._again_at = 0.0
            if self._may_try():
                self._try(last=last)
            else:
                self._settle_failed(self.trouble or "")
        self._disconnect()
        assert self._ended is not None  # noqa: S101  `start` set it
        self.tell(partial(_settle, [(self._ended, None)]))

    def _pause(self) -> float:
        until = self._rest_at if self._may_try() else self._again_at
        return max(0.0, until - time.monotonic())

    def _may_try(self) -> bool:
        return time.monotonic() >= self._again_at

    def _take(self, pause: float) -> bool:
        """What waits to be done, after waiting so many seconds for a first; whether that was the last."""
        try:
            act = self._queue.get(timeout=pause) if pause else self._queue.get_nowait()
            while act is not None:
                self._waiting.append(act)
                act = self._queue.get_nowait()
        except Empty:
            last = False
        else:
            last = True
        return last

    def _try(self, *, last: bool) -> None:
        try:
            database = self._database or self._open()
            if self._waiting:
                self._do_waiting(database)
            if not last and time.monotonic() >= self._rest_at:
                with _Transaction(database):
                    pause = self._rest(database)
                if pause and self._gave_back(database):
                    pause = 0.0
                self._rest_at = time.monotonic() + pause
        except (sqlite3.OperationalError, OSError, CacheFailure) as failure:
            self._failed(failure)
        except sqlite3.DatabaseError as failure:
            if not _means_damage(failure):
                self._report_bug(failure)
            self._failed(failure)
        except Exception as failure:  # noqa: BLE001  the outermost call: nobody may wait for ever
            self._report_bug(failure)
        else:
            if self.trouble is not None:
                self._log.info("%s is well again", self.path)
            self.trouble = None

    def _do_waiting(self, database: sqlite3.Connection) -> None:
        acts = list(self._waiting)
        with _Transaction(database):
            outcomes = [act.act(database) for act in acts]
        self._waiting.clear()
        self.tell(partial(_settle, [(act.settled, outcome) for act, outcome in zip(acts, outcomes, strict=True)]))

    def _gave_back(self, database: sqlite3.Connection) -> bool:
        """Shorten the file a little when a quarter of it is free; whether it was."""
        pages, free = (
            int(database.execute(f"PRAGMA {what}").fetchone()[0]) for what in ("page_count", "freelist_count")
        )
        if free < _PAGES_BACK or free * 4 < pages:
            return False
        database.execute(f"PRAGMA incremental_vacuum({_PAGES_BACK})").fetchall()
        return True

    def _report_bug(self, failure: Exception) -> None:
        # Tried again it would only fail again.
        for act in self._waiting:
            act.lasting = False
        self._rest_at = time.monotonic() + self._retry_s
        self._settle_failed(f"{self.path}: a bug", failure)
        bug = {"message": f"work on {self.path} failed", "exception": failure}
        loop = self._loop
        assert loop is not None  # noqa: S101  `start` set it
        self.tell(lambda: loop.call_exception_handler(bug))

    def _failed(self, failure: sqlite3.Error | OSError | CacheFailure) -> None:
        self.failures += 1
        self._damaged = self._damaged or _means_damage(failure)
        saying = _saying(failure)
        if self.trouble is None:
            self._log.warning("%s: %s; it is done without, and tried again", self.path, saying)
        self.trouble = f"{self.path}: {saying}"
        # A damaged file is replaced at once.
        self._again_at = 0.0 if _means_damage(failure) and self._database else time.monotonic() + self._retry_s
        self._disconnect()
        self._settle_failed(self.trouble, failure)

    def _settle_failed(self, saying: str, cause: BaseException | None = None) -> None:
        failed = [act for act in self._waiting if not act.told]
        self._waiting = deque(act for act in self._waiting if act.lasting)
        for act in failed:
            act.told = True
        while len(self._waiting) > self._most_waiting:
            self._waiting.popleft()
            self.dropped += 1
        if failed:
            self.tell(partial(_fail, failed, saying, cause))

    def tell(self, what: Callable[[], object]) -> None:
        """In the thread: have it called on the loop."""
        assert self._loop is not None  # noqa: S101  `start` set it
        # A loop that is closed has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what)

    # -- opening and closing -----------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if not self.path.parent.exists():
            self.path.parent.mkdir(mode=0o700, parents=True)
        if self._damaged:
            self._set_aside()
        try:
            self._database = self._connect()
        except sqlite3.DatabaseError as failure:
            if not _means_damage(failure):
                raise
            self._set_aside()
            self._database = self._connect()
        return self._database

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            # Made here and not by SQLite, for the mode; the log beside it gets the same.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = _connection(self.path)
        try:
            version = self._version(database)
            if version is not None and version != self._schema.version:
                database.close()
                for suffix in ("", "-wal", "-shm"):
                    self._beside(suffix).unlink(missing_ok=True)
                return self._connect()
            _prepare(database)
            if version is None:
                self._make_tables(database)
        except BaseException:
            database.close()
            raise
        return database

    def _version(self, database: sqlite3.Connection) -> int | None:
        """Of its tables; None when it has none yet. Takes the lock, as that is the first time it is read."""
        owner, version, tables = (
            int(database.execute(statement).fetchone()[0])
            for statement in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if owner == 0 and tables == 0:
            return None
        if owner != self._schema.application:
            raise CacheFailure("another program's database, left alone: move it away")
        return version

    def _make_tables(self, database: sqlite3.Connection) -> None:
        with _Transaction(database):
            for statement in self._schema.tables:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {self._schema.version}")
            database.execute(f"PRAGMA application_id = {self._schema.application}")
        # Until the log is taken into it the file itself does not say whose it is.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _set_aside(self) -> None:
        if self.path.exists() and not self._says_it_is_ours():
            raise CacheFailure("not a database, or no longer one, left alone: move it away")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._beside(suffix).replace(self._beside(f".corrupt{suffix}"))
        self._damaged = False
        self._log.warning("%s was damaged: it is kept as %s, a new one is begun", self.path, self._beside(".corrupt"))

    def _says_it_is_ours(self) -> bool:
        # https://www.sqlite.org/fileformat.html section 1.3: the magic at 0, the application id at 68.
        with self.path.open("rb") as file:
            head = file.read(72)
        return head[:16] == b"SQLite format 3\0" and head[68:] == self._schema.application.to_bytes(4, "big")

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


class _Act:
    """Something for the thread to do, and who waits for it on the loop."""

    __slots__ = ("act", "lasting", "settled", "told")

    def __init__(
        self, act: Callable[[sqlite3.Connection], object], settled: asyncio.Future[Any], lasting: bool
    ) -> None:
        self.act = act
        self.settled = settled
        self.lasting = lasting
        self.told = False
        """Whoever waits knows already that it failed."""


def _settle(outcomes: list[tuple[asyncio.Future[Any], object]]) -> None:
    for future, outcome in outcomes:
        if not future.done():
            future.set_result(outcome)


def _fail(acts: list[_Act], saying: str, cause: BaseException | None) -> None:
    for act in acts:
        if not act.settled.done():
            failure = CacheFailure(saying)
            failure.__cause__ = cause
            act.settled.set_exception(failure)


class _Transaction:
    """All that is done within is committed at its end, or none of it is."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._database.execute("COMMIT")
            return
        with suppress(sqlite3.Error):
            self._database.rollback()


def _connection(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
    # Whoever can write to the file must not make us run what they put into its schema.
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    return database


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file only
    database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    # WAL is entered with the first write, and with it the lock for good.
    database.execute("BEGIN IMMEDIATE")
    database.execute("COMMIT")


def _code(failure: BaseException) -> int:
    # The low byte is the primary code: https://www.sqlite.org/rescode.html
    return int(getattr(failure, "sqlite_errorcode", 0)) & 0xFF


def _means_damage(failure: BaseException) -> bool:
    return _code(failure) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _saying(failure: sqlite3.Error | OSError | CacheFailure) -> str:
    """For the operator. Never SQLite's own words: some repeat what is in the file."""
    if isinstance(failure, CacheFailure):
        return failure.message
    if isinstance(failure, OSError):
        return failure.strerror or "the system says no"
    return _SAYINGS.get(_code(failure)) or f"SQLite fails ({getattr(failure, 'sqlite_errorname', 'no code')})"


_SAYINGS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_BUSY: "another process uses it",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "this is not a database",
}
