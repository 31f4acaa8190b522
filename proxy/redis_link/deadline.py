"""A time limit that a busy event loop does not shorten."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

_SECOND_LOOK_S: Final = 0.002


class Deadline:
    """`async with Deadline(0.1):` raises TimeoutError where the block takes longer.

    `asyncio.timeout` measures the loop as much as what is waited for: a loop that was held up for 150 ms comes to its
    timers before it comes to the reply that has been in the socket's buffer for 149. So when the time is up this one
    lets the loop look at its sockets once more before it gives up.
    """

    __slots__ = ("_cancelled_before", "_handle", "_late", "_limit_s", "_loop", "_task")

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._late = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type: a coroutine always runs in a task
        self._task = task
        self._cancelled_before = task.cancelling()  # by somebody else: this block is its cleaning up
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(self._limit_s, self._time_is_up)
        return self

    def _time_is_up(self) -> None:
        self._handle = self._loop.call_later(_SECOND_LOOK_S, self._give_up)

    def _give_up(self) -> None:
        self._late = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._handle.cancel()
        # As in `asyncio.timeout`: who else cancelled us meanwhile must be heard.
        only_us = self._late and self._task.uncancel() <= self._cancelled_before
        if only_us and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
