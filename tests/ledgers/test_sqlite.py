"""The embedded ledger: what survives, what is known before the file was read, what is said when it cannot be used."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.errors import CacheFailure
from proxy.ledgers.sqlite import SqliteLedger
from tests.ledgers import OTHER_PARTITION, PARTITION, label, pair_of


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "cache.labels.db"


@asynccontextmanager
async def opened(path: Path, **other) -> AsyncIterator[SqliteLedger]:
    ledger = SqliteLedger(path, **{"retry_s": 0.01} | other)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


async def is_read(ledger: SqliteLedger) -> None:
    """A thread that reads a file can only be asked after."""
    async with asyncio.timeout(30):
        while True:
            try:
                await ledger.refused([])
            except CacheFailure:
                await asyncio.sleep(0.005)
            else:
                return


def change(path: Path, *statements: str) -> None:
    """As another program would, while the ledger is closed."""
    database = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        database.execute(statement).fetchall()
    database.close()


def count(path: Path, table: str) -> int:
    database = sqlite3.connect(path)
    rows = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    database.close()
    return rows


async def test_a_killed_process_loses_nothing_it_promised(path):
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.ledgers.ledger_crash", str(path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(30):
        last = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    last = max([last, *map(int, child.stdout.read().split())])
    child.stdout.close()
    child.wait()
    async with opened(path) as ledger:
        await is_read(ledger)
        heard = (await ledger.hear()).labels[PARTITION]
        assert heard[: last + 1] == [label(number) for number in range(last + 1)]
        pairs = [pair_of(number) for number in range(last + 1)]
        assert await ledger.refused(pairs) == set(pairs)


async def test_until_the_file_is_read_nobody_can_tell_what_is_refused(path):
    async with opened(path) as ledger:
        await ledger.refuse(pair_of(1))
    ledger = SqliteLedger(path)
    with pytest.raises(CacheFailure):
        await ledger.refused([pair_of(1)])
    await ledger.open()
    with pytest.raises(CacheFailure, match="not read yet"):
        await ledger.refused([pair_of(1)])
    assert (await ledger.hear()).labels == {}
    await is_read(ledger)
    assert await ledger.refused([pair_of(1)]) == {pair_of(1)}
    await ledger.close()


async def test_what_is_noted_before_the_file_was_read_is_heard_once_and_after_what_it_holds(path):
    async with opened(path) as ledger:
        await ledger.note(PARTITION, [label(1), label(2)])
    async with opened(path) as ledger:
        noting = asyncio.ensure_future(ledger.note(PARTITION, [label(3)]))
        refusing = asyncio.ensure_future(ledger.refuse(pair_of(3)))
        await asyncio.gather(noting, refusing)
        await is_read(ledger)
        assert (await ledger.hear()).labels == {PARTITION: [label(1), label(2), label(3)]}
        assert await ledger.refused([pair_of(3)]) == {pair_of(3)}
        assert ledger.report().labels == 3
    assert count(path, "labels") == 3


async def test_the_file_keeps_no_more_than_its_bounds(path):
    async with opened(path, most=5, most_refused=4) as ledger:
        for number in range(12):
            await ledger.note(PARTITION, [label(number)])
            await ledger.refuse(pair_of(number))
            await ledger.refuse(pair_of(number))
        await ledger.note(OTHER_PARTITION, [label(0)])
    assert (count(path, "labels"), count(path, "refused")) == (6, 4)
    async with opened(path, most=5, most_refused=4) as ledger:
        await is_read(ledger)
        assert await ledger.refused([pair_of(number) for number in range(12)]) == {pair_of(n) for n in range(8, 12)}


async def test_labels_that_cannot_be_read_are_left_out(path):
    async with opened(path) as ledger:
        await ledger.note(PARTITION, [label(1), label(2), label(3)])
    change(path, "UPDATE labels SET label = 'text' WHERE id = 2")
    async with opened(path) as ledger:
        await is_read(ledger)
        assert (await ledger.hear()).labels == {PARTITION: [label(1), label(3)]}
        assert ledger.report().degraded is None


async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path):
    async with opened(path) as ledger:
        for number in range(200):
            await ledger.note(PARTITION, [label(number)])
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    async with opened(path) as ledger:
        await is_read(ledger)
        await ledger.note(PARTITION, [label(1)])
    assert path.with_name("cache.labels.db.corrupt").exists()
    assert count(path, "labels") == 1


async def test_a_file_of_another_version_is_begun_anew(path):
    async with opened(path) as ledger:
        await ledger.refuse(pair_of(1))
    change(path, "PRAGMA user_version = 99")
    async with opened(path) as ledger:
        await is_read(ledger)
        assert await ledger.refused([pair_of(1)]) == frozenset()


async def test_the_file_is_for_its_owner_only(path):
    async with opened(path) as ledger:
        await ledger.refuse(pair_of(1))
        assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


async def test_a_second_process_cannot_tell_until_the_first_has_ended(path):
    async with opened(path) as first:
        await first.refuse(pair_of(1))
        async with opened(path) as second:
            with pytest.raises(CacheFailure, match="another process"):
                await second.note(PARTITION, [label(1)])
            with pytest.raises(CacheFailure, match="another process"):
                await second.refuse(pair_of(2))
            with pytest.raises(CacheFailure, match="another process"):
                await second.refused([pair_of(1)])
            assert "nothing is matched by meaning" in second.report().degraded
            assert (await second.hear()).labels == {PARTITION: [label(1)]}
            await first.close()
            await is_read(second)
            assert second.report().degraded is None
            assert await second.refused([pair_of(1), pair_of(2)]) == {pair_of(1), pair_of(2)}
    assert (count(path, "labels"), count(path, "refused")) == (1, 2)


async def test_what_came_while_the_disk_was_broken_is_written_when_it_is_well(path):
    path.parent.write_bytes(b"a file where the folder should be")
    async with opened(path) as ledger:
        with pytest.raises(CacheFailure):
            await ledger.refuse(pair_of(1))
        with pytest.raises(CacheFailure):
            await ledger.note(PARTITION, [label(1)])
        path.parent.unlink()
        await is_read(ledger)
        # It is written before the file is read, and heard once all the same.
        assert (await ledger.hear()).labels == {PARTITION: [label(1)]}
        assert await ledger.refused([pair_of(1)]) == {pair_of(1)}
        assert ledger.report().errors["file"] > 0
    async with opened(path) as ledger:
        await is_read(ledger)
        assert await ledger.refused([pair_of(1)]) == {pair_of(1)}
        assert (await ledger.hear()).labels == {PARTITION: [label(1)]}


async def test_a_cancelled_note_is_kept_all_the_same(path):
    async with opened(path) as ledger:
        noting = asyncio.ensure_future(ledger.note(PARTITION, [label(1)]))
        await asyncio.sleep(0)
        noting.cancel()
        await asyncio.gather(noting, return_exceptions=True)
    assert count(path, "labels") == 1


async def test_a_closed_one_says_so(path):
    async with opened(path) as ledger:
        await is_read(ledger)
    with pytest.raises(CacheFailure, match="closed"):
        await ledger.note(PARTITION, [label(1)])
