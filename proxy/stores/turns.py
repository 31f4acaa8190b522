"""What is asked within one turn of the event loop, fetched together.

Sixteen requests that arrive in one turn cost one thread hop (SQLite) or one round trip (Redis), not sixteen.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_Asked = dict[K, list["asyncio.Future[V | None]"]]


class TurnGather(Generic[K, V]):
    """Batches look-ups by turn; several batches may be in flight.

    fetch: takes the keys of a turn, each once, and gives a future of what was found (a task is one); a key that is
    not in the mapping is answered None. What it raises reaches every waiter of that batch.
    at_most: batches in flight; while there are so many, what is asked waits and becomes one batch.
    most_keys: of one batch; what is more is the next one.
    """

    def __init__(
        self,
        fetch: Callable[[list[K]], asyncio.Future[Mapping[K, V]]],
        at_most: int = sys.maxsize,
        most_keys: int = sys.maxsize,
    ) -> None:
        self._fetch = fetch
        self._turn: _Asked[K, V] = {}
        self._room = at_most
        self._most_keys = most_keys

    async def get(self, key: K) -> V | None:
        """The value of one key, fetched with whatever else this turn asks."""
        loop = asyncio.get_running_loop()
        if not self._turn and self._room:
            loop.call_soon(self._send)
        # A future for each waiter, not one for the batch: cancelling a task cancels the future it waits on.
        waiter: asyncio.Future[V | None] = loop.create_future()
        self._turn.setdefault(key, []).append(waiter)
        return await waiter

    def _send(self) -> None:
        while self._turn and self._room:
            self._send_one(self._next())

    def _next(self) -> _Asked[K, V]:
        asked, self._turn = self._turn, {}
        if len(asked) > self._most_keys:
            for key in list(asked)[self._most_keys :]:
                self._turn[key] = asked.pop(key)
        return asked

    def _send_one(self, asked: _Asked[K, V]) -> None:
        try:
            batch = self._fetch(list(asked))
        except BaseException as failure:
            _fail(asked, failure)
            raise
        self._room -= 1
        batch.add_done_callback(partial(_deliver, asked))
        batch.add_done_callback(self._landed)

    def _landed(self, _batch: asyncio.Future[Mapping[K, V]]) -> None:
        self._room += 1
        self._send()


def _deliver(asked: _Asked[K, V], batch: asyncio.Future[Mapping[K, V]]) -> None:
    if batch.cancelled():
        return _fail(asked, asyncio.CancelledError())
    failure = batch.exception()
    if failure is not None:
        return _fail(asked, failure)
    found = batch.result()
    for key, waiters in asked.items():
        value = found.get(key)
        for waiter in waiters:
            if not waiter.done():  # a cancelled one
                waiter.set_result(value)
    return None


def _fail(asked: _Asked[K, V], failure: BaseException) -> None:
    for waiters in asked.values():
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(failure)
