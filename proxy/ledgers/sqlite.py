"""The embedded ledger: a small file of its own, beside the store's database.

All it knows is read once, in its thread, and from then on lives in memory: neither `hear` nor `refused` touches the
disk. What is noted holds in this process at once and is written a moment later; it is told when that failed, and it is
tried again.

Until the file has been read nobody can say which pairs are refused, so `refused` raises.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from proxy.errors import CacheFailure
from proxy.evidence import Label
from proxy.ledgers.base import Heard, LedgerReport
from proxy.ledgers.labels import decode, encode
from proxy.ledgers.memory import MemoryLedger
from proxy.own_file import OwnFile, Schema
from proxy.types import Digest

_log = logging.getLogger("askonce.ledger")

_REST_S: Final = 3600.0
"""Nothing is to be done between writes."""


class SqliteLedger:
    """Labels and refused pairs, on disk and in memory.

    path: of the file; its folder is made if need be.
    most: labels kept for each partition. most_refused: pairs kept, over which the oldest go.
    retry_s: so often a file in trouble is tried again.
    """

    def __init__(self, path: Path, *, most: int = 3000, most_refused: int = 1_000_000, retry_s: float = 5.0) -> None:
        self._file = OwnFile(path, SCHEMA, rest=self._rest, logger=_log, retry_s=retry_s)
        self._most, self._most_refused = most, most_refused
        self._known = MemoryLedger(most=most, most_refused=most_refused)
        self._is_read = False
        self._closed = True
        # Of the file's thread.
        self._all_is_read = False
        self._own_rows: set[int] = set()
        """Labels of this process that were written before the file was read: they are known already."""

    async def open(self) -> None:
        """Begin to read."""
        self._closed = False
        self._file.start()

    async def note(self, partition: Digest, labels: Sequence[Label]) -> None:
        """Heard in any case. Raises CacheFailure when it could not be written yet."""
        if not labels:
            return
        self._known.take(partition, labels)
        await self._written(partial(self._note, partition, [encode(label) for label in labels]))

    async def hear(self) -> Heard:
        """What the file holds comes first; as long as it is being read, nothing."""
        if not self._is_read and self._file.trouble is None:
            return Heard({})
        return self._known.give()

    async def refuse(self, pair: Digest) -> None:
        """Holds in any case. Raises CacheFailure when it could not be written yet."""
        self._known.take_refused((pair,))
        await self._written(partial(self._refuse, pair))

    async def refused(self, pairs: Sequence[Digest]) -> frozenset[Digest]:
        """From memory. Raises CacheFailure until the file has been read."""
        if not self._is_read:
            raise CacheFailure(self._file.trouble or f"{self._file.path} is not read yet")
        return await self._known.refused(pairs)

    def refuses(self, pair: Digest) -> bool:
        """From memory; true until the file has been read."""
        return not self._is_read or self._known.refuses(pair)

    def report(self) -> LedgerReport:
        """How it is."""
        known = self._known.report()
        trouble = self._file.trouble
        if trouble is not None and not self._is_read:
            trouble = f"{trouble}; nothing is matched by meaning, as refused pairs are not known"
        errors = {"file": self._file.failures, "dropped": self._file.dropped}
        return LedgerReport("sqlite", trouble, known.labels, known.refused, errors)

    async def close(self) -> None:
        """Write what waits."""
        self._closed = True
        await self._file.stop()

    async def _written(self, act: partial[None]) -> None:
        if self._closed:
            raise CacheFailure(f"{self._file.path} is closed")
        await asyncio.shield(self._file.do(act))

    def _take(self, labels: dict[Digest, list[Label]], pairs: list[Digest]) -> None:
        own, self._known = self._known, MemoryLedger(most=self._most, most_refused=self._most_refused)
        for some in (labels, own.give().labels):
            for partition, theirs in some.items():
                self._known.take(partition, theirs)
        self._known.take_refused(pairs)
        self._known.take_refused(own.refused_pairs)
        self._is_read = True

    # -- in the file's thread ----------------------------------------------------------------------------------------

    def _rest(self, database: sqlite3.Connection) -> float:
        if not self._all_is_read:
            self._file.tell(partial(self._take, *self._read(database)))
            self._all_is_read = True
            self._own_rows = set()
        return _REST_S

    def _read(self, database: sqlite3.Connection) -> tuple[dict[Digest, list[Label]], list[Digest]]:
        labels: dict[Digest, list[Label]] = {}
        for row, partition, packed in database.execute(
            "SELECT id, CAST(partition AS BLOB), CAST(label AS BLOB) FROM labels ORDER BY id"
        ):
            label = None if row in self._own_rows else decode(packed)
            if label is not None:
                labels.setdefault(Digest(partition), []).append(label)
        pairs = database.execute("SELECT CAST(pair AS BLOB) FROM refused ORDER BY id")
        return labels, [Digest(pair) for (pair,) in pairs]

    def _note(self, partition: Digest, packed: list[bytes], database: sqlite3.Connection) -> None:
        for each in packed:
            row = database.execute("INSERT INTO labels (partition, label) VALUES (?, ?)", (partition, each)).lastrowid
            if not self._all_is_read and row is not None:
                self._own_rows.add(row)
        database.execute(_TRIM_LABELS, (partition, partition, self._most))

    def _refuse(self, pair: Digest, database: sqlite3.Connection) -> None:
        database.execute("INSERT OR IGNORE INTO refused (pair) VALUES (?)", (pair,))
        database.execute(_TRIM_REFUSED, (self._most_refused,))


_TRIM_LABELS: Final = """DELETE FROM labels WHERE partition = ? AND id <=
    (SELECT id FROM labels WHERE partition = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"""

# Ids have no gaps but at the front, where the oldest went.
_TRIM_REFUSED: Final = "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?"


# -- the file: word for word what proxy/vectors/embedded_file.py says, until both have it from a layer below --------


SCHEMA: Final = Schema(
    application=int.from_bytes(b"AsOl", "big"),
    version=1,
    tables=(
        "CREATE TABLE labels (id INTEGER PRIMARY KEY, partition BLOB NOT NULL, label BLOB NOT NULL)",
        "CREATE INDEX labels_by_partition ON labels (partition, id)",
        "CREATE TABLE refused (id INTEGER PRIMARY KEY, pair BLOB NOT NULL UNIQUE)",
    ),
)
