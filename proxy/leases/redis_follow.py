"""The follower's side: another replica's running answer, read like an upstream's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from proxy.errors import CacheFailure, Overloaded, Unreadable, UpstreamInterrupted
from proxy.leases import messages
from proxy.leases.messages import Kind, Message, Seal
from proxy.redis_link.link import Link
from proxy.telemetry.tracing.off import NO_SPAN
from proxy.types import CallSpan, Pairs

ROOM_BYTES: Final = 1 << 20
"""What may be here unread. What comes after it stays in Redis until there is room."""

LOOKS: Final = 10
"""How often in the time after which a holder is gone a follower that hears nothing looks around."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: who is not heard for `ttl_s` and holds no lease is gone, and so is who is not heard for twice that. For
    an answer to begin `wait_s` is waited."""

    ttl_s: float
    wait_s: float


class Follower:
    """`base.Running`. The listener puts messages in, one flight takes them out."""

    def __init__(
        self,
        link: Link,
        seal: Seal,
        token: str,
        *,
        run: bytes,
        lease: str,
        patience: Patience,
        leave: Callable[[bytes], None],
    ) -> None:
        self.status = 0
        self.headers: Pairs = ()
        self.length: int | None = None
        self.origin = ""
        self.span: CallSpan = NO_SPAN
        self.streaming = False
        self.stored = False
        self.reason = ""
        self.useless = False
        self.run = run
        """Key of the stream."""
        self.place = "0-0"
        """How far of the stream is heard."""
        self._link, self._seal = link, seal
        self._token, self._lease = token, lease
        self._about = about(lease, token)
        self._patience = patience
        self._leave = leave
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._number = 0
        self._news = asyncio.Event()
        self._body: deque[bytes] = deque()
        self._over = False
        """Its end was taken out."""

    # -- the listener's side -----------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether it can take more."""
        return self._bytes < ROOM_BYTES

    def take_in(self, entries: list[tuple[bytes, list[bytes]]]) -> None:
        """Entries of the stream, in order."""
        for place, pairs in entries:
            self.place = place.decode()
            try:
                message = self._seal.opened(self._about, self._number, pairs)
            except Unreadable:
                message = Message(Kind.GONE)  # not of its holder, or something is missing: no further
            self.hear(message)

    def hear(self, message: Message) -> None:
        """The next one."""
        self._news.set()
        if message.kind is not Kind.ALIVE:
            self._number += 1
            self._messages.append(message)
            self._bytes += len(message.content)

    # -- the flight's side -------------------------------------------------------------------------------------------

    async def begun(self) -> bool:
        """As `Running.begun`."""
        try:
            async with asyncio.timeout(self._patience.wait_s) as limit:
                while not self._over and not (self.streaming and self._body):
                    if not await self._take_one():
                        return False
                    if self.status:
                        limit.reschedule(None)  # its head is here: from now on it takes the time it takes
        except TimeoutError:
            self.useless = True
            return False
        except Overloaded:
            return False  # it was given up, or is too large to be told: nothing of it was passed on
        return True

    async def ended(self) -> bool:
        """As `Running.ended`."""
        try:
            while not self._over:
                if not await self._take_one():
                    return False
                self._body.clear()
        except Overloaded:
            return False
        return True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._body:
                yield self._body.popleft()
            if self._over:
                return
            if not await self._take_one():
                raise UpstreamInterrupted("the replica that asked the upstream is gone", code="leader_lost")

    async def aclose(self) -> None:
        """As `Running.aclose`."""
        self._leave(self.run)

    async def _take_one(self) -> bool:
        """The next message, taken in. False: there is none, and none will come. Raises what the call failed with."""
        if not self._messages and not await self._hears_more():
            return False
        message = self._messages.popleft()
        self._bytes -= len(message.content)
        match message.kind:
            case Kind.HEAD:
                self.status, self.headers, self.streaming = messages.read_head(message)
            case Kind.DATA:
                self._body.append(message.content)
            case Kind.END:
                self.stored, self.reason = messages.read_end(message)
                self._over = True
            case Kind.ERROR:
                raise messages.read_failure(message)
            case Kind.GONE | Kind.ALIVE:  # the latter is never kept
                return False
        return True

    async def _hears_more(self) -> bool:
        """Until there is a message. False: its holder is gone."""
        time, ttl_s = asyncio.get_running_loop().time, self._patience.ttl_s
        heard = time()
        while not self._messages:
            self._news.clear()
            try:
                async with asyncio.timeout(ttl_s / LOOKS):
                    await self._news.wait()
                heard = time()
            except TimeoutError:
                silent_s = time() - heard
                # While it holds its lease, who gives up would only be told to follow it again.
                if silent_s >= 2 * ttl_s or (silent_s >= ttl_s and not await self._is_held()):
                    return bool(self._messages)
        return True

    async def _is_held(self) -> bool:
        try:
            [holder] = await self._link.run([("GET", self._lease)])
        except CacheFailure:
            return False
        return bool(holder == self._token.encode())


def about(lease: str, token: str) -> str:
    """What a run's messages are sealed with: the question, by the key of its lease, and whose call it is."""
    return f"{lease} {token}"
