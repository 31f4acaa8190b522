"""A process that shares its store with nobody: it always asks itself."""

from __future__ import annotations

from proxy.leases.base import NOBODY, Taken
from proxy.types import Digest


class NoLeases:
    """There are no others."""

    async def open(self) -> None:
        """Nothing to get ready."""

    async def take(self, name: Digest) -> Taken:
        """Nobody can be asked."""
        return NOBODY

    async def drop(self, name: Digest) -> None:
        """Nobody follows."""

    async def close(self) -> None:
        """Nothing to give up."""
