"""The embedded store: what survives, what is said when it cannot work, what is done off the loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy.errors import CacheFailure
from proxy.stores import sqlite_rows
from proxy.stores.frame import FrameCodec
from proxy.stores.sqlite import SqliteStore
from tests.stores import BEGIN, Clock, codec, entry, full_entry, name_of
from tests.stores.crash import kept

MiB = 1 << 20


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "cache.db"


@asynccontextmanager
async def opened(path: Path, **other) -> AsyncIterator[SqliteStore]:
    arguments = {"max_bytes": 64 * MiB, "clock": Clock(), "retry_s": 0.0, "read_timeout_s": 60.0} | other
    store = SqliteStore(path, arguments.pop("codec", codec()), **arguments)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def rows_in(path: Path) -> int:
    with sqlite3.connect(path) as database:
        count = database.execute("SELECT count(*) FROM entries").fetchone()[0]
    database.close()
    return count


def change(path: Path, *statements: str) -> None:
    """As another program would, while the store is closed."""
    database = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        database.execute(statement).fetchall()
    database.close()


def checkpoint(path: Path) -> None:
    """Take the log into the file, once nobody is at it."""
    database = sqlite3.connect(path)
    while database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        pass
    database.close()


# -- what survives ---------------------------------------------------------------------------------------------------


async def test_what_was_put_is_there_after_a_restart(path):
    async with opened(path) as store:
        assert await store.put(full_entry(1))
    async with opened(path) as store:
        assert await store.get(name_of(1)) == full_entry(1)
        assert store.report().entries_by_tier == {"sqlite": 1}


async def test_a_purge_is_there_after_a_restart(path):
    async with opened(path) as store:
        await store.put(entry(1))
        await store.purge()
    async with opened(path) as store:
        assert store.generation == 1
        assert await store.get(name_of(1)) is None


async def test_a_note_is_there_after_a_restart(path):
    async with opened(path) as store:
        await store.put_note("epoch:a", b"old")
        await store.put_note("epoch:a", b"value")
        await store.purge()
    async with opened(path) as store:
        assert await store.note("epoch:a") == b"value"
        assert await store.note("epoch:b") is None


@pytest.mark.parametrize("forged", ["x'414e0001'", "'text'", "x'00ff'", "5"])
async def test_a_note_that_another_wrote_is_none(path, forged):
    async with opened(path) as store:
        await store.put_note("epoch:a", b"value")
        await store.put_note("epoch:c", b"value")
    change(
        path,
        f"UPDATE notes SET value = {forged} WHERE key = 'epoch:a'",
        "INSERT INTO notes SELECT 'epoch:b', value FROM notes WHERE key = 'epoch:c'",
        "INSERT INTO notes VALUES (CAST(x'ff00fe' AS TEXT), x'00')",
    )
    async with opened(path) as store:
        assert store.report().degraded is None
        assert await store.note("epoch:b") is None
        assert await store.note("epoch:a") is None
        assert await store.note("epoch:c") == b"value"


async def test_a_note_that_was_not_committed_is_not_there(path, monkeypatch):
    async with opened(path) as store:
        await store.put_note("key", b"old")
        file = store._file
        put_note = file.put_note

        def break_off(*arguments):
            put_note(*arguments)
            raise CacheFailure("the disk is full")

        monkeypatch.setattr(file, "put_note", break_off)
        with pytest.raises(CacheFailure):
            await store.put_note("key", b"new")
        assert store.errors["note"] == 1
        assert await store.note("key") == b"old"
    async with opened(path) as store:
        assert await store.note("key") == b"old"


async def test_a_file_that_is_not_open_says_nothing_of_notes():
    async with opened(Path("/proc/askonce/cache.db")) as store:
        with pytest.raises(CacheFailure):
            await store.note("key")
        with pytest.raises(CacheFailure):
            await store.put_note("key", b"value")
    with pytest.raises(CacheFailure):
        await store.note("key")


@pytest.mark.parametrize("round_", range(3))
async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(path, round_):
    seeded = random.Random(round_)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.crash", str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent.parent,
    )
    enough = seeded.randrange(1, 300)
    acknowledged = [line for line, _ in zip(process.stdout, range(enough), strict=False)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    whole = [int(line) for line in acknowledged if line.endswith(b"\n")]
    assert len(whole) >= enough
    async with opened(path) as store:
        assert store.report().degraded is None
        for number in whole:
            assert await store.get(name_of(number)) == kept(number)
        assert sum(store.unreadable.values()) == 0


async def test_a_put_is_acknowledged_only_after_its_commit(path):
    async with opened(path) as store:
        await store.put(entry(1))
        assert rows_in(path) == 1  # another connection sees what is committed


async def test_a_commit_is_in_the_log_without_waiting_for_the_disk(path):
    async with opened(path) as store:
        assert store._file._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._file._writer.execute("PRAGMA synchronous").fetchone() == (1,)


async def test_the_file_and_a_folder_made_for_it_are_nobody_elses(path):
    async with opened(path) as store:
        await store.put(entry(1))
        assert path.parent.stat().st_mode & 0o777 == 0o700
        for each in path.parent.iterdir():
            assert each.stat().st_mode & 0o777 == 0o600, each.name


async def test_closing_writes_what_waits(path):
    async with opened(path) as store:
        putting = [asyncio.create_task(store.put(entry(number))) for number in range(50)]
        await asyncio.sleep(0)
        await store.close()
        assert all(await asyncio.gather(*putting))
    assert rows_in(path) == 50


async def test_after_closing_it_is_as_off(path):
    async with opened(path) as store:
        await store.put(entry(1))
    assert await store.get(name_of(1)) is None
    assert not await store.put(entry(2))
    with pytest.raises(CacheFailure):
        await store.delete(name_of(1))


# -- who may open it -------------------------------------------------------------------------------------------------


async def test_a_second_one_on_the_same_file_is_degraded_and_says_so(path):
    async with opened(path) as first:
        await first.put(entry(1))
        async with opened(path) as second:
            assert "in use by another AskOnce" in second.report().degraded
            assert "Redis" in second.report().degraded
            assert await second.get(name_of(1)) is None
            with pytest.raises(CacheFailure):
                await second.put(entry(2))
            await first.close()
            assert await second.put(entry(2))  # it tries again, as after a restart that overlaps
            assert second.report().degraded is None
            assert await second.get(name_of(1)) is not None


async def test_a_newer_schema_is_left_alone(path):
    async with opened(path) as store:
        await store.put(entry(1))
    change(path, f"PRAGMA user_version = {sqlite_rows.SCHEMA + 1}")
    before = path.read_bytes()
    async with opened(path) as store:
        assert "newer AskOnce" in store.report().degraded
        assert await store.get(name_of(1)) is None
        assert store.errors["open"] == 1
    assert path.read_bytes() == before


async def test_an_older_schema_is_made_anew(path):
    async with opened(path) as store:
        await store.put(entry(1))
    change(path, "PRAGMA user_version = 0", "DROP TABLE entries")
    async with opened(path) as store:
        assert store.report().degraded is None
        assert await store.put(entry(2))
        assert await store.get(name_of(1)) is None


async def test_a_schema_without_notes_gets_them_and_keeps_its_answers(path):
    async with opened(path) as store:
        await store.put(entry(1))
    change(path, "PRAGMA user_version = 1", "DROP TABLE notes")
    async with opened(path) as store:
        assert store.report().degraded is None
        assert await store.get(name_of(1)) is not None
        await store.put_note("key", b"value")
    async with opened(path) as store:
        assert await store.note("key") == b"value"


async def test_another_programs_database_is_left_alone(path):
    path.parent.mkdir()
    change(path, "CREATE TABLE letters (words TEXT)", "INSERT INTO letters VALUES ('dear')")
    before = path.read_bytes()
    async with opened(path) as store:
        assert "another program" in store.report().degraded
        with pytest.raises(CacheFailure):
            await store.put(entry(1))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"dear diary, " * 1000, b"SQLite format 3\0" + bytes(5000)])
async def test_what_is_no_database_is_left_alone(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    async with opened(path) as store:
        assert "left alone" in store.report().degraded
        assert await store.get(name_of(1)) is None
    assert path.read_bytes() == content
    assert {each.name for each in path.parent.iterdir()} == {"cache.db", "cache.db.lock"}


async def test_an_empty_file_is_a_new_one(path):
    path.parent.mkdir()
    path.touch()
    async with opened(path) as store:
        assert await store.put(entry(1))


@pytest.mark.parametrize("where", ["/proc/askonce/cache.db", "{file}/cache.db", "{file}/below/cache.db", "{folder}"])
async def test_a_place_that_cannot_be_written_degrades_and_never_raises(tmp_path, where):
    (tmp_path / "file").write_text("not a folder")
    path = Path(where.format(file=tmp_path / "file", folder=tmp_path))
    async with opened(path) as store:
        assert str(path) in store.report().degraded
        assert await store.get(name_of(1)) is None
        with pytest.raises(CacheFailure):
            await store.put(entry(1))
        with pytest.raises(CacheFailure):
            await store.purge()
        assert store.errors == {"open": 1, "get": 0, "put": 1, "delete": 0, "purge": 1, "sweep": 0, "note": 0}


# -- the disk --------------------------------------------------------------------------------------------------------


async def fill(store: SqliteStore) -> int:
    """Put until the disk is full; how many could be."""
    for number in itertools.count():
        try:
            assert await store.put(entry(number, body=os.urandom(20_000)))
        except CacheFailure:
            return number
    raise AssertionError


async def test_a_full_disk_is_said_and_reading_goes_on_and_writing_comes_back(path):
    async with opened(path) as store:
        pages = store._file._writer.execute("PRAGMA max_page_count = 100").fetchone()[0]
        assert pages == 100
        count = await fill(store)
        assert count > 3
        assert "the disk is full" in store.report().degraded
        assert store.errors["put"] == 1
        assert await store.get(name_of(0)) is not None
        with pytest.raises(CacheFailure):
            await store.put(entry(1000, body=os.urandom(20_000)))
        store._file._writer.execute("PRAGMA max_page_count = 10000").fetchall()
        assert await store.put(entry(1000, body=os.urandom(20_000)))
        assert store.report().degraded is None
        assert store.report().entries_by_tier["sqlite"] == count + 1 == rows_in(path)


async def test_what_was_asked_together_with_a_write_that_fails_is_not_done_by_half(path):
    async with opened(path) as store:
        store._file._writer.execute("PRAGMA max_page_count = 100").fetchall()
        count = await fill(store)
        deleted, put = await asyncio.gather(
            store.delete(name_of(0)), store.put(entry(1000, body=os.urandom(200_000))), return_exceptions=True
        )
        assert isinstance(deleted, CacheFailure)
        assert isinstance(put, CacheFailure)
        assert await store.get(name_of(0)) is not None
        assert store.report().entries_by_tier["sqlite"] == count == rows_in(path)


async def test_after_a_failed_write_nothing_is_written_for_a_while_and_then_one_attempt(path):
    steady = Clock(0.0)
    async with opened(path, retry_s=5.0, steady=steady) as store:
        store._file._writer.execute("PRAGMA max_page_count = 30").fetchall()
        await fill(store)
        store._file._writer.execute("PRAGMA max_page_count = 10000").fetchall()
        assert not await store.put(entry(1000))
        assert store.errors["put"] == 1
        steady.now = 5.0
        at_once = await asyncio.gather(*(store.put(entry(number)) for number in (1000, 1001, 1002)))
        assert at_once == [True, False, False]
        assert await store.put(entry(1001))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB of its own, where the machine lets us have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def use_up(disk: Path) -> Path:
    """A file that takes all that is free."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return filler


