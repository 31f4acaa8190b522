"""A word and its opposite do not share an answer."""

from __future__ import annotations

import pytest

from proxy.guards.antonyms import ANTONYMS
from tests.guards import refuses

APART = [
    ("turn the light on", "turn the light off"),
    ("how to gain weight", "how to lose weight"),
    ("buy shares", "sell shares"),
    ("the highest mountain", "the lowest mountain"),
    ("is it safe to fly", "is it unsafe to fly"),
    ("before meals", "after meals"),
    ("increase the volume", "decrease the volume"),
    ("an import tax", "an export tax"),
]
TOGETHER = [
    ("the amount shown here is not correct", "the amount shown here is wrong"),
    (
        "I went home early, fed two cats, watered some roses and then my key broke in its lock",
        "my key broke, and I was late for lunch, tea, dinner and several meetings about roads",
    ),
    ("turn on the light", "turn the light on"),
    ("buy and sell shares", "sell and buy shares"),
    ("is it hot or cold", "is it cold or hot"),
    ("open the door", "open the door now"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(ANTONYMS, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(ANTONYMS, one, other)
