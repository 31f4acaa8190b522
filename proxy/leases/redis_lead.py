"""The leader's side: hold a lease, and tell the call to whoever follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from proxy.errors import AskOnceError, Overloaded
from proxy.leases import messages
from proxy.leases.base import Source
from proxy.leases.messages import Kind, Message, Seal
from proxy.redis_link.writes import Writes

RUN_MS: Final = 60_000
"""How long a run's stream outlives its last message."""


class Release(Protocol):
    """How a lease is given up."""

    def __call__(self, *, stored: bool) -> None: ...


class Run:
    """A running answer's stream, as its leader writes it.

    What comes while one piece of the body is on its way to Redis is the next piece, so that a fast stream costs no more
    than one round trip can carry.
    """

    def __init__(self, writes: Writes, seal: Seal, about: str, key: str) -> None:
        self._writes, self._seal = writes, seal
        self._about, self._key = about, key
        self._number = 0
        self._unsaid = bytearray()
        self._on_its_way: asyncio.Future[Any] | None = None

    def say(self, message: Message) -> asyncio.Future[Any]:
        """The next message, after what of the body is still to be said."""
        self.flush()
        return self._say(message)

    def alive(self) -> None:
        """Nothing new, but the leader lives."""
        self._write(Message(Kind.ALIVE))

    def add(self, body: bytes) -> None:
        """Some of the body."""
        self._unsaid += body
        if self._on_its_way is None or self._on_its_way.done():
            self.flush()

    def flush(self) -> None:
        """Say what has gathered."""
        if self._unsaid:
            body = bytes(self._unsaid)
            self._unsaid.clear()
            self._on_its_way = self._say(Message(Kind.DATA, body))
            self._on_its_way.add_done_callback(lambda _: self.flush())

    def _say(self, message: Message) -> asyncio.Future[Any]:
        said = self._write(message)
        self._number += 1
        return said

    def _write(self, message: Message) -> asyncio.Future[Any]:
        fields = self._seal.fields(self._about, self._number, message)
        said = self._writes.add(("XADD", self._key, "*", *fields), len(message.content))
        self._writes.add(("PEXPIRE", self._key, RUN_MS))
        return said


class Leader:
    """A lease that we hold (`base.Lease`). Telling a call is one more reader of its flight."""

    def __init__(self, run: Run, key: str, *, look_first: bool, over: Release) -> None:
        self.look_first = look_first
        self.key = key
        """Of the lease."""
        self.telling: asyncio.Task[None] | None = None
        """Somebody follows."""
        self._run = run
        self._over = over
        self._released = False
        self._begun = asyncio.Event()
        self._sit: Callable[[], Source] | None = None

    def lead(self, sit: Callable[[], Source]) -> None:
        """As `Lease.lead`."""
        self._sit = sit
        self._begun.set()

    def release(self, *, stored: bool) -> None:
        """As `Lease.release`. Who is telling goes on to its end."""
        if not self._released:
            self._released = True
            self._begun.set()
            self._over(stored=stored)

    def give_up(self) -> None:
        """Its replica stops: nobody shall wait for the end of this call."""
        if not self._released:
            self.release(stored=False)
            if self.telling is not None:
                self._run.say(Message(Kind.GONE))

    def alive(self) -> None:
        """Said to who follows, whatever becomes of the lease: it may be dropped while the call goes on."""
        if self.telling is not None:
            self._run.alive()

    async def tell(self) -> None:
        """Everything, from the first byte to the end."""
        await self._begun.wait()
        if self._sit is None:  # it was given up before anything was asked
            self._run.say(Message(Kind.GONE))
            return
        seat = self._sit()
        try:
            await self._tell(seat)
        except AskOnceError as error:
            self._run.say(messages.failure(error))
        finally:
            seat.leave()

    async def _tell(self, seat: Source) -> None:
        await seat.departed()
        self._refuse_overgrown(seat)
        self._run.say(messages.head(seat.status, seat.headers, streaming=seat.streaming))
        async for frame in seat.frames():
            self._refuse_overgrown(seat)
            self._run.add(frame.raw)
        ending = await seat.landed()
        stored, reason = (ending.stored, ending.reason) if ending is not None else (False, "too_large")
        self._run.say(messages.end(stored=stored, reason=reason))

    def _refuse_overgrown(self, seat: Source) -> None:
        if seat.overgrown:
            # One more reader would set the pace for callers who are slower than Redis. Who comes now asks itself.
            self.release(stored=False)
            raise Overloaded("the answer grew past server.flight_max_bytes", code="too_large")