async def test_a_truly_full_disk_is_survived_and_recovered_from(small_disk):
    async with opened(small_disk / "cache.db") as store:
        await store.put(entry(0, body=b"first"))
        filler = use_up(small_disk)
        with pytest.raises(CacheFailure):
            await store.put(entry(1, body=os.urandom(100_000)))
        assert store.report().degraded is not None
        assert (await store.get(name_of(0))).body == b"first"
        filler.unlink()
        assert await store.put(entry(1, body=b"second"))
        assert store.report().degraded is None
        assert (await store.get(name_of(1))).body == b"second"


async def test_a_disk_full_from_the_start_degrades(small_disk):
    filler = use_up(small_disk)
    async with opened(small_disk / "cache.db") as store:
        assert store.report().degraded is not None
        filler.unlink()
        assert await store.put(entry(1))
        assert store.report().degraded is None


async def test_a_read_only_disk_degrades(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    async with opened(small_disk / "cache.db") as store:
        assert "Read-only" in store.report().degraded
        with pytest.raises(CacheFailure):
            await store.put(entry(1))


# -- damage ----------------------------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    """Overwrite all but the first page."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


async def damaged(path: Path) -> None:
    async with opened(path) as store:
        for number in range(50):
            await store.put(entry(number, body=os.urandom(2000)))
    damage(path)


async def test_a_database_of_ours_that_is_damaged_is_put_aside_and_a_new_one_begun(path):
    await damaged(path)
    async with opened(path) as store:
        assert store.report().degraded is None
        assert await store.get(name_of(1)) is None
        assert await store.put(entry(1))
        assert await store.get(name_of(1)) is not None
    assert (path.parent / "cache.db.corrupt").stat().st_size > 100_000


async def test_damage_met_while_reading_is_a_miss_and_is_mended(path):
    async with opened(path) as store:
        await store.purge()
        for number in range(50):
            await store.put(entry(number, body=os.urandom(2000), generation=1))
        checkpoint(path)
        damage(path)
        assert await store.get(name_of(1)) is None
        assert store.errors["get"] == 1
        assert await store.put(entry(1, generation=1))
        assert store.report().degraded is None
        assert store.generation == 1
        assert await store.get(name_of(1)) is not None
        assert store.report().entries_by_tier == {"sqlite": 1}
    assert (path.parent / "cache.db.corrupt").exists()


async def test_damage_that_hides_whose_it_is_is_left_alone(path):
    async with opened(path) as store:
        for number in range(50):
            await store.put(entry(number, body=os.urandom(2000)))
        checkpoint(path)
        content = b"?" * path.stat().st_size
        path.write_bytes(content)
        assert await store.get(name_of(1)) is None
        with pytest.raises(CacheFailure):
            await store.put(entry(1))
        assert "left alone" in store.report().degraded
        path.unlink()
        assert await store.put(entry(1))
        assert store.report().degraded is None


async def test_what_cannot_be_read_of_a_frame_is_a_counted_miss(path):
    async with opened(path) as store:
        for number in range(3):
            await store.put(entry(number))
    change(path, "UPDATE entries SET frame = zeroblob(100) WHERE id = 1")
    # The version is the third byte; putting bytes together with || makes them text, of which Python would complain.
    change(path, "UPDATE entries SET frame = substr(frame, 1, 2) || x'ff' || substr(frame, 4) WHERE id = 2")
    async with opened(path, codec=FrameCodec(b"another secret", 3, MiB)) as store:
        assert [await store.get(name_of(number)) for number in range(3)] == [None] * 3
        assert store.unreadable == {"version": 1, "tag": 1, "torn": 1}
        assert sum(store.errors.values()) == 0


async def test_who_can_write_to_the_file_cannot_bring_back_what_was_purged_or_ended(path):
    async with opened(path) as store:
        await store.put(entry(1))
        await store.put(entry(2, kept_s=10.0, generation=0))
    change(path, "CREATE TABLE kept AS SELECT * FROM entries")
    async with opened(path) as store:
        await store.purge()
        await store.put(entry(3, kept_s=10.0, generation=1))
        await reclaimed(store, lambda: store.report().entries_by_tier == {"sqlite": 1})
    change(path, "INSERT INTO entries SELECT id + 10, name, 1, 1e12, stored_at, size, model, frame FROM kept")
    change(path, "UPDATE entries SET expires_at = 1e12")
    async with opened(path, clock=Clock(BEGIN + 10.0)) as store:
        assert store.report().entries_by_tier == {"sqlite": 3}
        for number in (1, 2, 3):
            assert await store.get(name_of(number)) is None
        assert sum(store.unreadable.values()) == 0


async def test_columns_of_other_types_than_ours_do_no_harm(path):
    async with opened(path) as store:
        for number in range(3):
            await store.put(entry(number))
    change(path, "UPDATE entries SET generation = 'words', expires_at = 'words', size = 'words'")
    async with opened(path, max_bytes=1) as store:
        assert await store.get(name_of(1)) is None
        assert not await store.delete(name_of(1))
        assert await store.put(entry(5))
        assert await store.purge() <= 1
        await reclaimed(store, lambda: store.report().entries_by_tier == {"sqlite": 0})


async def test_a_schema_that_is_not_ours_any_more_is_said_without_its_words(path):
    async with opened(path) as store:
        await store.put(entry(1))
    change(path, "ALTER TABLE entries RENAME TO secret_words")
    async with opened(path) as store:
        assert "SQLITE_ERROR" in store.report().degraded
        assert "words" not in store.report().degraded.removeprefix(str(path))


async def test_who_can_write_to_the_file_cannot_move_an_answer_to_another_name(path):
    async with opened(path) as store:
        await store.put(entry(1))
    change(path, f"UPDATE entries SET name = x'{name_of(2).hex()}'")
    async with opened(path) as store:
        assert await store.get(name_of(2)) is None
        assert store.unreadable["tag"] == 1


# -- threads, queues and time ----------------------------------------------------------------------------------------


def hold(store: SqliteStore) -> threading.Event:
    """The writing thread stands still until the event is set."""
    go = threading.Event()
    encode = store._codec.encode

    def held(*arguments):
        go.wait()
        return encode(*arguments)

    store._codec.encode = held
    return go


async def test_puts_that_wait_together_are_committed_together(path):
    async with opened(path) as store:
        commits = []
        store._file._writer.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)
        go = hold(store)
        first = asyncio.create_task(store.put(entry(0)))
        await asyncio.sleep(0)
        while not store._writer._queue.empty():
            await asyncio.sleep(0)
        rest = [asyncio.create_task(store.put(entry(number))) for number in range(1, 100)]
        await asyncio.sleep(0)
        go.set()
        assert all(await asyncio.gather(first, *rest))
        assert len(commits) == 2


