"""Tests of the leases, and what they share: replicas on one Redis, and a call whose course the test decides."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from itertools import count
from typing import Any

from proxy.errors import AskOnceError, CacheFailure
from proxy.flights import Bounds, Flight, Landing, Seat
from proxy.leases.base import Lease, Running
from proxy.leases.messages import Seal
from proxy.leases.redis import RedisLeases
from proxy.redis_link.client import Access, connect
from proxy.redis_link.link import Link
from proxy.redis_link.writes import Writes
from proxy.settings.redis_address import RedisAddress
from proxy.telemetry.tasks import Tasks
from proxy.types import Digest, Frame, Pairs

SECRET = b"a secret of this test installation"

SOON_S = 0.5
"""A lease's time where its end is waited for."""

HEADERS: Pairs = ((b"content-type", b"text/event-stream"), (b"x-name", b"caf\xe9"))


def name_of(number: int) -> Digest:
    """Spread like a MAC."""
    return Digest(hashlib.sha256(number.to_bytes(8, "big")).digest()[:16])


NAME, OTHER = name_of(1), name_of(2)

_names = count(1)


class Replica:
    """One process' part in it, with connections of its own."""

    def __init__(self, url: str, *, secret: bytes = SECRET, ttl_s: float = 60.0, wait_s: float = 60.0) -> None:
        self.name = f"replica{next(_names)}"
        self.generation = 1
        self.tasks = Tasks()
        self.link = Link(
            connect(Access(RedisAddress.parse(url), connect_timeout_s=5.0)),
            limit_s=5.0,
            connections=4,
            breaker_failures=3,
            shown="the tests' Redis",
        )
        self.writes = Writes(self.link, self.tasks, 64 << 20)
        self.leases = RedisLeases(
            self.link,
            self.writes,
            Seal(secret),
            prefix="askonce",
            replica=self.name,
            generation=lambda: self.generation,
            tasks=self.tasks,
            ttl_s=ttl_s,
            wait_s=wait_s,
            retry_s=0.01,
        )

    async def __aenter__(self) -> Replica:
        await self.link.run([("PING",)], probe=True)
        await self.leases.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leases.close()
        with suppress(CacheFailure):
            await self.written()
        await self.die()
        await self.link.close()

    async def die(self) -> None:
        """As a killed process: nothing more is done, and nothing is said."""
        await self.tasks.drain(0)

    async def lead(self, name: Digest = NAME, **call: Any) -> tuple[Lease, Call]:
        """Take the lease and begin a call."""
        lease = (await self.leases.take(name)).lease
        assert lease is not None
        led = Call(name, **call)
        lease.lead(led.sit)
        return lease, led

    async def follow(self, name: Digest = NAME) -> Running:
        """Take what another's lease gives."""
        running = (await self.leases.take(name)).running
        assert running is not None
        return running

    async def redis(self, *command: Any) -> Any:
        """What Redis says to one command."""
        [reply] = await self.link.run([command])
        return reply

    async def holder(self, name: Digest = NAME) -> bytes | None:
        """What stands in the lease's key."""
        found: bytes | None = await self.redis("GET", self.lease_key(name))
        return found

    def lease_key(self, name: Digest = NAME) -> str:
        return f"{{askonce}}:1:lease:{self.generation:x}:{name.hex()}"

    async def written(self) -> None:
        """Until what waits to be written is."""
        await self.writes.add(("PING",))


class Call:
    """A flight whose work the test does by hand."""

    def __init__(self, name: Digest = NAME, *, streaming: bool = True, max_bytes: int = 1 << 24) -> None:
        bounds = Bounds(max_bytes, max_age_s=300, max_listeners=100, unstorable_s=30)
        self.flight = Flight(name, streaming=streaming, bounds=bounds, born=0)

    def sit(self) -> Seat:
        return self.flight.sit(shared=True)

    def departs(self, status: int = 200, headers: Pairs = HEADERS) -> None:
        self.flight.depart(status, headers)

    def says(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.flight.add(Frame(piece, quiet=b""))

    def lands(self, *, stored: bool = True, reason: str = "") -> None:
        self.flight.land(Landing(None, stored=stored, reason=reason))

    def fails(self, error: AskOnceError) -> None:
        self.flight.fail(error)

    async def heard(self, readers: int = 1) -> None:
        """Until so many read it."""
        while len(self.flight._seats) < readers:
            await asyncio.sleep(0.001)


class Reading:
    """What comes of a running answer, piece by piece."""

    def __init__(self, running: Running) -> None:
        self._pieces = aiter(running)
        self.seen = b""

    async def until(self, marker: bytes) -> bytes:
        """Read on until this was seen; gives all there was so far."""
        while marker not in self.seen:
            self.seen += await anext(self._pieces)
        return self.seen

    async def rest(self) -> bytes:
        """Read to the end; gives all of it."""
        async for piece in self._pieces:
            self.seen += piece
        return self.seen
