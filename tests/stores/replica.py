"""One replica's store on a Redis, as the composition root puts it together, with what a test wants to look at."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

from proxy.redis_link.link import Link
from proxy.redis_link.writes import Writes
from proxy.stores.redis import RedisStore
from proxy.stores.redis_pulse import Pulse
from proxy.telemetry.tasks import Tasks
from proxy.types import Beat
from tests.redis_link import PATIENT_S, link_to
from tests.stores import SECRET, Clock, codec

RARELY_S = 3600.0
"""How often is never, in a test."""


class StoreReplica(AbstractAsyncContextManager["StoreReplica"]):
    """`async with StoreReplica(url) as replica:` beats only when it opens and when the test says so, unless `poll_s`
    says otherwise."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        steady: Clock | None = None,
        max_body: int = 1 << 20,
        secret: bytes = SECRET,
        backlog: int = 1 << 26,
        limit_s: float = PATIENT_S,
        **options: Any,
    ) -> None:
        self.clock, self.steady = clock or Clock(), steady or Clock()
        self.link: Link = link_to(url, limit_s=limit_s)
        self.tasks = Tasks()
        self.writes = Writes(self.link, self.tasks, backlog)
        self.codec = codec(max_body)
        given: dict[str, Any] = {
            "prefix": "askonce",
            "at_once": 4,
            "poll_s": RARELY_S,
            "retry_s": RARELY_S,
            "max_silence_s": RARELY_S,
        }
        given |= options
        pulse = Pulse(self.link, given["prefix"], secrets.token_hex(4))
        parts = (self.link, self.codec, self.writes, pulse)
        self.store = RedisStore(*parts, tasks=self.tasks, secret=secret, clock=self.clock, steady=self.steady, **given)
        self.beats: list[Beat] = []
        self.store.heard.append(self._hear)
        self._news = asyncio.Event()

    async def _hear(self, beat: Beat) -> None:
        self.beats.append(beat)
        self._news.set()

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.store.close()

    async def written(self) -> None:
        """Until nothing waits to be written."""
        await self.writes.settled()

    async def hears(self, wanted: Callable[[Beat], bool]) -> Beat:
        """The first beat from now on that is as wanted; for a store that beats by itself."""
        seen = len(self.beats)
        while True:
            for beat in self.beats[seen:]:
                if wanted(beat):
                    return beat
            seen = len(self.beats)
            self._news.clear()
            await self._news.wait()
