"""Which stored questions lie nearest to this one? One file in this folder for each kind of index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proxy.types import Digest, Scope, Vector


@dataclass(frozen=True, slots=True)
class Point:
    """A stored question, as matching by meaning remembers it."""

    name: Digest
    """Of the entry that holds its answer."""
    shape: Digest
    """Only points of the very same shape are ever candidates."""
    scope: Scope
    model: str
    words: str
    vector: Vector
    tags: tuple[str, ...] = ()
    generation: int = 0
    """The store's generation of its entry: after a purge of everything its points are gone too."""
    kept_until: float = 0.0
    """Unix seconds: when its entry's physical lifetime ends."""


class Near(NamedTuple):
    """A candidate."""

    name: Digest
    words: str
    similarity: float
    """Cosine, -1 to 1."""


@dataclass(frozen=True, slots=True)
class VectorReport:
    """What an index says of itself, for `/readyz`, `/admin/semantic`, `askonce check` and metrics."""

    kind: str
    identity: str
    """Of the embedder its vectors are of, with the schema's version."""
    degraded: str | None = None
    """Why it does not do all it should, in a sentence for the operator; None when all is well."""
    points: int = 0
    bytes: int = 0
    pending: int = 0
    """Stored questions that are yet to be embedded anew (after a change of embedder or a repair)."""
    errors: dict[str, int] | None = None
    """What failed, by operation."""


class VectorIndex(Protocol):
    """Nearest stored questions of one shape, for the vectors of one embedder's identity.

    Every method that waits raises only `errors.CacheFailure`, with the cause kept; a constructor does no I/O and
    imports nothing heavy. What is past `kept_until` or of an earlier generation is not returned. The caller bounds how
    long it waits (a deadline of milliseconds) by cancelling: that must leave everything usable.
    """

    async def open(self) -> None:
        """Begin to get ready, in the background: readiness of the server does not wait for it. Until then `nearest`
        gives what is loaded already."""

    async def nearest(self, shape: Digest, vector: Vector, *, most: int, floor: float) -> list[Near]:
        """Up to `most` points of this shape with a cosine of at least `floor`, the nearest first."""

    async def add(self, point: Point) -> bool:
        """Remember it, replacing what has its name. False: refused (bounds, degraded, its entry is gone)."""

    async def remove(self, name: Digest) -> None:
        """Forget it, if it is there: its entry is gone or must not be matched."""

    def stale(self, most: int) -> AsyncIterator[Point]:
        """Up to `most` points that have words and no vector of this identity (another embedder made theirs, or a
        repair lost it); `vector` of what is given is empty. Embed the words and `add` them."""

    async def purge(self, generation: int) -> None:
        """Everything was purged from the store and this is its generation now: points of earlier ones are gone."""

    def report(self) -> VectorReport:
        """How it is, without waiting."""

    async def close(self) -> None:
        """Finish what was promised and let go. More than once is harmless."""