@pytest.mark.parametrize("bound", [{"queue_entries": 3}, {"queue_bytes": 3 * 28}])
async def test_a_full_queue_refuses_at_once_and_takes_again_when_it_is_written(path, bound):
    async with opened(path, **bound) as store:
        go = hold(store)
        waiting = [asyncio.create_task(store.put(entry(number))) for number in range(3)]
        await asyncio.sleep(0)
        assert not await store.put(entry(3))
        assert store.refused == 1
        waiting[0].cancel()  # who leaves gives no room: what they asked still waits
        assert not await store.put(entry(3))
        go.set()
        assert all(await asyncio.gather(*waiting[1:]))
        assert await store.put(entry(3))
        assert await store.get(name_of(0)) is not None


async def test_a_write_that_takes_too_long_fails_and_is_done_all_the_same(path):
    async with opened(path, write_timeout_s=0.01) as store:
        go = hold(store)
        with pytest.raises(CacheFailure, match="no answer"):
            await store.put(entry(1))
        assert store.errors["put"] == 1
        go.set()
        store._write_timeout_s = 60.0
        assert await store.put(entry(2))
        assert await store.get(name_of(1)) is not None


async def test_a_read_that_takes_too_long_fails_and_the_next_are_misses_until_it_answers(path):
    steady = Clock(0.0)
    async with opened(path, read_timeout_s=0.01, retry_s=5.0, steady=steady) as store:
        await store.put(entry(1))
        store._file._reading.acquire()
        with pytest.raises(CacheFailure, match="no answer"):
            await store.get(name_of(1))
        assert "misses" in store.report().degraded
        assert await store.get(name_of(1)) is None
        assert store.errors["get"] == 1
        store._file._reading.release()
        store._read_timeout_s = 60.0
        while store.report().degraded:
            await asyncio.sleep(0)
        assert await store.get(name_of(1)) is not None


