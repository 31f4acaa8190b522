"""Policy `learned`: serves as far as the partition's own labels prove that the budget holds.

All pairs are ranked by a Bayesian logistic model of a few features (`posterior.py`). What is served is everything from
some score up: as far down as the upper confidence bound of the share of wrong ones among all of it stays within the
budget, and has done so for a while. It begins with the canonical tier alone (no content word left over, same question
word), which is open until labels speak against it, and widens and narrows as they come; where near questions have
different answers it soon serves nothing at all.

A function of the prior and of the labels: replicas with the same labels agree. Imports numpy: chosen lazily.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, log, sqrt
from operator import mul
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from proxy.evidence import Comparison, Label
from proxy.verifiers.base import Judgement, Standing
from proxy.verifiers.features import RISING, canonical, features
from proxy.verifiers.intervals import lower
from proxy.verifiers.posterior import Belief, Evidence, Ladder, Noise, Posterior, fit, ladder
from proxy.verifiers.prior import Prior
from proxy.verifiers.tally import KEPT, Share, Tally, without_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFIT: Final = 25
"""New labels after which all is computed anew; sooner while there are few."""
SURE: Final = 1.0
"""Standard deviations between the expected share of wrong ones and its bound: 84 % one-sided."""
AIM: Final = 0.95
"""Of the budget: the rest is for what the model does not know, such as tomorrow's questions."""
WORST: Final = 1.6
"""Times the budget: no single answer is served that is likelier wrong than this, whatever the others make up for. It
costs few hits and bounds what a change of traffic can do."""
CANONICAL_FROM: Final = 0.8
"""Cosine from which the canonical tier begins."""
PATIENCE: Final = 20
"""Times in a row that labels must have shown that more can be served before it is: who looks often is lucky once. It
narrows at once. Without it six of some thirty streams of public sets were over the budget, with it none; it costs a
seventh of the hits."""
LEAST: Final = 0.7
"""Cosine below which nothing is served, whatever was learned."""
PRESUMED: Final = 20.0
"""Labels of that tier that weigh as much as what the model expects of it."""
GRACE: Final = 50
"""Labels until which the tier stays open unless it is plainly wrong."""
DOUBT: Final = 1.28
"""Standard deviations by which, after that, it has to be better than the budget: 90 % one-sided."""

AUDIT_WEIGHT: Final = 2.0
"""An audit is about what is served: it counts double."""
FEEDBACK_WEIGHT: Final = 4.0
"""Someone looked at the answer. It is certain, and there is more of it that nobody sends."""

MISSED: Final = Noise(0.5, 99.5)
"""e1 before the judge is measured: mistakes are not excused unless they are known."""
WAVED_THROUGH: Final = Noise(0.5, 19.5)

NEWEST: Final = 200
"""Labels of what is served that are looked at to see whether the budget is overrun."""
OVERRUN: Final = 0.99
"""How sure it must be that it is."""


