"""Is there a stored answer to this question in other words? One file in this folder for each way to look for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.case import Case
from proxy.evidence import Comparison
from proxy.match import Match
from proxy.types import Asking, Digest, Entry, Vector

BEYOND_THE_EMBEDDER = frozenset({"too_long", "language", "fresh"})
"""Reasons that are about what an embedder understands: words that are the very same still share an answer."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A stored question that lay near one that goes upstream: whether its answer would have done can be learned."""

    comparison: Comparison
    name: Digest
    """Of the stored question's entry."""
    words: str
    source: str
    """`miss`, `audit` for a would-be hit, or `same` where only the typing differs (`evidence.Label`)."""


@dataclass(slots=True)
class Sought:
    """What looking for a match brought; kept until the question's own answer is there."""

    case: Case
    words: str
    shape: Digest
    partition: Digest
    normalized: Digest | None
    """Name of all questions of this shape with these words, however they are typed; None for words that are far too
    long to be looked at."""
    barred: str = ""
    """Why it is no candidate for others either; "" when it may be."""
    vector: Vector | None = None
    match: Match | None = None
    entry: Entry | None = None
    """The answer of the match."""
    trial: Trial | None = None


Fits = Callable[[Entry], bool]
"""Whether a stored answer is of an age and form that this caller takes."""


class Meaning(Protocol):
    """Matching by meaning. Nothing of it ever fails a request: what cannot be done in time is not done."""

    async def open(self) -> None:
        """Begin to get ready, in the background."""

    @property
    def active(self) -> bool:
        """Anything at all is done here: without it a question need not even be taken apart."""

    def allows(self, case: Case, match: Match) -> bool:
        """Whether this caller may be given the answer of that match: switched on, within what it asked for, and its
        partition within its budget."""

    async def seek(self, case: Case, asking: Asking, shape: Digest, fits: Fits | None) -> Sought:
        """Look for a match. It is served only where `match` is set. `fits` None: none is wanted (the caller wants a new
        answer), only what `remember` needs is gathered."""

    def remember(self, sought: Sought, entry: Entry) -> None:
        """The question's own answer is kept: from now on it is a candidate for others, and it shows whether the
        nearest stored answer would have done. In the background."""

    def repeated(self, before: Entry, after: Entry, partition: Digest) -> None:
        """Two answers to the very same question: how far a judge of answers can be trusted. In the background."""

    async def forget(self, name: Digest) -> None:
        """An entry was removed."""

    async def purge(self) -> None:
        """All were."""

    async def feedback(self, match: Match, *, good: bool) -> None:
        """A caller or an operator said whether the answer was right; bad: the pair never matches again, from the next
        request on. Raises `errors.CacheFailure` when that cannot be promised."""

    def report(self) -> dict[str, Any]:
        """For `/readyz`: mode, and what does not do all it should."""

    def figures(self) -> dict[str, Any]:
        """For `/admin/semantic`."""

    def near_misses(self) -> list[dict[str, Any]]:
        """For `/admin/semantic/near-misses`: lately sought and not served, the latest first."""

    async def close(self) -> None:
        """Let go."""
