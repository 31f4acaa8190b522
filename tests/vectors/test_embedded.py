"""The embedded index: what its file keeps, what is said when it cannot, and that it finds what brute force finds."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from proxy.errors import CacheFailure
from proxy.vectors.base import VectorIndex
from proxy.vectors.embedded import EmbeddedIndex
from tests.vectors import BEGIN, DIMENSIONS, OTHER_SHAPE, SHAPE, Clock, beside, name_of, names, point, unit


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "cache.vectors.db"


def made(path: Path | None, **other) -> EmbeddedIndex:
    arguments = {"identity": "m", "dimensions": DIMENSIONS, "clock": Clock(), "retry_s": 0.01} | other
    return EmbeddedIndex(path, **arguments)


@asynccontextmanager
async def opened(path: Path | None, **other) -> AsyncIterator[EmbeddedIndex]:
    index = made(path, **other)
    await index.open()
    await index.settled()
    try:
        yield index
    finally:
        await index.close()


async def found(index: VectorIndex, number: int) -> list:
    return names(await index.nearest(SHAPE, unit(number), most=1, floor=0.99))


async def until(holds) -> None:
    """A thread's timer cannot be awaited, only asked after."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


def rows_in(path: Path) -> int:
    database = sqlite3.connect(path)
    count = database.execute("SELECT count(*) FROM points").fetchone()[0]
    database.close()
    return count


def change(path: Path, *statements: str) -> None:
    """As another program would, while the index is closed."""
    database = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        database.execute(statement).fetchall()
    database.close()


# -- what the file keeps ---------------------------------------------------------------------------------------------


async def test_a_killed_process_loses_nothing_that_was_on_disk(path):
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.vectors.embedded_crash", str(path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(30):
        last = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    printed = [last, *map(int, child.stdout.read().split())]
    child.stdout.close()
    child.wait()
    async with opened(path) as index:
        assert index.report().degraded is None
        for number in range(printed[-1] + 1):
            assert await found(index, number) == [name_of(number)]


async def test_the_file_is_for_its_owner_only(path):
    async with opened(path) as index:
        await index.add(point(1))
        await index.settled()
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}, modes


async def test_what_ended_while_it_was_closed_is_not_loaded(path):
    async with opened(path) as index:
        await index.add(point(1, kept_until=BEGIN + 10.0))
        await index.add(point(2, kept_until=BEGIN + 20.0))
    async with opened(path, clock=Clock(BEGIN + 10.0)) as index:
        assert index.report().points == 1


async def test_more_points_than_are_loaded_at_once_are_all_loaded(path):
    async with opened(path) as index:
        for number in range(700):
            await index.add(point(number))
    async with opened(path) as index:
        assert index.report().points == 700
        assert await found(index, 0) == [name_of(0)]
        assert await found(index, 699) == [name_of(699)]


async def test_what_is_removed_before_it_was_loaded_does_not_come_back(path):
    async with opened(path) as index:
        await index.add(point(1))
        await index.add(point(2))
    index = made(path)
    await index.open()
    await index.remove(name_of(1))
    await index.settled()
    assert await found(index, 1) == []
    assert await found(index, 2) == [name_of(2)]
    await index.close()
    assert rows_in(path) == 1


async def test_what_is_added_before_its_old_form_was_loaded_stays(path):
    async with opened(path) as index:
        await index.add(point(1, words="old"))
    index = made(path)
    await index.open()
    await index.add(point(1, unit(50), words="new"))
    await index.settled()
    assert await found(index, 1) == []
    assert await found(index, 50) == [name_of(1)]
    assert index.report().points == 1
    await index.close()


async def test_what_is_purged_before_it_was_loaded_does_not_come_back(path):
    async with opened(path) as index:
        await index.add(point(1, generation=1))
        await index.add(point(2, generation=2))
    index = made(path)
    await index.open()
    await index.purge(2)
    await index.settled()
    assert await found(index, 1) == []
    assert await found(index, 2) == [name_of(2)]
    await index.close()
    assert rows_in(path) == 1


async def test_a_point_added_before_the_files_generation_was_known_goes_when_it_is_of_an_earlier_one(path):
    async with opened(path) as index:
        await index.purge(5)
    index = made(path)
    await index.open()
    assert await index.add(point(1, generation=4))
    assert await index.add(point(2, generation=5))
    await index.settled()
    assert await found(index, 1) == []
    assert await found(index, 2) == [name_of(2)]
    await index.close()


async def test_vectors_that_are_not_whole_are_as_if_another_embedder_had_made_them(path):
    async with opened(path) as index:
        for number in range(4):
            await index.add(point(number))
    change(
        path,
        "UPDATE points SET vector = x'0102' WHERE words = 'question 1'",
        f"UPDATE points SET vector = zeroblob({2 * DIMENSIONS}) WHERE words = 'question 2'",
        "UPDATE points SET vector = 'text' WHERE words = 'question 3'",
    )
    async with opened(path) as index:
        assert (index.report().points, index.report().pending) == (1, 3)
        stale = [each async for each in index.stale(10)]
        assert {each.name for each in stale} == {name_of(1), name_of(2), name_of(3)}
        for number, each in enumerate(stale):
            await index.add(dataclasses.replace(each, vector=unit(100 + number)))
        await index.settled()
        assert (index.report().points, index.report().pending) == (4, 0)


