"""Pairs and labels to try verifiers with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from proxy.evidence import Comparison, Label
from proxy.lexis.base import Difference, Residual

SAME_WORDS = Difference(
    residual=Residual.NONE,
    jaccard=1.0,
    question_word=False,
    order=0.0,
    length=1.0,
    numbers=False,
    names=False,
    calendar=False,
    polarity=False,
)
"""Two texts of the same content words."""
OTHER_WORDS = replace(SAME_WORDS, residual=Residual.BOTH, jaccard=0.5, length=0.8)
MORE_WORDS = replace(SAME_WORDS, residual=Residual.ONE, jaccard=0.7, length=0.6)


def pair(similarity: float, difference: Difference = OTHER_WORDS) -> Comparison:
    return Comparison(similarity, difference)


def label(comparison: Comparison, right: float, source: str = "miss", at: float = 0.0) -> Label:
    return Label(comparison, right, source, at)


def traffic(seed: int, wrong: float, number: int, *, mislabelled: float = 0.0) -> Iterator[Label]:
    """Labels of near questions in other words, and one in five in the same; `wrong` of them are."""
    rng = random.Random(seed)
    for at in range(number):
        difference = rng.choice([SAME_WORDS, OTHER_WORDS, OTHER_WORDS, MORE_WORDS, MORE_WORDS])
        right = (rng.random() >= wrong) != (rng.random() < mislabelled)
        yield label(pair(rng.uniform(0.75, 1.0), difference), float(right), at=float(at))
