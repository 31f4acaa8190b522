"""Would the stored answer do for this question too? One file in this folder for each way to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proxy.evidence import Comparison, Label


class Judgement(NamedTuple):
    """What a verifier says of one candidate that all guards let through."""

    serve: bool
    bound: float
    """Lower confidence bound of the probability that the answer is right, 0 to 1; 1 or 0 for a plain rule."""
    reason: str
    """Why, as a closed set of tokens: `bound`, `threshold`, `canonical`, `residual`, `question_word`, `order`,
    `budget`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a partition does: for `/admin/semantic` and metrics."""

    labels: int
    audited: int
    wrong: float
    """Expected number of wrong answers among the audited hits, the judge's noise taken into account."""
    upper: float
    """95 % upper confidence bound of the false-hit rate, wrong / audited (Clopper-Pearson); 1 without audits."""
    suspended: bool
    """Over its budget: exact answers only, until labels say otherwise."""
    noise: float
    """Share of labels that are taken to be wrong."""


class Threshold(NamedTuple):
    """A threshold, and what it would have done to the traffic that the labels stand for."""

    similarity: float
    hits: float
    """Would-be hits: a miss stands for itself, an audit for all the hits among which it was drawn."""
    wrong: float
    """Expected number of wrong ones among them."""
    upper: float
    """95 % upper confidence bound of their share (Clopper-Pearson, over as many labels as these are worth); 1 where
    there are none."""


class Verifier(Protocol):
    """Decides for one partition (scope x model x rule). Pure but for its own memory of labels; no I/O."""

    def judge(self, comparison: Comparison) -> Judgement:
        """Called in the path: some ten microseconds."""

    def learn(self, labels: Sequence[Label]) -> None:
        """Labels of this partition that came in, in order. May take milliseconds: called off the path."""

    def standing(self) -> Standing:
        """How it does."""
