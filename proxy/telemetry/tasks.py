"""Every task has an owner, which keeps it until it is done and reports how it failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger("askonce.tasks")


class Tasks:
    """The tasks of one owner. asyncio itself keeps only weak references: an unheld task may vanish while it waits."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(
        self, coro: Coroutine[Any, Any, T], *, name: str, expected: type[BaseException] | None = None
    ) -> asyncio.Task[T]:
        """Start it. A failure is logged even if nobody awaits the task, unless it is of the expected kind."""
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._running.add(task)
        task.add_done_callback(partial(self._done, expected))
        return task

    def _done(self, expected: type[BaseException] | None, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not (expected is not None and isinstance(failure, expected)):
            logger.error("task %r failed", task.get_name(), exc_info=failure)

    async def drain(self, timeout_s: float) -> None:
        """Wait for all, those spawned meanwhile included; when the time is up, cancel the rest and wait for that."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._running and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._running, timeout=left)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
