"""What is wrong with a store at the moment, said once when it begins and once when it is over."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

OFTEN: Final = 5
WITHIN_S: Final = 60.0
"""What comes and goes is said so often in so long, and no more: a Redis at its connection limit changes its mind many
times a second."""


class Troubles:
    """By what they are about: `reading`, `writing`, `hearing others`.

    logger: where they are said. steady: seconds that never step back.
    """

    def __init__(self, logger: logging.Logger, steady: Callable[[], float]) -> None:
        self._logger = logger
        self._steady = steady
        self._now: dict[str, str] = {}
        self._said: set[str] = set()
        self._said_at: dict[str, deque[float]] = {}

    def begin(self, about: str, what: str, *, aloud: bool = True) -> None:
        """Something is wrong, or still is. Not aloud: somebody else says it."""
        new = about not in self._now
        self._now[about] = what
        if new and self._may_say(about):
            self._said.add(about)
            if aloud:
                self._logger.warning("the store is degraded, requests go on: %s", what)

    def _may_say(self, about: str) -> bool:
        said_at = self._said_at.setdefault(about, deque(maxlen=OFTEN))
        if len(said_at) == OFTEN and self._steady() - said_at[0] < WITHIN_S:
            return False
        said_at.append(self._steady())
        return True

    def end(self, about: str) -> None:
        """Nothing is wrong with that, or nothing any more."""
        if about in self._now:
            del self._now[about]
            if about in self._said:
                self._said.discard(about)
                self._logger.info("the store is well again: %s", about)

    def about(self, what: str) -> bool:
        """Whether something is wrong with that."""
        return what in self._now

    @property
    def first(self) -> str | None:
        """The one that has lasted longest."""
        return next(iter(self._now.values()), None)
