"""The same amount in another unit is another amount."""

from __future__ import annotations

import pytest

from proxy.guards.units import UNITS
from tests.guards import refuses

APART = [
    ("5 kg of rice", "5 lbs of rice"),
    ("how hot in celsius", "how hot in fahrenheit"),
    ("100 dollars", "100 euros"),
    ("$100", "€100"),
    ("wait 5 minutes", "wait 5 hours"),
    ("10 GB", "10 MB"),
]
TOGETHER = [
    ("5 kg of rice", "5 kilograms of rice"),
    ("$100", "100 dollars"),
    ("5 miles", "5 miles please"),
    ("rice", "5 kg of rice"),
    ("5 kg in 3 days", "5 kg"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_differs_is_refused(one, other):
    assert refuses(UNITS, one, other)


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_what_says_the_same_passes(one, other):
    assert not refuses(UNITS, one, other)
