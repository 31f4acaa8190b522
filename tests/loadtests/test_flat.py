"""A leak that is planted is found, and what is only noise is not taken for one."""

from __future__ import annotations

import random

import pytest
from flat import Bar, judge, judge_at_rest, theil_sen

MB = Bar(unit="MB", scale=1e-6, slope=12, reason="a test")
HALF_AN_HOUR = range(0, 1800, 2)
WARM_UP_S = 600


def memory(at, *, leak_mb_an_hour=0.0, rng):
    """A process that grows by 80 MB while it warms up, jitters by some MB, and perhaps leaks."""
    warm = 80 * min(1, at / 400)
    return (100 + warm + leak_mb_an_hour * at / 3600 + rng.uniform(-3, 3)) * 1e6


def series(seed=1, **leak):
    rng = random.Random(seed)
    return [(float(at), memory(at, rng=rng, **leak)) for at in HALF_AN_HOUR]


@pytest.mark.parametrize("seed", range(5))
def test_noise_after_a_warm_up_is_flat(seed):
    verdict = judge("memory", series(seed), MB, WARM_UP_S)
    assert verdict.flat is True
    assert abs(verdict.slope) < 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("leak", [20, 60, 500])
def test_a_planted_leak_is_found_and_its_size_told(seed, leak):
    verdict = judge("memory", series(seed, leak_mb_an_hour=leak), MB, WARM_UP_S)
    assert verdict.flat is False
    assert verdict.slope == pytest.approx(leak, abs=3)
    assert "over 12 MB an hour" in verdict.why


def test_the_warm_up_does_not_count():
    assert judge("memory", series(), MB, WARM_UP_S).flat is True
    assert judge("memory", series()[:300], MB, 0).flat is False  # the same points, taken for a leak


def test_wild_points_do_not_move_the_slope():
    points = series()
    wild = [(at, value + (5e8 if index % 10 == 0 and at > 1000 else 0)) for index, (at, value) in enumerate(points)]
    verdict = judge("memory", wild, MB, WARM_UP_S)
    assert verdict.flat is True
    assert verdict.highest > 600


def test_a_descent_is_as_good_as_a_level():
    assert judge("memory", series(leak_mb_an_hour=-100), MB, WARM_UP_S).flat is True


def test_a_value_over_the_most_is_not_flat_however_short_the_series():
    bar = Bar(unit="descriptors", rest=6, most=100, reason="a test")
    verdict = judge("descriptors", [(0.0, 50.0), (2.0, 101.0), (4.0, 50.0)], bar, 0)
    assert verdict.flat is False
    assert "passed 100" in verdict.why


@pytest.mark.parametrize("points", [[], [(0.0, 1e8)], [(float(at), 1e8 + at * 1e6) for at in range(0, 200, 2)]])
def test_a_series_that_is_too_short_is_not_judged(points):
    assert judge("memory", points, MB, 0).flat is None


def test_the_slope_is_the_median_of_all_pairs():
    assert theil_sen([(0.0, 0.0), (1.0, 2.0), (2.0, 4.0), (3.0, 102.0)]) == pytest.approx((2 + 34) / 2)
    assert theil_sen([(float(at), 3.0 * at) for at in range(50)]) == pytest.approx(3)
    with pytest.raises(ValueError, match="two points"):
        theil_sen([(1.0, 2.0), (1.0, 3.0)])


def test_a_series_with_very_many_points_is_thinned_and_still_right():
    points = [(at / 10, 5.0 * at / 10) for at in range(20_000)]
    assert theil_sen(points) == pytest.approx(5)


def test_what_follows_the_load_is_judged_at_rest():
    """Connections that come and go with a busy machine are no leak; those that stay when all callers left are."""
    bar = Bar(unit="descriptors", rest=16, reason="a test")
    assert judge("descriptors", [(float(at), 40.0 + at / 10) for at in HALF_AN_HOUR], bar, WARM_UP_S).flat is None
    assert judge_at_rest("descriptors", bar, before=23, after=39).flat is True
    leaking = judge_at_rest("descriptors", bar, before=23, after=40)
    assert leaking.flat is False
    assert "17 descriptors more at rest" in leaking.why
    flights = Bar(unit="flights", rest=0, reason="a test")
    assert judge_at_rest("flights", flights, before=0, after=1).flat is False
