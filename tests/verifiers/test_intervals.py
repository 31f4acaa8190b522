"""The bounds of a share agree with the published tables."""

from __future__ import annotations

import pytest

from proxy.verifiers.intervals import lower, upper


@pytest.mark.parametrize(
    ("wrong", "total", "low", "high"),
    [
        # Two-sided 95 % limits of Clopper and Pearson (1934), as tabulated in Documenta Geigy and by R's binom.test.
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (0, 20, 0.0, 0.1684),
        (2, 20, 0.0123, 0.3170),
        (10, 100, 0.0490, 0.1762),
        (3, 1000, 0.0006, 0.0087),
    ],
)
def test_two_sided_limits_are_those_of_the_tables(wrong, total, low, high):
    assert lower(wrong, total, 0.975) == pytest.approx(low, abs=6e-5)
    assert upper(wrong, total, 0.975) == pytest.approx(high, abs=6e-5)


@pytest.mark.parametrize(("wrong", "total"), [(0, 59), (1, 93), (2, 124), (5, 208)])
def test_the_smallest_sample_that_shows_five_percent_is_just_large_enough(wrong, total):
    assert upper(wrong, total) <= 0.05 < upper(wrong, total - 1)


def test_nothing_is_known_without_a_sample():
    assert (lower(0, 0), upper(0, 0)) == (0.0, 1.0)


def test_all_wrong_and_none_wrong_touch_the_ends():
    assert upper(7, 7) == 1.0
    assert lower(0, 7) == 0.0


def test_fractions_of_a_wrong_one_lie_between_the_whole_ones():
    assert upper(1, 40) < upper(1.5, 40) < upper(2, 40)
    assert lower(1, 40) < lower(1.5, 40) < lower(2, 40)


def test_a_hundred_thousand_do_not_upset_the_arithmetic():
    assert 0.0094 < lower(1_000, 100_000) < 0.01 < upper(1_000, 100_000) < 0.0106
