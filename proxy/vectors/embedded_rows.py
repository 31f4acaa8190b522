"""What the embedded index's file holds, and the statements on it. Plain functions of a connection.

One row for each stored question, in order of arrival. Vectors are float16: half the size, and the cosine of two of them
is off by less than 0.0001, a hundredth of what would change a decision; the graph in memory holds no more either. Words
are plain text, as embedding anew and the guards need them: the file's mode is 0600.

A row of another embedder's identity keeps its vector until the same question is embedded anew: whoever goes back to
the embedder before finds them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.own_file import Schema
from proxy.types import Digest, Scope, Vector
from proxy.vectors.base import Point

SCHEMA: Final = Schema(
    application=int.from_bytes(b"AsOv", "big"),
    version=1,
    tables=(
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('generation', 0)",
        """CREATE TABLE points (
            id INTEGER PRIMARY KEY,
            name BLOB NOT NULL,
            identity TEXT NOT NULL,
            shape BLOB NOT NULL,
            scope BLOB NOT NULL,
            model TEXT NOT NULL,
            words TEXT NOT NULL,
            tags TEXT NOT NULL,
            generation INTEGER NOT NULL,
            kept_until REAL NOT NULL,
            vector BLOB NOT NULL)""",
        "CREATE UNIQUE INDEX points_by_name ON points (name)",
        "CREATE INDEX points_by_identity ON points (identity)",
        "CREATE INDEX points_by_end ON points (kept_until)",
    ),
)

Row = tuple[bytes, str, bytes, bytes, str, str, str, int, float, bytes]
"""Name, identity, shape, scope, model, words, tags, generation, kept_until, vector."""


class Loaded(NamedTuple):
    """A row as it is loaded."""

    id: int
    name: Digest
    shape: Digest
    words: bytes
    generation: int
    kept_until: float
    vector: bytes
    """float16."""


def row_of(point: Point, identity: str, vector: bytes) -> Row:
    """vector: of the point, as float16."""
    tags = json.dumps(point.tags)
    head = (point.name, identity, point.shape, point.scope, point.model, point.words, tags)
    return (*head, point.generation, point.kept_until, vector)


def generation_of(database: sqlite3.Connection) -> int:
    """The one of the last purge."""
    return _number(database, "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation'")


def count_of_others(database: sqlite3.Connection, identity: str) -> int:
    """How many rows are of another embedder."""
    return _number(database, "SELECT count(*) FROM points") - _number(
        database, "SELECT count(*) FROM points WHERE identity = ?", identity
    )


def load(database: sqlite3.Connection, identity: str, after: int, most: int) -> list[Loaded]:
    """The next rows of this identity after that id."""
    return [Loaded(*row) for row in database.execute(_LOAD, (after, identity, most))]


# The casts because whoever can write to the file can put anything in a column.
_LOAD: Final = """SELECT id, CAST(name AS BLOB), CAST(shape AS BLOB), CAST(words AS BLOB), CAST(generation AS INTEGER),
    CAST(kept_until AS REAL), CAST(vector AS BLOB) FROM points NOT INDEXED WHERE id > ? AND identity = ?
    ORDER BY id LIMIT ?"""


def others(database: sqlite3.Connection, *, identity: str, most: int, vector: Vector) -> list[Point]:
    """Rows of other embedders. vector: the empty one that each is given."""
    return [
        Point(Digest(name), Digest(shape), Scope(scope), model, words, vector, _tags(tags), generation, kept_until)
        for name, shape, scope, model, words, tags, generation, kept_until in database.execute(
            _OTHERS, (identity, identity, most)
        )
    ]


# Two ranges and not "<>", which no index serves.
_OTHERS: Final = """
    SELECT name, shape, scope, model, words, tags, generation, kept_until FROM points WHERE identity < ?
    UNION ALL
    SELECT name, shape, scope, model, words, tags, generation, kept_until FROM points WHERE identity > ? LIMIT ?"""


def put(database: sqlite3.Connection, *, row: Row) -> int:
    """Keep it in place of what has its name, which may be of another identity; how many of those it replaced."""
    replaced = delete(database, name=Digest(row[0]), identity=row[1])
    database.execute(
        """INSERT INTO points (name, identity, shape, scope, model, words, tags, generation, kept_until,
        vector) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        row,
    )
    return replaced


def delete(database: sqlite3.Connection, *, name: Digest, identity: str) -> int:
    """Forget it; how many of another identity that were (0 or 1)."""
    found = database.execute("SELECT identity FROM points WHERE name = ?", (name,)).fetchone()
    if found is None:
        return 0
    database.execute("DELETE FROM points WHERE name = ?", (name,))
    return int(found[0] != identity)


def disown(database: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Rows whose vector cannot be used: as if another embedder had made it."""
    database.executemany("UPDATE points SET identity = '', vector = x'' WHERE id = ?", [(each,) for each in ids])


def purge(database: sqlite3.Connection, generation: int) -> None:
    """Forget all of earlier generations."""
    database.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'generation'", (generation,))
    database.execute("DELETE FROM points WHERE generation < ?", (generation,))


def sweep(database: sqlite3.Connection, now: float, most: int) -> int:
    """Forget some of what has ended; how many those were."""
    return database.execute(
        "DELETE FROM points WHERE id IN (SELECT id FROM points WHERE kept_until <= ? LIMIT ?)", (now, most)
    ).rowcount


def _tags(text: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(text)))


def _number(database: sqlite3.Connection, statement: str, *values: str) -> int:
    return int(database.execute(statement, values).fetchone()[0])
