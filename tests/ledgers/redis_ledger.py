"""A ledger on a Redis with a link of its own, that is probed when it is opened and then when the test says so."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.errors import CacheFailure
from proxy.ledgers.redis import RedisLedger
from proxy.redis_link.link import Link
from tests.redis_link import PATIENT_S, link_to

SECRET = bytes(range(32))
PREFIX = "askonce"

CONNECT_S = 0.2
"""To a server that is stalled on purpose."""


class OwnLedger(RedisLedger):
    """One replica's."""

    def __init__(self, url: str, *, connect_timeout_s: float = PATIENT_S, **other: Any) -> None:
        self.link: Link = link_to(url, connect_timeout_s=connect_timeout_s)
        super().__init__(self.link, **{"prefix": PREFIX, "secret": SECRET} | other)

    async def open(self) -> None:
        await self.probe()
        await super().open()

    async def probe(self) -> None:
        """What the store's pulse does."""
        await self.link.run([("PING",)], probe=True)

    async def back(self) -> None:
        """Until Redis answers again."""
        while not self.link.breaker.closed:
            try:
                await self.probe()
            except CacheFailure:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await super().close()
        await self.link.close()
