"""A denial is another question where all else is nearly the same."""

from __future__ import annotations

import pytest

from proxy.guards.negation import NEGATION
from tests.guards import refuses

APART = [
    ("Does it work with a key?", "Does it not work with a key?"),
    ("cards that expire", "cards that don't expire"),
    ("pay with a card", "pay without a card"),
    ("foods with gluten", "foods with no gluten"),
]
TOGETHER = [
    ("the amount shown here is not correct", "the amount shown here is wrong"),
    ("I don't know how to open the window", "how to open the window"),
    ("I cannot pay at the shop", "why was my payment declined"),
    ("it doesn't work", "it does not work"),
    ("Why can't I log in", "why am I unable to log in, it is not working"),
    ("it works", "it works"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(NEGATION, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(NEGATION, one, other)
