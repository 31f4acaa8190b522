"""The same words in exchanged places: `A better than B`, `from A to B`, `dogs chase cats`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.guards.base import Guard
from proxy.lexis.function_words import CONNECTIVES, OPPOSITE_ROLES
from proxy.lexis.reading import Reading
from proxy.lexis.stemming import stem
from proxy.lexis.tables import words

_SPAN: Final = 2
"""Content words on either side of a connective that may belong to it."""

_MUTUAL: Final = words("differ differenc similar same equal marri meet versu compar date relat")
"""Stems of what is true both ways round."""

_TWO_FACED: Final = frozenset(["to", "for"])
"""They hold two things apart only right behind the first of them: `Oslo to Bergen`, and not `I need to`."""

_CONNECTIVES: Final = frozenset(map(stem, CONNECTIVES))

_AT_MOST: Final = 32
"""Times that one connective is looked at in a text, and words on either side of it."""

_Sides = list[tuple[set[str], set[str]]]


def _refuses(asked: Reading, stored: Reading) -> bool:
    if asked.words == stored.words:
        return False
    if _opposite_roles(asked, stored):
        return True
    shared = {*asked.items} & {*stored.items}
    here = [item for item in asked.items if item in shared]
    there = [item for item in stored.items if item in shared]
    # What stands in the same order is not exchanged: most pairs end here.
    return here != there and (_exchanged(asked, stored) or _reversed(asked, stored))


def _opposite_roles(asked: Reading, stored: Reading) -> bool:
    """`from Oslo` and `to Oslo`."""
    if not asked.roles or not stored.roles:
        return False
    return any((role, stored.roles.get(thing)) in OPPOSITE_ROLES for thing, role in asked.roles.items())


def _exchanged(asked: Reading, stored: Reading) -> bool:
    """Two shared words stand on the other side each of the same connective."""
    here = _sides(asked)
    if not here:
        return False
    there = _sides(stored)
    return any(
        _crossed(*one, *other) for word, all_of_it in here.items() for one in all_of_it for other in there.get(word, ())
    )


def _crossed(left: set[str], right: set[str], other_left: set[str], other_right: set[str]) -> bool:
    to_the_right = (left - right) & (other_right - other_left)
    to_the_left = (right - left) & (other_left - other_right)
    return bool(to_the_right) and bool(to_the_left)


def _sides(reading: Reading) -> dict[str, _Sides]:
    """Connective to what stands before and behind it, for each time that it is there."""
    sides: dict[str, _Sides] = {}
    for place, (word, _) in enumerate(reading.sequence):
        if word not in _CONNECTIVES or (word in _TWO_FACED and not (place and reading.sequence[place - 1][1])):
            continue
        before = _nearest(reversed(reading.sequence[max(0, place - _AT_MOST) : place]))
        behind = _nearest(iter(reading.sequence[place + 1 : place + 1 + _AT_MOST]))
        known = sides.setdefault(word, [])
        if before and behind and len(known) < _AT_MOST:
            known.append((before, behind))
    return sides


def _nearest(sequence: Iterator[tuple[str, bool]]) -> set[str]:
    """Content words up to the next connective."""
    found: set[str] = set()
    for word, is_item in sequence:
        if word in _CONNECTIVES or len(found) == _SPAN:
            break
        if is_item:
            found.add(word)
    return found


def _reversed(asked: Reading, stored: Reading) -> bool:
    """Three content words on end stand the other way round, and nothing else tells the texts apart: who does what to
    whom."""
    if len(asked.vocabulary ^ stored.vocabulary) > 1:
        return False
    triples = {
        (one, word, other) for one, word, other in zip(asked.items, asked.items[1:], asked.items[2:], strict=False)
    }
    return any(
        (other, word, one) in triples and one != other and word not in _MUTUAL
        for one, word, other in zip(stored.items, stored.items[1:], stored.items[2:], strict=False)
    )


SWAPS = Guard("swaps", _refuses)
