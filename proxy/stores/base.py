"""Is this very question answered already? One file in this folder for each place to look."""

from __future__ import annotations

from typing import Final, Protocol

from proxy.types import Digest, Entry, StoreReport

NOTE_BYTES: Final = 1 << 20
"""What a note may take: no store is made for more. That of an upstream takes about 15 KiB for each
endpoint with a hundred adapters."""


class ExactStore(Protocol):
    """Look-up by exact name.

    Every method but `peek` may wait for I/O and then raises only `errors.CacheFailure`, with the cause kept; a
    constructor does none. An entry past its physical lifetime, of another generation, of another frame version or
    with a bad tag is not returned.
    """

    @property
    def generation(self) -> int:
        """Entries of an earlier generation are gone. Read when a question is asked and stored in its entry."""

    async def open(self) -> None:
        """Get ready. A store that cannot be opened serves nothing, keeps nothing and says why in `report`."""

    def peek(self, name: Digest) -> Entry | None:
        """What can be said without waiting (the memory tier); None says nothing about other tiers."""

    async def get(self, name: Digest) -> Entry | None:
        """The entry, from whichever tier has it."""

    async def put(self, entry: Entry) -> bool:
        """Keep it, replacing what has its name. True: stored to this store's promise (for SQLite: committed, so a
        killed process does not lose it). False: refused (over a size limit, of a past generation, store degraded)."""

    async def delete(self, name: Digest) -> bool:
        """Forget one answer in every tier. True if there was one."""

    async def purge(self, *, dry_run: bool = False) -> int:
        """Forget everything by a new generation, durably, and say how many answers that were; bytes are reclaimed
        later. A put of an earlier generation that arrives afterwards is refused."""

    async def note(self, key: str) -> bytes | None:
        """A small fact kept under this key; None where there is none, or one that was not written with our secret."""

    async def put_note(self, key: str, value: bytes) -> None:
        """Keep a small fact, at most `NOTE_BYTES`, in place of the last of its key. It outlives a restart and a purge,
        and replicas that share the store share it; the last to write wins. CacheFailure: nobody knows whether it is
        kept. A store that keeps nothing durably keeps it as long as its entries."""

    def report(self) -> StoreReport:
        """How it is, without waiting."""

    async def close(self) -> None:
        """Finish what was promised and let go. More than one call is harmless."""
