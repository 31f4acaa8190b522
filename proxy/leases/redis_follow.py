"""The follower's side: another replica's running answer, read like an upstream's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from proxy.errors import AskOnceError, CacheFailure, Overloaded, Unreadable, UpstreamInterrupted
from proxy.leases import messages
from proxy.leases.messages import Kind, Message, Seal
from proxy.redis_link.link import Link
from proxy.types import Pairs

ROOM_BYTES: Final = 1 << 20
"""What may be here unread. What comes after it stays in Redis until there is room."""

OVER: Final = (b"-", b"~")
"""What a lease's key holds for a while after it was released."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: without a sign of the holder it is gone after `ttl_s`; for its answer to begin `wait_s` is waited."""

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
        leave: Callable[[bytes, None], object],
    ) -> None:
        self.status = 0
        self.headers: Pairs = ()
        self.length: int | None = None
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
                message = self._seal.opened(self._token, self._number, pairs)
            except Unreadable:
                message = Message(Kind.GONE)  # not of its holder, or something is missing: no further
            self._number += 1
            self.hear(message)

    def hear(self, message: Message) -> None:
        """The next one."""
        self._messages.append(message)
        self._bytes += len(message.content)
        self._news.set()

    # -- the flight's side -------------------------------------------------------------------------------------------

    async def begun(self) -> bool:
        """As `Running.begun`."""
        until = asyncio.get_running_loop().time() + self._patience.wait_s
        while not self._over:
            if self.status and self.streaming and self._body:
                return True
            left = until - asyncio.get_running_loop().time()
            # What streams has begun when its head is here: from then on it takes the time it takes.
            if left <= 0 and not self.status:
                self.useless = True
                return False
            if not await self._take_one():
                return False
        return True

    async def ended(self) -> bool:
        """As `Running.ended`."""
        while not self._over:
            if not await self._take_one():
                return False
            self._body.clear()
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
        self._leave(self.run, None)

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
                return self._failed(messages.read_failure(message))
            case Kind.GONE:
                return False
        return True

    def _failed(self, error: AskOnceError) -> bool:
        if isinstance(error, Overloaded):
            return False  # a holder that shuts down is as good as gone
        raise error

    async def _hears_more(self) -> bool:
        """Until there is a message. False: its holder is gone."""
        over_before = False
        while not self._messages:
            self._news.clear()
            try:
                async with asyncio.timeout(self._patience.ttl_s / 3):
                    await self._news.wait()
            except TimeoutError:
                holder = await self._holder()
                over = holder in OVER
                if not over and holder != self._token.encode():
                    return bool(self._messages)
                if over and over_before:  # released, and its end did not reach us
                    return bool(self._messages)
                over_before = over
        return True

    async def _holder(self) -> bytes | None:
        try:
            [holder] = await self._link.run([("GET", self._lease)])
        except CacheFailure:
            return None
        return None if isinstance(holder, ResponseError) else holder
