"""Another day is another question."""

from __future__ import annotations

import pytest

from proxy.guards.calendar import CALENDAR
from tests.guards import refuses

APART = [
    ("open on Monday", "open on Tuesday"),
    ("flights in may", "flights in june"),
    ("weather today", "weather tomorrow"),
    ("at 7 in the morning", "at 7 in the evening"),
    ("what happens next week", "what happens this week"),
    ("open on sunday", "open"),
]
TOGETHER = [
    ("open on Mondays", "open on monday"),
    ("may I go", "can I go"),
    ("I am here", "am I here"),
    ("flights on mon 5", "flights on Monday 5"),
    ("next week", "the coming week"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(CALENDAR, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(CALENDAR, one, other)
