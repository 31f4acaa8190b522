"""How a comparison looks to a verifier: a few numbers, each between about -1 and 1.

They are few on purpose. Trees and regressions over many features, trained on other traffic, do not carry over; these
do, and a partition's few hundred labels are enough for them. Numbers and calendar words are not among them: where they
differ, a guard has refused.
"""

from __future__ import annotations

from typing import Final

from proxy.evidence import Comparison
from proxy.lexis.base import Residual

NAMES: Final = (
    "bias",
    "similarity",
    "none",
    "one",
    "jaccard",
    "question_word",
    "order",
    "length",
    "names",
    "polarity",
)

RISING: Final = (NAMES.index("similarity"),)
"""Features whose weight is never below zero: of two questions that differ in nothing else, the nearer is the safer."""


def features(comparison: Comparison) -> tuple[float, ...]:
    """In the order of NAMES."""
    difference = comparison.difference
    return (
        1.0,
        10 * (comparison.similarity - 0.85),
        float(difference.residual is Residual.NONE),
        float(difference.residual is Residual.ONE),
        2 * difference.jaccard - 1,
        float(difference.question_word),
        difference.order,
        2 * difference.length - 1,
        float(difference.names),
        float(difference.polarity),
    )


def canonical(comparison: Comparison) -> bool:
    """No content word is left over on either side, and both ask with the same question word."""
    return comparison.difference.residual is Residual.NONE and not comparison.difference.question_word