async def test_whoever_goes_back_to_the_embedder_before_finds_its_vectors_again(path):
    async with opened(path, identity="one") as index:
        await index.add(point(1))
        await index.add(point(2))
    async with opened(path, identity="two") as index:
        await index.add(point(1, unit(50)))
        assert await found(index, 2) == []
    async with opened(path, identity="one") as index:
        assert await found(index, 2) == [name_of(2)]
        assert await found(index, 1) == []
        assert index.report().pending == 1


async def test_a_purge_takes_the_words_of_other_embedders_along(path):
    async with opened(path, identity="one") as index:
        await index.add(point(1, generation=1))
    async with opened(path, identity="two") as index:
        assert index.report().pending == 1
        await index.purge(2)
        assert index.report().pending == 0
        assert [each async for each in index.stale(10)] == []


# -- bounds ----------------------------------------------------------------------------------------------------------


async def test_over_the_bound_the_oldest_go_on_disk_too(path):
    async with opened(path, max_points=10) as index:
        for number in range(25):
            await index.add(point(number))
        assert index.report().points == 10
        assert [number for number in range(25) if await found(index, number)] == list(range(15, 25))
        await index.settled()
    assert rows_in(path) == 10


async def test_a_file_of_more_than_the_bound_is_loaded_to_the_bound(path):
    async with opened(path) as index:
        for number in range(300):
            await index.add(point(number))
    async with opened(path, max_points=20) as index:
        assert index.report().points == 20
        assert await found(index, 299) == [name_of(299)]
    assert rows_in(path) == 20


async def test_no_point_is_kept_where_none_may_be(path):
    async with opened(path, max_points=0) as index:
        assert not await index.add(point(1))
        assert index.report().points == 0


async def test_what_has_ended_leaves_memory_and_disk_by_itself(path):
    clock = Clock()
    async with opened(path, clock=clock, sweep_s=0.01) as index:
        for number in range(20):
            await index.add(point(number, kept_until=BEGIN + 10.0))
        await index.add(point(50))
        await index.settled()
        clock.now = BEGIN + 10.0
        await until(lambda: index.report().points == 1)
        await asyncio.sleep(0)
    async with opened(path, clock=clock, sweep_s=0.01) as index:
        await index.settled()
    assert rows_in(path) <= 21


async def test_an_ended_point_is_refused():
    async with opened(None) as index:
        assert not await index.add(point(1, kept_until=BEGIN))


async def test_a_point_with_half_a_surrogate_pair_or_no_direction_is_refused():
    async with opened(None) as index:
        assert not await index.add(point(1, words="\ud83d"))
        assert not await index.add(point(1, np.full(DIMENSIONS, np.nan, np.float32)))
        assert index.report().points == 0


async def test_a_vector_of_other_dimensions_is_a_failure_and_harms_nothing():
    async with opened(None) as index:
        await index.add(point(1))
        with pytest.raises(CacheFailure, match="16 dimensions"):
            await index.add(point(2, unit(2, 8)))
        with pytest.raises(CacheFailure, match="16 dimensions"):
            await index.nearest(SHAPE, unit(2, 8), most=1, floor=0.5)
        assert await found(index, 1) == [name_of(1)]


async def test_a_search_through_more_than_one_stretch_finds_the_nearest_of_all():
    async with opened(None, exact_search=100_000) as index:
        asked = unit(1)
        for number in range(9000):
            await index.add(point(number + 10, beside(asked, 0.6, seed=number % 50)))
        await index.add(point(1, beside(asked, 0.9)))
        await index.add(point(2, beside(asked, 0.8)))
        await index.remove(name_of(10))
        assert names(await index.nearest(SHAPE, asked, most=2, floor=0.5)) == [name_of(1), name_of(2)]


# -- a file in trouble -----------------------------------------------------------------------------------------------


async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path):
    async with opened(path) as index:
        for number in range(200):
            await index.add(point(number))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    async with opened(path) as index:
        await until(lambda: index.report().degraded is None)
        await index.add(point(1))
        await index.settled()
    assert path.with_name("cache.vectors.db.corrupt").exists()
    async with opened(path) as index:
        assert index.report().points == 1


async def test_a_file_that_is_no_database_is_left_alone(path):
    path.parent.mkdir()
    path.write_bytes(b"what somebody wrote" * 1000)
    async with opened(path) as index:
        assert "left alone" in index.report().degraded
        assert await index.add(point(1))
        assert await found(index, 1) == [name_of(1)]
    assert path.read_bytes() == b"what somebody wrote" * 1000


async def test_another_programs_database_is_left_alone(path):
    path.parent.mkdir()
    change(path, "CREATE TABLE theirs (x)", "PRAGMA application_id = 77")
    async with opened(path) as index:
        assert "another program" in index.report().degraded
    change(path, "INSERT INTO theirs VALUES (1)")


