"""What was learned in this process, forgotten with it: for tests, and for a store that keeps nothing either.

`SqliteLedger` has one inside: what its file knows and what is noted now meet there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from proxy.evidence import Label
from proxy.ledgers.base import Heard, LedgerReport
from proxy.types import Digest


class MemoryLedger:
    """most: labels kept for each partition. most_refused: pairs kept, over which the oldest go."""

    def __init__(self, *, most: int = 3000, most_refused: int = 1_000_000) -> None:
        self._most, self._most_refused = most, most_refused
        self._unheard: dict[Digest, deque[Label]] = {}
        self._kept: dict[Digest, int] = {}
        # A dictionary for its order: the first one in is the oldest.
        self._refused: dict[Digest, None] = {}

    async def open(self) -> None:
        """Nothing to get ready."""

    async def note(self, partition: Digest, labels: Sequence[Label]) -> None:
        """Keep labels until they are heard; a posterior is all that needs them after that."""
        self.take(partition, labels)

    async def hear(self) -> Heard:
        """All labels since the last call."""
        return self.give()

    async def refuse(self, pair: Digest) -> None:
        """Never again in this process."""
        self.take_refused((pair,))

    async def refused(self, pairs: Sequence[Digest]) -> frozenset[Digest]:
        """Which of these are refused."""
        return frozenset(pair for pair in pairs if pair in self._refused)

    def refuses(self, pair: Digest) -> bool:
        """Whether this one is."""
        return pair in self._refused

    def give(self) -> Heard:
        """`hear`, without waiting."""
        unheard, self._unheard = self._unheard, {}
        return Heard({partition: list(labels) for partition, labels in unheard.items()})

    def take(self, partition: Digest, labels: Sequence[Label]) -> None:
        """`note`, without waiting."""
        if not labels:
            return
        self._unheard.setdefault(partition, deque(maxlen=self._most)).extend(labels)
        self._kept[partition] = min(self._kept.get(partition, 0) + len(labels), self._most)

    @property
    def refused_pairs(self) -> Iterable[Digest]:
        """All of them, the oldest first."""
        return self._refused.keys()

    def take_refused(self, pairs: Iterable[Digest]) -> None:
        """`refuse`, without waiting."""
        for pair in pairs:
            self._refused.setdefault(pair)
        while len(self._refused) > self._most_refused:
            del self._refused[next(iter(self._refused))]

    def report(self) -> LedgerReport:
        """What is kept; nothing can go wrong."""
        return LedgerReport("memory", labels=sum(self._kept.values()), refused=len(self._refused))

    async def close(self) -> None:
        """Nothing to let go of."""
