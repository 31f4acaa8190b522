"""Policy `static`: a threshold on the cosine. None is safe on every traffic; `askonce calibrate` finds yours."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.evidence import Comparison, Label
from proxy.verifiers.base import Judgement, Standing
from proxy.verifiers.tally import Tally


class Static:
    """Serves from `threshold` on (a cosine; it belongs to one embedder). Labels are counted and change nothing."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._tally = Tally()

    def judge(self, comparison: Comparison) -> Judgement:
        serve = comparison.similarity >= self._threshold
        return Judgement(serve, float(serve), "threshold")

    def learn(self, labels: Sequence[Label]) -> None:
        self._tally.add(labels)

    def standing(self) -> Standing:
        return self._tally.standing(suspended=False)
