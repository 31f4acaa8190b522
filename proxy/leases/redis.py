"""Leases in Redis, and running answers in its streams.

    {prefix}:1:lease:{generation}:{name}   string   the holder's token; `-` or `~` for a while after it is over
    {prefix}:1:in:{replica}                stream   who wants to follow one of this replica's calls
    {prefix}:1:run:{token}                 stream   a running answer, once somebody wants to follow it

All of them share a hash slot. One connection listens for everything, the running answers that are followed included.

    replica A                             Redis                              replica B
    take: holds the lease                 lease = A.1
    asks the upstream                                                        take: A.1 has it
                                          in:A += follow A.1                 listens to run:A.1
    hears it; from now on one more        run:A.1 += head, data, data ...    passes it on as it comes
    reader of its flight tells all
    stores the answer, releases           lease = `-` for some seconds
                                          run:A.1 += end                     ends its own flight

A call that nobody follows costs one round trip before it and one write behind it. While the holder lives it renews its
leases three times in their time, and says so in the streams; when it dies they end by themselves, and whoever followed
takes them. A lease that was lost on the way (dropped, evicted) ends nothing for those who follow already. Who finds `-`
where a lease was looks at the store once more: between its look-up and now the answer came in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

from redis.exceptions import ResponseError

from proxy.errors import CacheFailure
from proxy.leases.base import NOBODY, Taken
from proxy.leases.messages import Kind, Message, Seal
from proxy.leases.redis_follow import Follower, Patience, about
from proxy.leases.redis_lead import Leader, Run
from proxy.redis_link.link import Link
from proxy.redis_link.script import Command, Script, Word
from proxy.redis_link.writes import Writes
from proxy.telemetry.tasks import Tasks
from proxy.types import Digest

logger = logging.getLogger("askonce.leases")

TAKE = Script("""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= '-' and held ~= '~' then return {held, 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {ARGV[1], held == '-' and 1 or 0}
""")
"""KEYS: the lease. ARGV: our token, milliseconds. Who has it now, and whether an answer was stored a moment ago."""

RENEW = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
""")

