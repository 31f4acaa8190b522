"""The figures of all workers that share a port, told by whichever of them is asked.

Fresh, because every worker is asked at that moment. Never less than before: a worker writes down what it tells before
it tells it, and what is written counts for those that cannot be asked any more (`Snapshots`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client.core import Metric

from proxy.telemetry.merging import Family, families_of, merged, metrics_of, plain, unplain
from proxy.telemetry.tasks import Tasks
from proxy.workers.exchange import ASK_S, GONE, Answer, Exchange
from proxy.workers.group import Group
from proxy.workers.snapshots import Snapshots

logger = logging.getLogger("askonce.workers")

EVERY_S: Final = 1.0
"""How often a worker writes down what nobody asked for: so much is lost of one that is killed."""


class Siblings:
    """One worker among the others. families: its own. answers: what else it may be asked, by question."""

    def __init__(
        self, group: Group, families: Callable[[], list[Metric]], answers: Mapping[str, Answer], *, tasks: Tasks
    ) -> None:
        self._group = group
        self._families = families
        self._tasks = tasks
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._snapshots = Snapshots(group.directory)
        self._exchange = Exchange(group.directory, self._name, {"figures": self._told, **answers})
        self._numbers = itertools.count()
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to be asked. Raises `OSError`."""
        await self._exchange.open()
        self._writing = self._tasks.spawn(self._keep_writing(), name="snapshots")

    async def families(self) -> list[Metric]:
        """The sums over all, as they are now."""
        own, replies = await asyncio.gather(self._written(), self._exchange.ask("figures"))
        # After all were asked: who has ended since is in what is read now.
        kept = await asyncio.to_thread(self._snapshots.read)
        living, ended = [own], [kept.ended]
        for name, reply in replies.items():
            if reply.answered and name not in kept.added:
                living.append(unplain(reply.said))
        for name, families in kept.alone.items():
            reply = replies.get(name, GONE)
            if name != self._name and not reply.answered:
                (living if reply.lives else ended).append(families)
        return metrics_of(merged(living, ended))

    async def ask(self, question: str, about: Any) -> list[Any]:
        """What all others say that answer in time."""
        replies = await self._exchange.ask(question, about)
        return [reply.said for reply in replies.values() if reply.answered]

    async def close(self) -> None:
        """The last figures, for the others."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
            await self._exchange.close()
            await self._written()
        if self._group.orphaned():
            self._group.clear()

    async def _told(self, _about: Any) -> list[Any]:
        return plain(await self._written())

    async def _written(self) -> list[Family]:
        """This worker's, once they are written down; a disk that stalls is not waited for."""
        own = families_of(self._families())
        try:
            async with asyncio.timeout(ASK_S / 2):
                await asyncio.to_thread(self._snapshots.write, self._name, own, next(self._numbers))
        except (OSError, TimeoutError) as failure:
            logger.warning("the figures of this worker cannot be kept, so they would go with it: %r", failure)
        return own

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._written()
