"""No matching by meaning: exact answers only. Nothing heavy is imported for it."""

from __future__ import annotations

from typing import Any

from proxy.case import Case
from proxy.errors import CacheFailure
from proxy.match import Match
from proxy.meaning.base import Fits, Sought
from proxy.types import Asking, Digest, Entry


class NoMeaning:
    """`semantic.mode: off`.

    reason: why, for people.
    """

    active = False

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def open(self) -> None:
        """Nothing to do."""

    def allows(self, _case: Case, _match: Match) -> bool:
        """Aliases of a time when it was on are not served."""
        return False

    async def seek(self, case: Case, asking: Asking, shape: Digest, _fits: Fits | None) -> Sought:
        """Nothing is found."""
        return Sought(case, asking.words, shape, shape, shape, barred="off")

    def remember(self, _sought: Sought, _entry: Entry) -> None:
        """Nothing is."""

    def repeated(self, _before: Entry, _after: Entry, _partition: Digest) -> None:
        """Nothing is learned."""

    async def forget(self, _name: Digest) -> None:
        """Nothing to forget."""

    async def purge(self) -> None:
        """Nothing to forget."""

    async def feedback(self, _match: Match, *, good: bool) -> None:
        """Raises `errors.CacheFailure`: a promise that nobody would keep is not made."""
        raise CacheFailure("matching by meaning is off: there is nothing to refuse a pair of questions")

    def report(self) -> dict[str, Any]:
        return {"mode": "off", "status": "off", "detail": self._reason}

    def figures(self) -> dict[str, Any]:
        return {"mode": "off", "detail": self._reason, "partitions": []}

    def near_misses(self) -> list[dict[str, Any]]:
        return []

    async def close(self) -> None:
        """Nothing to let go of."""
