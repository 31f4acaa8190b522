"""What all replicas on one Redis agree on, asked for several times a second.

    {prefix}:control   hash    secret       keys all names and tags; made once, by whoever comes first
                               generation   Unix milliseconds of the last purge of everything
    {prefix}:changes   stream  name, by     an answer that was deleted or replaced, and the replica that did it

One short script fetches all of it, so the pulse is the heartbeat too: it finds out that Redis is gone, and that it is
back. Polling needs no connection of its own, loses nothing when a connection breaks, and costs a Redis of a hundred
replicas four hundred small commands a second.

Both keys belong to all versions of the program: fields are only ever added.

What may go wrong with a log, and what is done. The stream counts every entry it ever got (`entries-added`), and so do
we: when what we have read does not add up to that, something was missed.

    a reader was away for longer than the log reaches      nothing in memory can be trusted any more: all of it is
    a failover lost the log's end, Redis was emptied       let go of, and reading goes on from the log's end
    the generation went back (the same causes)             ours is written again: no purge is undone
    the secret went away                                   ours is written again
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from proxy.redis_link.link import Link
from proxy.redis_link.script import Command, Script
from proxy.types import Beat, Digest

LOG_LENGTH: Final = 100_000
"""Changes that are remembered: a replica can be away for the time that takes. Some 10 MB."""

MOST_AT_ONCE: Final = 1000

BEAT = Script("""#!lua flags=allow-oom
local secret, generation = unpack(redis.call('HMGET', KEYS[1], 'secret', 'generation'))
if not generation or tonumber(generation) < tonumber(ARGV[1]) then
    generation = generation and ARGV[1] or ARGV[2]
    redis.call('HSET', KEYS[1], 'generation', generation)
end
if not secret and ARGV[3] ~= '' then
    secret = ARGV[3]
    redis.call('HSET', KEYS[1], 'secret', secret)
end
local last, added, changes = '0-0', 0, {}
if redis.call('EXISTS', KEYS[2]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[2])
    for at = 1, #info, 2 do
        if info[at] == 'last-generated-id' then last = info[at + 1] end
        if info[at] == 'entries-added' then added = info[at + 1] end
    end
    changes = redis.call('XRANGE', KEYS[2], '(' .. ARGV[4], '+', 'COUNT', ARGV[5])
end
return {ARGV[3] ~= '' and secret or '', generation, last, added, changes}
""")
"""KEYS: control, changes. ARGV: the least generation; the one to begin with; a secret to set if there is none; our
place; how many changes.

With flags Redis refuses a script that may write on a replica, whether it does or not: a Redis that takes no writes is
of no use here."""


class Pulse:
    """Reads the agreement. Keeps our place in the log.

    replica: our name: our own changes are no news to us.
    """

    def __init__(self, link: Link, prefix: str, replica: str) -> None:
        # The braces make it one hash slot, so that a script may touch both.
        self._control, self._changes = f"{{{prefix}}}:control", f"{{{prefix}}}:changes"
        self._link = link
        self._replica = replica.encode()
        self._place = b"0-0"
        self._read = -1
        """How many entries of the log are behind us; none yet: what was changed before we came concerns nobody here."""
        link.learn(BEAT)

    async def beat(self, *, generation: int, first_generation: int, secret: bytes) -> Beat:
        """One poll. `generation` is the least that may be agreed on, `first_generation` what is where there is none;
        `secret` is set where there is none; an empty one neither sets nor gets one. Raises `LinkDown`."""
        arguments = (generation, max(generation, first_generation), secret, self._place, MOST_AT_ONCE)
        asked = BEAT.call([self._control, self._changes], *arguments)
        [[agreed_secret, agreed_generation, last, added, changes]] = await self._link.run([asked], probe=True)
        sure = self._read < 0 or self._adds_up([place for place, _ in changes], added, last)
        if self._read < 0 or not sure:
            self._place, self._read, changes = last, added, []
        elif changes:
            self._place, self._read = changes[-1][0], self._read + len(changes)
        return Beat(agreed_secret, int(agreed_generation), self._foreign(changes), sure)

    def _adds_up(self, places: list[bytes], added: int, last: bytes) -> bool:
        behind = added - self._read - len(places)
        if behind:
            return behind > 0 and len(places) == MOST_AT_ONCE
        return last == (places[-1] if places else self._place)

    def changed(self, name: Digest) -> Command:
        """The command that tells everyone."""
        return ("XADD", self._changes, "MAXLEN", "~", LOG_LENGTH, "*", "name", name, "by", self._replica)

    def _foreign(self, changes: list[tuple[bytes, list[bytes]]]) -> tuple[Digest, ...]:
        fields = [dict(zip(pairs[::2], pairs[1::2], strict=True)) for _, pairs in changes]
        return tuple(Digest(each[b"name"]) for each in fields if each[b"by"] != self._replica)


Heard = Callable[[Beat], Awaitable[None]]
"""Who wants to know of a beat."""
