"""Policy `strict`, for traffic where questions differ by a slot: what is asked must be there word for word.

It wants the guards LEX2 (LEX, and a name on one side only) in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.evidence import Comparison, Label
from proxy.lexis.base import Residual
from proxy.verifiers.base import Judgement, Standing
from proxy.verifiers.features import canonical
from proxy.verifiers.tally import Tally

CANONICAL_FROM: Final = 0.85
"""Cosine from which equal content words are enough."""
SAME_ORDER: Final = 0.2
"""Share of pairs of them that may stand in another order: `from A to B` is not `from B to A`."""
NEAR_FROM: Final = 0.97
"""Cosine from which words on both sides may differ. What one side adds is a constraint, however near the two are."""


class Strict:
    """Serves equal content words, and the very near. Labels are counted and change nothing."""

    def __init__(self) -> None:
        self._tally = Tally()

    def judge(self, comparison: Comparison) -> Judgement:
        difference = comparison.difference
        if difference.question_word:
            return Judgement(False, 0.0, "question_word")
        if canonical(comparison):
            if difference.order >= SAME_ORDER:
                return Judgement(False, 0.0, "order")
            return _from(CANONICAL_FROM, comparison, "canonical")
        if difference.residual is Residual.ONE:
            return Judgement(False, 0.0, "residual")
        return _from(NEAR_FROM, comparison, "threshold")

    def learn(self, labels: Sequence[Label]) -> None:
        self._tally.add(labels)

    def standing(self) -> Standing:
        return self._tally.standing(suspended=False)


def _from(threshold: float, comparison: Comparison, reason: str) -> Judgement:
    serve = comparison.similarity >= threshold
    return Judgement(serve, float(serve), reason if serve else "threshold")
