"""Tasks: kept, reported, drained."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from proxy.telemetry.tasks import Tasks


async def test_a_task_is_kept_until_it_is_done() -> None:
    tasks, woken = Tasks(), []

    async def waits() -> None:
        # Held by nothing but the task: without an owner both would be collected.
        await asyncio.get_running_loop().run_in_executor(None, gc.collect)
        woken.append(1)

    tasks.spawn(waits(), name="waits")
    assert len(tasks) == 1
    await tasks.drain(60)
    assert (woken, len(tasks)) == ([1], 0)


async def test_a_failure_is_logged_even_if_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("broken")

    tasks = Tasks()
    with caplog.at_level(logging.ERROR, "askonce.tasks"):
        tasks.spawn(fails(), name="keep 2f")
        await tasks.drain(60)
    assert "task 'keep 2f' failed" in caplog.text
    assert "ValueError: broken" in caplog.text


async def test_a_result_reaches_who_asks_for_it() -> None:
    async def gives() -> int:
        return 7

    assert await Tasks().spawn(gives(), name="gives") == 7


async def test_draining_waits_for_what_is_spawned_meanwhile() -> None:
    tasks, done = Tasks(), []

    async def last() -> None:
        done.append("last")

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.spawn(last(), name="last")

    tasks.spawn(first(), name="first")
    await tasks.drain(60)
    assert done == ["last"]


async def test_what_does_not_end_in_time_is_cancelled_and_not_called_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = Tasks()
    task = tasks.spawn(asyncio.Event().wait(), name="forever")
    await tasks.drain(0)
    assert task.cancelled()
    assert len(tasks) == 0
    assert not caplog.records


async def test_draining_nothing_returns_at_once() -> None:
    await Tasks().drain(60)


async def test_a_failure_that_is_expected_is_for_who_waits_and_not_for_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise LookupError("as announced")

    tasks = Tasks()
    with pytest.raises(LookupError):
        await tasks.spawn(fail(), name="expected", expected=LookupError)
    assert caplog.records == []
    await asyncio.wait([tasks.spawn(fail(), name="not that", expected=OSError)])
    assert [record.levelname for record in caplog.records] == ["ERROR"]
