"""A word is in one text and its opposite in the other, and they have something in common to be opposite about."""

from __future__ import annotations

from typing import Final

from proxy.guards.base import Guard
from proxy.lexis.difference import denials_agree, splits_antonyms, splits_complements
from proxy.lexis.reading import Reading

_IN_COMMON: Final = 0.2
"""Jaccard of content stems. Below it stand long stories, in which opposites are far apart."""


def _refuses(asked: Reading, stored: Reading) -> bool:
    if not splits_antonyms(asked, stored):
        return False
    shared = len(asked.stems & stored.stems)
    union = len(asked.stems) + len(stored.stems) - shared
    return shared >= _IN_COMMON * union and (denials_agree(asked, stored) or not splits_complements(asked, stored))


ANTONYMS = Guard("antonyms", _refuses)
