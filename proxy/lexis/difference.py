"""How the words of two questions differ. Symmetric, pure, a few set operations."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.lexis.antonyms import COMPLEMENTS, OPPOSITES
from proxy.lexis.base import Difference, Residual
from proxy.lexis.reading import Reading


def compare(asked: Reading, stored: Reading) -> Difference:
    """All that verifiers may know of two texts beside their similarity."""
    shared = asked.stems & stored.stems
    union = len(asked.stems) + len(stored.stems) - len(shared)
    numbers = asked.numbers != stored.numbers
    names = asked.names != stored.names or asked.identifiers != stored.identifiers
    polarity = splits_antonyms(asked, stored) if denials_agree(asked, stored) else not splits_complements(asked, stored)
    lengths = sorted((len(asked.words), len(stored.words)))
    return Difference(
        residual=_residual(asked, stored, len(shared), otherwise=numbers or polarity),
        jaccard=len(shared) / union if union else 1.0,
        question_word=asked.question != stored.question,
        order=_order(asked.content, stored.content, shared),
        length=lengths[0] / lengths[1] if lengths[1] else 1.0,
        numbers=numbers,
        names=names,
        calendar=asked.calendar != stored.calendar,
        polarity=polarity,
    )


def _residual(asked: Reading, stored: Reading, shared: int, *, otherwise: bool) -> Residual:
    if not asked.content and not stored.content and asked.words != stored.words:
        # "And you?", "And me?": where no word carries content, the others do.
        return Residual.BOTH
    here, there = len(asked.stems) > shared, len(stored.stems) > shared
    if here and there:
        return Residual.BOTH
    if here or there:
        return Residual.ONE
    if len(asked.content) != len(stored.content) or sorted(asked.content) != sorted(stored.content):
        # "The state that borders the most states" is not "the state that borders most".
        return Residual.ONE
    same = asked.identifiers == stored.identifiers and asked.calendar == stored.calendar and not otherwise
    return Residual.NONE if same and not owners_differ(asked, stored) else Residual.BOTH


def owners_differ(asked: Reading, stored: Reading) -> bool:
    """`my name` and `your name`, `call me` and `call you`."""
    if not asked.owners or not stored.owners:
        return False
    return any(stored.owners.get(thing, owner) != owner for thing, owner in asked.owners.items())


def denials_agree(asked: Reading, stored: Reading) -> bool:
    """Both deny something, or neither does."""
    return (asked.negations > 0) == (stored.negations > 0)


def splits_antonyms(asked: Reading, stored: Reading) -> bool:
    """A word is in one text only, and its opposite in the other only."""
    return _splits(OPPOSITES, asked, stored)


def splits_complements(asked: Reading, stored: Reading) -> bool:
    """Likewise, and the one is nothing but the other denied."""
    return _splits(COMPLEMENTS, asked, stored)


def _splits(table: Mapping[str, frozenset[str]], asked: Reading, stored: Reading) -> bool:
    here = [word for word in asked.vocabulary if word in table and word not in stored.vocabulary]
    return any(other in stored.vocabulary and other not in asked.vocabulary for word in here for other in table[word])


def _order(asked: tuple[str, ...], stored: tuple[str, ...], shared: frozenset[str]) -> float:
    if len(shared) < 2:
        return 0.0
    first_in_stored: dict[str, int] = {}
    for place, word in enumerate(stored):
        first_in_stored.setdefault(word, place)
    places = [first_in_stored[word] for word in dict.fromkeys(asked) if word in shared][:64]
    pairs = len(places) * (len(places) - 1) // 2
    inverted = sum([places[i] > places[j] for i in range(len(places)) for j in range(i + 1, len(places))])
    return inverted / pairs
