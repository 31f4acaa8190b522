"""AskOnce before three servers in processes of their own, under load: one is killed, one hangs, one is slow, and no
caller sees an error."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.provider import DONE
from tests.running import Running, Start, said
from tests.upstream.processes import Server, Three, servers

__all__ = ["servers"]

CALLERS = 12


@dataclass
class Crowd:
    """Callers who ask new questions and old ones, plainly and for streams in turn."""

    proxy: Running
    served: Counter[str] = field(default_factory=Counter)
    """Answers by the port of the server that made them."""
    hits: int = 0
    failed: list[str] = field(default_factory=list)
    cut: int = 0
    """Streams that broke off in their middle: their server was killed, and nothing can be done for them."""
    over: bool = False
    callers: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        numbers = itertools.count(10)
        self.callers = [asyncio.create_task(self.ask(numbers)) for _ in range(CALLERS)]

    async def end(self) -> None:
        self.over = True
        await asyncio.gather(*self.callers)

    async def ask(self, numbers: Iterator[int]) -> None:
        while not self.over:
            number = next(numbers)
            seed = number if number % 5 else number - 26  # one that was answered by then
            await self._one(seed, stream=bool(number % 2))

    async def _one(self, seed: int, *, stream: bool) -> None:
        try:
            answer = await self.proxy.chat({"x-stainless-read-timeout": "600"}, seed=seed, stream=stream)
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if stream and b"stream_interrupted" in answer.content:
            self.cut += 1
        elif answer.status_code != 200 or (stream and not answer.content.endswith(DONE)):
            self.failed.append(f"{answer.status_code} {answer.text}")
        else:
            self.served[said(answer)] += 1
            self.hits += answer.headers["x-cache"] == "hit"

    async def serves(self, count: int, *servers: Server) -> None:
        """Until each of them has made so many more answers."""
        before = self.served.copy()
        ports = [str(server.port) for server in servers]
        while any(self.served[port] < before[port] + count for port in ports):
            broken = [caller for caller in self.callers if caller.done()]
            await asyncio.gather(*broken)  # a mistake of this test's own is said, not waited for
            await asyncio.sleep(0.01)


async def states(proxy: Running) -> list[str]:
    figures: dict[str, Any] = (await proxy.http.get("/admin/stats")).json()
    return [endpoint["state"] for endpoint in figures["endpoints"]]


async def until(proxy: Running, *wanted: str) -> None:
    while await states(proxy) != list(wanted):
        await asyncio.sleep(0.02)


async def test_no_caller_sees_an_error_while_one_of_three_is_well(askonce: Start, servers: Three) -> None:
    killed, hanging, slow = servers
    for server in servers:
        await server.listening()
    flags = {
        "upstreams.0.base_url": [server.url for server in servers],
        "upstreams.0.health_interval": 0.05,
        "upstreams.0.health_timeout": 0.5,
    }
    async with askonce(flags) as proxy:
        crowd = Crowd(proxy)
        crowd.begin()
        await crowd.serves(10, killed, hanging, slow)

        killed.kill()
        await crowd.serves(10, hanging, slow)
        await until(proxy, "failing", "well", "well")

        hanging.signal(signal.SIGSTOP)
        await until(proxy, "failing", "failing", "well")
        await crowd.serves(20, slow)
        ready = (await proxy.http.get("/readyz")).json()
        assert ready["status"] == "degraded"
        assert ready["upstreams"][0]["detail"].count("127.0.0.1") == 2

        hanging.signal(signal.SIGCONT)
        killed.start()
        await until(proxy, "well", "well", "well")
        await crowd.serves(10, killed, hanging, slow)
        await crowd.end()

        assert crowd.failed == []
        assert crowd.hits > 0
        # At most those that the killed server was streaming to when it died.
        assert crowd.cut <= CALLERS
        assert await proxy.metric("askonce_upstream_retries_total", upstream="openai", why="failing") > 0
        assert await proxy.metric("askonce_upstream_endpoint_in_flight", upstream="openai") == 0
