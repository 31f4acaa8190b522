"""Which similarity is enough? Labelled pairs to a table of thresholds, and to the lowest that keeps a promise.

A threshold is chosen on one half of the pairs and reported on the other: whoever chooses the best of thirty on the same
pairs that he reports flatters himself.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Final, NamedTuple

from proxy.verifiers.intervals import lower, upper

THRESHOLDS: Final = tuple(round(0.70 + step / 100, 2) for step in range(30))
"""Cosines that are tried: 0.70 to 0.99."""

_ONE_SIDE: Final = 0.975
"""Both together make an interval of 95 %."""


class Pair(NamedTuple):
    """Two questions, and whether one answer does for both."""

    a: str
    b: str
    equivalent: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """What matching by meaning makes of a pair."""

    pair: Pair
    similarity: float
    """Cosine."""
    refused: bool
    """By a guard."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a threshold would have given."""

    threshold: float
    served: int
    """Pairs at or above it."""
    right: int
    wanted: int
    """Equivalent pairs, wherever they are."""

    @property
    def precision(self) -> float:
        """Share of right ones among those served; 1 where none is."""
        return self.right / self.served if self.served else 1.0

    @property
    def recall(self) -> float:
        """Share of the equivalent ones that is served."""
        return self.right / self.wanted if self.wanted else 0.0

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of `precision` (Clopper-Pearson)."""
        return lower(self.right, self.served, _ONE_SIDE)

    @property
    def high(self) -> float:
        """Upper end."""
        return upper(self.right, self.served, _ONE_SIDE)


def halves(pairs: Sequence[Scored], seed: int) -> tuple[list[Scored], list[Scored]]:
    """To choose on, to report on. Pairs with a text in common stay together, as far as their first texts go."""
    firsts = sorted({each.pair.a for each in pairs})
    random.Random(seed).shuffle(firsts)  # noqa: S311 - a draw, not a secret
    chosen = set(firsts[::2])
    return [each for each in pairs if each.pair.a in chosen], [each for each in pairs if each.pair.a not in chosen]


def table(pairs: Sequence[Scored], *, guarded: bool, thresholds: Iterable[float] = THRESHOLDS) -> list[Row]:
    """One row for each threshold. guarded: what a guard refuses is not served."""
    return [row(pairs, threshold, guarded=guarded) for threshold in thresholds]


def row(pairs: Sequence[Scored], threshold: float, *, guarded: bool) -> Row:
    """What this threshold would have given."""
    served = [each for each in pairs if each.similarity >= threshold and not (guarded and each.refused)]
    return Row(
        threshold,
        served=len(served),
        right=sum(each.pair.equivalent for each in served),
        wanted=sum(each.pair.equivalent for each in pairs),
    )


def lowest(rows: Iterable[Row], target: float) -> Row | None:
    """The lowest threshold whose precision is at least `target` even at the lower end of its interval."""
    return min((each for each in rows if each.low >= target), key=lambda each: each.threshold, default=None)


def fewest(target: float) -> int:
    """Pairs that have to be served, all of them rightly, before the lower end can reach `target` (above 0, below 1)."""
    return ceil(log(1 - _ONE_SIDE) / log(target))
