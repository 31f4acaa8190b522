"""One text denies what the other says. Only where they say nearly the same: `I cannot pay` and `payment failed` are one
question."""

from __future__ import annotations

from typing import Final

from proxy.guards.base import Guard
from proxy.lexis.difference import denials_agree, splits_complements
from proxy.lexis.reading import Reading

_NEARLY_THE_SAME: Final = 0.6
"""Jaccard of content stems."""


def _refuses(asked: Reading, stored: Reading) -> bool:
    if denials_agree(asked, stored):
        return False
    shared = len(asked.stems & stored.stems)
    union = len(asked.stems) + len(stored.stems) - shared
    # "Not correct" and "wrong" are the same.
    return shared >= _NEARLY_THE_SAME * union and not splits_complements(asked, stored)


NEGATION = Guard("negation", _refuses)
