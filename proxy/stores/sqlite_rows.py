"""What the embedded store's database holds, and the statements on it. Plain functions of a connection.

Rows are in a rowid table in order of arrival, so the lowest ids are the oldest rows and, as generations only grow, the
rows of past generations too: both are reclaimed from the front without an index of their own. `name` is not the
primary key because a table without rowids would keep the frames inside the tree that is searched.

Columns beside `frame` are for sweeping and for administration. What may be served is decided by the frame's header,
which is under the tag.

`auto_vacuum=INCREMENTAL`: pages that become free are used again by the next puts, so a full cache stays as large as it
is; only when a quarter of the file is free, as after a purge, is it given back to the disk, a few pages at a time. A
full VACUUM would rewrite the file under a lock, and none at all would keep a purged cache's space for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Final

from proxy.types import Digest, Entry

SCHEMA: Final = 2
"""The tables' version, SQLite's `user_version`: a newer file is left alone, one that `upgrade` knows is brought up to
this, any other older one is made anew."""

APPLICATION: Final = int.from_bytes(b"AsOn", "big")
"""SQLite's `application_id`, by which a file is known to be ours."""

_NOTES: Final = "CREATE TABLE notes (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"

_TABLES: Final = (
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {SCHEMA}",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('generation', 0)",
    """CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        name BLOB NOT NULL,
        generation INTEGER NOT NULL,
        expires_at REAL NOT NULL,
        stored_at REAL NOT NULL,
        size INTEGER NOT NULL,
        model TEXT NOT NULL,
        frame BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX entries_by_name ON entries (name)",
    "CREATE INDEX entries_by_end ON entries (expires_at, generation)",
    _NOTES,
)

_AT_ONCE: Final = 32
VACUUM_PAGES: Final = 64


@dataclass(frozen=True, slots=True)
class Swept:
    """What one step of reclaiming removed, and whether there is more."""

    expired: int = 0
    purged: int = 0
    oldest: int = 0
    more: bool = False

    @property
    def rows(self) -> int:
        return self.expired + self.purged + self.oldest


def number(database: sqlite3.Connection, statement: str, *values: float) -> int:
    """The one integer a statement gives."""
    return int(database.execute(statement, values).fetchone()[0])


def make_tables(database: sqlite3.Connection) -> None:
    """In a new file. `auto_vacuum` only takes before the first table."""
    database.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        database.execute(statement)
    database.execute("COMMIT")
    # Until the log is taken into it the file itself says neither whose it is nor of which version.
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def upgrade(database: sqlite3.Connection, version: int) -> bool:
    """Bring the tables of an older version up to this one, answers and all; False where that cannot be done."""
    if version != _WITHOUT_NOTES:
        return False
    database.execute("BEGIN IMMEDIATE")
    database.execute(_NOTES)
    database.execute(f"PRAGMA user_version = {SCHEMA}")
    database.execute("COMMIT")
    return True


_WITHOUT_NOTES: Final = 1

# -- reading ---------------------------------------------------------------------------------------------------------


def find(database: sqlite3.Connection, names: Sequence[Digest], generation: int) -> dict[Digest, bytes]:
    """The frames of those that are there in this generation."""
    found: dict[Digest, bytes] = {}
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        frames = database.execute(_look_up(len(some)), (generation, *some)).fetchone()
        found.update((name, frame) for name, frame in zip(some, frames, strict=True) if frame is not None)
    return found


@cache
def _look_up(count: int) -> str:
    # One row of many columns, not many rows: Python gives up the interpreter lock for each row and has to queue for it
    # again behind a busy event loop.
    # The cast because whoever can write to the file can put text in the column, which Python would decode.
    one = "(SELECT CAST(frame AS BLOB) FROM entries WHERE name = ?{} AND generation = ?1)"
    return "SELECT " + ", ".join(one.format(number) for number in range(2, count + 2))


def generation_of(database: sqlite3.Connection) -> int:
    """The one that is current."""
    return number(database, "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation'")


def count_live(database: sqlite3.Connection, generation: int, now: float) -> int:
    """How many answers there are, reading an index only: 0.1 to 0.2 s for a million."""
    return number(database, "SELECT count(*) FROM entries WHERE expires_at > ? AND generation = ?", now, generation)


def notes(database: sqlite3.Connection) -> dict[str, bytes]:
    """All of them, sealed."""
    # As blobs, for the same reason as in `_look_up`.
    found = database.execute("SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM notes").fetchall()
    return {key.decode("utf-8", "replace"): value for key, value in found}


def pages(database: sqlite3.Connection) -> tuple[int, int]:
    """How many pages the file has, and how many of them are free."""
    return number(database, "PRAGMA page_count"), number(database, "PRAGMA freelist_count")


def has_remains(database: sqlite3.Connection, generation: int, now: float) -> bool:
    """Whether any row has ended or is of a past generation."""
    return bool(number(database, _REMAINS, now, generation))


_REMAINS: Final = """SELECT EXISTS (SELECT 1 FROM entries WHERE expires_at <= ?)
    OR EXISTS (SELECT 1 FROM (SELECT generation FROM entries ORDER BY id LIMIT 1) WHERE generation < ?)"""


# -- writing, within a transaction -----------------------------------------------------------------------------------


def put(database: sqlite3.Connection, entry: Entry, frame: bytes, now: float) -> int:
    """Keep it in place of what has its name; by how many rows there are more."""
    row = (entry.name, entry.generation, entry.finished_at + entry.kept_s, now, len(frame), entry.model, frame)
    if database.execute(_INSERT, row).rowcount:
        return 1
    # Deleted and inserted, not updated: ids are to be in order of arrival.
    database.execute("DELETE FROM entries WHERE name = ?", (entry.name,))
    database.execute(_INSERT, row)
    return 0


_INSERT: Final = """INSERT INTO entries (name, generation, expires_at, stored_at, size, model, frame)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING"""


def delete(database: sqlite3.Connection, name: Digest) -> tuple[int, float] | None:
    """Forget it; the generation it was of and when it would have ended."""
    gone: tuple[int, float] | None = database.execute(_ENDS, (name,)).fetchone()
    database.execute("DELETE FROM entries WHERE name = ?", (name,))
    return gone


_ENDS: Final = "SELECT CAST(generation AS INTEGER), CAST(expires_at AS REAL) FROM entries WHERE name = ?"


def put_note(database: sqlite3.Connection, key: str, sealed: bytes) -> None:
    """Keep it in place of the last of its key."""
    database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, sealed))


def set_generation(database: sqlite3.Connection, generation: int) -> None:
    """Rows of others are past from now on."""
    database.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (generation,))


def sweep(database: sqlite3.Connection, generation: int, now: float, excess: int, most: int) -> Swept:
    """Remove at most `most` rows for each cause there is; for size the oldest that weigh `excess` bytes together."""
    expired = database.execute(
        "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE expires_at <= ? LIMIT ?)", (now, most)
    ).rowcount
    oldest = database.execute(_OLDEST, (most,)).fetchall()
    past = [row for row, of, _ in takewhile(lambda row: row[1] < generation, oldest)]
    heaviest = _enough(oldest[len(past) :], excess)
    if past or heaviest:
        database.execute("DELETE FROM entries WHERE id <= ?", ([*past, *heaviest][-1],))
    return Swept(expired, len(past), len(heaviest), more=most in (expired, len(past), len(heaviest)))


_OLDEST: Final = "SELECT id, CAST(generation AS INTEGER), CAST(size AS INTEGER) FROM entries ORDER BY id LIMIT ?"


def _enough(rows: Sequence[tuple[int, int, int]], excess: int) -> list[int]:
    """The ids of so many rows, from the first, as weigh at least the excess."""
    ids: list[int] = []
    for row, _, size in rows:
        if excess <= 0:
            break
        ids.append(row)
        excess -= size
    return ids


def give_back(database: sqlite3.Connection) -> None:
    """Shorten the file by a few free pages."""
    database.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()  # a row for each page