async def test_an_answer_on_its_way_through_a_busy_loop_is_not_late(path):
    async with opened(path) as store:
        await store.put(entry(1))
        await store.get(name_of(1))
        assert not store._read_is_late(1)
        assert store.report().degraded is None
        assert store._read_is_late(2)


async def test_one_who_cannot_be_encoded_does_not_take_the_others_along(path):
    async with opened(path) as store:
        outcomes = await asyncio.gather(store.put(entry(1)), store.put(entry(2, model="\ud800")), store.put(entry(3)))
        assert outcomes == [True, False, True]


async def test_a_purge_that_cannot_be_written_holds_and_is_written_when_it_can_be(path):
    async with opened(path) as store:
        await store.put(entry(1))
        await store.purge()
        await store.put(entry(1, generation=1))
    async with opened(path) as blocker, opened(path) as store:
        assert await blocker.get(name_of(1)) is not None
        with pytest.raises(CacheFailure):
            await store.purge()
        assert store.generation == 1  # it never learnt the file's
        await blocker.close()
        await store.delete(name_of(2))
        assert store.generation == 2
        assert await store.get(name_of(1)) is None


# -- reclaiming ------------------------------------------------------------------------------------------------------


async def reclaimed(store: SqliteStore, done) -> None:
    """Until the writing thread has come so far; it is given something to do, so that it looks."""
    while not done():
        await store.delete(name_of(10**6))