RELEASE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 0
""")
"""KEYS: the lease. ARGV: our token, the mark that stays, milliseconds."""

STORED: Final = b"-"
"""Mark of a lease that ended with a stored answer."""

ENDED: Final = b"~"
"""Mark of one that ended otherwise."""

MARK_MS: Final = 5000
"""How long a mark stays: longer than a look-up, and what comes between it and taking the lease, may last."""

INBOX_MS: Final = 60_000
INBOX_LENGTH: Final = 10_000
LISTEN_MS: Final = 2000
MESSAGES_AT_ONCE: Final = 256
FOLLOWED_LATELY: Final = 1000


class RedisLeases:
    """Leases that replicas share.

    replica: this process' own name, random.
    generation: the store's: a purge of everything ends what is being asked, for those who come after it.
    ttl_s: a holder that is not heard of for so long is gone.
    wait_s: how long another's answer is waited for until it begins.
    retry_s: pause after Redis could not be heard.
    """

    def __init__(
        self,
        link: Link,
        writes: Writes,
        seal: Seal,
        *,
        prefix: str,
        replica: str,
        generation: Callable[[], int],
        tasks: Tasks,
        ttl_s: float,
        wait_s: float,
        retry_s: float,
    ) -> None:
        self._link, self._writes, self._seal, self._tasks = link, writes, seal, tasks
        self._prefix, self._replica = f"{{{prefix}}}:1", replica
        self._generation = generation
        self._ttl_ms = int(ttl_s * 1000)
        self._patience = Patience(ttl_s, wait_s)
        self._ttl_s, self._retry_s = ttl_s, retry_s
        self._numbers = count(1)
        self._held: dict[str, Leader] = {}
        """By token: what we ask, or what is still told to followers."""
        self._followed: dict[bytes, Follower] = {}
        """By the key of the stream."""
        self._left: deque[bytes] = deque(maxlen=FOLLOWED_LATELY)
        """Streams that were followed."""
        self._heard = "0-0"
        self._background: list[asyncio.Task[None]] = []
        link.learn(TAKE, RENEW, RELEASE)

    async def open(self) -> None:
        """Listen, and keep what we hold."""
        self._background = [
            self._tasks.spawn(self._listen(), name="redis listener"),
            self._tasks.spawn(self._renew(), name="redis leases"),
        ]

    async def take(self, name: Digest) -> Taken:
        """As `Leases.take`: one round trip, and none where the last one failed: nobody shall wait for Redis twice."""
        if self._link.breaker.wavers:
            return NOBODY
        token = f"{self._replica}.{next(self._numbers)}"
        key = self._lease_key(name)
        try:
            [taken] = await self._link.run([TAKE.call([key], token, self._ttl_ms)])
        except CacheFailure:
            # Maybe it is taken all the same, and only the reply was late: nobody shall follow what nobody tells.
            self._give_back(key, token, ENDED)
            return NOBODY
        if isinstance(taken, ResponseError):  # a full Redis, say
            logger.debug("a lease cannot be taken: %s", taken)
            return NOBODY
        holder, look_first = taken[0].decode("ascii", "replace"), bool(taken[1])
        if holder != token:
            return await self._follow(key, holder)
        told = self._run(key, token)
        leader = Leader(told, key, look_first=look_first, over=partial(self._over, key, token))
        self._held[token] = leader
        return Taken(lease=leader)

    async def drop(self, name: Digest) -> None:
        """As `Leases.drop`."""
        try:
            await self._link.run([("UNLINK", self._lease_key(name))])
        except CacheFailure as failure:
            logger.debug("a lease cannot be dropped: %s", failure.message)

    async def close(self) -> None:
        """As `Leases.close`."""
        for leader in list(self._held.values()):
            leader.give_up()
        for follower in list(self._followed.values()):
            follower.hear(Message(Kind.GONE))
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        self._background = []

    # -- following ---------------------------------------------------------------------------------------------------

    async def _follow(self, key: str, holder: str) -> Taken:
        replica, run = holder.partition(".")[0], self._run_key(holder).encode()
        # Our own: a call that our own board lets nobody join any more. One that was followed: after something was
        # deleted a question may be asked anew beside it, and one that got lost would get lost again.
        if replica == self._replica or run in self._followed or run in self._left:
            return NOBODY
        follower = Follower(
            self._link, self._seal, holder, run=run, lease=key, patience=self._patience, leave=self._leave
        )
        self._followed[run] = follower
        asking = self._posted(f"{self._prefix}:in:{replica}", "follow", key, holder)
        # Makes our own listener look up, and listen to the new stream too.
        waking = self._posted(self._inbox, "wake", key, holder)
        try:
            replies = await self._link.run([*asking, *waking])
        except CacheFailure as failure:
            replies = [failure]
        if any(isinstance(reply, CacheFailure | ResponseError) for reply in replies):
            await follower.aclose()
            return NOBODY
        return Taken(running=follower)

    def _posted(self, inbox: str, what: str, lease: str, token: str) -> list[Command]:
        fields = ("what", what, "lease", lease, "token", token)
        return [("XADD", inbox, "MAXLEN", "~", INBOX_LENGTH, "*", *fields), ("PEXPIRE", inbox, INBOX_MS)]

    def _leave(self, run: bytes) -> None:
        if self._followed.pop(run, None) is not None:
            self._left.append(run)

    # -- leading -----------------------------------------------------------------------------------------------------

    def _over(self, key: str, token: str, *, stored: bool) -> None:
        """In the queue behind the answer, so that it is there before anyone can take the lease."""
        self._give_back(key, token, STORED if stored else ENDED)
        telling = self._held[token].telling
        if telling is None:
            del self._held[token]
        else:
            telling.add_done_callback(lambda _: self._held.pop(token))

    def _give_back(self, key: str, token: str, mark: bytes) -> None:
        self._writes.add(RELEASE.call([key], token, mark, MARK_MS))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            renewals = [RENEW.call([leader.key], token, self._ttl_ms) for token, leader in self._held.items()]
            for leader in self._held.values():
                leader.alive()
            if renewals:
                try:
                    await self._link.run(renewals)
                except CacheFailure:
                    continue  # others take over; what we ask we still bring to our own callers

    # -- hearing -----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        deaf = False
        while True:
            followed = [follower for follower in self._followed.values() if follower.has_room]
            keys: tuple[Word, ...] = (self._inbox, *(follower.run for follower in followed))
            places: tuple[Word, ...] = (self._heard, *(follower.place for follower in followed))
            # A crowded follower is looked at again soon; a quiet Redis is asked again before a router forgets us.
            patience_ms = LISTEN_MS if len(followed) == len(self._followed) else CROWDED_MS
            how = ("COUNT", MESSAGES_AT_ONCE, "BLOCK", patience_ms)
            command: Command = ("XREAD", *how, "STREAMS", *keys, *places)
            try:
                [heard] = await self._link.run([command], limit_s=patience_ms / 1000 + 1)
            except CacheFailure:
                await asyncio.sleep(self._retry_s)
                continue
            if isinstance(heard, ResponseError):
                if not deaf:
                    logger.warning("other replicas cannot be heard, so calls are not shared: %s", str(heard)[:200])
                deaf = True
                await asyncio.sleep(self._retry_s)
                continue
            deaf = False
            for key, entries in heard or ():
                self._take_in(key, entries)

    def _take_in(self, key: bytes, entries: list[tuple[bytes, list[bytes]]]) -> None:
        follower = self._followed.get(key)
        if follower is not None:
            follower.take_in(entries)
        elif key == self._inbox.encode():
            self._heard = entries[-1][0].decode()
            for _, pairs in entries:
                fields = dict(zip(pairs[::2], pairs[1::2], strict=False))
                if fields.get(b"what") == b"follow":
                    lease, token = (fields.get(name, b"").decode("ascii", "replace") for name in (b"lease", b"token"))
                    self._tell(lease, token)

    def _tell(self, lease: str, token: str) -> None:
        """Somebody wants to follow this call."""
        leader = self._held.get(token)
        if leader is None:
            # It is over, and either all of it is in the stream already, or nobody was told: then whoever asks now looks
            # at the store first.
            self._run(lease, token).say(Message(Kind.GONE))
        elif leader.telling is None:
            leader.telling = self._tasks.spawn(leader.tell(), name="redis run")

    # -- names -------------------------------------------------------------------------------------------------------

    @property
    def _inbox(self) -> str:
        return f"{self._prefix}:in:{self._replica}"

    def _lease_key(self, name: Digest) -> str:
        return f"{self._prefix}:lease:{self._generation():x}:{name.hex()}"

    def _run_key(self, token: str) -> str:
        return f"{self._prefix}:run:{token}"

    def _run(self, lease: str, token: str) -> Run:
        return Run(self._writes, self._seal, about(lease, token), self._run_key(token))


CROWDED_MS: Final = 20
"""How soon a follower that had no room is looked at again."""
