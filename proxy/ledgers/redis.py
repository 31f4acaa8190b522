"""What all replicas on one Redis have learned.

    {prefix}:ledger:1:labels:{partition}   stream       label     one label, sealed; the last `most`
    {prefix}:ledger:1:partitions           sorted set   by when something was last noted there, in microseconds
    {prefix}:ledger:1:refused              sorted set   pairs by when they were refused, likewise

All share a hash slot. Hearing asks which partitions got something since, and reads those; mostly that is one round trip
that says none. Times are Redis' own and only grow, so where Redis lost everything what is noted next is heard all the
same: learning begins anew. Refused pairs were promised to last: every replica knows all of them, and writes them back
where Redis knows fewer.

A label carries a tag over its partition, so who can write to Redis without the installation's secret can leave labels
out or repeat them, and make up none. A pair that such a one adds to the refused costs hits, no more; one that is taken
away comes back.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from redis.exceptions import ResponseError

from proxy.errors import CacheFailure
from proxy.evidence import Label
from proxy.fingerprint import framed
from proxy.ledgers.base import Heard, LedgerReport
from proxy.ledgers.labels import decode, encode
from proxy.redis_link.client import Reply
from proxy.redis_link.link import Link
from proxy.redis_link.script import Command, Script
from proxy.types import Digest

LAYOUT: Final = 1

MOST_LABELS: Final = 3000
MOST_REFUSED: Final = 1_000_000
"""Pairs; over it the oldest go. Some 100 MB of Redis, and as much here."""

KEPT_MS: Final = 90 * 24 * 3600 * 1000
"""A partition that learned nothing for so long is forgotten."""

LAG_US: Final = 60_000_000
"""How far the clock of the next master may be behind."""

PARTITIONS_AT_ONCE: Final = 4
PAIRS_AT_ONCE: Final = 1000

_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 8

_NOW = """
local function after_all(key)
    local time, last = redis.call('TIME'), redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
    local now = time[1] * 1000000 + time[2]
    if last and tonumber(last) >= now then now = tonumber(last) + 1 end
    return now
end
"""
"""Microseconds, later than all that are in the sorted set."""

NOTE = Script(f"""{_NOW}
local now = after_all(KEYS[1])
for at = 4, #ARGV do
    redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], '*', 'label', ARGV[at])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3] * 1000))
""")
"""KEYS: partitions, the labels of one. ARGV: that one; how many labels and milliseconds to keep; sealed labels."""

REFUSE = Script(f"""{_NOW}
local now = after_all(KEYS[1])
for at = 2, #ARGV do
    redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', now + at), ARGV[at])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[1])
