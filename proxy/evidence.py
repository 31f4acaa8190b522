"""What is known of a pair of questions: how they compare, and whether one answer would have done for both."""

from __future__ import annotations

from typing import NamedTuple

from proxy.lexis.base import Difference


class Comparison(NamedTuple):
    """A question that is asked beside a stored one: all a verifier may look at."""

    similarity: float
    """Cosine of the two embeddings."""
    difference: Difference


class Label(NamedTuple):
    """What became known about one pair: whether the stored answer would have done."""

    comparison: Comparison
    right: float
    """Probability that it would: 0 or 1 where certain, between them where a judge of answers said so."""
    source: str
    """`miss`: compared with the fresh answer of a question that was asked anyway; `audit`: of a would-be hit that was
    sampled; `feedback`: a caller or an operator said so, which is certain; `same`: two answers to the very same
    question, which measures the judge's noise; `other`: answers to two questions that share nothing, likewise."""
    at: float
    """Unix seconds."""
