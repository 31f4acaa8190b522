"""What is quoted is taken literally."""

from __future__ import annotations

import pytest

from proxy.guards.quotes import QUOTES
from tests.guards import refuses

APART = [
    ('who wrote "Emma"', 'who wrote "Ulysses"'),
    ('what does "ibid" mean', 'what does "sic" mean'),
    ("translate 'good day'", "translate 'good night'"),
    ('define "entropy"', "define it"),
]
TOGETHER = [
    ('who wrote "Emma"', "who wrote Emma"),
    ('who wrote "Emma"', "who wrote “Emma”"),
    ("the dog's bone", "the dogs bone"),
    ("don't", "do not"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(QUOTES, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(QUOTES, one, other)