""")
"""KEYS: the refused. ARGV: how many are kept; pairs."""


class RedisLedger:
    """As `Ledger`. Every command goes over the store's own link: its deadline and its breaker.

    secret: the installation's; see `rekey`.
    most: labels kept for each partition. most_refused: pairs kept.
    """

    def __init__(
        self, link: Link, *, prefix: str, secret: bytes, most: int = MOST_LABELS, most_refused: int = MOST_REFUSED
    ) -> None:
        self.errors: dict[str, int] = dict.fromkeys(("note", "hear", "refuse", "refused", "seal"), 0)
        """Failures by operation; `seal` is what was found and could not be believed."""
        self._link = link
        self._root = f"{{{prefix}}}:ledger:{LAYOUT}"  # the braces make it one hash slot
        self._partitions, self._refused_key = f"{self._root}:partitions", f"{self._root}:refused"
        self._most, self._most_refused = most, most_refused
        self._hearing = asyncio.Lock()
        self._noted_at: dict[Digest, float] = {}
        """What was last heard of a partition, in Redis' microseconds."""
        self._places: dict[Digest, bytes] = {}
        """The last label that was given, by partition."""
        self._given: dict[Digest, int] = {}
        # A dictionary for its order: the first one in is the oldest.
        self._known: dict[Digest, None] = {}
        self._known_at = b"-inf"
        self._trouble: str | None = None
        self.rekey(secret)
        link.learn(NOTE, REFUSE)

    def rekey(self, secret: bytes) -> None:
        """From now on tags are made and checked with this one."""
        self._key = hmac.digest(secret, b"askonce label tag v1", "sha256")

    async def open(self) -> None:
        """Nothing to get ready: the store sees to the link."""

    async def note(self, partition: Digest, labels: Sequence[Label]) -> None:
        """As `Ledger.note`."""
        if not labels:
            return
        sealed = [self._sealed(partition, label) for label in labels[-self._most :]]
        keys = (self._partitions, self._labels_of(partition))
        await self._asked("note", [NOTE.call(keys, partition, self._most, KEPT_MS, *sealed)])

    async def hear(self) -> Heard:
        """As `Ledger.hear`: one round trip when there is nothing new. Gives what it could not give before, when that
        failed half-way."""
        async with self._hearing:
            since = max(self._noted_at.values(), default=0.0) - LAG_US
            partitions, refused, known_there = await self._asked("hear", [
                ("ZRANGE", self._partitions, f"{since:.0f}", "+inf", "BYSCORE", "WITHSCORES"),
                self._refused_since(self._known_at),
                ("ZCARD", self._refused_key),
            ])  # fmt: skip
            await self._learn_refused(refused)
            if known_there < len(self._known):
                await self._refuse_again()
            noted_at = {Digest(name): float(at) for name, at in _pairs(partitions)}
            new = {name: at for name, at in noted_at.items() if self._noted_at.get(name) != at}
            return Heard(await self._labels(new))

    async def refuse(self, pair: Digest) -> None:
        """As `Ledger.refuse`. Refused here from now on, and told to the others by `hear`, even where this fails."""
        self._know([pair])
        await self._asked("refuse", [REFUSE.call([self._refused_key], self._most_refused, pair)])

    async def refused(self, pairs: Sequence[Digest]) -> frozenset[Digest]:
        """As `Ledger.refused`; while Redis is in trouble it raises at once."""
        breaker = self._link.breaker
        if not breaker.closed or breaker.wavers:
            raise CacheFailure(f"{self._link.shown} is left alone for now: {breaker.why}", code="unreachable")
        if not pairs:
            return frozenset()
        [scores] = await self._asked("refused", [("ZMSCORE", self._refused_key, *pairs)])
        return frozenset(pair for pair, at in zip(pairs, scores, strict=True) if at is not None or pair in self._known)

    def refuses(self, pair: Digest) -> bool:
        """As `Ledger.refuses`; before Redis was heard it is not known, and what it has of answers neither."""
        return pair in self._known

    def report(self) -> LedgerReport:
        """As `Ledger.report`: labels as far as they were heard here."""
        labels = sum(min(given, self._most) for given in self._given.values())
        return LedgerReport("redis", self._degraded(), labels, len(self._known), dict(self.errors))

    def _degraded(self) -> str | None:
        if not self._link.breaker.closed:
            return f"{self._link.shown}: {self._link.breaker.why}; nothing is answered by meaning"
        return self._trouble

    async def close(self) -> None:
        """Nothing to let go of: the link is the store's."""

    # -- labels ------------------------------------------------------------------------------------------------------

    async def _labels(self, noted_at: dict[Digest, float]) -> dict[Digest, list[Label]]:
        read: dict[Digest, list[tuple[bytes, list[bytes]]]] = {}
        names = list(noted_at)
        for at in range(0, len(names), PARTITIONS_AT_ONCE):
            some = names[at : at + PARTITIONS_AT_ONCE]
            # The newest first: of a partition that is new here the last ones count.
            asked = [("XREVRANGE", self._labels_of(name), "+", self._after(name), "COUNT", self._most) for name in some]
            for name, entries in zip(some, await self._asked("hear", asked), strict=True):
                read[name] = entries[::-1]
        # Nothing is awaited from here on: what is given is noted as given.
        self._noted_at |= noted_at
        given: dict[Digest, list[Label]] = {}
        for name, entries in read.items():
            if entries:
                self._places[name] = entries[-1][0]
            if labels := list(self._opened(name, entries)):
                given[name] = labels
                self._given[name] = self._given.get(name, 0) + len(labels)
        return given

    def _after(self, partition: Digest) -> bytes:
        place = self._places.get(partition)
        return b"-" if place is None else b"(" + place

    def _opened(self, partition: Digest, entries: list[tuple[bytes, list[bytes]]]) -> Iterator[Label]:
        for _, pairs in entries:
            sealed = dict(zip(pairs[::2], pairs[1::2], strict=False)).get(b"label", b"")
            tag, packed = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
            label = decode(packed[_NONCE_BYTES:]) if hmac.compare_digest(self._tag(partition, packed), tag) else None
            if label is None:
                self.errors["seal"] += 1
            else:
                yield label

    def _sealed(self, partition: Digest, label: Label) -> bytes:
        packed = secrets.token_bytes(_NONCE_BYTES) + encode(label)
        return self._tag(partition, packed) + packed

    def _tag(self, partition: Digest, packed: bytes) -> bytes:
        return hmac.digest(self._key, framed((partition, packed)), "sha256")[:_TAG_BYTES]

    # -- refused pairs -----------------------------------------------------------------------------------------------

    async def _learn_refused(self, found: list[bytes]) -> None:
        """All that came since, some at a time."""
        while found:
            pairs = list(_pairs(found))
            self._know([Digest(pair) for pair, _ in pairs])
            self._known_at = b"(" + pairs[-1][1]
            if len(pairs) < PAIRS_AT_ONCE:
                return
            [found] = await self._asked("hear", [self._refused_since(self._known_at)])

    async def _refuse_again(self) -> None:
        """Redis knows fewer than we do: it was emptied, or another took its place."""
        pairs = list(self._known)
        for at in range(0, len(pairs), PAIRS_AT_ONCE):
            some = pairs[at : at + PAIRS_AT_ONCE]
            await self._asked("hear", [REFUSE.call([self._refused_key], self._most_refused, *some)])

    def _know(self, pairs: Sequence[Digest]) -> None:
        for pair in pairs:
            self._known.setdefault(pair)
        while len(self._known) > self._most_refused:
            del self._known[next(iter(self._known))]

    def _refused_since(self, place: bytes) -> Command:
        return ("ZRANGE", self._refused_key, place, "+inf", "BYSCORE", "LIMIT", 0, PAIRS_AT_ONCE, "WITHSCORES")

    # -- asking ------------------------------------------------------------------------------------------------------

    async def _asked(self, operation: str, commands: Sequence[Command]) -> list[Reply]:
        """Replies, none of them a refusal. Raises CacheFailure."""
        try:
            replies = await self._link.run(commands)
        except CacheFailure:
            self.errors[operation] += 1
            raise
        for reply in replies:
            if isinstance(reply, ResponseError):
                self.errors[operation] += 1
                self._trouble = f"Redis refuses what was learned: {str(reply)[:200]}"
                raise CacheFailure(self._trouble, code="refused") from reply
        self._trouble = None
        return replies

    def _labels_of(self, partition: Digest) -> str:
        return f"{self._root}:labels:{partition.hex()}"


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