class _Row(NamedTuple):
    """A label, as it is learned from."""

    features: tuple[float, ...]
    right: float
    weight: float
    certain: bool
    share: float
    in_tier: bool
    audited: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is served: replaced as a whole, so that judging never sees half of a new one."""

    weights: tuple[float, ...]
    serve_from: float = inf
    """A score."""
    canonical_from: float = -inf
    """A score, for the canonical tier."""
    scores: Sequence[float] = ()
    """Rising."""
    bounds: Sequence[float] = ()
    """Lower bound of the share of right ones among all that score as high as this or higher."""
    suspended: bool = False

    def serves(self, score: float, *, in_tier: bool) -> bool:
        return score >= self.serve_from or (in_tier and score >= self.canonical_from)

    def bound(self, score: float) -> float:
        rung = bisect_right(self.scores, score)
        return self.bounds[rung - 1] if rung else 0.0


class Learned:
    """budget: share of wrong ones among hits that is accepted, 0 to 1.
    audit_rate: share of would-be hits that are labelled; each stands for 1 / audit_rate of them.
    """

    def __init__(self, budget: float, prior: Prior, *, audit_rate: float = 0.03) -> None:
        self._budget = budget
        self._mean, self._sd = prior
        self._audit_share = 1 / audit_rate if audit_rate > 0 else 1.0
        self._rows: deque[_Row] = deque(maxlen=KEPT)
        self._tally = Tally()
        self._learned = 0
        self._posterior: Posterior | None = None
        self._lately: deque[tuple[float, float]] = deque(maxlen=PATIENCE)
        self._rule = _Rule(self._mean[:-1])

    def judge(self, comparison: Comparison) -> Judgement:
        if comparison.similarity < LEAST:
            return Judgement(False, 0.0, "threshold")
        rule, in_tier = self._rule, _in_tier(comparison)
        score = sum(map(mul, features(comparison), rule.weights))
        bound = rule.bound(score)
        if not rule.serves(score, in_tier=in_tier):
            return Judgement(False, bound, "bound")
        if rule.suspended:
            return Judgement(False, bound, "budget")
        return Judgement(True, bound, "bound" if score >= rule.serve_from else "canonical")

    def learn(self, labels: Sequence[Label]) -> None:
        self._tally.add(labels)
        pairs = [(label.at, self._row(label)) for label in labels if label.source not in ("same", "other")]
        # Within a batch the order is chance: what is kept when the window is full must not depend on it.
        rows = [row for _, row in sorted(pairs)]
        # Of a long batch (after a start) only the last steps are looked at one by one: no more is remembered of them.
        ahead = max(0, len(rows) - PATIENCE * REFIT)
        self._rows.extend(rows[:ahead])
        self._learned += ahead
        for row in rows[ahead:]:
            self._rows.append(row)
            self._learned += 1
            if _due(self._learned):
                self._refit()
        if any(row.certain for row in rows) and not _due(self._learned):
            # What someone says is learned at once; it is no step of its own.
            self._refit(again=True)

    def standing(self) -> Standing:
        posterior = self._posterior
        return self._tally.standing(
            missed=posterior.missed if posterior else None,
            waved_through=posterior.waved_through if posterior else None,
            suspended=self._rule.suspended,
        )

    def _row(self, label: Label) -> _Row:
        phi, in_tier = features(label.comparison), _in_tier(label.comparison)
        if label.source == "feedback":
            # Who complains says nothing of how many do not: it teaches, and stands for no share of the traffic.
            return _Row(phi, label.right, FEEDBACK_WEIGHT, certain=True, share=0.0, in_tier=in_tier)
        if label.source == "audit":
            return _Row(
                phi, label.right, AUDIT_WEIGHT, certain=False, share=self._audit_share, in_tier=in_tier, audited=True
            )
        return _Row(phi, label.right, 1.0, certain=False, share=1.0, in_tier=in_tier)

    def _refit(self, *, again: bool = False) -> None:
        evidence = _evidence(self._rows)
        missed, through = self._tally.missed, self._tally.waved_through
        belief = Belief(
            mean=np.array(self._mean),
            sd=np.array(self._sd),
            missed=_with(MISSED, missed),
            waved_through=_with(WAVED_THROUGH, through),
            rising=RISING,
        )
        posterior = fit(evidence, belief)
        every, tier = ladder(posterior, evidence), ladder(posterior, evidence.only(self._rows_in_tier()))
        upper = _logistic(_logit(every.wrong) + SURE * every.spread)
        if again and self._lately:
            self._lately.pop()
        self._lately.append((self._lowest(every, upper, every.seen_wrong), self._canonical_from(tier, posterior)))
        rule = _Rule(
            weights=tuple(posterior.weights.tolist()),
            serve_from=max([serve_from for serve_from, _ in self._lately]),
            canonical_from=max([canonical_from for _, canonical_from in self._lately]),
            scores=every.scores[::-1].tolist(),
            # A higher score is never worse: what holds for all from a lower one up may be claimed for it.
            bounds=np.maximum.accumulate(1 - upper[::-1]).tolist(),
        )
        self._posterior = posterior
        self._rule = replace(rule, suspended=self._overrun(rule, posterior))

    def _lowest(self, steps: Ladder, *shares: NDArray[np.float64]) -> float:
        """Score of the lowest rung at which all these shares of wrong ones are within the budget."""
        allowed = steps.each <= WORST * self._budget
        for share in shares:
            allowed &= share <= AIM * self._budget
        rungs = np.flatnonzero(allowed)
        return float(steps.scores[rungs[-1]]) if len(rungs) else inf

    def _canonical_from(self, tier: Ladder, posterior: Posterior) -> float:
        """The tier is one thing, open or closed: picking the best part of it by few labels would be picking luck."""
        bearable = _score(1 - WORST * self._budget, posterior)
        if not len(tier.scores):
            return _score(1 - self._budget, posterior)
        labels = PRESUMED + float(tier.labels[-1])
        wrong = (PRESUMED * float(tier.wrong[-1]) + (labels - PRESUMED) * float(tier.seen_wrong[-1])) / labels
        if len(self._rows) < GRACE:
            return bearable if wrong <= WORST * self._budget else inf
        upper = wrong + DOUBT * sqrt(wrong * (1 - wrong) / labels)
        return bearable if upper <= AIM * self._budget else inf

    def _rows_in_tier(self) -> NDArray[np.bool_]:
        return np.array([row.in_tier for row in self._rows])

    def _overrun(self, rule: _Rule, posterior: Posterior) -> bool:
        """Whether the newest labels of what was served, or would be by this rule, leave no doubt that it was too much.

        While it is suspended such labels still come in, of all that would be served: by them it comes back."""
        served = [row for row in reversed(self._rows) if row.audited or self._would_serve(rule, row)][:NEWEST]
        wrong = without_noise(
            sum(1 - row.right for row in served), len(served), posterior.missed, posterior.waved_through
        )
        return lower(wrong, len(served), OVERRUN) > self._budget

    def _would_serve(self, rule: _Rule, row: _Row) -> bool:
        return row.share > 0 and rule.serves(sum(map(mul, row.features, rule.weights)), in_tier=row.in_tier)


def _due(learned: int) -> bool:
    """Whether all is computed anew after so many labels: the same ones for all replicas, however they come in."""
    return learned % min(REFIT, max(1, learned // 8)) == 0


def _in_tier(comparison: Comparison) -> bool:
    return comparison.similarity >= CANONICAL_FROM and canonical(comparison)


def _evidence(rows: Iterable[_Row]) -> Evidence:
    phi, right, weight, certain, share, _, _ = zip(*rows, strict=True)
    return Evidence(np.array(phi), np.array(right), np.array(weight), np.array(certain), np.array(share))


def _with(noise: Noise, share: Share) -> Noise:
    return Noise(noise.mistaken + share.mistaken, noise.well + share.told - share.mistaken)


def _score(right: float, posterior: Posterior) -> float:
    """Where a single answer is this likely to be right; infinite where none is."""
    needed = right / (1 - posterior.lapse)
    return log(needed / (1 - needed)) if needed < 1 else inf


def _logit(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(share / (1 - share))


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))
