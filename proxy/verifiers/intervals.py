"""Between which shares does the truth lie, when so many of so many were wrong? Clopper and Pearson's exact bounds.

The bound is a quantile of a beta distribution, found by bisection on the regularised incomplete beta function (its
continued fraction, by Lentz's method). Counts may be fractions: labels are probabilities.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p
from typing import Final

_STEPS: Final = 300
_TINY: Final = 1e-300


def upper(wrong: float, total: float, confidence: float = 0.95) -> float:
    """The share of wrong ones is at most this, with one-sided `confidence`; 1 where nothing is known."""
    if total <= 0 or wrong >= total:
        return 1.0
    return _quantile(confidence, max(wrong, 0.0) + 1, total - max(wrong, 0.0))


def lower(wrong: float, total: float, confidence: float = 0.95) -> float:
    """The share of wrong ones is at least this, with one-sided `confidence`; 0 where nothing is known."""
    if total <= 0 or wrong <= 0:
        return 0.0
    return _quantile(1 - confidence, min(wrong, total), total - min(wrong, total) + 1)


def _quantile(probability: float, a: float, b: float) -> float:
    """Where the beta distribution (a, b) has this much below it."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _below(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b) (DLMF 8.17)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    # The fraction converges quickly on one side of the mean only; the other is its mirror (DLMF 8.17.4).
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """DLMF 8.17.22, evaluated from the front."""
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _away(1 + step * d)
            c = _away(1 + step / c)
            value *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return value


def _away(x: float) -> float:
    """Never zero: it is divided by."""
    return x if abs(x) > _TINY else _TINY
