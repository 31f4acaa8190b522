"""One process' way to Redis: deadlines, a breaker, and one kind of failure.

    link = Link(connect(access), limit_s=0.1, breaker_failures=3)
    frame, pulse = await link.run([("HGET", key, "frame"), PULSE.call([...])])

Whatever goes wrong between here and Redis is a `LinkDown`. What Redis itself refuses (out of memory, a value of another
type, a missing permission) is a reply like any other: a `ResponseError` in the list, for whoever asked.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from proxy.breaker import Breaker
from proxy.errors import CacheFailure
from proxy.redis_link.client import Client, Reply
from proxy.redis_link.script import Command, Script, key_of


class LinkDown(CacheFailure):
    """Redis did not answer, or was not asked because it lately did not. `reason` says how: a metric label."""

    code = "unreachable"


class Link:
    """Runs batches of commands.

    limit_s: how long a batch may take, connecting apart.
    connections: batches under way at once, each on a connection of its own; who comes then waits for one. A probe, and
    a batch with a limit of its own (who listens waits for long), take none of them.
    breaker_failures: so many failed batches in a row, and nothing is tried until a probe gets through.
    shown: the address for messages, without credentials.
    """

    def __init__(self, client: Client, *, limit_s: float, connections: int, breaker_failures: int, shown: str) -> None:
        self.breaker = Breaker(breaker_failures)
        self.failures: Counter[str] = Counter(dict.fromkeys(("timeout", "unreachable", "refused", "not_ready"), 0))
        """Batches without replies, by why."""
        self.shown = shown
        self._client = client
        self._limit_s = limit_s
        self._room = asyncio.Semaphore(connections)
        self._scripts: dict[str, Script] = {}

    def learn(self, *scripts: Script) -> None:
        """These may be called."""
        self._scripts |= {script.sha: script for script in scripts}

    async def run(
        self, commands: Sequence[Command], *, probe: bool = False, limit_s: float | None = None
    ) -> list[Reply]:
        """Replies in order, error replies as values. Raises `LinkDown`.

        A probe is sent through an open breaker, and closes it when Redis answers.
        """
        if probe:
            self.breaker.probing()
            return await self._answered(commands, limit_s or self._limit_s, probe=True)
        self._refuse_if_open()
        if limit_s is not None:
            return await self._answered(commands, limit_s)
        async with self._room:
            self._refuse_if_open()  # it may have opened while this one waited
            return await self._answered(commands, self._limit_s)

    async def _answered(self, commands: Sequence[Command], limit_s: float, *, probe: bool = False) -> list[Reply]:
        replies = await self._tried(commands, limit_s)
        again = {at: self._in_full(commands[at]) for at in _to_send_again(commands, replies)}
        if again:
            told = await self._tried(list(again.values()), limit_s)
            for at, reply in zip(again, told, strict=True):
                replies[at] = reply
        if probe:
            self._refuse_refusals(replies)
        self.breaker.succeeded(probe=probe)
        return replies

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """Keys that match, some at a time, each at least once. Raises `LinkDown`."""
        self._refuse_if_open()
        try:
            async for keys in self._client.scan(pattern, self._limit_s):
                yield keys
        except _FAILURES as failure:
            raise self._down(*_why(failure, self._limit_s)) from _cause(failure)

    def _refuse_if_open(self) -> None:
        if not self.breaker.closed:
            raise LinkDown(f"{self.shown} is left alone for now: {self.breaker.why}")

    def _refuse_refusals(self, replies: Sequence[Reply]) -> None:
        # Without what a probe asks for nothing else is of use: a missing permission is as bad as no answer.
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise self._down("refused", _first_line(reply)) from reply

    async def close(self) -> None:
        """Let go of every connection."""
        await self._client.close()

    def _in_full(self, command: Command) -> Command:
        return self._scripts[str(command[1])].in_full(command) if command[0] == "EVALSHA" else command

    async def _tried(self, commands: Sequence[Command], limit_s: float) -> list[Reply]:
        try:
            replies = await self._client.run(commands, limit_s)
        except _FAILURES as failure:
            raise self._down(*_why(failure, limit_s)) from _cause(failure)
        for reply in replies:
            if isinstance(reply, _NOT_READY):
                raise self._down("not_ready", _first_line(reply)) from reply
        return replies

    def _down(self, reason: str, why: str) -> LinkDown:
        self.failures[reason] += 1
        self.breaker.failed(why)
        return LinkDown(f"{self.shown}: {why}", code=reason)


def _to_send_again(commands: Sequence[Command], replies: Sequence[Reply]) -> Iterator[int]:
    """Scripts that Redis did not know, and what overtook them: commands on one key keep their order."""
    overtaken = set()
    for at, (command, reply) in enumerate(zip(commands, replies, strict=True)):
        if isinstance(reply, NoScriptError):
            overtaken.add(key_of(command))
        if overtaken and key_of(command) in overtaken:
            yield at


_FAILURES = (RedisError, RedisClusterException, OSError)
"""What redis-py raises; `TimeoutError` is an OSError."""

_NOT_READY = (ReadOnlyError, BusyLoadingError, ClusterDownError)
"""Refusals that say that this server is no use now, whatever is asked: a replica, one that loads, a broken Cluster."""


def _why(failure: Exception, limit_s: float) -> tuple[str, str]:
    if isinstance(failure, TimeoutError) or "Timeout" in type(failure).__name__:
        return "timeout", f"no answer in {limit_s * 1000:g} ms"
    if isinstance(failure, AuthenticationError | AuthorizationError | NoPermissionError):
        return "refused", f"it refuses our credential ({_first_line(failure)}): check store.redis.username and password"
    if isinstance(failure, BusyLoadingError):
        return "not_ready", _first_line(failure)
    if isinstance(failure, ResponseError):  # to AUTH or SELECT, while connecting
        return "refused", _first_line(failure)
    return "unreachable", _plainly(_first_line(failure))


_CONNECTING = re.compile(r"Error (-?\d+) connecting to \S+\. (.*?)\.?")


def _plainly(said: str) -> str:
    """What redis-py says of a connection that cannot be made, without the address, which stands before it already."""
    found = _CONNECTING.fullmatch(said)
    if found is None:
        return said
    number, why = int(found[1]), found[2]
    # The system's own numbers are positive; OpenSSL has others, and says in words what is wrong.
    return f"cannot connect: {os.strerror(number) if number > 0 and 'SSL' not in why else why}"


def _cause(failure: Exception) -> Exception | None:
    """Not this one: it names every Sentinel with all it was given, in some versions the password too."""
    return None if isinstance(failure, MasterNotFoundError) else failure


def _first_line(failure: Exception) -> str:
    if isinstance(failure, MasterNotFoundError):
        return str(failure).partition(" : ")[0]
    return (str(failure).splitlines() or [type(failure).__name__])[0][:200]
