"""Deadlines: kept, and not shortened by a busy loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvloop

from proxy.redis_link.deadline import Deadline

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request) -> Run:
    """Runs a test on one of the loops that there are: their order of timers and sockets differs."""

    def on_this_loop(test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(test)

    return on_this_loop


def test_a_block_that_takes_too_long_raises_a_timeout(run):
    async def test() -> None:
        with pytest.raises(TimeoutError):
            async with Deadline(0.01):
                await asyncio.Event().wait()

    run(test())


def test_after_a_timeout_the_task_goes_on_uncancelled(run):
    async def test() -> None:
        with pytest.raises(TimeoutError):
            async with Deadline(0.0):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        assert not asyncio.current_task().cancelling()

    run(test())


def test_a_block_that_ends_in_time_is_left_alone(run):
    async def test() -> None:
        async with Deadline(0.005):
            await asyncio.sleep(0)
        await asyncio.sleep(0.03)  # its time comes, and nothing happens

    run(test())


def test_what_the_block_raises_is_raised(run):
    async def test() -> None:
        with pytest.raises(ValueError, match="mine"):
            async with Deadline(60.0):
                raise ValueError("mine")

    run(test())


def test_a_cancellation_by_somebody_else_is_heard(run):
    async def test() -> None:
        begun = asyncio.Event()

        async def waits() -> None:
            async with Deadline(60.0):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(waits())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test())


def test_a_cancellation_by_somebody_else_is_heard_even_when_the_time_is_up_as_well(run):
    async def test() -> None:
        late = asyncio.Event()

        async def waits() -> None:
            async with Deadline(0.0):
                try:
                    await asyncio.Event().wait()
                finally:
                    late.set()
                    await asyncio.Event().wait()  # cleaning up takes its time too

        task = asyncio.create_task(waits())
        await late.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test())


def test_cleaning_up_after_a_cancellation_has_its_deadlines_too(run):
    async def test() -> None:
        outcome = []
        begun = asyncio.Event()

        async def waits() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                try:
                    async with Deadline(0.0):
                        await asyncio.Event().wait()
                except TimeoutError:
                    outcome.append("timeout")

        task = asyncio.create_task(waits())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert outcome == ["timeout"]

    run(test())


def test_of_two_deadlines_the_one_that_is_up_is_reported(run):
    async def test() -> None:
        async with Deadline(60.0):
            with pytest.raises(TimeoutError):
                async with Deadline(0.0):
                    await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            async with Deadline(0.0), Deadline(60.0):
                await asyncio.Event().wait()

    run(test())


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a wire."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@asynccontextmanager
async def reader_of(ours: socket.socket) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("times", [1, 3], ids=["once", "again and again"])
def test_a_loop_that_was_held_up_does_not_fail_a_reply_that_has_arrived(run, times):
    async def test() -> None:
        loop = asyncio.get_running_loop()

        def hold_up(left: int) -> None:
            if left == times:
                theirs.send(b"there long before the time is up")
            time.sleep(0.05)
            if left > 1:
                loop.call_soon(hold_up, left - 1)

        with pair() as (ours, theirs):
            async with reader_of(ours) as reader:
                loop.call_soon(hold_up, times)
                async with Deadline(0.02):
                    assert await reader.read(100)

    run(test())


def test_a_loop_that_is_busy_with_other_sockets_does_not_fail_a_reply_that_it_has_read(run):
    async def test() -> None:
        loop = asyncio.get_running_loop()

        def read_slowly(other: socket.socket) -> None:
            other.recv(100)
            time.sleep(0.02)

        def everything_at_once() -> None:
            for sender in (first_sender, theirs, last_sender):
                sender.send(b"within one look at the sockets")
            time.sleep(0.05)

        with pair() as (ours, theirs), pair() as (first, first_sender), pair() as (last, last_sender):
            async with reader_of(ours) as reader:
                for other in (first, last):
                    loop.add_reader(other, read_slowly, other)
                try:
                    loop.call_soon(everything_at_once)
                    async with Deadline(0.02):
                        assert await reader.read(100)
                finally:
                    for other in (first, last):
                        loop.remove_reader(other)

    run(test())