async def test_ended_rows_are_reclaimed(path):
    clock = Clock()
    async with opened(path, clock=clock) as store:
        for number in range(200):
            await store.put(entry(number, kept_s=10.0))
        await store.put(entry(1000))
        clock.now = BEGIN + 10.0
        await reclaimed(store, lambda: store.report().entries_by_tier == {"sqlite": 1})
        assert store.evictions == {"size": 0, "expired": 200, "purged": 0}
        assert rows_in(path) == 1


async def test_purged_rows_are_reclaimed_and_the_file_gets_smaller(path):
    async with opened(path) as store:
        for number in range(200):
            await store.put(entry(number, body=os.urandom(20_000)))
        await store.purge()
        await store.put(entry(1000, generation=1))
        await reclaimed(store, lambda: store.report().entries_by_tier == {"sqlite": 1})
        await reclaimed(store, lambda: not store._file._worth_giving_back)
        assert store.evictions["purged"] == 200
        assert await store.get(name_of(1000)) is not None
        checkpoint(path)
        assert path.stat().st_size < MiB


async def test_the_oldest_make_room(path):
    async with opened(path, max_bytes=MiB) as store:
        for number in range(200):
            assert await store.put(entry(number, body=os.urandom(20_000)))
        await reclaimed(store, lambda: store.report().bytes_by_tier["sqlite"] <= MiB)
        assert 30 < store.report().entries_by_tier["sqlite"] < 60
        assert store.evictions["size"] == 200 - store.report().entries_by_tier["sqlite"]
        assert await store.get(name_of(0)) is None
        assert await store.get(name_of(199)) is not None
        assert path.stat().st_size < 2 * MiB


async def test_what_was_put_again_is_not_old(path):
    async with opened(path, max_bytes=MiB) as store:
        for number in range(200):
            await store.put(entry(number, body=os.urandom(20_000)))
            await store.put(entry(0, body=os.urandom(20_000)))
        await reclaimed(store, lambda: store.report().bytes_by_tier["sqlite"] <= MiB)
        assert await store.get(name_of(0)) is not None
