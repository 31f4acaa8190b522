"""What has been learned about matching, kept and shared: labels, and pairs that must never match again.

One file in this folder for each place to keep it. A partition's posterior is a function of its labels, so replicas that
read the same labels agree without exchanging anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proxy.evidence import Label
from proxy.types import Digest


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a ledger says of itself."""

    kind: str
    degraded: str | None = None
    labels: int = 0
    refused: int = 0
    errors: dict[str, int] | None = None


class Heard(NamedTuple):
    """Labels that came in since one asked, one's own included, by partition, oldest first."""

    labels: dict[Digest, list[Label]]


class Ledger(Protocol):
    """Every method that waits raises only `errors.CacheFailure`; a constructor does no I/O."""

    async def open(self) -> None:
        """Begin to get ready; never fails: why it cannot is in `report`, and it is tried again."""

    async def note(self, partition: Digest, labels: Sequence[Label]) -> None:
        """Keep labels: the last `most` of a partition (3,000), older ones go. Heard by every replica, this one too."""

    async def hear(self) -> Heard:
        """All labels kept that this process has not been given yet; everything on the first call. Quick when there is
        nothing new: asked every second."""

    async def refuse(self, pair: Digest) -> None:
        """This pair of questions must never match again: durable, and known to every replica from the next
        `refused` on."""

    async def refused(self, pairs: Sequence[Digest]) -> frozenset[Digest]:
        """Which of these are refused. In the path: one round trip at most. A ledger that cannot tell raises: then
        nothing is served by meaning."""

    def refuses(self, pair: Digest) -> bool:
        """The same of one pair as far as it is known here, without waiting: nothing that another replica refused since
        the last `hear`. True while nothing is known yet."""

    def report(self) -> LedgerReport:
        """How it is, without waiting."""

    async def close(self) -> None:
        """Finish what was promised and let go. More than once is harmless."""
