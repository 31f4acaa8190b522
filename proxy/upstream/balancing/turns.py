"""Whose turn it is among endpoints that are as good as each other: the one that was chosen longest ago.

Not at random, and not by a number that counts on: with some endpoints left out, now these and now those, both give some
of the others more than their share. No clock and no chance also means that equal histories choose alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.upstream.balancing.base import Load


@dataclass(frozen=True, slots=True)
class Ordered:
    """A plan with nothing to remember."""

    order: Sequence[int]

    def served(self, place: int) -> None:
        """Nothing is kept of it."""


class Turns:
    """Remembers when each address was last chosen: one number for each that was ever shown."""

    def __init__(self) -> None:
        self._count = 0
        self._chosen: dict[str, int] = {}

    def plan(self, loads: Sequence[Load], cost: Callable[[Load], int]) -> Ordered:
        """Those of least cost first, among these whose turn it is; `full` ones behind all others. The first counts as
        chosen."""
        chosen = self._chosen
        order = sorted(
            range(len(loads)),
            key=lambda place: (loads[place].full, cost(loads[place]), chosen.get(loads[place].address, 0), place),
        )
        self._count += 1
        chosen[loads[order[0]].address] = self._count
        return Ordered(order)
