"""Stored questions that have words and no vector of this embedder: another one made theirs, or a repair lost it.

    count     goes through all answers, a thousand keys at a time, and counts both kinds: every so often
    points    goes through them until it has found as many as are wanted, and goes on there the next time

Redis looks itself (a script) and sends only words that lack a vector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from redis.exceptions import ResponseError

from proxy.errors import CacheFailure, Unreadable
from proxy.redis_link import keys as entry_keys
from proxy.redis_link.client import Reply
from proxy.redis_link.link import Link
from proxy.redis_link.script import Command, Script
from proxy.types import Digest
from proxy.vectors.base import Point
from proxy.vectors.redis_names import Names
from proxy.vectors.redis_seal import PointSeal

AT_ONCE: Final = 100
"""Keys looked into by one script: a fraction of a millisecond of Redis' time."""

LACKING = Script("""
local found = {}
for at, key in ipairs(KEYS) do
    local fields = redis.pcall('HMGET', key, ARGV[1], ARGV[2])
    found[at] = not fields.err and not fields[2] and fields[1] or false
end
return found
""")
"""KEYS: answers. ARGV: the fields of words and of a seal. The words of each that has no such seal."""

COUNT = Script("""
local whole, lacking = 0, 0
for _, key in ipairs(KEYS) do
    local fields = redis.pcall('HMGET', key, ARGV[1], ARGV[2])
    if not fields.err and fields[1] then
        if fields[2] then whole = whole + 1 else lacking = lacking + 1 end
    end
end
return {whole, lacking}
""")
"""The same: how many have one, and how many have not."""


class Backlog:
    """Of one index. Every method that waits raises only `CacheFailure`."""

    def __init__(self, link: Link, names: Names, seal: PointSeal, prefix: str) -> None:
        self.unreadable = 0
        """Words whose tag did not fit."""
        self._link, self._names, self._seal = link, names, seal
        self._pattern = entry_keys.pattern(prefix)
        self._round: AsyncIterator[list[bytes]] | None = None
        self._found: deque[Point] = deque()
        link.learn(LACKING, COUNT)

    async def count(self) -> tuple[int, int]:
        """How many have a vector of this embedder, and how many have only words."""
        points = lacking = 0
        async for keys in self._link.scan(self._pattern):
            for reply in await self._asked(COUNT, keys):
                points, lacking = points + reply[0], lacking + reply[1]
        return points, lacking

    async def points(self, least_generation: int, most: int) -> AsyncIterator[Point]:
        """Up to `most`, each once; those of earlier generations are left out. What was given before and has got no
        vector since is given again, in its turn. For one caller at a time."""
        given: set[Digest] = set()
        whole_round = self._round is None and not self._found
        while True:
            while self._found:
                point = self._found.popleft()
                if point.generation < least_generation or point.name in given:
                    continue
                given.add(point.name)
                yield point
                if len(given) == most:
                    return
            if not await self._looked_further():
                if whole_round:
                    return
                whole_round = True

    async def _looked_further(self) -> bool:
        """False: the round is at its end."""
        if self._round is None:
            self._round = self._link.scan(self._pattern)
        try:
            keys = await anext(self._round)
            self._found.extend(await self._lacking(keys))
        except StopAsyncIteration:
            self._round = None
            return False
        except CacheFailure:
            self._round = None
            raise
        return True

    async def _lacking(self, keys: list[bytes]) -> list[Point]:
        found = [words for reply in await self._asked(LACKING, keys) for words in reply]
        pairs = ((entry_keys.name_in(key), words) for key, words in zip(keys, found, strict=True))
        opened = (self._opened(name, words) for name, words in pairs if name is not None and words is not None)
        return [point for point in opened if point is not None]

    def _opened(self, name: Digest, words: bytes) -> Point | None:
        try:
            return self._seal.opened_words(name, words)
        except Unreadable:
            self.unreadable += 1
            return None

    async def _asked(self, script: Script, keys: list[bytes]) -> list[Reply]:
        replies = []
        for at in range(0, len(keys), AT_ONCE):
            call: Command = script.call(keys[at : at + AT_ONCE], self._names.words, self._names.seal)
            [reply] = await self._link.run([call])  # others come in between
            if isinstance(reply, ResponseError):
                raise CacheFailure(f"stored questions cannot be looked through: {str(reply)[:200]}", code="refused")
            replies.append(reply)
        return replies
