"""The embedded store's file: who may open it, how it is opened, and what is done when it cannot be. Blocking.

SQLite in WAL mode with `synchronous=NORMAL`. That promises: what was committed survives the death of the process,
`kill -9` included, as the operating system has it by then; a power cut may lose the last commits, never tear one. A
cache need not pay an fsync for each answer to have more.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from proxy.errors import CacheFailure
from proxy.stores import sqlite_rows as rows
from proxy.types import Digest, Entry

_log = logging.getLogger("askonce.store")

DAMAGED: Final = "damaged"
"""`reason` of a CacheFailure that only a new file can mend."""

_BUSY_S: Final = 1.0
_WAL_BYTES: Final = 64 * 1024 * 1024


class CacheFile:
    """The database. One thread opens, writes and closes; one may read beside it.

    Every method raises only CacheFailure for what goes wrong outside the program; its message is for the operator.

    max_bytes: what its pages may take together; the oldest rows make room.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.generation = 0
        self.entries = 0
        """Rows, those not yet reclaimed included."""
        self.notes: dict[str, bytes] = {}
        """All notes, sealed, as of the last commit: nobody else writes to the file. Never changed, only replaced."""
        self.used_bytes = 0
        """Pages in use. The file itself may be larger by pages that are free, and by its log."""
        self.damaged = False
        """Seen to be so while read or written; `open` then begins a new file."""
        self._max_bytes = max_bytes
        self._page_bytes = 0
        self._worth_giving_back = False
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        # Held while a batch is read, so that the writer never takes the connection away under it.
        self._reading = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Ready to be read and written."""
        return self._writer is not None

    # -- opening and closing -----------------------------------------------------------------------------------------

    def open(self, floor: int) -> None:
        """Take the lock, then open the file, or make it, or make it anew when it is ours and damaged or older.

        floor: the generation is at least this afterwards.
        """
        with _translating(self.path):
            _make_folder(self.path.parent)
            self._take_lock()
            if self.damaged:
                self._set_aside()
            try:
                self._connect(floor)
            except sqlite3.DatabaseError as failure:
                if not _means_damage(failure):
                    raise
                self._set_aside()
                self._connect(floor)

    def close(self) -> None:
        """Let go of everything. SQLite takes its log into the file as the last connection goes."""
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _set_aside(self) -> None:
        """Put a damaged database out of the way as `….corrupt`, if it is ours by what is written in it.

        It is not deleted, as what damaged it may be of interest; only the last one is kept.
        """
        self._disconnect()
        if self.path.exists() and not self._says_it_is_ours():
            raise CacheFailure(f"{self.path} is not a database, or no longer one: left alone, move it away")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._beside(suffix).replace(self._beside(f".corrupt{suffix}"))
        self.damaged = False
        _log.warning("%s was damaged: it is kept as %s, a new one is begun", self.path, self._beside(".corrupt"))

    def _take_lock(self) -> None:
        # SQLite would let two processes share the file in good order, but their memory tiers would not know of each
        # other's deletions. The lock goes with the process, however it ends.
        if self._lock is not None:
            return
        lock = _open_private(self._beside(".lock"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as failure:
            os.close(lock)
            raise CacheFailure(
                f"{self.path} is in use by another AskOnce: run one worker on the embedded store, or use Redis"
            ) from failure
        self._lock = lock

    def _connect(self, floor: int) -> None:
        # Made here and not by SQLite, for the mode; the log beside it (-wal, -shm) gets the same.
        os.close(_open_private(self.path))
        try:
            self._writer = _connection(self.path)
            version = self._schema(self._writer)
            if version is not None and version < rows.SCHEMA and not rows.upgrade(self._writer, version):
                self._start_anew()
                version = None
            _prepare(self._writer, self.path)
            if version is None:
                rows.make_tables(self._writer)
            self._load(self._writer, floor)
            self._reader = _connection(self.path)
        except BaseException:
            self._disconnect()
            raise

    def _schema(self, database: sqlite3.Connection) -> int | None:
        """The version of its tables; None when it has none yet."""
        owner, version = rows.number(database, "PRAGMA application_id"), rows.number(database, "PRAGMA user_version")
        if owner == 0 and rows.number(database, "SELECT count(*) FROM sqlite_master") == 0:
            return None
        if owner != rows.APPLICATION:
            raise CacheFailure(f"{self.path} is another program's database: left alone, choose another path")
        if version > rows.SCHEMA:
            raise CacheFailure(
                f"{self.path} is of a newer AskOnce (schema {version}, this one has {rows.SCHEMA}): left alone"
            )
        return version

    def _start_anew(self) -> None:
        """An older version's file holds nothing that could not be asked again."""
        self._disconnect()
        for suffix in ("", "-wal", "-shm"):
            self._beside(suffix).unlink(missing_ok=True)
        os.close(_open_private(self.path))
        self._writer = _connection(self.path)

    def _load(self, database: sqlite3.Connection, floor: int) -> None:
        self.entries = rows.number(database, "SELECT count(*) FROM entries")
        self._page_bytes = rows.number(database, "PRAGMA page_size")
        self._weigh(database)
        self.generation = rows.generation_of(database)
        self.notes = rows.notes(database)
        if floor > self.generation:
            rows.set_generation(database, floor)
            self.generation = floor

    def _disconnect(self) -> None:
        with self._reading:
            reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        for connection in (reader, writer):
            with suppress(sqlite3.DatabaseError):
                if connection is not None:
                    connection.close()

    def _says_it_is_ours(self) -> bool:
        # https://www.sqlite.org/fileformat.html section 1.3: the magic at 0, the application id at 68.
        with self.path.open("rb") as file:
            head = file.read(72)
        return head[:16] == b"SQLite format 3\0" and head[68:] == rows.APPLICATION.to_bytes(4, "big")

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    # -- reading and writing -----------------------------------------------------------------------------------------

    def read(self, names: Sequence[Digest], generation: int) -> dict[Digest, bytes]:
        """The frames of those that are there in this generation; none while it is not open."""
        # Damage is noted under the lock: once the writer has taken the connection away, none is found in the old file.
        with self._reading, self._watching():
            return rows.find(self._reader, names, generation) if self._reader is not None else {}

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written within is committed at its end, or none of it is and the counts are as before."""
        database = self._open_writer()
        before = self.generation, self.entries, self.notes
        with self._watching():
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except BaseException:
                self.generation, self.entries, self.notes = before
                with suppress(sqlite3.DatabaseError):
                    database.rollback()
                raise
            self._weigh(database)

    def put(self, entry: Entry, frame: bytes, now: float) -> bool:
        """Within a transaction: keep it, unless it is of another generation."""
        if entry.generation != self.generation:
            return False
        self.entries += rows.put(self._open_writer(), entry, frame, now)
        return True

    def delete(self, name: Digest, now: float) -> bool:
        """Within a transaction: forget it; whether there was one that could have been served."""
        gone = rows.delete(self._open_writer(), name)
        if gone is None:
            return False
        self.entries -= 1
        generation, ends_at = gone
        return generation == self.generation and ends_at > now

    def put_note(self, key: str, sealed: bytes) -> None:
        """Within a transaction: keep it in place of the last of its key."""
        rows.put_note(self._open_writer(), key, sealed)
        self.notes = {**self.notes, key: sealed}

    def count_live(self, now: float) -> int:
        """Within a transaction: how many could be served."""
        return rows.count_live(self._open_writer(), self.generation, now)

    def purge(self, now: float, floor: int = 0) -> int:
        """Within a transaction: begin a new generation, at least `floor`; how many could have been served."""
        count = self.count_live(now)
        self.generation = max(self.generation + 1, floor)
        rows.set_generation(self._open_writer(), self.generation)
        return count

    def sweep(self, now: float, most: int) -> rows.Swept:
        """Reclaim what has ended, was purged, or is too much; a small step that holds nothing up."""
        with self._watching():
            remains = rows.has_remains(self._open_writer(), self.generation, now)
        if remains or self.used_bytes > self._max_bytes:
            with self.transaction() as database:
                swept = rows.sweep(database, self.generation, now, self.used_bytes - self._max_bytes, most)
                self.entries -= swept.rows
            return swept
        if self._worth_giving_back:
            with self.transaction() as database:
                rows.give_back(database)
        return rows.Swept(more=self._worth_giving_back)

    def _weigh(self, database: sqlite3.Connection) -> None:
        pages, free = rows.pages(database)
        self.used_bytes = (pages - free) * self._page_bytes
        # Fewer are soon used again.
        self._worth_giving_back = free >= rows.VACUUM_PAGES and free * 4 >= pages

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            with _translating(self.path):
                yield
        except CacheFailure as failure:
            self.damaged = self.damaged or failure.reason == DAMAGED
            raise

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            raise CacheFailure(f"{self.path} is not open")
        return self._writer


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)


def _open_private(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _connection(path: Path) -> sqlite3.Connection:
    # The writer's thread also closes the reader's connection, hence check_same_thread.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
    # Whoever can write to the file must not make us run what they put into its schema.
    database.execute("PRAGMA trusted_schema = OFF")
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file only
    if database.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise CacheFailure(f"{path} is on a file system without shared memory (a network share?): choose a local disk")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    """What SQLite and the system say, in a sentence for the operator."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a bug of ours
    except sqlite3.DatabaseError as failure:
        code = DAMAGED if _means_damage(failure) else None
        # Never SQLite's own words: some repeat what is in the file.
        saying = _SAYINGS.get(_code(failure)) or f"SQLite fails ({getattr(failure, 'sqlite_errorname', 'no code')})"
        raise CacheFailure(f"{path}: {saying}", code=code) from failure
    except OSError as failure:
        raise CacheFailure(f"{path}: {failure.strerror}") from failure


def _code(failure: sqlite3.DatabaseError) -> int:
    # The low byte is the primary code: https://www.sqlite.org/rescode.html
    return getattr(failure, "sqlite_errorcode", 0) & 0xFF


def _means_damage(failure: sqlite3.DatabaseError) -> bool:
    return _code(failure) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


_SAYINGS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "this is not a database",
}
