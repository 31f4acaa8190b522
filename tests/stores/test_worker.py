"""The thread that works in batches."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.stores.worker import Worker


class Held:
    """Work that begins its first batch only when let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, numbers):
        self.begun.set()
        self.go.wait()
        self.batches.append(numbers)
        return [number * 10 for number in numbers]


async def test_what_is_asked_while_it_works_is_the_next_batch():
    work = Held()
    worker = Worker("test", work)
    worker.start()
    first = worker.ask(1)
    await asyncio.to_thread(work.begun.wait)
    rest = [worker.ask(number) for number in (2, 3, 4)]
    work.go.set()
    assert await first == 10
    assert [await future for future in rest] == [20, 30, 40]
    assert work.batches == [[1], [2, 3, 4]]
    await worker.stop()


async def test_stopping_finishes_what_was_asked():
    work = Held()
    worker = Worker("test", work)
    worker.start()
    futures = [worker.ask(number) for number in range(5)]
    stopping = asyncio.create_task(worker.stop())
    work.go.set()
    await stopping
    assert [future.result() for future in futures] == [0, 10, 20, 30, 40]


async def test_stopping_twice_or_before_starting_is_harmless():
    worker = Worker("test", Held())
    await worker.stop()
    worker.start()
    await worker.stop()
    await worker.stop()


async def test_a_failure_reaches_the_batch_and_the_thread_lives_on():
    def work(numbers):
        if 0 in numbers:
            raise ZeroDivisionError
        return numbers

    worker = Worker("test", work)
    worker.start()
    with pytest.raises(ZeroDivisionError):
        await worker.ask(0)
    assert await worker.ask(1) == 1
    await worker.stop()


async def test_who_does_not_wait_any_more_is_passed_over():
    work = Held()
    worker = Worker("test", work)
    worker.start()
    left, stayed = worker.ask(1), worker.ask(2)
    left.cancel()
    work.go.set()
    assert await stayed == 20
    assert [1, 2] in work.batches or work.batches == [[1], [2]]
    await worker.stop()


async def test_it_rests_after_every_batch_and_again_at_once_while_there_is_more():
    rested = threading.Event()
    steps = iter([0.0, 0.0, None])

    def rest():
        pause = next(steps)
        if pause is None:
            rested.set()
        return pause

    worker = Worker("test", lambda numbers: numbers, rest)
    worker.start()
    await worker.ask(1)
    await asyncio.to_thread(rested.wait)
    await worker.stop()


async def test_a_bug_while_resting_is_reported_and_the_work_goes_on():
    reported = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: None if reported.done() else reported.set_result(context["exception"])
    )

    def rest():
        raise ZeroDivisionError

    worker = Worker("test", lambda numbers: numbers, rest)
    worker.start()
    assert await worker.ask(1) == 1
    assert isinstance(await reported, ZeroDivisionError)
    assert await worker.ask(2) == 2
    await worker.stop()


async def test_asking_one_that_was_not_started_is_a_bug():
    with pytest.raises(RuntimeError):
        Worker("test", lambda numbers: numbers).ask(1)
