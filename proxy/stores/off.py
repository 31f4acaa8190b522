"""Keeps nothing: a tier that is switched off."""

from __future__ import annotations

from proxy.types import Digest, Entry, StoreReport


class OffStore:
    """Every look-up is a miss, every put is refused; a purge still counts generations, so questions can be asked."""

    def __init__(self) -> None:
        self._generation = 0

    @property
    def generation(self) -> int:
        """As of any store; nothing depends on it here."""
        return self._generation

    async def open(self) -> None:
        """Nothing to get ready."""

    def peek(self, name: Digest) -> Entry | None:
        """Never there."""
        return None

    async def get(self, name: Digest) -> Entry | None:
        """Never there."""
        return None

    async def put(self, entry: Entry) -> bool:
        """Refused."""
        return False

    async def delete(self, name: Digest) -> bool:
        """There was none."""
        return False

    async def purge(self, *, dry_run: bool = False) -> int:
        """There were none."""
        if not dry_run:
            self._generation += 1
        return 0

    async def note(self, key: str) -> bytes | None:
        """Never there."""
        return None

    async def put_note(self, key: str, value: bytes) -> None:
        """Forgotten at once."""

    def adopt(self, generation: int) -> None:
        """Take over the generation of the tier behind."""
        self._generation = generation

    def empty(self) -> None:
        """There is nothing."""

    def report(self) -> StoreReport:
        """Off is not degraded."""
        return StoreReport(kind="off")

    async def close(self) -> None:
        """Nothing to let go."""
