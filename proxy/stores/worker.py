"""A thread that takes whatever was asked while it worked as its next batch.

`loop.run_in_executor` does one call for each hop and pays for a lock, a condition and two chained futures each time;
here a hop is one queue entry there and one wake-up of the loop back, for the whole batch.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")

_Ask = tuple[A, "asyncio.Future[R]"]


class Worker(Generic[A, R]):
    """One daemon thread.

    work: gets a batch, in the order asked, and gives as many outcomes in that order; what it raises reaches every
    asker of the batch.
    rest: called when there may be nothing to do; says how many seconds until it wants to be called again, 0 to be
    called as soon as no ask is waiting, None for not before the next batch.
    """

    def __init__(
        self, name: str, work: Callable[[list[A]], Sequence[R]], rest: Callable[[], float | None] = lambda: None
    ) -> None:
        self._name = name
        self._work = work
        self._rest = rest
        self._queue: SimpleQueue[_Ask[A, R] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Start the thread; answers come back to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        threading.Thread(target=self._run, args=(self._loop, self._ended), name=self._name, daemon=True).start()

    def ask(self, what: A) -> asyncio.Future[R]:
        """Have it done; the future may be settled or cancelled by the caller, the work is done all the same."""
        if self._loop is None:
            raise RuntimeError(f"{self._name} was asked before it was started")
        future: asyncio.Future[R] = self._loop.create_future()
        self._queue.put((what, future))
        return future

    async def stop(self) -> None:
        """Finish what was asked, then end the thread."""
        if self._ended is None:
            return
        self._queue.put(None)
        await asyncio.shield(self._ended)

    def _run(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        pause: float | None = None
        while True:
            batch, last = self._take(pause)
            if batch:
                self._do(loop, batch)
            if last:
                break
            pause = self._call_rest(loop)
        loop.call_soon_threadsafe(ended.set_result, None)

    def _take(self, pause: float | None) -> tuple[list[_Ask[A, R]], bool]:
        """All that waits, after waiting `pause` seconds for a first; and whether that was the last."""
        batch: list[_Ask[A, R]] = []
        try:
            ask = self._queue.get(timeout=pause)
            while ask is not None:
                batch.append(ask)
                ask = self._queue.get_nowait()
        except Empty:
            return batch, False
        return batch, True

    def _do(self, loop: asyncio.AbstractEventLoop, batch: list[_Ask[A, R]]) -> None:
        try:
            outcomes = self._work([what for what, _ in batch])
        except BaseException as failure:  # noqa: BLE001  the outermost call: nobody may wait for ever
            loop.call_soon_threadsafe(_fail, batch, failure)
        else:
            loop.call_soon_threadsafe(_deliver, batch, outcomes)

    def _call_rest(self, loop: asyncio.AbstractEventLoop) -> float | None:
        try:
            return self._rest()
        except BaseException as failure:  # noqa: BLE001  as above: a bug in reclaiming must not end the work
            bug = {"message": f"{self._name} failed while at rest", "exception": failure}
            loop.call_soon_threadsafe(loop.call_exception_handler, bug)
            return None


def _deliver(batch: list[_Ask[A, R]], outcomes: Sequence[R]) -> None:
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if not future.done():
            future.set_result(outcome)


def _fail(batch: list[_Ask[A, R]], failure: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(failure)
