"""What labels say of a partition: a Bayesian logistic model that knows that labels may be wrong.

    p(right | phi)    = (1 - lapse) s(w . phi)                  s: the logistic function
    q(labelled right) = (1 - e1) p + e0 (1 - p)                 e1: right ones labelled wrong; e0: wrong ones right
    w, logit(lapse) ~ N(mean, diag(sd^2)),  e1, e0 ~ Beta       a label that is certain has e1 = e0 = 0

The lapse is what no feature shows: however near two questions are, some answers are wrong. A judge's mistakes look the
same in the labels of pairs; they are told from it by the labels that measure the judge (`same`, `other`), which come in
as the Beta's counts.

The mode is found by Fisher scoring over all parameters together, the spread by the inverse of the information there
(Laplace). What has to hold is the share of wrong answers among all that is served, not each single answer, so the bound
is of that mean: over all labelled pairs that score as high or higher, by the delta method.

Imports numpy: only `learned.py` and what trains its prior import this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ROUNDS: Final = 60
_CLOSE: Final = 1e-7
_NOT_WEIGHTS: Final = 3
"""Logits of lapse, e1 and e0 stand behind the weights."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Labels as arrays, one row each."""

    features: Floats
    """labels x features."""
    right: Floats
    """Labelled right: 0 to 1."""
    weight: Floats
    """How much the label counts; 1 for an ordinary one."""
    certain: NDArray[np.bool_]
    """Never mislabelled."""
    share: Floats
    """How many would-be answers of the traffic the label stands for."""

    def only(self, rows: NDArray[np.bool_]) -> Evidence:
        """Some of the labels."""
        return Evidence(self.features[rows], self.right[rows], self.weight[rows], self.certain[rows], self.share[rows])


class Noise(NamedTuple):
    """Beta distribution of the share of mislabelled ones, as counts."""

    mistaken: float
    well: float


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed before any label of pairs."""

    mean: Floats
    """Of the weights, and of the logit of the lapse."""
    sd: Floats
    missed: Noise
    """e1."""
    waved_through: Noise
    """e0."""
    rising: tuple[int, ...]
    """Weights that are never below zero."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mode and spread of weights, logit of the lapse, of e1 and of e0."""

    mode: Floats
    spread: Floats
    """Covariance of `mode`."""

    @property
    def weights(self) -> Floats:
        return self.mode[:-_NOT_WEIGHTS]

    @property
    def lapse(self) -> float:
        return float(_logistic(self.mode[-3]))

    @property
    def missed(self) -> float:
        """e1: share of right ones that are labelled wrong."""
        return float(_logistic(self.mode[-2]))

    @property
    def waved_through(self) -> float:
        """e0: share of wrong ones that are labelled right."""
        return float(_logistic(self.mode[-1]))


def fit(evidence: Evidence, belief: Belief) -> Posterior:
    """A function of both and of nothing else: the same labels give the same posterior everywhere."""
    held: set[int] = set()
    while True:
        found = _fit(evidence, belief, held)
        falling = {index for index in belief.rising if found.mode[index] < 0} - held
        if not falling:
            return found
        held |= falling


def _fit(evidence: Evidence, belief: Belief, held: set[int]) -> Posterior:
    noise = (belief.missed, belief.waved_through)
    theta = np.concatenate([belief.mean, [np.log(each.mistaken / each.well) for each in noise]])
    free = np.array([index for index in range(len(theta)) if index not in held])
    theta[sorted(held)] = 0
    value = _objective(theta, evidence, belief)
    for _ in range(_ROUNDS):
        gradient, information = _slopes(theta, evidence, belief)
        step = np.zeros_like(theta)
        step[free] = np.linalg.solve(information[np.ix_(free, free)], gradient[free])
        tried, better = _upwards(theta, step, value, evidence, belief)
        gained, theta, value = better - value, tried, better
        if gained < _CLOSE:
            break
    _, information = _slopes(theta, evidence, belief)
    spread = np.zeros_like(information)
    spread[np.ix_(free, free)] = np.linalg.inv(information[np.ix_(free, free)])
    return Posterior(theta, spread)


def _upwards(theta: Floats, step: Floats, value: float, evidence: Evidence, belief: Belief) -> tuple[Floats, float]:
    """As far along the step as it gets better; where it was when it does not."""
    for halvings in range(12):
        tried = theta + step / 2**halvings
        better = _objective(tried, evidence, belief)
        if better >= value:
            return tried, better
    return theta, value


