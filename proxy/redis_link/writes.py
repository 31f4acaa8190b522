"""What is written to Redis behind the request's back: in order, batched, bounded.

While one batch is on its way what comes in is the next one: under load a hundred writes are one round trip, and alone
a write leaves at once. Order is kept from one batch to the next, and within one on a single server; on a Cluster the
commands of a batch run side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from redis.exceptions import ResponseError

from proxy.errors import CacheFailure
from proxy.redis_link.client import Reply
from proxy.redis_link.link import Link
from proxy.redis_link.script import Command
from proxy.telemetry.tasks import Tasks

MOST_AT_ONCE: Final = 128
"""Commands of one batch: so few that it fits in the deadline on a slow wire."""

MOST_BYTES_AT_ONCE: Final = 1 << 20


class _Write(NamedTuple):
    command: Command
    weight: int
    done: asyncio.Future[Reply]


class Writes:
    """A queue that empties itself.

    limit_bytes: what may wait; a write beyond is refused.
    """

    def __init__(self, link: Link, tasks: Tasks, limit_bytes: int) -> None:
        self._link = link
        self._tasks = tasks
        self._limit = limit_bytes
        self._waiting: list[_Write] = []
        self._sent: list[_Write] = []
        """The batch that is on its way."""
        self._bytes = 0
        self._busy = False

    def has_room_for(self, weight: int) -> bool:
        """Whether a write of so many bytes may be added."""
        return self._bytes + weight <= self._limit

    def add(self, command: Command, weight: int = 0) -> asyncio.Future[Reply]:
        """Have it written. The future brings its reply; it fails with `CacheFailure` where there is none, and with
        redis-py's `ResponseError` where Redis refuses. Nobody has to look at it."""
        done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_looked_at)
        self._waiting.append(_Write(command, weight, done))
        self._bytes += weight
        if not self._busy:
            self._busy = True
            self._tasks.spawn(self._empty(), name="redis writes")
        return done

    async def settled(self) -> None:
        """Wait until all that was added so far is through, or has failed."""
        if under_way := [write.done for write in (*self._sent, *self._waiting)]:
            await asyncio.wait(under_way)

    async def _empty(self) -> None:
        try:
            while self._waiting:
                self._sent = self._next()
                await self._send(self._sent)
        finally:
            # Cancelled, when something is left: nobody will send it.
            for write in (*self._sent, *self._waiting):
                write.done.cancel()
            self._sent, self._waiting, self._bytes, self._busy = [], [], 0, False

    def _next(self) -> list[_Write]:
        """As many as may go at once, one at least."""
        size = count = 0
        for write in self._waiting[:MOST_AT_ONCE]:
            size += write.weight
            if count and size > MOST_BYTES_AT_ONCE:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _send(self, batch: Sequence[_Write]) -> None:
        try:
            replies = await self._link.run([write.command for write in batch])
        except CacheFailure as failure:
            replies = [failure] * len(batch)
        self._bytes -= sum(write.weight for write in batch)
        for write, reply in zip(batch, replies, strict=True):
            if write.done.done():
                continue
            if isinstance(reply, CacheFailure | ResponseError):
                write.done.set_exception(reply)
            else:
                write.done.set_result(reply)


def _looked_at(done: asyncio.Future[Reply]) -> None:
    """A failure that nobody asks after is no news: the link has counted it."""
    if not done.cancelled():
        done.exception()
