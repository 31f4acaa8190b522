"""Three servers in processes of their own, under load: one is killed, one hangs, one is slow, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxy.errors import UpstreamError, UpstreamInterrupted
from proxy.types import Call
from proxy.upstream.balancing.least_loaded import LeastLoaded
from proxy.upstream.kinds.base import Condition, Wire
from tests.upstream.fleets import Scripted, ScriptedKind, scripted, until
from tests.upstream.processes import Server, Three, servers
from tests.upstream.server_process import plain, streamed

__all__ = ["servers"]

CALLERS = 12


class Models(ScriptedKind):
    """Well if it lists its models."""

    async def look(self, wire: Wire) -> Condition:
        status, _ = await wire.get("/models")
        return Condition(well=status < 500)


@dataclass
class Load:
    """Callers who ask one question after the other, plainly and for streams in turn."""

    fleet: Scripted
    served: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    """Origins of streams that ended in their middle: nothing can be done for them."""
    over: bool = False

    @contextmanager
    def going(self) -> Iterator[None]:
        callers = [asyncio.create_task(self._caller(number)) for number in range(CALLERS)]
        self._callers = callers
        try:
            yield
        finally:
            for caller in callers:
                caller.cancel()

    async def ends(self) -> None:
        self.over = True
        await asyncio.gather(*self._callers)

    async def serves(self, count: int, *servers: Server) -> None:
        """Until each of them has answered so many more."""
        before = self.served.copy()
        await until(lambda: all(self.served[each.origin] >= before[each.origin] + count for each in servers))

    async def _caller(self, number: int) -> None:
        stream = bool(number % 2)
        while not self.over:
            await self._call(stream=stream)
            stream = not stream

    async def _call(self, *, stream: bool) -> None:
        body = json.dumps({"stream": stream}).encode()
        try:
            reply = await self.fleet.fleet.send(Call("POST", "/chat/completions", (), body, stream, repeatable=True))
        except UpstreamError as error:
            self.failed.append(repr(error))
            return
        told = b""
        try:
            async for piece in reply:
                told += piece
        except UpstreamInterrupted as error:
            (self.cut if stream else self.failed).append(reply.origin if stream else repr(error))
            return
        port = int(reply.origin.rpartition(":")[2])
        expected = b"".join(streamed(port)) if stream else plain(port)
        if (reply.status, told) != (200, expected):
            self.failed.append(f"{reply.status} {told!r}")
        self.served[reply.origin] += 1


async def test_no_call_fails_while_one_of_three_is_well(servers: Three) -> None:
    killed, hanging, slow = servers
    for server in servers:
        await server.listening()
    urls = [server.url for server in servers]
    limits = {"health_interval_s": 0.05, "health_timeout_s": 0.5}
    async with scripted(*urls, kind=Models(), balancer=LeastLoaded(), limits=limits) as fleet:
        load = Load(fleet)
        with load.going():
            await load.serves(10, killed, hanging, slow)

            await until(lambda: fleet.in_flight[0] > 0)
            killed.kill()
            await load.serves(10, hanging, slow)
            await until(lambda: fleet.states[0] == "failing")

            await until(lambda: fleet.in_flight[1] > 0)
            hanging.signal(signal.SIGSTOP)
            await until(lambda: fleet.states[:2] == ["failing", "failing"])
            await load.serves(20, slow)
            assert fleet.states == ["failing", "failing", "well"]

            hanging.signal(signal.SIGCONT)
            killed.start()
            await until(lambda: fleet.states == ["well", "well", "well"])
            await load.serves(10, killed, hanging, slow)
            await load.ends()
        assert load.failed == []
        assert set(load.cut) <= {killed.origin}
        whys = {why for _, why in fleet.counts.retried}
        assert "failing" in whys
        assert whys & {"interrupted", "connect"}
        assert fleet.in_flight == [0, 0, 0]
