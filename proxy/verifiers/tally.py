"""What audits and other labels say of a partition, counted: what every verifier can tell of itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from proxy.evidence import Label
from proxy.verifiers.base import Standing
from proxy.verifiers.intervals import upper

KEPT: Final = 3000
"""Labels that are remembered, and audits likewise; older ones go."""


@dataclass(slots=True)
class Share:
    """How often a judge was mistaken, of how many times that this could be told."""

    mistaken: float = 0.0
    told: float = 0.0

    def add(self, mistaken: float) -> None:
        # A judge may get better: after many, the old ones count less.
        if self.told >= KEPT:
            self.mistaken, self.told = self.mistaken / 2, self.told / 2
        self.mistaken += mistaken
        self.told += 1


@dataclass(slots=True)
class Tally:
    """Audits, and the judge's mistakes."""

    labels: int = 0
    audits: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Probability that the answer would have been right, of each."""
    missed: Share = field(default_factory=Share)
    """Answers to the very same question that were judged different."""
    waved_through: Share = field(default_factory=Share)
    """Answers to questions that share nothing that were judged equal."""

    def add(self, labels: Iterable[Label]) -> None:
        for label in labels:
            if label.source == "same":
                self.missed.add(1 - label.right)
            elif label.source == "other":
                self.waved_through.add(label.right)
            else:
                self.labels += 1
                if label.source == "audit":
                    self.audits.append(label.right)

    def standing(self, *, missed: float | None = None, waved_through: float | None = None, suspended: bool) -> Standing:
        """With the judge's noise as measured here, unless it is known better."""
        e1 = _share(self.missed) if missed is None else missed
        e0 = _share(self.waved_through) if waved_through is None else waved_through
        # A copy: labels may be learned in another thread meanwhile.
        audits = list(self.audits)
        audited = len(audits)
        wrong = without_noise(sum([1 - right for right in audits]), audited, e1, e0)
        return Standing(
            labels=min(self.labels, KEPT),
            audited=audited,
            wrong=wrong,
            upper=upper(wrong, audited),
            suspended=suspended,
            noise=e1,
        )


def without_noise(labelled_wrong: float, total: float, missed: float, waved_through: float) -> float:
    """How many are wrong, when so many are labelled so by a judge that errs this often each way."""
    if missed + waved_through >= 1:
        return total
    return min(max((labelled_wrong - total * missed) / (1 - missed - waved_through), 0.0), total)


def _share(share: Share) -> float:
    """Mistaken ones, drawn to 1 % while few are known."""
    return (share.mistaken + 0.2) / (share.told + 20)
