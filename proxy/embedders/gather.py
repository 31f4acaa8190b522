"""One thread that embeds, and a bounded queue before it: what waits together is embedded together.

The thread takes the next batch itself when it has done one, so that between two batches nobody waits for the loop. A
text that comes alone is not held up for company.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from proxy.errors import CacheFailure

R = TypeVar("R")


class Gather(Generic[R]):
    """Texts in, outcomes out, in batches.

    name: of the thread.
    work: called in the thread with up to `batch` texts; gives as many outcomes in that order. What it raises reaches
    the askers of that batch only.
    queue: so many texts may wait, and as many patient ones.
    noted: called on the loop with the size of each batch.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[str]], Sequence[R]],
        *,
        batch: int,
        queue: int,
        noted: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self.done = 0
        """Texts answered."""
        self.refused = 0
        """Texts turned away because too many waited."""
        self._name = name
        self._work = work
        self._noted = noted
        self._batch, self._limit = batch, queue
        self._changed = threading.Condition()
        self._waiting: deque[_Ask[R]] = deque()
        self._patient: deque[_Ask[R]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Start the thread; outcomes come back to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        threading.Thread(target=self._run, args=(self._loop, self._ended), name=self._name, daemon=True).start()

    async def ask(self, text: str, *, patient: bool = False) -> R:
        """Raises CacheFailure (`busy`, `not_ready` before `start` and after `stop`), and what `work` raises. Cancelled,
        it leaves the queue. `patient`: taken only when no other waits."""
        if self._loop is None or self._closing:
            raise CacheFailure(f"{self._name} is not running", code="not_ready")
        queue = self._patient if patient else self._waiting
        ask = _Ask[R](text, self._loop.create_future())
        with self._changed:
            if len(queue) >= self._limit:
                self.refused += 1
                raise CacheFailure(f"{self._limit} texts wait already", code="busy")
            queue.append(ask)
            self._changed.notify()
        try:
            return await ask.future
        except asyncio.CancelledError:
            self._leave(queue, ask)
            raise

    async def stop(self) -> None:
        """Turn away what waits, let the batch that is being embedded end, end the thread."""
        if self._ended is None:
            return
        with self._changed:
            self._closing = True
            left = [*self._waiting, *self._patient]
            self._waiting.clear()
            self._patient.clear()
            self._changed.notify()
        _fail(left, CacheFailure(f"{self._name} was stopped", code="not_ready"))
        await asyncio.shield(self._ended)

    def _leave(self, queue: deque[_Ask[R]], ask: _Ask[R]) -> None:
        with self._changed:
            if ask in queue:
                queue.remove(ask)

    def _run(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        while batch := self._take():
            try:
                outcomes = self._work([ask.text for ask in batch])
            except BaseException as failure:  # noqa: BLE001  the outermost call: nobody may wait for ever
                _call(loop, _fail, batch, failure)
            else:
                _call(loop, self._deliver, batch, outcomes)
        _call(loop, _end, ended)

    def _take(self) -> list[_Ask[R]]:
        """The next batch, once there is one; empty when it is over."""
        with self._changed:
            while not (self._waiting or self._patient or self._closing):
                self._changed.wait()
            if self._waiting:
                return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            # One by one: a request that comes meanwhile waits for one text, not for a batch.
            return [self._patient.popleft()] if self._patient else []

    def _deliver(self, batch: list[_Ask[R]], outcomes: Sequence[R]) -> None:
        self.done += len(batch)
        self._noted(len(batch))
        for ask, outcome in zip(batch, outcomes, strict=True):
            if not ask.future.done():
                ask.future.set_result(outcome)


class _Ask(Generic[R]):
    __slots__ = ("future", "text")

    def __init__(self, text: str, future: asyncio.Future[R]) -> None:
        self.text: Final = text
        self.future: Final = future


def _call(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: object) -> None:
    # A loop that was closed without `stop` has nobody left who waits.
    if not loop.is_closed():
        loop.call_soon_threadsafe(what, *arguments)


def _fail(batch: list[_Ask[R]], failure: BaseException) -> None:
    for ask in batch:
        if not ask.future.done():
            ask.future.set_exception(failure)


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
