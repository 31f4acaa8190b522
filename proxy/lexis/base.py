"""What is read of a question's words, and how the words of two questions differ. Values only; `reading.py` reads,
`difference.py` compares, guards and verifiers use both."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Residual(StrEnum):
    """Where content words are left over when the words common to both texts are taken away: the strongest cheap sign
    of whether one answer does for both."""

    NONE = "none"
    ONE = "one"
    """On one side only."""
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Difference:
    """How the words of a question that is asked differ from those of a stored one. Symmetric in the two."""

    residual: Residual
    jaccard: float
    """Of content stems, 0 to 1."""
    question_word: bool
    """How/why/who ... differs."""
    order: float
    """Share of pairs of shared content words that stand in another order, 0 to 1."""
    length: float
    """Tokens of the shorter over those of the longer, 0 to 1."""
    numbers: bool
    names: bool
    """Capitalised names or identifiers differ."""
    calendar: bool
    """Weekdays, months, today/tomorrow, a.m./p.m. differ."""
    polarity: bool
    """Negation differs, or an antonym pair is split across the two."""