def _objective(theta: Floats, evidence: Evidence, belief: Belief) -> float:
    """Logarithm of the posterior, up to a constant."""
    q = _observed(theta, evidence).q
    fits = evidence.weight * (evidence.right * np.log(q) + (1 - evidence.right) * np.log(1 - q))
    value = float(fits.sum() - 0.5 * np.sum(((theta[:-2] - belief.mean) / belief.sd) ** 2))
    for logit, each in zip(theta[-2:], (belief.missed, belief.waved_through), strict=True):
        value -= each.mistaken * np.logaddexp(0, -logit) + each.well * np.logaddexp(0, logit)
    return float(value)


class _Observed(NamedTuple):
    q: Floats
    p: Floats
    steep: Floats
    """Slope of p along the score."""
    missed: Floats
    through: Floats
    lapse: float


def _observed(theta: Floats, evidence: Evidence) -> _Observed:
    s, lapse = _logistic(evidence.features @ theta[:-_NOT_WEIGHTS]), float(_logistic(theta[-3]))
    p = (1 - lapse) * s
    missed, through = (np.where(evidence.certain, 0.0, _logistic(logit)) for logit in theta[-2:])
    q = np.clip((1 - missed) * p + through * (1 - p), 1e-9, 1 - 1e-9)
    return _Observed(q, p, p * (1 - s), missed, through, lapse)


def _slopes(theta: Floats, evidence: Evidence, belief: Belief) -> tuple[Floats, Floats]:
    """Gradient and expected information of `_objective`."""
    q, p, steep, missed, through, lapse = _observed(theta, evidence)
    clear = 1 - missed - through
    slopes = np.column_stack(
        [
            (clear * steep)[:, None] * evidence.features,
            -clear * lapse * p,
            -missed * (1 - missed) * p,
            through * (1 - through) * (1 - p),
        ]
    )
    gradient = slopes.T @ (evidence.weight * (evidence.right - q) / (q * (1 - q)))
    information = slopes.T @ ((evidence.weight / (q * (1 - q)))[:, None] * slopes)
    size = len(belief.mean)
    gradient[:size] -= (theta[:size] - belief.mean) / belief.sd**2
    information[range(size), range(size)] += 1 / belief.sd**2
    for index, each in ((size, belief.missed), (size + 1, belief.waved_through)):
        e, count = float(_logistic(theta[index])), each.mistaken + each.well
        gradient[index] += each.mistaken - count * e
        information[index, index] += count * e * (1 - e)
    return gradient, information


@dataclass(frozen=True, slots=True)
class Ladder:
    """What is known of all that scores at least so much, the highest score first. One rung for each labelled pair."""

    scores: Floats
    each: Floats
    """Expected probability that the pair of this rung is wrong."""
    wrong: Floats
    """Expected share of wrong ones among all from here up."""
    spread: Floats
    """Standard deviation of its logit."""
    labels: Floats
    """Labels from here up, by weight."""
    seen_wrong: Floats
    """Share of wrong ones among these labels, the judge's mistakes taken out. The model has no part in it."""


def ladder(posterior: Posterior, evidence: Evidence) -> Ladder:
    """By score: the product of weights and features. Labels that stand for no share of the traffic have no rung."""
    evidence = evidence.only(evidence.share > 0)
    scores = evidence.features @ posterior.weights
    order = np.argsort(-scores, kind="stable")
    scores, phi, share, weight = scores[order], evidence.features[order], evidence.share[order], evidence.weight[order]
    s = _logistic(scores)
    p = (1 - posterior.lapse) * s
    total = np.cumsum(share)
    wrong = np.clip(np.cumsum(share * (1 - p)) / total, 1e-9, 1 - 1e-9)
    by_weights = np.cumsum((share * p * (1 - s))[:, None] * phi, axis=0) / total[:, None]
    by_lapse = -posterior.lapse * np.cumsum(share * p) / total
    slopes = np.column_stack([by_weights, by_lapse])
    variance = np.einsum("ij,jk,ik->i", slopes, posterior.spread[:-2, :-2], slopes)
    labels = np.cumsum(weight)
    labelled_wrong = np.cumsum(weight * (1 - evidence.right[order])) / labels
    clear = 1 - posterior.missed - posterior.waved_through
    return Ladder(
        scores=scores,
        each=1 - p,
        wrong=wrong,
        spread=np.sqrt(np.maximum(variance, 0)) / (wrong * (1 - wrong)),
        labels=labels,
        seen_wrong=np.clip((labelled_wrong - posterior.missed) / clear, 0, 1),
    )


def _logistic(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))