@pytest.mark.parametrize("version", [0, 99])
async def test_a_file_of_another_version_is_begun_anew(path, version):
    async with opened(path) as index:
        await index.add(point(1))
    change(path, f"PRAGMA user_version = {version}")
    async with opened(path) as index:
        assert index.report().degraded is None
        assert index.report().points == 0
        await index.add(point(2))
    async with opened(path) as index:
        assert await found(index, 2) == [name_of(2)]


async def test_a_second_process_works_in_memory_and_takes_over_when_the_first_ends(path):
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.vectors.embedded_crash", str(path)], stdout=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    async with opened(path) as index:
        assert "another process uses it" in index.report().degraded
        assert await index.add(point(900))
        assert await found(index, 900) == [name_of(900)]
        with pytest.raises(CacheFailure, match="another process"):
            await index.purge(1)
        assert await found(index, 900) == []
        assert await index.add(point(901, generation=1))
        child.kill()
        child.stdout.close()
        child.wait()
        await until(lambda: index.report().degraded is None)
        await index.settled()
        # The purge that could not be written is, before anything is loaded.
        assert index.report().points == 1
    async with opened(path) as index:
        assert await found(index, 901) == [name_of(901)]
        assert index.report().points == 1


async def test_what_came_while_the_disk_was_broken_is_written_when_it_is_well(path):
    path.parent.write_bytes(b"a file where the folder should be")
    async with opened(path) as index:
        assert index.report().degraded is not None
        assert await index.add(point(1))
        assert await index.add(point(2))
        await index.remove(name_of(2))
        with pytest.raises(CacheFailure):
            [each async for each in index.stale(1)]
        assert await found(index, 1) == [name_of(1)]
        path.parent.unlink()
        await until(lambda: index.report().degraded is None)
        assert index.report().errors["file"] > 0
    async with opened(path) as index:
        assert index.report().points == 1


async def test_nothing_of_the_words_is_logged(path, caplog):
    caplog.set_level("DEBUG")
    async with opened(path) as index:
        await index.add(point(1, words="a secret of somebody"))
    path.write_bytes(path.read_bytes()[:5000])
    async with opened(path) as index:
        await index.add(point(1, words="a secret of somebody"))
    assert "secret" not in caplog.text


# -- like brute force ------------------------------------------------------------------------------------------------

_numbers = some.integers(0, 30)
_steps = some.one_of(
    some.tuples(some.just("add"), _numbers, some.integers(0, 40), some.booleans()),
    some.tuples(some.just("remove"), _numbers),
    some.tuples(some.just("purge")),
    some.tuples(some.just("wait")),
    some.tuples(some.just("settle")),
)


class Model:
    """All points in a dictionary, compared one by one."""

    def __init__(self) -> None:
        self.points: dict[int, tuple[int, bool, int]] = {}
        self.generation = 0

    def nearest(self, asked, shape, most: int, floor: float) -> list[tuple[float, int]]:
        cosines = [
            (float(unit(seed) @ asked), number)
            for number, (seed, is_other, _) in self.points.items()
            if (OTHER_SHAPE if is_other else SHAPE) == shape
        ]
        return sorted((each for each in cosines if each[0] >= floor), reverse=True)[:most]


async def same_as_brute_force(steps, exact_search: int, asked: int) -> None:
    model = Model()
    async with opened(None, exact_search=exact_search) as index:
        for step in steps:
            match step:
                case "add", number, seed, is_other:
                    shape = OTHER_SHAPE if is_other else SHAPE
                    model.points[number] = (seed, is_other, model.generation)
                    assert await index.add(point(number, unit(seed), shape=shape, generation=model.generation))
                case "remove", number:
                    model.points.pop(number, None)
                    await index.remove(name_of(number))
                case ("purge",):
                    model.generation += 1
                    model.points.clear()
                    await index.purge(model.generation)
                case ("wait",):
                    await asyncio.sleep(0)
                case ("settle",):
                    await index.settled()
            assert index.report().points == len(model.points)
        for shape in (SHAPE, OTHER_SHAPE):
            expected = model.nearest(unit(asked), shape, most=4, floor=0.1)
            got = await index.nearest(shape, unit(asked), most=4, floor=0.1)
            assert [each.similarity for each in got] == pytest.approx([cosine for cosine, _ in expected], abs=2e-3)
            cosines = {name_of(number): float(unit(seed) @ unit(asked)) for number, (seed, *_) in model.points.items()}
            for each in got:
                assert each.similarity == pytest.approx(cosines[each.name], abs=2e-3)
            assert len(set(names(got))) == len(got)


@settings(max_examples=60, deadline=None)
@given(some.lists(_steps, max_size=60), some.sampled_from([0, 3, 1000]), some.integers(0, 40))
def test_it_finds_what_brute_force_finds_whatever_happened_before(steps, exact_search, asked):
    asyncio.run(same_as_brute_force(steps, exact_search, asked))
