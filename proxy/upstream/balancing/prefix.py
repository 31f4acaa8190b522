"""To the endpoint that has the prompt's beginning in its cache, as long as it has room.

Where a beginning's home is, is computed and not stored: rendezvous hashing (Thaler and Ravishankar 1998) gives each
pair of a beginning and an address a number, and the endpoints are asked in the order of these numbers. An endpoint that
goes moves only the beginnings it had; one that comes takes only those it is now first for. All replicas agree without a
word.

A beginning that everybody uses must not be one endpoint's alone. With bounded loads (Mirrokni, Thorup and Zadimoghaddam
2016) an endpoint that has `bound` times the mean load is passed over: the calls go on to the next in that beginning's
order, always the same one, which then has it in its cache too.

A conversation that was passed on like this stays there: where a request's earlier turns went is remembered.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from proxy.types import Call
from proxy.upstream import prefix
from proxy.upstream.balancing.base import Load, Plan
from proxy.upstream.balancing.least_loaded import LeastLoaded, calls


class PrefixBalancer:
    """A `Balancer` by what prompts begin with. One without a prompt goes to the least loaded.

    `bound` and `slack` as for `most`; `prefix_bytes` and `by_scope` as for `prefix.read`. `conversations` is how many
    are remembered, 0 for none. Remembering one takes about 200 bytes.
    """

    def __init__(
        self,
        *,
        bound: float = 1.25,
        slack: int = 4,
        prefix_bytes: int = 4096,
        conversations: int = 65_536,
        by_scope: bool = True,
    ) -> None:
        self._bound = bound
        self._slack = slack
        self._prefix_bytes = prefix_bytes
        self._conversations = conversations
        self._by_scope = by_scope
        self._without_prompt = LeastLoaded()
        self._went: OrderedDict[bytes, str] = OrderedDict()
        """Address by the last turn of a request. First is what is forgotten first."""

    def plan(self, call: Call, loads: Sequence[Load]) -> Plan:
        read = prefix.read(
            call, prefix_bytes=self._prefix_bytes, by_scope=self._by_scope, turns=self._conversations > 0
        )
        if read is None:
            return self._without_prompt.plan(call, loads)
        limit = most(loads, bound=self._bound, slack=self._slack)
        order = ranked(read.home, loads, limit)
        earlier = self._earlier(read.turns, loads)
        if earlier is not None:
            _prefer(self._went[earlier], order, loads, limit)
        return _Conversation(order, loads, read.turns[-1] if read.turns else None, earlier, self)

    def remember(self, turn: bytes, earlier: bytes | None, address: str) -> None:
        """A request that ended with `turn`, and went on from `earlier`, was served there."""
        if earlier is not None and earlier in self._went:
            # Superseded: good for one who goes back and asks anew, and the first to make room for others.
            self._went.move_to_end(earlier, last=False)
        self._went[turn] = address
        self._went.move_to_end(turn)
        if len(self._went) > self._conversations:
            self._went.popitem(last=False)

    def _earlier(self, turns: Sequence[bytes], loads: Sequence[Load]) -> bytes | None:
        """The longest beginning of the conversation that went to an endpoint which is still there."""
        for turn in reversed(turns):
            address = self._went.get(turn)
            if address is None:
                continue
            if any(load.address == address for load in loads):
                return turn
            del self._went[turn]  # whatever it had computed is gone with it
        return None


@dataclass(frozen=True, slots=True)
class _Conversation:
    """The plan of a call with a prompt."""

    order: Sequence[int]
    loads: Sequence[Load]
    turn: bytes | None
    earlier: bytes | None
    balancer: PrefixBalancer

    def served(self, place: int) -> None:
        if self.turn is not None:
            self.balancer.remember(self.turn, self.earlier, self.loads[place].address)


def most(loads: Sequence[Load], *, bound: float, slack: int) -> int:
    """How many calls an endpoint may have, the one that comes now included: `bound` times the mean, `slack` at the
    least. More than the mean, so there is always one that has room."""
    return max(slack, math.ceil(bound * (sum(map(calls, loads)) + 1) / len(loads)))


def ranked(home: bytes, loads: Sequence[Load], limit: int) -> list[int]:
    """Places in this home's order; those without room behind those with, and the full ones last."""
    ranks = [
        (load.full, calls(load) >= limit, blake2b(home + load.address.encode(), digest_size=8).digest(), load.address)
        for load in loads
    ]
    return sorted(range(len(loads)), key=ranks.__getitem__)


def _prefer(address: str, order: list[int], loads: Sequence[Load], limit: int) -> None:
    place = next(place for place in order if loads[place].address == address)
    if not loads[place].full and calls(loads[place]) < limit:
        order.remove(place)
        order.insert(0, place)
