"""An index on a Redis, with the answers that its points are of: what the store does with them, it does too."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import ResponseError

from proxy.errors import CacheFailure
from proxy.redis_link import keys
from proxy.redis_link.link import Link
from proxy.redis_link.script import Script
from proxy.redis_link.writes import Writes
from proxy.telemetry.tasks import Tasks
from proxy.types import Digest
from proxy.vectors.base import Point
from proxy.vectors.redis import RedisIndex
from tests.redis_link import PATIENT_S, link_to
from tests.vectors import BEGIN, DIMENSIONS, Clock

SECRET = bytes(range(32))
PREFIX = "askonce"
KEPT_MS = 3_600_000

CONNECT_S = 0.2
"""To a server that is stalled on purpose."""

PUT = Script("redis.call('HSET', KEYS[1], 'frame', 'x', 'model', ARGV[1]) redis.call('PEXPIRE', KEYS[1], ARGV[2])")


class RedisPoints(RedisIndex):
    """Looks at its index often. Its link is probed when it is opened, and then when the test says so."""

    def __init__(self, url: str, *, connect_timeout_s: float = PATIENT_S, **other: Any) -> None:
        self.link: Link = link_to(url, connect_timeout_s=connect_timeout_s)
        self.writes = Writes(self.link, Tasks(), 1 << 26)
        self.link.learn(PUT)
        given: dict[str, Any] = {
            "prefix": PREFIX,
            "identity": "model-a/test",
            "dimensions": DIMENSIONS,
            "secret": SECRET,
            "tasks": Tasks(),
            "look_s": 0.01,
            "retry_s": 0.01,
            "clock": Clock(BEGIN),
        }
        super().__init__(self.link, self.writes, **given | other)

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

    async def opened(self) -> RedisPoints:
        """Open, and the index is there."""
        await self.open()
        await self.settled()
        return self

    async def settled(self) -> None:
        """And Redis has gone through all that was there when it made the index: meanwhile it takes some out again."""
        await super().settled()
        while await self._fills():
            await asyncio.sleep(0.005)

    async def _fills(self) -> bool:
        [told] = await self.link.run([("FT.INFO", self._names.index)])
        return not isinstance(told, ResponseError) and bool(told[told.index(b"indexing") + 1])

    async def put(self, point: Point) -> None:
        """The answer of a point."""
        self.writes.add(PUT.call([key_of(point.name, point.generation)], point.model, KEPT_MS))

    async def add(self, point: Point) -> bool:
        """Of an answer that is there."""
        await self.put(point)
        return await super().add(point)

    async def add_only(self, point: Point) -> bool:
        """Whether its answer is there or not."""
        return await super().add(point)

    async def purge(self, generation: int) -> None:
        """With the store's sweep."""
        await super().purge(generation)
        async for found in self.link.scan(keys.pattern(PREFIX)):
            for key in found:
                if int(key.split(b":")[2], 16) < generation:
                    await self.link.run([("UNLINK", key)])

    async def close(self) -> None:
        await super().close()
        await self.writes.settled()
        await self.link.close()


def key_of(name: Digest, generation: int = 0) -> str:
    return keys.of(PREFIX, generation, name)
