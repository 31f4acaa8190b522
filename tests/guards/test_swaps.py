"""Who does what to whom, and where from and where to."""

from __future__ import annotations

import pytest

from proxy.guards.swaps import SWAPS
from tests.guards import refuses

APART = [
    ("does lunch come before the call in Oslo", "in Oslo, does the call come before lunch"),
    ("Is tea better than coffee?", "Is coffee better than tea?"),
    ("trains from Oslo to Bergen", "trains from Bergen to Oslo"),
    ("trains from new haven to long beach", "trains from long beach to new haven"),
    ("trains to Oslo", "trains from Oslo"),
    ("convert 5 euros to yen", "convert yen to 5 euros"),
    ("do cats chase dogs", "do dogs chase cats"),
    ("can I move from Java to Rust", "can I move from Rust to Java"),
    ("lunch before the call", "the call before lunch"),
]
TOGETHER = [
    ("trains from Oslo to Bergen", "trains to Bergen from Oslo"),
    ("cats and dogs", "dogs and cats"),
    ("Oslo to Bergen trains", "trains Oslo to Bergen"),
    ("is tea better than coffee", "tea is better than coffee?"),
    ("the difference between tea and coffee", "the difference between coffee and tea"),
    ("order a card for my son", "for my son, order a card"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(SWAPS, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(SWAPS, one, other)
