"""A file with a thread of its own: what is written together, what is tried again, what is told to whom."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.errors import CacheFailure
from proxy.own_file import OwnFile, Schema

SCHEMA = Schema(application=1234, version=1, tables=("CREATE TABLE t (x INTEGER UNIQUE)",))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "own.db"


@asynccontextmanager
async def opened(path: Path, **other) -> AsyncIterator[OwnFile]:
    arguments = {"rest": lambda _: 3600.0, "logger": logging.getLogger("test"), "retry_s": 0.01} | other
    file = OwnFile(path, SCHEMA, **arguments)
    file.start()
    try:
        yield file
    finally:
        await file.stop()


def put(number: int):
    return lambda database: database.execute("INSERT INTO t VALUES (?)", (number,)).lastrowid


def all_of(database: sqlite3.Connection) -> list[int]:
    return [x for (x,) in database.execute("SELECT x FROM t ORDER BY x")]


def fail(_: sqlite3.Connection) -> None:
    raise sqlite3.OperationalError("a bad day")


async def test_outcomes_come_back_in_order(path):
    async with opened(path) as file:
        assert await asyncio.gather(*(file.do(put(number)) for number in range(50))) == list(range(1, 51))
        assert await file.do(all_of) == list(range(50))


async def test_everything_is_done_in_one_thread_that_is_not_the_loops(path):
    threads = set()
    async with opened(path, rest=lambda _: threads.add(threading.get_ident()) or 3600.0) as file:
        await file.do(lambda _: threads.add(threading.get_ident()))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_what_waits_is_written_before_it_stops(path):
    async with opened(path) as file:
        for number in range(100):
            file.do(put(number))
    async with opened(path) as file:
        assert await file.do(all_of) == list(range(100))


async def test_stopping_twice_or_before_the_start_is_harmless(path):
    async with opened(path) as file:
        await file.stop()
    await OwnFile(path, SCHEMA, rest=lambda _: 1.0, logger=logging.getLogger("test")).stop()


async def test_nothing_can_be_asked_before_the_start(path):
    file = OwnFile(path, SCHEMA, rest=lambda _: 1.0, logger=logging.getLogger("test"))
    with pytest.raises(CacheFailure):
        file.do(all_of)


async def test_of_a_transaction_that_fails_nothing_stays_and_it_is_tried_again(path):
    times = []

    def at_the_second_time(database: sqlite3.Connection) -> None:
        times.append(all_of(database))
        if len(times) == 1:
            raise sqlite3.OperationalError("a bad day")

    async with opened(path) as file:
        await file.do(all_of)
        first, second = file.do(put(1)), file.do(at_the_second_time)
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        while len(times) < 2:
            await asyncio.wait([file.do(all_of, lasting=False)])
        assert await file.do(all_of) == [1]
        assert file.trouble is None
        assert file.failures == 1
    assert isinstance(outcomes[1], CacheFailure)
    assert isinstance(outcomes[1].__cause__, sqlite3.OperationalError)
    assert times == [[1], [1]]


async def test_who_asks_while_it_is_in_trouble_is_told_at_once_and_why(path):
    path.parent.write_bytes(b"")
    async with opened(path, retry_s=3600.0) as file:
        for _ in range(2):
            with pytest.raises(CacheFailure, match=r"own\.db"):
                await file.do(all_of)
        assert file.failures == 1


async def test_over_the_bound_the_oldest_of_what_waits_goes(path):
    path.parent.write_bytes(b"")
    async with opened(path, most_waiting=3) as file:
        await asyncio.wait([file.do(put(number)) for number in range(5)])
        assert file.dropped == 2
        path.parent.unlink()
    async with opened(path) as file:
        assert await file.do(all_of) == [2, 3, 4]


async def test_in_good_health_no_number_of_acts_is_too_many(path):
    async with opened(path, most_waiting=3) as file:
        await asyncio.gather(*(file.do(put(number)) for number in range(50)))
        assert file.dropped == 0


@pytest.mark.parametrize("bug", [TypeError("a bug"), sqlite3.IntegrityError("a bug"), sqlite3.ProgrammingError("bug")])
async def test_a_bug_is_told_to_the_loop_and_not_tried_again(path, bug):
    bugs = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))

    def broken(_: sqlite3.Connection) -> None:
        raise bug

    async with opened(path) as file:
        await file.do(put(1))
        with pytest.raises(CacheFailure):
            await file.do(broken)
        while True:
            try:
                assert await file.do(all_of) == [1]
            except CacheFailure:
                continue
            break
        assert bugs == [bug]


async def test_it_rests_between_as_often_as_it_wants_to(path):
    rested = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def rest(database: sqlite3.Connection) -> float:
        rested.append(len(all_of(database)))
        if len(rested) < 5:
            return 0.0
        loop.call_soon_threadsafe(done.set)
        return 3600.0

    async with opened(path, rest=rest) as file:
        await done.wait()
        await file.do(put(1))
    assert rested == [0] * 5


async def test_a_rest_that_fails_is_trouble_that_ends(path):
    tried = []
    well = asyncio.Event()
    loop = asyncio.get_running_loop()

    def rest(database: sqlite3.Connection) -> float:
        tried.append(1)
        if len(tried) < 3:
            fail(database)
        loop.call_soon_threadsafe(well.set)
        return 3600.0

    async with opened(path, rest=rest) as file:
        await well.wait()
        await file.do(put(1))
        assert file.trouble is None
        assert file.failures == 2


async def test_a_bug_in_a_rest_is_told_to_the_loop_and_holds_up_no_work(path):
    told = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.set())

    def rest(_: sqlite3.Connection) -> float:
        raise TypeError

    async with opened(path, rest=rest, retry_s=3600.0) as file:
        await told.wait()
        await file.do(put(1))
        assert await file.do(all_of) == [1]


async def test_space_that_became_free_is_given_back_bit_by_bit(path):
    given_back = asyncio.Event()
    loop = asyncio.get_running_loop()

    def rest(database: sqlite3.Connection) -> float:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        if pages < 100 and not all_of(database):
            loop.call_soon_threadsafe(given_back.set)
        return 0.005

    async with opened(path, rest=rest) as file:
        await file.do(lambda db: db.executemany("INSERT INTO t VALUES (?)", ((n,) for n in range(200_000))).rowcount)
        assert await file.do(lambda db: db.execute("PRAGMA page_count").fetchone()[0]) > 500
        await file.do(lambda db: db.execute("DELETE FROM t").rowcount)
        async with asyncio.timeout(30):
            await given_back.wait()
