"""Different numbers are different questions."""

from __future__ import annotations

import pytest

from proxy.guards.numbers import NUMBERS
from tests.guards import refuses

APART = [
    ("Convert 5 miles", "Convert 6 miles"),
    ("Convert five miles", "Convert six miles"),
    ("the 3rd president", "the 4th president"),
    ("a $5k loan", "a $5m loan"),
    ("Is 1.5 enough?", "Is 15 enough?"),
    ("news of 2023", "news of 2024"),
    ("wake me at 7", "wake me"),
    ("wake me at 7 am", "wake me at 7 pm"),
    ("twenty one guests", "twenty two guests"),
    ("leave at 9:15", "leave after 9:15"),
    ("at least five", "at most five"),
    ("at 3:15", "at 3:50"),
]
TOGETHER = [
    ("Convert 5 miles", "convert five miles"),
    ("1,000 users", "1000 users"),
    ("a 5k loan", "a 5,000 loan"),
    ("at 3pm", "at 15:00"),
    ("which one is it", "which is it"),
    ("twenty-five guests", "25 guests"),
    ("1.5 million", "1,500,000"),
    ("the 3rd try", "the third try"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(NUMBERS, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(NUMBERS, one, other)
